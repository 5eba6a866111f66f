"""Pages of lists and histories: each entry is told once while others write, and a token is good for its list alone."""

from __future__ import annotations

import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ambry.clock import SystemClock
from ambry.errors import InvalidRequest
from frontend.metadata.spaces import Space
from frontend.metadata.store import PAGE_MAX, MetadataStore, Stamp, Version
from frontend.rest.page_tokens import PagedList, limit_of
from tests.support.fake_cluster import make_cluster
from tests.support.http_frontend import HttpFrontend, http_frontend
from tests.support.metadata_stores import opened, sqlite_store

DATASETS = "/accounts/containers/datasets"
HERE = "/named/default/default"
VERSIONED = {"x-ambry-dataset-version-query-enabled": "true"}
OF_D = {"x-ambry-target-dataset-name": "d"}
UPSERT = {"x-ambry-named-upsert": "true"}
MINE = {"accountName": "default", "containerName": "default", "datasetName": "d"}


@pytest.fixture
async def frontend(tmp_path: Path) -> AsyncIterator[HttpFrontend]:
    cluster = make_cluster(((3,),) * 4, clock=SystemClock())
    async with (
        opened(sqlite_store(tmp_path / "meta.sqlite")) as store,
        http_frontend(cluster, metadata=store) as made,
    ):
        yield made


async def ok(
    frontend: HttpFrontend, method: str, path: str, headers: dict[str, str] | None = None, body: Any = None
) -> Any:
    sent = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await frontend.call(method, path, headers, sent)
    assert answer.status < 300, (path, answer.status, answer.body)
    return answer.json() if answer.body else None


async def dataset(frontend: HttpFrontend, name: str = "d", schema: str = "MONOTONIC") -> None:
    await ok(frontend, "POST", DATASETS, {}, MINE | {"datasetName": name, "versionSchema": schema})


async def put(frontend: HttpFrontend, name: str, headers: dict[str, str] | None = None) -> None:
    await ok(frontend, "PUT", f"{HERE}/{name}", headers, b"x")


async def move(frontend: HttpFrontend, alias: str, version: str, before: str | None) -> None:
    await ok(
        frontend, "POST", f"{DATASETS}/aliases", {}, MINE | {"alias": alias, "version": version, "ifVersion": before}
    )


async def walked(
    frontend: HttpFrontend,
    path: str,
    headers: dict[str, str],
    field: str,
    meanwhile: Callable[[int], Awaitable[Any]],
) -> list[Any]:
    """All entries, by pages of two; something is written between each two of them."""
    found: list[Any] = []
    query = "max-keys=2"
    for page in range(100):
        answer = await ok(frontend, "GET", f"{path}{'&' if '?' in path else '?'}{query}", headers)
        assert len(answer[field]) <= 2
        found += answer[field]
        if answer["nextPageToken"] is None:
            return found
        query = f"max-keys=2&page={answer['nextPageToken']}"
        await meanwhile(page)
    raise AssertionError("there is no end of it")


# --- while others write ---


async def test_versions(frontend: HttpFrontend) -> None:
    await dataset(frontend)
    for _ in range(7):
        await put(frontend, "d/LATEST", VERSIONED)

    async def meanwhile(page: int) -> None:
        await put(frontend, "d/LATEST", VERSIONED)
        await ok(frontend, "DELETE", f"{HERE}/d/{2 * page + 2}", VERSIONED)

    found = await walked(frontend, f"{HERE}/d", VERSIONED, "versions", meanwhile)
    assert [int(each["version"]) for each in found][:7] == [1, 2, 3, 4, 5, 6, 7]


async def test_datasets(frontend: HttpFrontend) -> None:
    for name in "bdfhk":
        await dataset(frontend, name)

    async def meanwhile(page: int) -> None:
        await dataset(frontend, f"a{page}")
        await dataset(frontend, f"z{page}")

    found = [each["datasetName"] for each in await walked(frontend, DATASETS, {}, "datasets", meanwhile)]
    assert [name for name in found if len(name) == 1] == list("bdfhk")
    assert found == sorted(set(found))


async def test_aliases(frontend: HttpFrontend) -> None:
    await dataset(frontend)
    await put(frontend, "d/1", VERSIONED)
    for name in "bdfhk":
        await move(frontend, name, "1", None)

    async def meanwhile(page: int) -> None:
        await move(frontend, f"a{page}", "1", None)
        await move(frontend, "b", "1", "1")

    found = await walked(frontend, f"{DATASETS}/aliases", OF_D, "aliases", meanwhile)
    assert [each["alias"] for each in found] == list("bdfhk")


async def test_the_moves_of_an_alias(frontend: HttpFrontend) -> None:
    await dataset(frontend)
    for number in range(1, 6):
        await put(frontend, f"d/{number}", VERSIONED)
        await move(frontend, "champion", str(number), None if number == 1 else str(number - 1))

    async def meanwhile(page: int) -> None:
        await move(frontend, "champion", "1" if page % 2 else "5", "5" if page % 2 or not page else "1")

    found = await walked(frontend, f"{DATASETS}/aliases?alias=champion&history", OF_D, "moves", meanwhile)
    assert [each["version"] for each in found] == ["5", "4", "3", "2", "1"]


async def test_a_page_and_the_name_behind_which_a_list_begins_both_hold(frontend: HttpFrontend) -> None:
    for name in "abcdefgh":
        await put(frontend, name)

    async def names(query: str) -> list[str]:
        return [each["blobName"] for each in (await ok(frontend, "GET", f"{HERE}?max-keys=2&{query}"))["entries"]]

    page = (await ok(frontend, "GET", f"{HERE}?max-keys=2&start-after=b"))["nextPageToken"]
    assert await names(f"start-after=b&page={page}") == ["e", "f"]
    assert await names(f"start-after=f&page={page}") == ["g", "h"]


async def test_the_history_of_a_name(frontend: HttpFrontend) -> None:
    for _ in range(7):
        await put(frontend, "n", UPSERT)
    whole = (await ok(frontend, "GET", f"{HERE}/n?history"))["versions"]
    assert len(whole) == 7

    async def meanwhile(_page: int) -> None:
        await put(frontend, "n", UPSERT)

    assert await walked(frontend, f"{HERE}/n?history", {}, "versions", meanwhile) == whole


async def test_a_full_last_page_of_a_history_says_that_it_is_the_last(frontend: HttpFrontend) -> None:
    for _ in range(2):
        await put(frontend, "n", UPSERT)
    assert (await ok(frontend, "GET", f"{HERE}/n?history&max-keys=2"))["nextPageToken"] is None


# --- whose token it is ---


async def tokens(frontend: HttpFrontend) -> dict[str, str]:
    """One of each list, with the page that it is good for."""
    await dataset(frontend)
    await dataset(frontend, "e")
    for number in (1, 2):
        await put(frontend, f"d/{number}", VERSIONED)
        await put(frontend, f"e/{number}", VERSIONED)
        await put(frontend, f"n{number}")
        await put(frontend, "n", UPSERT)
        await put(frontend, "m", UPSERT)
        await move(frontend, f"a{number}", "1", None)
    await move(frontend, "a1", "2", "1")
    found = {}
    for page in PAGES:
        path, headers = page.split(" ")[0], json.loads(page.partition(" ")[2])
        found[page] = (await ok(frontend, "GET", f"{path}max-keys=1", headers))["nextPageToken"]
        assert found[page], page
    return found


PAGES = [
    f"{HERE}? {{}}",
    f"{HERE}?prefix=n& {{}}",
    f"{HERE}?prefix=n&delimiter=/& {{}}",
    f"{HERE}/n?history& {{}}",
    f"{HERE}/m?history& {{}}",
    f"{HERE}/d? {json.dumps(VERSIONED)}",
    f"{HERE}/e? {json.dumps(VERSIONED)}",
    f"{DATASETS}? {{}}",
    f"{DATASETS}/aliases? {json.dumps(OF_D)}",
    f"{DATASETS}/aliases?alias=a1&history& {json.dumps(OF_D)}",
]


async def test_a_token_is_good_for_the_list_that_told_it_and_for_no_other(frontend: HttpFrontend) -> None:
    found = await tokens(frontend)
    for page in PAGES:
        path, headers = page.split(" ")[0], json.loads(page.partition(" ")[2])
        for other, token in found.items():
            answer = await frontend.call("GET", f"{path}max-keys=1&page={token}", headers)
            assert answer.status == (200 if other == page else 400), (page, other, answer.body)
            if other != page:
                assert "leave it out to begin at the first page" in answer.json()["detail"]


@pytest.mark.parametrize("text", ["", "x", "AAAAAAAAAAAA", "%00", "%F0%9F%98%80", "a" * 3000, "====", "-1"])
async def test_what_is_no_token_is_refused(frontend: HttpFrontend, text: str) -> None:
    for page in PAGES:
        path, headers = page.split(" ")[0], json.loads(page.partition(" ")[2])
        if "d?" in path or "e?" in path or "aliases" in path:
            continue  # there is no dataset
        assert (await frontend.call("GET", f"{path}page={text}", headers)).status == 400, page


LIST = PagedList("c", "names", 5, (b"p",))


@pytest.mark.parametrize(
    "other",
    [
        PagedList("d", "names", 5, (b"p",)),
        PagedList("c", "versions", 5, (b"p",)),
        PagedList("c", "names", 6, (b"p",)),
        PagedList("c", "names", 5, (b"", b"p")),
        PagedList("c", "names", 5),
    ],
)
def test_a_token_of_another_cluster_kind_or_container_is_refused(other: PagedList) -> None:
    assert LIST.key(LIST.token(b"key")) == b"key"
    with pytest.raises(InvalidRequest, match="nextPageToken"):
        LIST.key(other.token(b"key"))


class Dated(msgspec.Struct):
    version: Version


@pytest.mark.parametrize("time", [0, (1 << 62) - 1, 1 << 62, 1 << 63, (1 << 64) - 1])
async def test_a_token_that_somebody_made_is_a_place_or_refused(tmp_path: Path, time: int) -> None:
    """The check is no secret. A time that no store holds, and a key that is no text, were 500."""
    made = LIST.token(struct.pack(">QIQ", time, 0xFFFF_FFFF, 0))
    async with opened(sqlite_store(tmp_path / "meta.sqlite")) as store:

        async def read(before: Version | None, limit: int) -> list[Dated]:
            return list(map(Dated, await store.history(Space.NAME, 5, b"n", before=before, limit=limit)))

        if time < 1 << 62:
            assert not (await LIST.history(made, 10, read)).shown
        else:
            with pytest.raises(InvalidRequest, match="nextPageToken"):
                await LIST.history(made, 10, read)
    assert LIST.text(LIST.token("é".encode())) == "é"
    with pytest.raises(InvalidRequest, match="nextPageToken"):
        LIST.text(LIST.token(b"\xff"))


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 999, PAGE_MAX])
async def test_versions_of_one_stamp_are_told_once_each(tmp_path: Path, limit: int) -> None:
    """A store that was put back from a backup has such ones; the last of a page ended the history of the others."""

    async def read(store: MetadataStore, before: Version | None, limit: int) -> list[Dated]:
        return [Dated(each) for each in await store.history(Space.NAME, 5, b"n", before=before, limit=limit)]

    async with opened(sqlite_store(tmp_path / "m")) as store:
        values = [None, b"a", b"b", b"c"]
        made = [Version(Space.NAME, 5, b"n", Stamp(time, 2), value, 1) for time in (3, 4, 5) for value in values] + [
            Version(Space.NAME, 5, b"n", Stamp(4, 3), b"x", 1)
        ]
        await store.merge(made)
        found: list[Version] = []
        token = None
        for _ in range(20):
            shown, token = await LIST.history(token, limit, lambda before, limit: read(store, before, limit))
            found += [each.version for each in shown]
            if token is None:
                break
        assert [(each.stamp, each.value) for each in found] == [
            (each.stamp, each.value) for each in await store.history(Space.NAME, 5, b"n")
        ]
        assert len(found) == 13


@pytest.mark.parametrize("text", ["0", "-1", "1001", "x", "1e3", "99999999999999999999", "1.0", "+1", " 1"])
def test_a_page_has_a_bounded_number_of_entries(text: str) -> None:
    with pytest.raises(InvalidRequest, match="from 1 to 1000"):
        limit_of({"max-keys": text})
