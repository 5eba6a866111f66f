"""What a container asks of a change of a name holds when the change is made, not only when its request came."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ambry.clock import SystemClock
from ambry.protocol.frame import MessageType
from frontend.containers.changes import ContainerChanges
from frontend.containers.resolver import Containers
from frontend.containers.sync import ContainerSync
from frontend.metadata.spaces import LocalSpace
from tests.support.eventually import eventually
from tests.support.fake_cluster import make_cluster
from tests.support.fake_peers import held
from tests.support.http_frontend import ACCOUNTS, Answer, HttpFrontend, RawClient, http_frontend
from tests.support.metadata_stores import opened, sqlite_store

HERE = "/named/default/default"
UPSERT = {"x-ambry-named-upsert": "true"}
VERSIONED = {"x-ambry-dataset-version-query-enabled": "true"}
FAR_MS = 4_000_000_000_000


@pytest.fixture
async def frontend(tmp_path: Path) -> AsyncIterator[HttpFrontend]:
    cluster = make_cluster(((3,),) * 4, clock=SystemClock())
    async with (
        opened(sqlite_store(tmp_path / "meta.sqlite")) as store,
        http_frontend(cluster, metadata=store) as made,
    ):
        yield made


async def change(frontend: HttpFrontend, **settings: Any) -> None:
    body = json.dumps({"containers": [{"containerId": 1, **settings}]}).encode()
    headers = {"x-ambry-target-account-name": "default"}
    answer = await frontend.call("POST", "/accounts/containers", headers, body)
    assert answer.status == 200, answer.body


async def change_elsewhere(frontend: HttpFrontend, **settings: Any) -> None:
    """By another frontend of the datacenter, of which this one has not heard yet."""
    assert frontend.services is not None
    store, clock = frontend.services.intents._store, SystemClock()
    containers = Containers(ACCOUNTS)
    changes = ContainerChanges(containers, ContainerSync(containers, store, clock=clock), store, clock=clock, geo=False)
    await changes.save_containers(1, [{"containerId": 1, **settings}])


class Upload:
    """One that is under way: half of its body was sent."""

    def __init__(self, client: RawClient) -> None:
        self._client = client

    async def end(self) -> Answer:
        await self._client.send(b"56789")
        return await self._client.answer("PUT")


@contextlib.asynccontextmanager
async def under_way(frontend: HttpFrontend, path: str, headers: dict[str, str]) -> AsyncIterator[Upload]:
    async with frontend.connected() as client:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = f"PUT {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\nExpect: 100-continue\r\n{lines}\r\n"
        await client.send(head.encode())
        assert (await client.head())[0] == 100
        await client.send(b"01234")
        yield Upload(client)


async def nothing_stays(frontend: HttpFrontend, *ids: str) -> None:
    pool = frontend.cluster.pool
    await eventually(lambda: len(pool.visible()) == len(ids))


SETTINGS: list[tuple[dict[str, Any], int, str]] = [
    ({"retentionLockUntil": FAR_MS}, 403, "RetentionLocked"),
    ({"status": "INACTIVE"}, 403, "AccessDenied"),
    ({"namedBlobMode": "NO_UPDATE"}, 409, "AlreadyExists"),
    ({"namedBlobMode": "DISABLED"}, 400, "InvalidRequest"),
    ({"ttlRequired": True}, 400, "InvalidRequest"),
    ({"quotaBytes": 12}, 429, "QuotaExceeded"),
]


@pytest.mark.parametrize(("settings", "status", "code"), SETTINGS, ids=[next(iter(each[0])) for each in SETTINGS])
@pytest.mark.parametrize("upsert", [True, False], ids=["upsert", "if-match"])
async def test_an_upload_under_way_ends_by_the_rules_of_its_end(
    frontend: HttpFrontend, settings: dict[str, Any], status: int, code: str, upsert: bool
) -> None:
    """A lock that was set while an upload was under way let it overwrite what was locked, however long after."""
    old = await frontend.call("PUT", f"{HERE}/n", {"x-ambry-ttl": "86400"}, b"old")
    headers = UPSERT if upsert else {"If-Match": old.headers["etag"]}
    async with under_way(frontend, f"{HERE}/n", headers) as upload:
        await change(frontend, **settings)
        answer = await upload.end()
    assert (answer.status, answer.headers["x-ambry-error-code"]) == (status, code), answer.body
    await nothing_stays(frontend, old.blob_id)
    await change(frontend, status="ACTIVE", namedBlobMode="OPTIONAL")
    assert (await frontend.call("GET", f"{HERE}/n")).body == b"old"


@pytest.mark.parametrize(
    ("settings", "status", "code"), SETTINGS[:4], ids=[next(iter(each[0])) for each in SETTINGS[:4]]
)
async def test_a_rule_of_which_this_frontend_has_not_heard_holds_too(
    frontend: HttpFrontend, settings: dict[str, Any], status: int, code: str
) -> None:
    old = await frontend.call("PUT", f"{HERE}/n", None, b"old")
    async with under_way(frontend, f"{HERE}/n", UPSERT) as upload:
        await change_elsewhere(frontend, **settings)
        answer = await upload.end()
    assert (answer.status, answer.headers["x-ambry-error-code"]) == (status, code), answer.body
    await nothing_stays(frontend, old.blob_id)


async def test_a_name_that_another_one_made_meanwhile_is_not_overwritten_under_a_lock(frontend: HttpFrontend) -> None:
    async with under_way(frontend, f"{HERE}/n", UPSERT) as upload:
        other = await frontend.call("PUT", f"{HERE}/n", None, b"other")
        await change_elsewhere(frontend, retentionLockUntil=FAR_MS)
        assert (await upload.end()).status == 403
    await nothing_stays(frontend, other.blob_id)


async def test_under_a_lock_a_new_name_is_made(frontend: HttpFrontend) -> None:
    async with under_way(frontend, f"{HERE}/n", UPSERT) as upload:
        await change_elsewhere(frontend, retentionLockUntil=FAR_MS)
        assert (await upload.end()).status == 201
    assert (await frontend.call("GET", f"{HERE}/n")).body == b"0123456789"


@pytest.mark.parametrize(
    ("method", "name", "body"),
    [("DELETE", "n", None), ("POST", "m", {"op": "rename", "from": "n"})],
    ids=["delete", "rename"],
)
async def test_a_change_of_a_name_holds_to_a_lock_of_which_this_frontend_has_not_heard(
    frontend: HttpFrontend, method: str, name: str, body: dict[str, Any] | None
) -> None:
    old = await frontend.call("PUT", f"{HERE}/n", None, b"old")
    await change_elsewhere(frontend, retentionLockUntil=FAR_MS)
    answer = await frontend.call(method, f"{HERE}/{name}", None, None if body is None else json.dumps(body).encode())
    assert (answer.status, answer.headers["x-ambry-error-code"]) == (403, "RetentionLocked"), answer.body
    await nothing_stays(frontend, old.blob_id)
    assert (await frontend.call("GET", f"{HERE}/n")).body == b"old"


async def test_an_upload_by_id_ends_by_the_rules_of_its_end(frontend: HttpFrontend) -> None:
    async with under_way(frontend, "/", {}) as upload:
        await change(frontend, status="INACTIVE")
        assert (await upload.end()).status == 403
    await nothing_stays(frontend)


# --- versions ---


async def dataset(frontend: HttpFrontend, **more: Any) -> None:
    asked = {
        "accountName": "default",
        "containerName": "default",
        "datasetName": "d",
        "versionSchema": "SEMANTIC",
        **more,
    }
    answer = await frontend.call("POST", "/accounts/containers/datasets", {}, json.dumps(asked).encode())
    assert answer.status == 200, answer.body


async def drop_dataset(frontend: HttpFrontend) -> Answer:
    return await frontend.call("DELETE", "/accounts/containers/datasets", {"x-ambry-target-dataset-name": "d"})


async def test_a_version_is_not_put_into_a_dataset_that_was_deleted_meanwhile(frontend: HttpFrontend) -> None:
    """It was acknowledged, and found by nobody."""
    await dataset(frontend)
    async with under_way(frontend, f"{HERE}/d/1.0.0", VERSIONED) as upload:
        assert (await drop_dataset(frontend)).status == 202
        answer = await upload.end()
    assert (answer.status, answer.headers["x-ambry-error-code"]) == (409, "UpdateConflict"), answer.body
    await nothing_stays(frontend)


async def test_a_version_goes_into_a_dataset_that_was_changed_meanwhile(frontend: HttpFrontend) -> None:
    await dataset(frontend)
    async with under_way(frontend, f"{HERE}/d/LATEST", VERSIONED) as upload:
        assert (await drop_dataset(frontend)).status == 202
        await dataset(frontend, retentionCount=5)
        answer = await upload.end()
    assert (answer.status, answer.headers["x-ambry-target-dataset-version"]) == (201, "0.0.1")


async def test_a_version_is_not_deleted_under_a_lock_of_which_this_frontend_has_not_heard(
    frontend: HttpFrontend,
) -> None:
    await dataset(frontend, retentionCount=1)
    ids = [(await frontend.call("PUT", f"{HERE}/d/{each}", VERSIONED, b"x")).blob_id for each in ("1.0.0", "2.0.0")]
    await change_elsewhere(frontend, retentionLockUntil=FAR_MS)
    assert (await frontend.call("DELETE", f"{HERE}/d/1.0.0", VERSIONED)).status == 403
    assert frontend.services is not None
    await change_elsewhere(frontend, description="locked all the same")
    [loop] = [each for each in frontend.services.loops if each.name == "datasets"]
    await loop.tick()
    await nothing_stays(frontend, *ids)
    assert not await frontend.services.intents._store.locals(LocalSpace.INTENT)


@pytest.mark.parametrize(
    ("settings", "status"), [({"status": "INACTIVE"}, 403), ({"ttlRequired": True}, 400), ({"cacheable": False}, 201)]
)
@pytest.mark.parametrize("elsewhere", [True, False])
async def test_a_short_upload_under_way_ends_by_the_rules_of_its_end(
    frontend: HttpFrontend, settings: dict[str, Any], status: int, elsewhere: bool
) -> None:
    go_on = asyncio.Event()
    for peer in frontend.cluster.peers():
        peer.script(held(go_on), type=MessageType.PUT)
    asked = asyncio.create_task(frontend.call("PUT", f"{HERE}/n", {}, b"new"))
    await eventually(lambda: any(call.type == MessageType.PUT for call in frontend.cluster.pool.journal))
    await (change_elsewhere if elsewhere else change)(frontend, **settings)
    go_on.set()
    answer = await asked
    assert answer.status == status, answer.body
    await nothing_stays(frontend, *(["new"] if status == 201 else []))
