"""Keys of encryption at rest over HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.http_frontend import HttpFrontend, http_frontend
from tests.support.masters import TroubledProvider
from tests.support.metadata_stores import opened, sqlite_store

KEYS = "/encryption/containers/ml/secret%20one"
CONFIRM = "?confirm=ml/secret%20one"
OF_ML = {"x-ambry-target-account-name": "ml", "Content-Type": "application/json"}


@contextlib.asynccontextmanager
async def frontend_with_provider(path: Path) -> AsyncIterator[tuple[HttpFrontend, TroubledProvider]]:
    provider = TroubledProvider()
    async with (
        opened(sqlite_store(path / "m")) as store,
        http_frontend(metadata=store, provider=provider) as frontend,
    ):
        yield frontend, provider


async def save(frontend: HttpFrontend, **container: Any) -> Any:
    body = msgspec.json.encode({"containers": [{"encrypted": True, **container}]})
    return await frontend.call("POST", "/accounts/containers", OF_ML, body)


async def test_a_container_that_is_encrypted_has_a_key_which_is_rotated_and_wrapped_anew(tmp_path: Path) -> None:
    async with frontend_with_provider(tmp_path) as (frontend, provider):
        made = (await save(frontend, containerName="secret one")).json()["containers"][0]
        assert made["encrypted"] is True
        told = (await frontend.call("GET", KEYS)).json()
        [key] = told["keys"]
        assert {**key, "madeMs": 0} == {
            "version": "1.1", "current": True, "madeMs": 0, "provider": "held", "masterVersion": "1"
        }  # fmt: skip
        rotated = (await frontend.call("POST", f"{KEYS}/rotate")).json()
        assert [(each["version"], each["current"]) for each in rotated["keys"]] == [("1.1", False), ("2.1", True)]
        provider.versions = ["1", "2"]
        step = (await frontend.call("POST", "/encryption/rewrap")).json()
        assert step == {"masterVersion": "2", "rewrapped": 2, "already": 0, "failed": [], "next": None}
        told = await frontend.call("GET", KEYS)
        assert [each["masterVersion"] for each in told.json()["keys"]] == ["2", "2"]
        assert b"wrapped" not in told.body


async def test_keys_are_deleted_by_whoever_says_so_twice(tmp_path: Path) -> None:
    async with frontend_with_provider(tmp_path) as (frontend, _):
        made = (await save(frontend, containerName="secret one")).json()["containers"][0]
        for path in (KEYS, f"{KEYS}?confirm=ml/other", f"{KEYS}/1.1"):
            refused = await frontend.call("DELETE", path)
            assert refused.status == 400 and "unreadable for ever" in refused.json()["detail"]
        refused = await frontend.call("DELETE", f"{KEYS}{CONFIRM}")
        assert refused.status == 400 and "set its status to INACTIVE first" in refused.json()["detail"]
        refused = await frontend.call("DELETE", f"{KEYS}/1.1{CONFIRM}")
        assert refused.status == 400 and "rotate it first" in refused.json()["detail"]
        await save(frontend, containerId=made["containerId"], status="INACTIVE")
        gone = await frontend.call("DELETE", f"{KEYS}{CONFIRM}")
        assert gone.status == 200 and [each["version"] for each in gone.json()["keys"]] == ["1.1"]
        assert gone.json()["keys"][0]["deletedMs"] > 0


@pytest.mark.parametrize("version", ["1", "1.1.1", "x", "70000.1", "-1.1"])
async def test_what_is_no_version_is_said(tmp_path: Path, version: str) -> None:
    async with frontend_with_provider(tmp_path) as (frontend, _):
        await save(frontend, containerName="secret one")
        refused = await frontend.call("DELETE", f"{KEYS}/{version}{CONFIRM}")
        assert refused.status == 400 and "a version is two numbers" in refused.json()["detail"]


async def test_a_provider_that_is_away_is_told_and_keeps_containers_from_being_encrypted(tmp_path: Path) -> None:
    async with frontend_with_provider(tmp_path) as (frontend, provider):
        told = (await frontend.call("GET", "/encryption")).json()
        assert told == {"provider": "held", "masterVersion": "1", "away": None, "openKeys": 0}
        provider.away = True
        told = (await frontend.call("GET", "/encryption")).json()
        assert told["masterVersion"] is None and "nobody is there" in told["away"]
        refused = await save(frontend, containerName="secret one")
        assert refused.status == 503 and refused.headers["retry-after"] == "5"
        assert refused.json()["code"] == "KeysUnavailable"
        assert (await frontend.call("POST", "/encryption/rewrap")).status == 503


async def test_without_a_provider_there_are_no_keys(tmp_path: Path) -> None:
    async with opened(sqlite_store(tmp_path / "m")) as store, http_frontend(metadata=store) as frontend:
        assert (await frontend.call("GET", "/encryption")).json()["provider"] is None
        for answer in (
            await save(frontend, containerName="secret one"),
            await frontend.call("GET", "/encryption/containers/ml/models"),
            await frontend.call("POST", "/encryption/rewrap"),
        ):
            assert answer.status == 400 and "not told who keeps master keys" in answer.json()["detail"]


@pytest.mark.parametrize("body", [b'{"limit": 0}', b'{"limit": "x"}', b'{"more": 1}', b"[]"])
async def test_what_is_no_step_is_said(tmp_path: Path, body: bytes) -> None:
    async with frontend_with_provider(tmp_path) as (frontend, _):
        answer = await frontend.call("POST", "/encryption/rewrap", {"Content-Type": "application/json"}, body)
        assert answer.status == 400
