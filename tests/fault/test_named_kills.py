"""kill -9 of frontends between every two steps of what changes names: all of it or none, and nothing of it stays behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deploy.local_cluster import LocalCluster
from tests.support.clusters import shared_cluster
from tests.support.dying_frontend import Dying
from tests.support.planted_process import planted_in_children
from tests.support.rest import Answer, call, get
from tests.support.upload_steps import ANNOUNCED, dies_at_step, hasty, notes_intents
from tests.support.waiting import eventually

pytestmark = pytest.mark.fault

QUICK = {"frontend": ["router.request_timeout_ms=2500", "router.memory_wait_ms=2000", "metadata.timeout_ms=3000"]}
HERE = "/named/default/default"
ORDINARY = {"X-Nobody-Knows": "1"}
"""Means nothing, and has an upload go the ordinary way (frontend/http/short.py)."""
NAMES, INTENTS, LIVES = "frontend.names.names:Names", "frontend.names.intents:Intents", "frontend.names.lives:NameLives"
SHORT = "frontend.rest.short_named_put:ShortNamedPut"


@pytest.fixture(scope="module")
def announced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("announced") / "ids"
    file.touch()
    return file


@pytest.fixture(scope="module")
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, announced: Path
) -> Iterator[LocalCluster]:
    """One datacenter with two frontends."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(ANNOUNCED, str(announced))
        with (
            planted_in_children(tmp_path_factory.mktemp("planted"), hasty, dies_at_step, notes_intents),
            shared_cluster(
                request, tmp_path_factory, datacenters=1, frontends=2, partitions=2, overrides=QUICK
            ) as cluster,
        ):
            yield cluster


def ask(url: str, name: str) -> Answer:
    return call(url, "GET", f"{HERE}/{name}")


def act(action: dict[str, Any]) -> bytes:
    return json.dumps(action).encode()


def nothing_stays(url: str, announced: Path, kept: set[str]) -> None:
    """Of all blobs for which an intent was ever written only those are left that names point to."""

    def left() -> bool:
        seen = set(announced.read_text().split()) - kept
        return all(get(url, blob_id).status in (404, 410) for blob_id in seen)

    eventually(left, "no blob is left without a name", timeout_s=60)
    assert all(get(url, blob_id).status == 200 for blob_id in kept)


PUT_STEPS = [
    (f"{INTENTS}.write:before", False, True),
    (f"{INTENTS}.write:after", False, True),
    ("frontend.router.put:PutOperation.put_simple:after", False, True),
    (f"{NAMES}.point:before", False, True),
    (f"{NAMES}.point:after", True, True),
    (f"{INTENTS}.begin_announcing:before", False, False),
    (f"{INTENTS}.begin_announcing:after", False, False),
    (f"{SHORT}.announced:before", False, False),
    (f"{SHORT}.announced:after", False, False),
    (f"{SHORT}.go_on:before", False, False),
    (f"{NAMES}.begin_point:after", None, False),
    (f"{SHORT}._pointed:before", True, False),
]
"""Where it dies, whether the name is there then (None: perhaps), and whether the upload goes the ordinary way."""


def test_a_put_under_a_name_is_whole_or_nothing_wherever_a_frontend_is_killed(
    pair: LocalCluster, announced: Path
) -> None:
    kept = set()
    for number, (step, there, ordinary) in enumerate(PUT_STEPS):
        name, body = f"put/{number}", b"body %d" % number
        frontend = Dying(pair, step)
        frontend.dies("PUT", f"{HERE}/{name}", body, ORDINARY if ordinary else {})
        found = ask(frontend.other, name)
        assert there is None or (found.status == 200) == there, step
        if found.status == 200:
            assert found.body == body
        else:
            assert found.status == 404
            again = call(frontend.other, "PUT", f"{HERE}/{name}", body)
            assert again.status == 201, (step, again.body)
        kept.add(str(ask(frontend.other, name).headers["Content-Location"])[1:])
    nothing_stays(frontend.other, announced, kept)
    assert len(kept) == len(PUT_STEPS)


DELETE_STEPS = [
    (f"{LIVES}.bury:before", False),
    (f"{NAMES}.bury:before", False),
    (f"{NAMES}.bury:after", True),
    ("frontend.router.update:delete:after", True),
    (f"{INTENTS}.end:after", True),
]


def test_a_delete_of_a_name_is_whole_or_nothing(pair: LocalCluster) -> None:
    gone: list[str] = []
    for number, (step, deleted) in enumerate(DELETE_STEPS):
        name = f"delete/{number}"
        frontend = Dying(pair, step)
        blob_id = call(frontend.other, "PUT", f"{HERE}/{name}", b"body").blob_id
        frontend.dies("DELETE", f"{HERE}/{name}", b"")
        assert ask(frontend.other, name).status == (410 if deleted else 200), step
        if not deleted:
            assert call(frontend.other, "DELETE", f"{HERE}/{name}").status == 202
        assert ask(frontend.other, name).status == 410
        gone.append(blob_id)
    for blob_id in gone:
        eventually(partial(_is_gone, frontend.other, blob_id), "its blob goes with it", timeout_s=60)


def _is_gone(url: str, blob_id: str) -> bool:
    return get(url, blob_id).status == 410


UNDELETE_STEPS = [
    (f"{LIVES}.revive:before", False),
    ("frontend.router.update:undelete:after", False),
    (f"{LIVES}.revive:after", False),
    (f"{NAMES}.point:before", False),
    (f"{NAMES}.point:after", True),
]


def test_an_undelete_of_a_name_is_whole_or_nothing(pair: LocalCluster) -> None:
    dead: list[str] = []
    for number, (step, back) in enumerate(UNDELETE_STEPS):
        name = f"undelete/{number}"
        frontend = Dying(pair, step)
        blob_id = call(frontend.other, "PUT", f"{HERE}/{name}", b"body").blob_id
        assert call(frontend.other, "DELETE", f"{HERE}/{name}").status == 202
        frontend.dies("POST", f"{HERE}/{name}", act({"op": "undelete"}))
        assert ask(frontend.other, name).status == (200 if back else 410), step
        if number % 2 and not back:
            # Somebody else tries it at once; what was left is ended first.
            assert call(frontend.other, "POST", f"{HERE}/{name}", act({"op": "undelete"})).status == 200
            back = True
        if back:
            assert ask(frontend.other, name).body == b"body"
            assert get(frontend.other, blob_id).status == 200
        else:
            dead.append(blob_id)
    for blob_id in dead:
        eventually(partial(_is_gone, frontend.other, blob_id), "its blob is as dead as it", timeout_s=60)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_rename_and_a_bind_are_whole_or_nothing(pair: LocalCluster, when: str) -> None:
    frontend = Dying(pair, f"{NAMES}.rename:{when}")
    old, new = f"rename/{when}/old", f"rename/{when}/new"
    blob_id = call(frontend.other, "PUT", f"{HERE}/{old}", b"body").blob_id
    frontend.dies("POST", f"{HERE}/{new}", act({"op": "rename", "from": old}))
    assert [ask(frontend.other, name).status for name in (old, new)] == ([200, 404] if when == "before" else [410, 200])
    frontend = Dying(pair, f"{NAMES}.point:{when}")
    bound = f"bind/{when}"
    frontend.dies("POST", f"{HERE}/{bound}", act({"op": "bind", "id": blob_id}))
    assert ask(frontend.other, bound).status == (404 if when == "before" else 200)
    assert get(frontend.other, blob_id).body == b"body"


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_alias_is_moved_or_not(pair: LocalCluster, when: str) -> None:
    frontend = Dying(pair, f"frontend.datasets.aliases:Aliases.move:{when}")
    of = {"accountName": "default", "containerName": "default", "datasetName": f"fraud-{when}"}
    datasets = "/accounts/containers/datasets"
    made = call(frontend.other, "POST", datasets, act({**of, "versionSchema": "SEMANTIC"}))
    assert made.status in (200, 201), made.body
    versioned = {"x-ambry-dataset-version-query-enabled": "true"}
    for version in ("1.0.0", "1.1.0"):
        put = call(frontend.other, "PUT", f"{HERE}/fraud-{when}/{version}", version.encode(), versioned)
        assert put.status == 201, put.body
    move = {**of, "alias": "champion", "version": "1.0.0", "ifVersion": None, "why": "first"}
    assert call(frontend.other, "POST", f"{datasets}/aliases", act(move)).status == 200
    move = {**of, "alias": "champion", "version": "1.1.0", "ifVersion": "1.0.0", "why": "better"}
    frontend.dies("POST", f"{datasets}/aliases", act(move))
    named = {
        "x-ambry-target-account-name": "default",
        "x-ambry-target-container-name": "default",
        "x-ambry-target-dataset-name": f"fraud-{when}",
    }
    told = call(frontend.other, "GET", f"{datasets}/aliases?alias=champion&history", headers=named)
    moves = [each["version"] for each in told.json()["moves"]]
    assert moves == (["1.0.0"] if when == "before" else ["1.1.0", "1.0.0"])
