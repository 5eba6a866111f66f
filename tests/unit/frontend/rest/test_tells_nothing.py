"""Whoever has no rights in a place is answered there as where there is nothing: every route, whatever holds for the place."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from ambry.clock import system_secret
from ambry.ids import BlobId
from ambry.rest.access import ALL_ROLES, Grant, new_key, role_texts
from ambry.rest.accounts import AccountStatus, NamedBlobMode
from tests.support.access import bearer
from tests.support.http_frontend import Answer, request
from tests.unit.frontend.rest.test_access_table import MODELS, OPEN, TABLE, Ground, ground
from tests.unit.frontend.rest.test_frontend_rest_batch import dechunked
from tests.unit.frontend.rest.test_frontend_rest_entry import say

APP = "https://app.example"
EVERYTHING = tuple(role_texts(ALL_ROLES))
NEVER_MS = 1 << 52
STATES: dict[str, dict[str, Any]] = {
    "plain": {},
    "public": {"is_private": False},
    "a page's": {"access_control_allow_origin": APP},
    "every page's": {"access_control_allow_origin": "*"},
    "inactive": {"status": AccountStatus.INACTIVE},
    "of an inactive account": {"account": AccountStatus.INACTIVE},
    "without names": {"named_blob_mode": NamedBlobMode.DISABLED},
    "full": {"quota_bytes": 0, "quota_blobs": 0},
    "locked": {"retention_lock_until": NEVER_MS},
    "encrypted": {"encrypted": True},
}


COUNTS = "/usage"
"""Tells each key how often it asked, and so each time something else."""


class Said(NamedTuple):
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes | None = None


Twin = dict[str, str]
"""What stands in a request of what is there -> the same of what is not."""


def swapped(text: str, twin: Twin) -> str:
    return re.sub(
        "|".join(rf"(?<![\w-]){re.escape(each)}(?![\w-])" for each in twin), lambda found: twin[found[0]], text
    )


def asked_of(said: Said, twin: Twin) -> Said:
    return Said(
        said.method,
        swapped(said.path, twin),
        {name: swapped(value, twin) for name, value in said.headers.items()},
        None if said.body is None else swapped(said.body.decode(), twin).encode(),
    )


async def call(here: Ground, said: Said) -> Answer:
    async with here.frontend.connected() as client:
        await client.send(request(*said))
        return await (client.answer(said.method) if said.method in ("HEAD", "OPTIONS") else dechunked(client))


def told(answer: Answer, twin: Twin) -> tuple[int, list[tuple[str, str]], str]:
    """All of an answer but what makes every answer another one; what the request said itself as `twin` says it."""
    boundary = answer.headers.get("content-type", "").partition("boundary=")[2]
    unlike = "|".join(re.escape(each) for each in (answer.headers["x-ambry-request-id"], boundary) if each)
    headers = [
        (name, re.sub(unlike, "-", value))
        for name, value in answer.headers.items()
        if name not in ("date", "x-ambry-answered-ms")
    ]
    body = re.sub(unlike, "-", answer.body.decode())
    return answer.status, [(name, swapped(value, twin)) for name, value in headers], swapped(body, twin)


def twins_of(here: Ground) -> dict[str, Twin]:
    """Of everything that stands in a request, something that is not there, as long as it is."""
    blob, values = BlobId.parse(here.values["id"]), here.values

    def other(account: int, container: int, key: bytes) -> str:
        made = BlobId.make(
            kind=blob.kind,
            datacenter=blob.datacenter,
            account=account,
            container=container,
            partition=blob.partition,
            uuid=key,
        )
        return str(made)

    alone = {
        values["upload"]: bytes(len(values["upload"]) // 2).hex(),
        values["key"]: new_key(system_secret).id,
        "x/y": "x/n",
        "x/other": "x/nothr",
        "d": "e",
    }
    return {
        "account": {**alone, values["id"]: other(99, 70, blob.key), "ml": "mq", "7": "9"},
        "container": {**alone, values["id"]: other(7, 99, blob.key), "models": "modelz", "70": "99"},
        "thing": {**alone, values["id"]: other(7, 70, bytes(16))},
    }


def requests_of(here: Ground) -> Iterator[Said]:
    """One of each route, and of those that may be about several kinds of things one of each."""
    for (method, target), taken in TABLE.items():
        if taken.where != OPEN and target != COUNTS:
            yield Said(method, *here.asking(method, target, {}))
    blob = here.values["id"]
    as_json = {"Content-Type": "application/json"}
    named = msgspec.json.encode([{"name": "ml/models/x/y"}])
    for op in ("get", "head", "delete"):
        yield Said("POST", f"/batch/{op}", as_json, named)
    for path in ("/updateTtl", "/undelete"):
        yield Said("PUT", path, {"x-ambry-blob-id": "/named/ml/models/x/y"})
    for verb, path, headers in (
        ("GET", f"/{blob}", {}),
        ("GET", "/named/ml/models/x/y", {}),
        ("PUT", "/named/ml/models/x/y", {}),
        ("PUT", f"/uploads/{here.values['upload']}/1", {}),
        ("POST", "/", MODELS),
    ):
        yield Said("GET", f"/signedUrl?verb={verb}&path={path}", dict(headers))
    account, container = "x-ambry-target-account", "x-ambry-target-container"
    for of_account in ({f"{account}-name": "ml"}, {f"{account}-id": "7"}):
        yield Said("GET", "/accounts", of_account)
        yield Said("GET", "/accounts/containers", of_account)
        yield Said("GET", "/accounts/containers", {**of_account, f"{container}-name": "models"})
        for made in ({"containerName": "models"}, {"containerId": 70, "containerName": "models"}):
            body = msgspec.json.encode({"containers": [made]})
            yield Said("POST", "/accounts/containers", {**of_account, **as_json}, body)
    for made in ({"accountName": "ml"}, {"accountId": 7, "accountName": "ml"}):
        yield Said("POST", "/accounts", as_json, msgspec.json.encode({"accounts": [made]}))
    for target in (
        "/named/ml/models/x/y?history",
        "/named/ml/models?prefix=x/",
        "/changes?account=ml&container=models&since=1",
    ):
        yield Said("GET", target, {})
    version = {"x-ambry-dataset-version-query": "true"}
    for method in ("GET", "PUT", "DELETE"):
        yield Said(method, "/named/ml/models/d/1", version, b"hello" if method == "PUT" else None)
    for option in ("x-ambry-get-option", "range", "if-none-match"):
        value = {"range": "bytes=0-1", "if-none-match": "*"}.get(option, "Include_All")
        yield Said("GET", f"/{blob}", {option: value})


async def check(here: Ground, state: str, who: dict[str, str], twins: dict[str, Twin]) -> int:
    """How many requests were answered alike."""
    count = 0
    for said in requests_of(here):
        if state == "public" and (said.method in ("GET", "HEAD") or said.path in ("/batch/get", "/batch/head")):
            continue  # what everybody may read they may know of
        asked = said._replace(headers={**said.headers, **who, "Origin": APP})
        for origin in (False, True) if "page" in state else (False,):
            if not origin:
                del asked.headers["Origin"]
            else:
                asked.headers["Origin"] = APP
            say(here.frontend, **STATES[state])
            there = await call(here, asked)
            for what, twin in twins.items():
                again = asked_of(asked, twin)
                say(here.frontend, **STATES[state])
                absent = await call(here, again)
                assert told(there, twin) == told(absent, twin), (what, asked)
                count += 1
    return count


@pytest.mark.parametrize("state", STATES)
async def test_nobody_without_a_key_hears_what_there_is(tmp_path: Path, state: str) -> None:
    async with ground(tmp_path) as here:
        twins = twins_of(here)
        assert await check(here, state, {}, twins) > 70
        revoked = here.key(Grant(roles=EVERYTHING))
        here.revoke(revoked)
        assert await check(here, state, bearer(revoked), {"account": twins["account"]}) > 30


@pytest.mark.parametrize("state", STATES)
async def test_nobody_hears_what_there_is_where_their_key_has_nothing(tmp_path: Path, state: str) -> None:
    async with ground(tmp_path) as here:
        twins = twins_of(here)
        elsewhere = here.key(Grant(roles=EVERYTHING, account="default"))
        assert await check(here, state, bearer(elsewhere), twins) > 70
        in_the_account = here.key(Grant(roles=EVERYTHING, account="ml", container="others"))
        del twins["account"]
        assert await check(here, state, bearer(in_the_account), twins) > 70


async def test_whoever_has_some_names_hears_nothing_of_others(tmp_path: Path) -> None:
    async with ground(tmp_path) as here:
        some = here.key(Grant(roles=("read", "write", "delete", "name"), account="ml", container="models", prefix="z/"))
        assert await check(here, "plain", bearer(some), {"thing": twins_of(here)["thing"]}) > 50


@pytest.mark.parametrize("state", STATES)
async def test_a_preflight_is_answered_alike_wherever_it_is_sent(tmp_path: Path, state: str) -> None:
    async with ground(tmp_path) as here:
        asks = {"Access-Control-Request-Headers": "authorization"}
        for said in requests_of(here):
            for origin in (APP, "https://other.example"):
                asks |= {"Origin": origin, "Access-Control-Request-Method": said.method}
                say(here.frontend, **STATES[state])
                there = await call(here, Said("OPTIONS", said.path, asks))
                for what, twin in twins_of(here).items():
                    absent = await call(here, Said("OPTIONS", swapped(said.path, twin), asks))
                    assert told(there, twin) == told(absent, twin), (what, said)


async def test_nobody_makes_this_frontend_look_for_what_they_may_not_have(tmp_path: Path) -> None:
    """How long an answer took told whether there was such a container: of one that is not known the metadata store is asked."""
    async with ground(tmp_path) as here:
        looks = 0

        async def look() -> None:
            nonlocal looks
            looks += 1

        here.frontend.containers.refresh = look
        twins = twins_of(here)
        elsewhere = here.key(Grant(roles=EVERYTHING, account="default"))
        for who in ({}, bearer(elsewhere)):
            for said in requests_of(here):
                if not said.path.startswith("/accounts") or "/datasets" in said.path:
                    for what in ("account", "container"):
                        asked = asked_of(said._replace(headers={**said.headers, **who}), twins[what])
                        await call(here, asked)
                        assert not looks, asked
        mine = here.key(Grant(roles=EVERYTHING, account="mq"))
        await call(here, Said("GET", "/named/mq/models/x", bearer(mine)))
        assert looks, "whoever has something there is answered by what is known now"


CHANGES = (
    Said("PUT", "/named/ml/models/x/y", {"x-ambry-named-upsert": "true"}, b"hello"),
    Said("DELETE", "/named/ml/models/x/y", {}),
    Said("POST", "/named/ml/models/x/y", {"Content-Type": "application/json"}, b'{"op": "undelete"}'),
    Said("PUT", "/updateTtl", {"x-ambry-blob-id": "/named/ml/models/x/y"}),
)


@pytest.mark.parametrize("prefix", ["", "x/"])
async def test_whoever_may_not_read_finds_out_no_content_by_conditions(tmp_path: Path, prefix: str) -> None:
    """A key that may only write could find out whether a name's content is what it guessed, without changing anything."""
    async with ground(tmp_path) as here:
        blob = here.values["id"]
        by_id = () if prefix else (Said("DELETE", f"/{blob}", {}), Said("PUT", "/updateTtl", {"x-ambry-blob-id": blob}))
        answer = await here.frontend.call("HEAD", "/named/ml/models/x/y", bearer(here.root))
        tag, time = answer.headers["etag"], answer.headers["last-modified"]
        place = {"account": "ml", "container": "models", "prefix": prefix}
        writes = here.key(Grant(roles=("write", "name", "delete"), **place))
        for said in (*CHANGES, *by_id):
            for name in ("If-Match", "If-None-Match", "If-Unmodified-Since"):
                guesses = (
                    (time, "Sun, 06 Nov 1994 08:49:37 GMT") if "Since" in name else (tag, '"guess"', f'"a", {tag}')
                )
                for guess in guesses:
                    asked = said._replace(headers={**said.headers, name: guess, **bearer(writes)})
                    refused = await call(here, asked)
                    assert (refused.status, refused.json()["code"]) == (403, "AccessDenied"), asked
                    assert (
                        f"read in the container ml/models{' or for that name in it' if 'named' in str(said) else ''}, "
                        f"which {name.lower()} takes" in refused.json()["detail"]
                    )
        both = here.key(Grant(roles=("write", "name", "delete"), **place), Grant(roles=("read",), **place))
        wrong = await call(here, CHANGES[0]._replace(headers={"If-Match": '"guess"', **bearer(both)}))
        right = await call(here, CHANGES[0]._replace(headers={"If-Match": tag, **bearer(both)}))
        there = await call(here, CHANGES[0]._replace(headers={"If-None-Match": "*", **bearer(writes)}))
        any = await call(here, CHANGES[0]._replace(headers={"If-Match": "*", **bearer(writes)}))
        assert (wrong.status, right.status, there.status, any.status) == (412, 201, 412, 201)
