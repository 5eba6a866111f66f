"""Which container a request is about, and whether it may be at all: over HTTP, both ways."""

from __future__ import annotations

from typing import Any

import pytest

from ambry.clock import SystemClock
from ambry.ids import BlobId
from ambry.rest.accounts import AccountSettings, AccountStatus, ContainerSettings, NamedBlobMode
from frontend.containers.directory import AccountRecord, ContainerRecord, Directory
from frontend.containers.resolver import Containers
from tests.support.http_frontend import ACCOUNTS, HttpFrontend, http_frontend, ways

__all__ = ["ways"]

MODELS = {"x-ambry-target-account-name": "ml", "x-ambry-target-container-name": "models"}


def say(frontend: HttpFrontend, *, account: AccountStatus = AccountStatus.ACTIVE, **settings: object) -> None:
    """Let these settings hold for ml/models from now on."""
    containers: Containers = frontend.containers
    record = ContainerRecord(id=70, name="models", settings=ContainerSettings(**settings))  # type: ignore[arg-type]
    others = [each for each in containers.built_in.values() if each.id != 7]
    containers.directory = Directory(
        [*others, AccountRecord(id=7, name="ml", settings=AccountSettings(status=account), containers={70: record})],
        open=containers.open,
    )


async def put(frontend: HttpFrontend) -> str:
    return await frontend.put(b"hello", MODELS)


@pytest.mark.parametrize("header", ["x-ambry-target-account-name", "x-ambry-target-container-name"])
async def test_an_upload_to_what_nobody_knows_is_refused(header: str, ways: bool) -> None:
    async with http_frontend() as frontend:
        answer = await frontend.call("POST", "/", {header: "nobody"}, b"hello")
        assert answer.status == 400 and "nobody" in answer.json()["detail"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_a_request_that_names_another_container_than_the_blobs_is_412(method: str, ways: bool) -> None:
    async with http_frontend() as frontend:
        blob = await put(frontend)
        wrong = await frontend.call(method, f"/{blob}", {**MODELS, "x-ambry-target-container-name": "other"})
        assert wrong.status == 412
        right = await frontend.call(method, f"/{blob}", MODELS)
        assert right.status in (200, 202)


async def test_an_update_that_names_another_account_than_the_blobs_is_412() -> None:
    async with http_frontend() as frontend:
        blob = await put(frontend)
        for path in ("/updateTtl", "/undelete"):
            headers = {"x-ambry-blob-id": blob, "x-ambry-target-account-name": "default"}
            answer = await frontend.call("PUT", path, headers)
            assert answer.status == 412 and "the blob is in ml/models" in answer.json()["detail"]


@pytest.mark.parametrize("whose", ["container", "account"])
async def test_nothing_is_read_or_written_in_what_is_inactive(whose: str, ways: bool) -> None:
    async with http_frontend() as frontend:
        blob = await put(frontend)
        if whose == "container":
            say(frontend, status=AccountStatus.INACTIVE)
        else:
            say(frontend, account=AccountStatus.INACTIVE)
        for method, path, body in (("GET", f"/{blob}", None), ("DELETE", f"/{blob}", None), ("POST", "/", b"hello")):
            answer = await frontend.call(method, path, MODELS if body else None, body)
            said = {
                "container": "container ml/models is inactive",
                "account": "account ml, to which the container ml/models",
            }
            assert answer.status == 403 and said[whose] in answer.json()["detail"], method
        say(frontend)
        assert (await frontend.call("GET", f"/{blob}")).body == b"hello"


async def test_a_container_that_requires_a_time_to_live_takes_nothing_for_ever(ways: bool) -> None:
    async with http_frontend() as frontend:
        say(frontend, ttl_required=True)
        for ttl in ({}, {"x-ambry-ttl": "-1"}):
            answer = await frontend.call("POST", "/", {**MODELS, **ttl}, b"hello")
            assert answer.status == 400 and "x-ambry-ttl" in answer.json()["detail"]
        blob = await frontend.put(b"hello", {**MODELS, "x-ambry-ttl": "60"})
        for_ever = await frontend.call("PUT", "/updateTtl", {"x-ambry-blob-id": blob})
        assert for_ever.status == 400
        longer = await frontend.call("PUT", "/updateTtl", {"x-ambry-blob-id": blob, "x-ambry-ttl": "90"})
        assert longer.status == 200


async def test_an_upload_that_says_nothing_is_as_durable_as_its_container_says(ways: bool) -> None:
    async with http_frontend() as frontend:
        say(frontend, default_durability="memory")
        told = await frontend.call("POST", "/", MODELS, b"hello")
        assert told.headers["x-ambry-durability"] == "memory"
        asked = await frontend.call("POST", "/", {**MODELS, "x-ambry-durability": "disk"}, b"hello")
        assert asked.headers["x-ambry-durability"] == "disk"


@pytest.mark.parametrize(
    ("settings", "cache"),
    [
        ({}, "public, immutable, max-age=31536000"),
        ({"is_private": True}, "private, no-cache"),
        ({"cacheable": False}, "no-store"),
        ({"cacheable": False, "is_private": True}, "no-store"),
    ],
)
async def test_caches_are_told_what_the_container_says(settings: dict[str, Any], cache: str, ways: bool) -> None:
    async with http_frontend() as frontend:
        blob = await put(frontend)
        say(frontend, **settings)
        for method in ("GET", "HEAD"):
            assert (await frontend.call(method, f"/{blob}")).headers["cache-control"] == cache
        again = await frontend.call("GET", f"/{blob}", {"If-None-Match": "*"})
        assert (again.status, again.headers["cache-control"]) == (304, cache)


async def test_nothing_is_deleted_in_a_container_that_is_locked(ways: bool) -> None:
    async with http_frontend() as frontend:
        blob = await put(frontend)
        now_ms = SystemClock().wall_ms()
        say(frontend, retention_lock_until=now_ms + 60_000)
        answer = await frontend.call("DELETE", f"/{blob}")
        assert answer.status == 403 and answer.json()["code"] == "RetentionLocked"
        assert (await frontend.call("GET", f"/{blob}")).body == b"hello"
        say(frontend, retention_lock_until=now_ms)
        assert (await frontend.call("DELETE", f"/{blob}")).status == 202


async def test_a_strict_container_sees_a_delete_that_one_replica_has_not_heard_of(ways: bool) -> None:
    async with http_frontend() as frontend:
        blob = await put(frontend)
        say(frontend, strict_reads=True)
        assert (await frontend.call("GET", f"/{blob}")).body == b"hello"
        before = {peer: peer.records[BlobId.parse(blob).raw].state for peer in frontend.cluster.peers()}
        assert (await frontend.call("DELETE", f"/{blob}")).status == 202
        late = frontend.cluster.peer(1)
        late.records[BlobId.parse(blob).raw].state = before[late]
        for _ in range(5):
            assert (await frontend.call("GET", f"/{blob}")).status == 410
            assert (await frontend.call("HEAD", f"/{blob}")).status == 410


async def test_ids_of_a_container_that_nobody_knows_any_more_are_still_read(ways: bool) -> None:
    async with http_frontend() as frontend:
        blob = await put(frontend)
        containers: Containers = frontend.containers
        containers.directory = Directory([each for each in containers.built_in.values() if each.id != 7])
        told = await frontend.call("GET", f"/{blob}")
        assert (told.status, told.headers["x-ambry-target-account-name"]) == (200, "7")


def test_modes_of_names_are_resolved_with_the_rest() -> None:
    assert Containers(ACCOUNTS).default.settings.named_blob_mode is NamedBlobMode.OPTIONAL
