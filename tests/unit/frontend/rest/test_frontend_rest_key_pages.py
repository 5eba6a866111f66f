"""Keys over HTTP, and what they open."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ambry.clock import SystemClock
from ambry.rest.access import KeyText
from tests.support.access import access_with, bearer, fresh_key
from tests.support.http_frontend import HttpFrontend, http_frontend
from tests.support.metadata_stores import opened, sqlite_store

JSON = {"Content-Type": "application/json"}
READER = {"name": "reader", "grants": [{"roles": ["read"], "account": "ml", "container": "models"}]}
MODELS = {"x-ambry-target-account-name": "ml", "x-ambry-target-container-name": "models"}


@contextlib.asynccontextmanager
async def frontend_with_keys(path: Path, *, shortcut: bool = True) -> AsyncIterator[tuple[HttpFrontend, KeyText]]:
    root = fresh_key()
    async with (
        opened(sqlite_store(path / "m")) as store,
        http_frontend(metadata=store, access=access_with(root, SystemClock()), shortcut=shortcut) as frontend,
    ):
        yield frontend, root


async def call(frontend: HttpFrontend, method: str, path: str, key: KeyText | str | None, body: Any = None) -> Any:
    headers = {} if key is None else bearer(key)
    sent = None if body is None else msgspec.json.encode(body)
    return await frontend.call(method, path, {**headers, **(JSON if sent else {})}, sent)


@pytest.mark.parametrize("shortcut", [False, True])
async def test_a_key_reads_what_it_may_and_nothing_once_it_is_revoked(tmp_path: Path, shortcut: bool) -> None:
    async with frontend_with_keys(tmp_path, shortcut=shortcut) as (frontend, root):
        made = (await call(frontend, "POST", "/keys", root, READER)).json()
        put = await frontend.call("POST", "/", {**bearer(root), **MODELS}, b"hello")
        blob = put.json()["id"]
        assert (await call(frontend, "GET", f"/{blob}", made["key"])).body == b"hello"
        refused = await frontend.call("POST", "/", {**bearer(made["key"]), **MODELS}, b"hello")
        assert refused.status == 403 and "does not have write" in refused.json()["detail"]
        elsewhere = (await frontend.call("POST", "/", bearer(root), b"other")).json()["id"]
        assert (await call(frontend, "GET", f"/{elsewhere}", made["key"])).status == 403
        assert (await call(frontend, "DELETE", f"/keys/{made['id']}", root)).status == 204
        answer = await call(frontend, "GET", f"/{blob}", made["key"])
        assert answer.status == 401 and answer.headers["www-authenticate"] == 'Bearer realm="ambry"'
        assert (await call(frontend, "GET", f"/{blob}", None)).status == 401
        assert (await call(frontend, "GET", f"/{blob}", root)).body == b"hello"


async def test_a_secret_is_told_once(tmp_path: Path) -> None:
    async with frontend_with_keys(tmp_path) as (frontend, root):
        answer = await call(frontend, "POST", "/keys", root, READER)
        made = answer.json()
        assert answer.status == 201 and answer.headers["cache-control"] == "no-store"
        for path in ("/keys", f"/keys/{made['id']}"):
            told = await call(frontend, "GET", path, root)
            assert made["key"].encode() not in told.body and made["id"].encode() in told.body
            assert b"hash" not in told.body
        own = (await call(frontend, "GET", "/keys/self", made["key"])).json()
        assert (own["id"], own["name"], own["grants"][0]["roles"]) == (made["id"], "reader", ["read"])


async def test_keys_are_changed_and_rotated(tmp_path: Path) -> None:
    async with frontend_with_keys(tmp_path) as (frontend, root):
        made = (await call(frontend, "POST", "/keys", root, READER)).json()
        path = f"/keys/{made['id']}"
        changed = (await call(frontend, "PUT", path, root, {"name": "other", "limits": {"requestsPerS": 3}})).json()
        assert changed["name"] == "other" and changed["limits"]["requestsPerS"] == 3.0
        narrowed = (await call(frontend, "PUT", path, root, {"limits": {"bytesPerS": 1000}})).json()
        assert narrowed["limits"] == {"requestsPerS": 3.0, "bytesPerS": 1000.0, "burstS": None}
        taken_off = (await call(frontend, "PUT", path, root, {"limits": {"requestsPerS": None}})).json()
        assert taken_off["limits"] == {"requestsPerS": None, "bytesPerS": 1000.0, "burstS": None}
        assert taken_off["grants"] == changed["grants"] and taken_off["name"] == "other"
        for unsaid in ({"name": None}, {"grants": None}, {"limits": {"bytesPerS": "many"}}):
            assert (await call(frontend, "PUT", path, root, unsaid)).status == 400
        none = (await call(frontend, "PUT", path, root, {"limits": None})).json()
        assert not any(none["limits"].values())
        rotated = (await call(frontend, "POST", f"{path}/rotate", root)).json()
        assert rotated["key"] != made["key"] and rotated["id"] == made["id"]
        assert (await call(frontend, "GET", "/keys/self", made["key"])).status == 401
        assert (await call(frontend, "GET", "/keys/self", rotated["key"])).status == 200
        assert (await call(frontend, "GET", "/keys/aaaaaaaaaaaaaaaa", root)).status == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": "x"},
        {"name": "x", "grants": "read"},
        {**READER, "more": 1},
        {**READER, "name": ""},
        {**READER, "expiresMs": 1},
        {**READER, "expiresMs": 253_402_300_800_000},  # Of the year 10000, which no calendar has.
        {**READER, "limits": {"requestsPerS": 0}},
    ],
)
async def test_what_is_no_key_is_refused_with_a_sentence(tmp_path: Path, body: Any) -> None:
    async with frontend_with_keys(tmp_path) as (frontend, root):
        answer = await call(frontend, "POST", "/keys", root, body)
        assert answer.status == 400 and answer.json()["detail"]


async def test_accounts_are_seen_by_whoever_has_something_in_them_and_changed_by_their_administrators(
    tmp_path: Path,
) -> None:
    async with frontend_with_keys(tmp_path) as (frontend, root):
        reader = (await call(frontend, "POST", "/keys", root, READER)).json()["key"]
        grants = [{"roles": ["admin"], "account": "ml"}]
        admin = (await call(frontend, "POST", "/keys", root, {"name": "ml", "grants": grants})).json()["key"]
        seen = (await call(frontend, "GET", "/accounts", reader)).json()["accounts"]
        assert [(each["accountName"], [it["containerName"] for it in each["containers"]]) for each in seen] == [
            ("ml", ["models"])
        ]
        new = {"containers": [{"containerName": "fresh"}]}
        path, own = "/accounts/containers", {"x-ambry-target-account-name": "ml", **JSON}
        body = msgspec.json.encode(new)
        assert (await frontend.call("POST", path, {**bearer(reader), **own}, body)).status == 403
        assert (await frontend.call("POST", path, {**bearer(admin), **own}, body)).status == 200
        [ml] = [each for each in seen if each["accountName"] == "ml"]
        bounded = {"accounts": [{"accountId": ml["accountId"], "quotaBytes": 1_000}]}
        assert (await call(frontend, "POST", "/accounts", root, bounded)).status == 200
        [read] = (await call(frontend, "GET", "/accounts", admin)).json()["accounts"]
        assert (await call(frontend, "POST", "/accounts", admin, {"accounts": [read]})).status == 200, "as it was read"
        # They lifted the quota of their own account.
        for field, value in (("quotaBytes", None), ("quotaBlobs", 5), ("status", "INACTIVE"), ("status", "ACTIVE")):
            asked = {"accounts": [{"accountId": ml["accountId"], field: value}]}
            refused = await call(frontend, "POST", "/accounts", admin, asked)
            assert refused.status == 403 and field in refused.json()["detail"]
            assert (await call(frontend, "POST", "/accounts", root, asked)).status == 200
        own_setting = {"accounts": [{"accountId": ml["accountId"], "aclInheritedByContainer": True}]}
        assert (await call(frontend, "POST", "/accounts", admin, own_setting)).status == 200
        account = {"accounts": [{"accountName": "another"}]}
        assert (await call(frontend, "POST", "/accounts", admin, account)).status == 403
        assert (await call(frontend, "POST", "/accounts", root, account)).status == 200
