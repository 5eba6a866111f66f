"""Accounts and containers over HTTP."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ambry.errors import MetadataUnavailable
from ambry.rest import names
from frontend.metadata.store import MetadataStore
from frontend.rest import accounts
from tests.support.http_frontend import Answer, HttpFrontend, http_frontend
from tests.support.metadata_stores import opened, sqlite_store
from tests.unit.frontend.rest.test_frontend_rest_routes import OWN_NAMES

ML = {"x-ambry-target-account-name": "ml"}
JSON = {"Content-Type": "application/json"}


@contextlib.asynccontextmanager
async def frontend_with_store(path: Path) -> AsyncIterator[tuple[HttpFrontend, MetadataStore]]:
    async with opened(sqlite_store(path / "m.sqlite")) as store, http_frontend(metadata=store) as frontend:
        yield frontend, store


async def post(frontend: HttpFrontend, path: str, value: Any, headers: dict[str, str] | None = None) -> Answer:
    return await frontend.call("POST", path, {**JSON, **(headers or {})}, json.dumps(value).encode())


async def test_what_is_posted_is_told_and_can_be_posted_again(tmp_path: Path) -> None:
    async with frontend_with_store(tmp_path) as (frontend, _):
        made = await post(
            frontend, "/accounts", {"accounts": [{"accountName": "team", "containers": [{"containerName": "models"}]}]}
        )
        assert made.status == 200
        [account] = made.json()["accounts"]
        [container] = account["containers"]
        assert container == {
            "containerId": container["containerId"],
            "containerName": "models",
            "parentAccountId": account["accountId"],
            "status": "ACTIVE",
            "description": "",
            "isPrivate": None,
            "encrypted": False,
            "cacheable": True,
            "ttlRequired": False,
            "namedBlobMode": "OPTIONAL",
            "overrideAccountAcl": False,
            "defaultDurability": "disk",
            "strictReads": False,
            "quotaBytes": None,
            "quotaBlobs": None,
            "accessControlAllowOrigin": "",
            "auditReads": False,
            "retentionLockUntil": 0,
            "snapshotVersion": 1,
            "lastModifiedTime": container["lastModifiedTime"],
        }
        again = await post(frontend, "/accounts", made.json())
        assert again.status == 200 and again.json()["accounts"][0]["snapshotVersion"] == 2
        stale = await post(frontend, "/accounts", made.json())
        assert (stale.status, stale.json()["code"]) == (409, "UpdateConflict")


async def test_the_list_can_be_had_whole_and_of_one(tmp_path: Path) -> None:
    async with frontend_with_store(tmp_path) as (frontend, _):
        every = (await frontend.call("GET", "/accounts")).json()["accounts"]
        assert [account["accountName"] for account in every] == ["default", "ml"]
        for headers in (ML, {"x-ambry-target-account-id": "7"}):
            [one] = (await frontend.call("GET", "/accounts", headers)).json()["accounts"]
            assert one["accountId"] == 7 and len(one["containers"]) == 1
        short = await frontend.call("GET", "/accounts", {**ML, "x-ambry-ignore-containers": "true"})
        assert short.json()["accounts"][0]["containers"] == []
        within = await frontend.call("GET", "/accounts/containers", {"x-ambry-target-account-name": "default"})
        assert [container["containerName"] for container in within.json()["containers"]] == ["default", "other"]
        [models] = (
            await frontend.call("GET", "/accounts/containers", {**ML, "x-ambry-target-container-name": "models"})
        ).json()["containers"]
        assert models["containerId"] == 70
        head = await frontend.call("HEAD", "/accounts")
        assert head.status == 200 and head.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/accounts", {"x-ambry-target-account-name": "nobody"}, 404),
        ("/accounts", {"x-ambry-target-account-id": "8"}, 404),
        ("/accounts", {"x-ambry-target-account-id": "x"}, 400),
        ("/accounts", {"x-ambry-target-account-id": "9" * 30}, 400),
        ("/accounts", {"x-ambry-ignore-containers": "maybe"}, 400),
        ("/accounts", {**ML, "x-ambry-target-account-id": "7"}, 400),
        ("/accounts/containers", {}, 400),
        ("/accounts/containers", {**ML, "x-ambry-target-container-name": "nothing"}, 404),
    ],
)
async def test_what_is_not_there_or_not_said_is_refused(
    tmp_path: Path, path: str, headers: dict[str, str], status: int
) -> None:
    async with frontend_with_store(tmp_path) as (frontend, _):
        answer = await frontend.call("GET", path, headers)
        assert answer.status == status and answer.json()["detail"]


async def test_a_chunked_body_is_taken(tmp_path: Path) -> None:
    async with frontend_with_store(tmp_path) as (frontend, _):
        body = b'{"containers":[{"containerName":"new"}]}'
        chunked = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        answer = await frontend.call(
            "POST", "/accounts/containers", {**JSON, **ML, "Transfer-Encoding": "chunked"}, chunked
        )
        assert (answer.status, answer.headers["x-ambry-target-account-id"]) == (200, "7")
        uploaded = await frontend.call("POST", "/", {**ML, "x-ambry-target-container-name": "new"}, b"hello")
        assert uploaded.status == 201


@pytest.mark.parametrize(("method", "path"), [("GET", "/accounts"), ("POST", "/accounts/containers")])
async def test_every_header_and_condition_is_understood_or_refused(tmp_path: Path, method: str, path: str) -> None:
    async with frontend_with_store(tmp_path) as (frontend, _):
        body = b'{"containers": [{"containerId": 70}]}' if method == "POST" else None
        understood = {names.SERVICE_ID, names.ACCOUNT_NAME, names.ACCOUNT_ID, names.IGNORE_CONTAINERS}
        for name in (*OWN_NAMES, "x-ambry-nonsense", "x-ambry-um-a"):
            answer = await frontend.call(method, path, {**JSON, **ML, name: "true"}, body)
            if name not in understood or (method == "POST" and name == names.IGNORE_CONTAINERS):
                assert answer.status == 400 and name in answer.json()["detail"], name
        for name, value, status in (
            ("if-match", '"other"', 412),
            ("if-none-match", "*", 412 if method == "POST" else 304),
            ("if-match", "*", 200),
        ):
            assert (await frontend.call(method, path, {**JSON, **ML, name: value}, body)).status == status, name
        assert (await frontend.call(method, f"{path}?x=1", {**JSON, **ML}, body)).status == 400


async def test_encryption_is_refused_and_not_ignored(tmp_path: Path) -> None:
    async with frontend_with_store(tmp_path) as (frontend, _):
        answer = await post(
            frontend, "/accounts/containers", {"containers": [{"containerId": 70, "encrypted": True}]}, ML
        )
        assert answer.status == 400 and "not told who keeps master keys" in answer.json()["detail"]


async def test_while_the_store_is_away_what_was_seen_is_told_and_used_and_the_rest_is_503(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with frontend_with_store(tmp_path) as (frontend, store):
        await post(
            frontend, "/accounts", {"accounts": [{"accountName": "team", "containers": [{"containerName": "a"}]}]}
        )

        async def away(*_: object) -> None:
            raise MetadataUnavailable("the disk is gone", retry_after_s=3)

        monkeypatch.setattr(store, "head", away)
        monkeypatch.setattr(store, "write", away)
        known = {"x-ambry-target-account-name": "team", "x-ambry-target-container-name": "a"}
        blob = await frontend.put(b"hello", known)
        assert (await frontend.call("GET", f"/{blob}")).body == b"hello"
        assert (await frontend.call("DELETE", f"/{blob}")).status == 202
        assert (await frontend.call("GET", "/accounts", {"x-ambry-target-account-name": "team"})).status == 200
        unknown = {"x-ambry-target-account-name": "team", "x-ambry-target-container-name": "b"}
        for answer in (
            await frontend.call("POST", "/", unknown, b"hello"),
            await frontend.call("GET", "/accounts"),
            await frontend.call("GET", "/accounts", {"x-ambry-target-account-name": "other"}),
            await post(frontend, "/accounts", {"accounts": [{"accountName": "other"}]}),
        ):
            assert answer.status == 503 and "the disk is gone" in answer.json()["detail"]
            assert answer.headers["retry-after"] == "3"


async def test_a_frontend_without_a_store_tells_what_is_configured_and_changes_nothing() -> None:
    async with http_frontend() as frontend:
        assert (await frontend.call("GET", "/accounts", ML)).status == 200
        answer = await post(frontend, "/accounts", {"accounts": [{"accountName": "team"}]})
        assert answer.status == 503


async def test_accounts_are_nobodys_file_name_and_not_deleted(tmp_path: Path) -> None:
    async with frontend_with_store(tmp_path) as (frontend, _):
        assert (await frontend.call("PUT", "/accounts", {}, b"hello")).status == 400
        deleted = await frontend.call("DELETE", "/accounts")
        assert deleted.status == 405 and "POST" in deleted.headers["allow"]


@pytest.mark.parametrize("kind", ["account", "container"])
async def test_a_change_looks_at_those_alone_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """The audit's before and after: each change made the JSON of every account, with all that is in it."""
    async with frontend_with_store(tmp_path) as (frontend, _):
        own = {names.ACCOUNT_NAME: "default"} if kind == "container" else {}
        path = "/accounts/containers" if own else "/accounts"
        ids = {}
        for number in range(5):
            made = await post(frontend, path, {f"{kind}s": [{f"{kind}Name": f"it-{number}"}]}, own)
            assert made.status == 200, made.body
            ids[number] = made.json()[f"{kind}s"][0][f"{kind}Id"]
        built: list[str] = []
        build = getattr(accounts, f"{kind}_json")

        def counting(*record: Any, **options: Any) -> Any:
            built.append(record[-1].name)
            return build(*record, **options)

        monkeypatch.setattr(accounts, f"{kind}_json", counting)
        changed = await post(frontend, path, {f"{kind}s": [{f"{kind}Id": ids[3], "quotaBytes": 5}]}, own)
        assert changed.status == 200, changed.body
        assert set(built) == {"it-3"}, "for its answer"
        built.clear()
        taken = await post(frontend, path, {f"{kind}s": [{f"{kind}Name": "it-2"}]}, own)
        assert (taken.status, built) == (409, [])
