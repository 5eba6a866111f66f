"""Datasets over HTTP: versions that never change, tokens, aliases that move by compare-and-set, retention."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ambry.clock import SystemClock
from frontend.datasets import datasets as datasets_module
from frontend.metadata.spaces import LocalSpace
from tests.support.eventually import eventually
from tests.support.fake_cluster import make_cluster
from tests.support.http_frontend import Answer, HttpFrontend, http_frontend
from tests.support.metadata_stores import opened, sqlite_store

DATASETS = "/accounts/containers/datasets"
VERSIONED = {"x-ambry-dataset-version-query-enabled": "true"}
NAMED = {"x-ambry-target-dataset-name": "fraud"}


@pytest.fixture
async def frontend(tmp_path: Path) -> AsyncIterator[HttpFrontend]:
    cluster = make_cluster(((3,),) * 4, clock=SystemClock())
    async with (
        opened(sqlite_store(tmp_path / "meta.sqlite")) as store,
        http_frontend(cluster, metadata=store) as made,
    ):
        yield made


async def save(frontend: HttpFrontend, schema: str | None = "SEMANTIC", *, update: bool = False, **more: Any) -> Answer:
    asked: dict[str, Any] = {"accountName": "default", "containerName": "default", "datasetName": "fraud"}
    if schema is not None:
        asked["versionSchema"] = schema
    asked |= more
    headers = {"x-ambry-dataset-update": "true"} if update else {}
    return await frontend.call("POST", DATASETS, headers, json.dumps(asked).encode())


async def put(frontend: HttpFrontend, version: str, body: bytes = b"x", **headers: str) -> Answer:
    return await frontend.call("PUT", f"/named/default/default/fraud/{version}", VERSIONED | headers, body)


async def get(frontend: HttpFrontend, version: str) -> Answer:
    return await frontend.call("GET", f"/named/default/default/fraud/{version}", VERSIONED)


async def move(frontend: HttpFrontend, alias: str, version: str | None, if_version: str | None, **more: Any) -> Answer:
    asked = {
        "accountName": "default", "containerName": "default", "datasetName": "fraud",
        "alias": alias, "version": version, "ifVersion": if_version, **more,
    }  # fmt: skip
    return await frontend.call("POST", f"{DATASETS}/aliases", {}, json.dumps(asked).encode())


def number(answer: Answer) -> str:
    assert answer.status == 201, answer.body
    return answer.headers["x-ambry-target-dataset-version"]


async def versions(frontend: HttpFrontend, query: str = "") -> list[str]:
    answer = await frontend.call("GET", f"/named/default/default/fraud{query}", VERSIONED)
    assert answer.status == 200, answer.body
    return [each["version"] for each in answer.json()["versions"]]


# --- datasets ---


async def test_a_dataset_is_told_as_it_was_made_and_changed(frontend: HttpFrontend) -> None:
    made = await save(frontend, retentionCount=5, userTags={"team": "risk"})
    assert made.status == 200, made.body
    told = (await frontend.call("GET", DATASETS, NAMED)).json()
    assert told == made.json() == {
        "accountName": "default", "containerName": "default", "datasetName": "fraud", "versionSchema": "SEMANTIC",
        "retentionPolicy": "DefaultCounterBasedPolicy", "retentionCount": 5, "userTags": {"team": "risk"},
    }  # fmt: skip
    assert (await save(frontend)).status == 409
    assert (await save(frontend, None, update=True, retentionCount=-1, retentionTimeInSeconds=60)).status == 200
    told = (await frontend.call("GET", DATASETS, NAMED)).json()
    assert (told.get("retentionCount"), told["retentionTimeInSeconds"], told["userTags"]) == (
        None,
        60,
        {"team": "risk"},
    )
    assert (await save(frontend, "MONOTONIC", update=True)).status == 409
    listed = (await frontend.call("GET", DATASETS)).json()
    assert [each["datasetName"] for each in listed["datasets"]] == ["fraud"]


@pytest.mark.parametrize("scanned", [1, 4])
async def test_a_list_tells_the_newest_version_of_each(
    frontend: HttpFrontend, monkeypatch: pytest.MonkeyPatch, scanned: int
) -> None:
    """Neighbours are read together, up to a bound; those behind it one by one."""
    monkeypatch.setattr(datasets_module, "PAGE_MAX", 3)
    monkeypatch.setattr(datasets_module, "_SCANNED_PAGES_MAX", scanned)
    await save(frontend, "MONOTONIC", datasetName="a")
    await save(frontend, "SEMANTIC", datasetName="a-b")
    await save(frontend, "SEMANTIC", datasetName="b")
    await save(frontend, "SEMANTIC", datasetName="none")
    ids: dict[str, str] = {}
    for path in ("a/1", "a/2", "a/10", "a-b/1.9.0", "a-b/1.10.0", "a-b/2.0.0", "b/1.0.0"):
        answer = await frontend.call("PUT", f"/named/default/default/{path}", VERSIONED, b"12345")
        assert answer.status == 201, answer.body
        ids[path] = answer.json()["id"]
    gone = await frontend.call("DELETE", "/named/default/default/a-b/2.0.0", VERSIONED)
    assert gone.status == 202, gone.body
    found: dict[str, Any] = {}
    page = ""
    while True:
        answer = await frontend.call("GET", f"{DATASETS}?newest&max-keys=2{page}")
        assert answer.status == 200, answer.body
        told = answer.json()
        found |= {each["datasetName"]: each["newest"] for each in told["datasets"]}
        if told["nextPageToken"] is None:
            break
        page = f"&page={told['nextPageToken']}"
    assert list(found) == ["a", "a-b", "b", "none"] and found["none"] is None
    newest = {name: f"{name}/{each['version']}" for name, each in found.items() if each}
    assert newest == {"a": "a/10", "a-b": "a-b/1.10.0", "b": "b/1.0.0"}
    for name, path in newest.items():
        assert (found[name]["blobId"], found[name]["blobSize"]) == (ids[path], 5)
        assert found[name]["modifiedTimeMs"] > 0
    assert "newest" not in (await frontend.call("GET", DATASETS)).json()["datasets"][0]
    assert (await frontend.call("GET", f"{DATASETS}?newest=1")).status == 400


@pytest.mark.parametrize(
    "more",
    [
        {"datasetName": ""}, {"datasetName": "a/b"}, {"datasetName": "-a"}, {"datasetName": "a" * 151},
        {"versionSchema": "ODD"},
        {"retentionCount": 0}, {"retentionCount": "5"}, {"retentionPolicy": "Other"}, {"other": 1}, {"userTags": {"k": 5}},
        {"userTags": {"k": "x" * 257}}, {"accountName": "nobody"},
    ],
)  # fmt: skip
async def test_what_is_no_dataset_is_refused(frontend: HttpFrontend, more: dict[str, Any]) -> None:
    answer = await save(frontend, **more)
    assert answer.status == 400, answer.body
    assert (await frontend.call("GET", DATASETS)).json()["datasets"] == []


async def test_a_schema_that_there_is_not_is_told_those_that_there_are(frontend: HttpFrontend) -> None:
    said = (await save(frontend, "ODD")).json()["detail"]
    assert "'ODD'; there are TIMESTAMP, MONOTONIC, SEMANTIC, SEMANTIC_LONG - at `$.versionSchema`" in said


async def test_a_dataset_with_versions_is_not_deleted(frontend: HttpFrontend) -> None:
    await save(frontend)
    await put(frontend, "1.0.0")
    assert (await frontend.call("DELETE", DATASETS, NAMED)).status == 409
    assert (await frontend.call("DELETE", "/named/default/default/fraud/1.0.0", VERSIONED)).status == 202
    assert (await frontend.call("DELETE", DATASETS, NAMED)).status == 202
    assert (await frontend.call("GET", DATASETS, NAMED)).status == 410
    assert (await put(frontend, "2.0.0")).status == 410
    assert (await save(frontend, "MONOTONIC")).status == 409, "its versions looked otherwise"
    assert (await save(frontend)).status == 200
    assert (await put(frontend, "1.0.0")).status == 409, "a version is given once"


# --- versions ---


async def test_a_version_never_changes_and_is_found_by_number_and_as_the_newest(frontend: HttpFrontend) -> None:
    await save(frontend)
    new = await put(frontend, "1.2.0", b"one")
    assert number(new) == "1.2.0"
    again = await put(frontend, "1.2.0", b"two")
    assert (again.status, again.headers["x-ambry-error-code"]) == (409, "AlreadyExists")
    assert number(await put(frontend, "PATCH", b"three")) == "1.2.1"
    assert number(await put(frontend, "MAJOR", b"four")) == "2.0.0"
    assert number(await put(frontend, "1.2.2", b"five")) == "1.2.2", "an older line goes on"
    assert (await get(frontend, "1.2.0")).body == b"one"
    latest = await get(frontend, "LATEST")
    assert (latest.body, latest.headers["x-ambry-target-dataset-version"]) == (b"four", "2.0.0")
    assert await versions(frontend) == ["1.2.0", "1.2.1", "1.2.2", "2.0.0"]
    assert (await frontend.call("GET", f"/{new.blob_id}")).body == b"one"
    assert (await frontend.call("GET", "/named/default/default/fraud/1.2.0")).status == 404, "it is no name"
    assert (await frontend.call("POST", "/named/default/default/fraud/1.2.0", VERSIONED, b"{}")).status == 405


@pytest.mark.parametrize("schema", ["MONOTONIC", "TIMESTAMP"])
async def test_numbers_only_rise_and_are_not_given_again(frontend: HttpFrontend, schema: str) -> None:
    await save(frontend, schema)
    first = int(number(await put(frontend, "LATEST")))
    second = int(number(await put(frontend, str(first + 10))))
    assert second == first + 10
    backwards = await put(frontend, str(first + 5))
    assert (backwards.status, backwards.headers["x-ambry-error-code"]) == (409, "UpdateConflict")
    await frontend.call("DELETE", f"/named/default/default/fraud/{second}", VERSIONED)
    assert int(number(await put(frontend, "LATEST"))) > second
    assert (await get(frontend, str(second))).status == 410


async def test_of_many_who_ask_for_the_next_version_each_gets_one(frontend: HttpFrontend) -> None:
    await save(frontend, "MONOTONIC")
    answers = await asyncio.gather(*(put(frontend, "LATEST", str(each).encode()) for each in range(8)))
    given = sorted(int(number(answer)) for answer in answers)
    assert given == list(range(1, 9))
    for each, answer in enumerate(answers):
        assert (await get(frontend, number(answer))).body == str(each).encode()
    assert frontend.services is not None
    assert await frontend.services.names._store.locals(LocalSpace.INTENT) == []


async def test_a_put_that_is_repeated_with_its_key_tells_its_version_whatever_became_of_that(
    frontend: HttpFrontend,
) -> None:
    """It was looked for among the newest thousand that live, and an older one was told without its version."""
    await save(frontend, "MONOTONIC")
    key = {"x-ambry-idempotency-key": "job 7"}
    first = await put(frontend, "LATEST", b"x", **key)
    await put(frontend, "LATEST")
    assert (await frontend.call("DELETE", "/named/default/default/fraud/1", VERSIONED)).status == 202
    again = await put(frontend, "LATEST", b"x", **key)
    assert (again.status, again.blob_id, number(again)) == (201, first.blob_id, "1")


async def test_of_many_who_give_one_version_one_does_and_nothing_of_the_others_stays(frontend: HttpFrontend) -> None:
    await save(frontend)
    answers = await asyncio.gather(*(put(frontend, "1.0.0", str(each).encode()) for each in range(6)))
    assert sorted(answer.status for answer in answers) == [201] + 5 * [409]
    await eventually(lambda: len(frontend.cluster.pool.visible()) == 1)


async def test_versions_are_listed_page_by_page(frontend: HttpFrontend) -> None:
    await save(frontend)
    for each in ("1.10.0", "1.2.0", "1.9.0", "0.1.0"):
        await put(frontend, each)
    assert await versions(frontend, "?max-keys=3") == ["0.1.0", "1.2.0", "1.9.0"]
    page = (await frontend.call("GET", "/named/default/default/fraud?max-keys=3", VERSIONED)).json()
    assert await versions(frontend, f"?page={page['nextPageToken']}") == ["1.10.0"]


@pytest.mark.parametrize(
    "path", ["fraud/x", "fraud/1.2", "fraud/", "nothing/1.0.0", "fraud/@champion", "fraud/9.9.9", "fraud/LATEST"]
)
async def test_what_is_no_version_is_not_found_or_refused(frontend: HttpFrontend, path: str) -> None:
    await save(frontend)
    answer = await frontend.call("GET", f"/named/default/default/{path}", VERSIONED)
    assert answer.status == (200 if path == "fraud/" else 400 if path in ("fraud/x", "fraud/1.2") else 404), answer.body


async def test_a_version_is_called_by_its_number_where_it_is_not_there(frontend: HttpFrontend) -> None:
    """Was the key of its register, with the packed number: 'fraud\\x00\\x00\\t\\x00\\t\\x00\\t'."""
    await save(frontend)
    for each in ("1.0.0", "2.0.0"):
        await put(frontend, each)
    await frontend.call("DELETE", "/named/default/default/fraud/2.0.0", VERSIONED)
    missing = await get(frontend, "9.9.9")
    assert (missing.status, missing.json()["detail"]) == (404, "the dataset 'fraud' has no version 9.9.9")
    assert (await move(frontend, "champion", "9.9.9", None)).json()["detail"] == missing.json()["detail"]
    deleted = await get(frontend, "2.0.0")
    assert deleted.status == 410
    assert deleted.json()["detail"] == "the version 2.0.0 of 'fraud' was deleted; its number is not given again"


# --- aliases ---


async def test_an_alias_moves_if_it_points_where_it_was_thought_to_and_its_history_stays(
    frontend: HttpFrontend,
) -> None:
    await save(frontend)
    for each in ("1.0.0", "2.0.0"):
        await put(frontend, each, each.encode())
    assert (await move(frontend, "champion", "1.0.0", None, who="ann", why="first")).status == 200
    assert (await get(frontend, "@champion")).body == b"1.0.0"
    refused = await move(frontend, "champion", "2.0.0", None)
    assert (refused.status, refused.headers["x-ambry-error-code"]) == (409, "UpdateConflict")
    assert "points to 1.0.0" in refused.json()["detail"]
    assert (await move(frontend, "champion", "2.0.0", "1.0.0", who="bob", why="better")).status == 200
    assert (await get(frontend, "@champion")).headers["x-ambry-target-dataset-version"] == "2.0.0"
    assert (await move(frontend, "champion", "1.0.0", "2.0.0", who="ann", why="it was not")).status == 200
    history = (await frontend.call("GET", f"{DATASETS}/aliases?alias=champion&history", NAMED)).json()["moves"]
    assert [(each["version"], each["who"], each["why"]) for each in history] == [
        ("1.0.0", "ann", "it was not"), ("2.0.0", "bob", "better"), ("1.0.0", "ann", "first"),
    ]  # fmt: skip
    held = await frontend.call("DELETE", "/named/default/default/fraud/1.0.0", VERSIONED)
    assert held.status == 409
    assert (await move(frontend, "champion", None, "1.0.0")).status == 200
    assert (await get(frontend, "@champion")).status == 410
    assert (await frontend.call("GET", f"{DATASETS}/aliases", NAMED)).json() == {"aliases": [], "nextPageToken": None}


@pytest.mark.parametrize(
    ("alias", "version", "status"),
    [("a/b", "1.0.0", 400), ("x", "LATEST", 400), ("x", "3.0.0", 404), ("x", "1.0", 400)],
)
async def test_an_alias_points_to_a_version_that_is_there(
    frontend: HttpFrontend, alias: str, version: str, status: int
) -> None:
    await save(frontend)
    await put(frontend, "1.0.0")
    assert (await move(frontend, alias, version, None)).status == status


async def test_of_many_who_move_an_alias_at_once_one_does(frontend: HttpFrontend) -> None:
    await save(frontend, "MONOTONIC")
    for _ in range(6):
        await put(frontend, "LATEST")
    await move(frontend, "champion", "1", None)
    answers = await asyncio.gather(*(move(frontend, "champion", str(each), "1") for each in range(2, 7)))
    assert sorted(answer.status for answer in answers) == [200] + 4 * [409]


# --- retention ---


async def test_old_versions_go_but_for_those_that_an_alias_points_to(frontend: HttpFrontend) -> None:
    await save(frontend, "MONOTONIC", retentionCount=2)
    for _ in range(5):
        await put(frontend, "LATEST")
    await move(frontend, "champion", "1", None)
    assert frontend.services is not None
    [loop] = [each for each in frontend.services.loops if each.name == "datasets"]
    await loop.tick()
    assert await versions(frontend) == ["1", "4", "5"]
    assert len(frontend.cluster.pool.visible()) == 3
    assert number(await put(frontend, "LATEST")) == "6"


async def test_versions_go_when_their_time_is_over(frontend: HttpFrontend, monkeypatch: pytest.MonkeyPatch) -> None:
    await save(frontend, "MONOTONIC", retentionTimeInSeconds=1000)
    await put(frontend, "LATEST")
    assert frontend.services is not None
    [loop] = [each for each in frontend.services.loops if each.name == "datasets"]
    await loop.tick()
    assert await versions(frontend) == ["1"]
    monkeypatch.setattr(SystemClock, "wall_ms", lambda _self, real=SystemClock.wall_ms: real(_self) + 2_000_000)
    await loop.tick()
    assert await versions(frontend) == []
