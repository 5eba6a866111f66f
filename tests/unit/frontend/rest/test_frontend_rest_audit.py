"""The audit over HTTP: a line for every kind of change and of refusal, whichever way it went, and no secret in any."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ambry.clock import SystemClock
from ambry.errors import MetadataUnavailable
from ambry.rest.access import Grant, KeyText, key_text
from frontend.access.keys import Keys
from frontend.audit.file import AuditFile
from frontend.audit.trail import AuditTrail
from frontend.containers.changes import ContainerChanges
from frontend.http.pipeline import Pipeline
from frontend.rest.json_body import MEMBERS_MAX
from tests.support.access import bearer, fresh_key
from tests.support.http_frontend import request
from tests.unit.frontend.rest.test_access_table import MODELS, TABLE, Ground, ground
from tests.unit.frontend.rest.test_frontend_rest_entry import say

READ_BY_POST = {"/batch/get", "/batch/head"}


class Audited:
    """A frontend whose audit is looked at."""

    def __init__(self, here: Ground, path: Path, *, required: bool = False) -> None:
        self.here = here
        self._path = path
        pipeline = here.frontend.server.request_handler
        assert isinstance(pipeline, Pipeline)
        file = AuditFile(path, rotate_bytes=1 << 30, keep=1)
        self.trail = pipeline.log.audit = AuditTrail(file, clock=SystemClock(), required=required)

    async def lines(self) -> list[dict[str, Any]]:
        """All of them; no more are written then."""
        await self.trail.close()
        return [json.loads(line) for line in self._path.read_bytes().splitlines()] if self._path.exists() else []


@pytest.mark.parametrize("shortcut", [False, True])
async def test_every_change_and_every_refusal_of_one_has_a_line(tmp_path: Path, shortcut: bool) -> None:
    async with ground(tmp_path, shortcut=shortcut) as here:
        audited = Audited(here, tmp_path / "audit")
        wanted: list[tuple[str, str, str | None, int]] = []
        for method, target in TABLE:
            if method in ("GET", "HEAD") or target in READ_BY_POST:
                continue
            # Anew each time: a change of keys lets the frontend look what the store has, and this one is not there.
            reader = here.key(Grant(roles=("read",), account="default"), name="reader")
            for key in (None, reader, here.root):
                status = await here.ask(method, target, {} if key is None else bearer(key))
                wanted.append((method, target, None if key is None else key.id, status))
        lines = await audited.lines()
        requests = [line for line in lines if "item" not in line]
        told = [(line["method"], line["key"], line["status"]) for line in requests]
        assert told == [(method, id, status) for method, _, id, status in wanted]
        for line, (_, target, _, _) in zip(requests, wanted, strict=True):
            assert line["client"] == "127.0.0.1" and line["request_id"] and line["op"], target
            assert line["path"].split("/")[1] == target.split("/")[1].replace("{id}", here.values["id"]).replace(
                "{filename}", "a.bin"
            )
        changed = [line for line in requests if line["key"] == here.root.id and line["status"] < 300]
        assert all(line["container"] == "models" for line in changed if line["op"] in ("put", "delete", "named_put"))
        assert all(line["blob"] for line in changed if line["op"] in ("put", "named_put", "delete"))
        assert any(line.get("blob") for line in changed if line["op"] == "named_delete"), "what went with the name"
        [renamed] = [line for line in requests if line.get("asked", {}).get("op") == "rename"]
        assert renamed["asked"]["from"] == "x/other" and renamed["key"] == here.root.id
        text = (tmp_path / "audit").read_text()
        assert here.root.secret not in text and "hello" not in text


async def test_a_batch_has_a_line_for_each_item(tmp_path: Path) -> None:
    async with ground(tmp_path) as here:
        audited = Audited(here, tmp_path / "audit")
        body = json.dumps([here.values["id"], "nonsense", {"name": "ml/models/x/y"}]).encode()
        headers = {**bearer(here.root), "Content-Type": "application/json"}
        assert (await here.frontend.call("POST", "/batch/delete", headers, body)).status == 200
        items = [line for line in await audited.lines() if "item" in line]
        assert [(line["item"], line["status"]) for line in items] == [(0, 202), (1, 400), (2, 202)]
        assert items[0]["blob"] == here.values["id"] and items[2]["name"] == "ml/models/x/y"


@pytest.mark.parametrize("shortcut", [False, True])
async def test_reads_are_told_where_the_container_says_so_and_there_alone(tmp_path: Path, shortcut: bool) -> None:
    async with ground(tmp_path, shortcut=shortcut) as here:
        audited = Audited(here, tmp_path / "audit")
        own, path = bearer(here.root), f"/{here.values['id']}"
        batch = json.dumps([here.values["id"]]).encode()

        async def read() -> None:
            assert (await here.frontend.call("GET", path, own)).status == 200
            assert (await here.frontend.call("GET", "/named/ml/models/x/y", own)).status == 200
            typed = {**own, "Content-Type": "application/json"}
            async with here.frontend.connected() as client:
                await client.send(request("POST", "/batch/get", typed, batch))
                assert (await client.head())[0] == 200

        await read()
        say(here.frontend, audit_reads=True)
        await read()
        lines = await audited.lines()
        ops = [line["op"] for line in lines if "item" not in line]
        assert ops[:2] == ["get", "named_get"] and set(ops[2:]) <= {"batch_get"}
        assert all(line["key"] == here.root.id and line["client"] for line in lines)


async def test_whose_key_was_refused_is_told(tmp_path: Path) -> None:
    """The line of a key that was revoked, rotated or had expired had its id in the text of the error alone."""
    async with ground(tmp_path) as here:
        audited = Audited(here, tmp_path / "audit")
        late = here.key(Grant(roles=("read",)), expires_ms=1, name="late")
        rotated, gone = KeyText(here.key(name="turned").id, fresh_key().secret), fresh_key()
        for key in (late, rotated, gone):
            assert (await here.frontend.call("GET", f"/{here.values['id']}", bearer(key))).status == 401
        query = f"ambry-verb=GET&ambry-key={gone.id}&ambry-expires=1&ambry-signature=abcdef"
        assert (await here.frontend.call("GET", f"/{here.values['id']}?{query}", {})).status == 401
        assert (await here.frontend.call("GET", f"/{here.values['id']}", {})).status == 401
        lines = await audited.lines()
        assert [line["key"] for line in lines] == [None] * 5
        assert [(line.get("claimed_key"), line.get("claimed_key_name")) for line in lines] == [
            (late.id, "late"), (rotated.id, "turned"), (gone.id, None), (gone.id, None), (None, None),
        ]  # fmt: skip
        assert rotated.secret not in (tmp_path / "audit").read_text()


async def test_a_key_that_somebody_put_into_a_path_is_not_written_down(tmp_path: Path) -> None:
    async with ground(tmp_path) as here:
        audited = Audited(here, tmp_path / "audit")
        key = fresh_key()
        await here.frontend.call("DELETE", f"/keys/{key_text(key)}", bearer(here.root))
        await here.frontend.call("DELETE", f"/keys/{key.id}?ambry-signature=abcdef", bearer(key))
        lines = await audited.lines()
        text = (tmp_path / "audit").read_text()
        assert len(lines) == 2 and key.id in text
        assert key.secret not in text and here.root.secret not in text and "abcdef" not in text


@pytest.mark.parametrize("shortcut", [False, True])
async def test_no_change_is_made_that_cannot_be_written_down_where_it_must_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shortcut: bool
) -> None:
    async with ground(tmp_path, shortcut=shortcut) as here:
        audited = Audited(here, tmp_path / "audit", required=True)
        own = {**bearer(here.root), **MODELS}
        assert (await here.frontend.call("POST", "/", own, b"x")).status == 201
        monkeypatch.setattr(AuditTrail, "takes_changes", False)
        refused = await here.frontend.call("POST", "/", own, b"x")
        assert (refused.status, refused.json()["code"]) == (503, "Overloaded")
        assert (await here.frontend.call("GET", f"/{here.values['id']}", own)).status == 200
        # A URL for uploads is leave to change something; for a while it was handed out, and told nowhere.
        signed = [await here.frontend.call("GET", f"/signedUrl?verb={verb}&path=/", own) for verb in ("PUT", "POST")]
        assert [answer.status for answer in signed] == [503, 503]
        of_read = await here.frontend.call("GET", f"/signedUrl?path=/{here.values['id']}", own)
        assert of_read.status == 200
        monkeypatch.undo()
        await audited.lines()


async def test_a_line_says_what_was_changed_from_and_to(tmp_path: Path) -> None:
    """Lines of settings named no account, those of a batch no container, and none said what stood there before."""
    async with ground(tmp_path) as here:
        audited = Audited(here, tmp_path / "audit")
        own = {**bearer(here.root), "Content-Type": "application/json"}
        of_ml = {**own, "x-ambry-target-account-name": "ml"}

        async def post(path: str, body: object, headers: dict[str, str] = own, method: str = "POST") -> Any:
            answer = await here.frontend.call(method, path, headers, json.dumps(body).encode())
            assert answer.status < 300, answer.body
            return answer.json()

        account = (await post("/accounts", {"accounts": [{"accountName": "fresh"}]}))["accounts"][0]
        await post("/accounts", {"accounts": [{"accountId": account["accountId"], "quotaBytes": 5}]})
        made = (await post("/accounts/containers", {"containers": [{"containerName": "c"}]}, of_ml))["containers"][0]
        await post(
            "/accounts/containers", {"containers": [{"containerId": made["containerId"], "isPrivate": False}]}, of_ml
        )
        grants = [{"roles": ["read"], "account": "ml"}]
        key = await post("/keys", {"name": "job", "grants": grants})
        limits = {"limits": {"requestsPerS": 5}, "grants": [{"roles": ["write"], "account": "ml"}]}
        await post(f"/keys/{key['id']}", limits, method="PUT")
        await here.frontend.call("DELETE", f"/keys/{key['id']}", bearer(here.root))
        items = [here.values["id"], {"name": "ml/models/x/y"}]
        await post("/batch/delete", items)
        lines = await audited.lines()
        by_op: dict[str, list[dict[str, Any]]] = {}
        for line in lines:
            by_op.setdefault(line["op"], []).append(line)
        created, changed = by_op["accounts_post"]
        assert created["accounts"] == changed["accounts"] == ["fresh"]
        assert changed["changed"] == ["fresh: quotaBytes from null to 5"]
        created, changed = by_op["containers_post"]
        assert (
            (created["account"], created["containers"]) == (changed["account"], changed["containers"]) == ("ml", ["c"])
        )
        assert changed["changed"] == ["c: isPrivate from null to false"]
        [change] = by_op["key_change"]
        assert change["changed"] == [
            "granted: write in ml/*",
            "taken away: read in ml/*",
            "limits from none to requestsPerS 5",
        ]
        [made] = by_op["key_create"]
        assert (made["granted"], made["expires"], made["limits"]) == (["read in ml/*"], "never", "none")
        for op in ("key_create", "key_change", "key_revoke"):
            assert {line["about_key_name"] for line in by_op[op]} == {"job"}
        deleted = [line for line in by_op["batch_delete"] if "item" in line]
        assert [(line["account"], line["container"]) for line in deleted] == [("ml", "models")] * 2
        assert key["key"] not in (tmp_path / "audit").read_text()


OF_ML = {"x-ambry-target-account-name": "ml"}


async def posted(
    here: Ground, path: str, body: object, headers: Mapping[str, str] | None = None, method: str = "POST"
) -> Any:
    own = {**bearer(here.root), "Content-Type": "application/json", **(headers or {})}
    answer = await here.frontend.call(method, path, own, json.dumps(body).encode())
    assert answer.status < 300, answer.body
    return answer.json()


async def containers_of_ml(here: Ground, count: int) -> list[int]:
    asked = [{"containerName": f"c{number}", "isPrivate": True} for number in range(count)]
    made = await posted(here, "/accounts/containers", {"containers": asked}, OF_ML)
    return [each["containerId"] for each in made["containers"]]


async def test_a_container_that_becomes_public_is_told_by_whatever_call_and_however_much_else_is_asked(
    tmp_path: Path,
) -> None:
    """In a change of an account it was not told at all, and behind 32 other changes neither."""
    async with ground(tmp_path) as here:
        audited = Audited(here, tmp_path / "audit")
        ids = await containers_of_ml(here, 40)
        found = (await here.frontend.call("GET", "/accounts", bearer(here.root))).json()["accounts"]
        [ml] = [each["accountId"] for each in found if each["accountName"] == "ml"]
        padding = [{"containerId": id, "description": "x" * 1_000} for id in ids[1:6]]
        inner = [{"containerId": ids[0], "isPrivate": False}, *padding, {"containerName": "new"}]
        await posted(here, "/accounts", {"accounts": [{"accountId": ml, "containers": inner}]})
        many = [{"containerId": id, "description": "y" * 300} for id in ids[1:36]]
        last = {"containerId": ids[39], "isPrivate": False, "quotaBytes": 77}
        await posted(here, "/accounts/containers", {"containers": [*many, last]}, OF_ML)
        lines = await audited.lines()
        changed = {
            op: [each for line in lines if line["op"] == op for each in line["changed"]]
            for op in ("accounts_post", "containers_post")
        }
        assert changed["accounts_post"][0] == "ml/c0: isPrivate from true to false"
        assert changed["accounts_post"][-1] == "ml/new: made" and len(changed["accounts_post"]) == 7
        assert changed["containers_post"][-2:] == [
            "c39: isPrivate from true to false",
            "c39: quotaBytes from null to 77",
        ]
        assert [each for each in changed["containers_post"] if each.startswith("c35: description from")]
        named = [each for line in lines if line["op"] == "containers_post" for each in line.get("containers", ())]
        assert named[40:] == [f"c{number}" for number in range(1, 36)] + ["c39"]


async def test_all_that_a_key_is_granted_is_told_however_long_the_others_are(tmp_path: Path) -> None:
    """Grants were cut before they were compared, and those of a new key stood in what was asked for alone."""
    async with ground(tmp_path) as here:
        audited = Audited(here, tmp_path / "audit")
        padding = [{"roles": ["read"], "account": "ml", "prefix": "b" * 1_000 + str(each)} for each in range(6)]
        everything = {"roles": ["read", "write", "delete", "name", "admin", "read"]}
        made = await posted(here, "/keys", {"name": "hidden", "grants": [*padding, everything]})
        await posted(here, f"/keys/{made['id']}", {"grants": padding}, method="PUT")
        wide = {"roles": ["delete", "name"], "account": "ml", "container": "models"}
        await posted(here, f"/keys/{made['id']}", {"grants": [*padding, wide]}, method="PUT")
        lines = await audited.lines()
        granted = [each for line in lines if line["op"] == "key_create" for each in line["granted"]]
        assert granted[-1] == "read,write,delete,name,admin in */*" and len(granted) == 7
        changed = [each for line in lines if line["op"] == "key_change" for each in line["changed"]]
        assert changed == ["taken away: read,write,delete,name,admin in */*", "granted: delete,name in ml/models"]


@pytest.mark.parametrize("path", ["/accounts", "/accounts/containers", "/keys", "/keys/ID"])
async def test_a_change_of_which_nobody_knows_whether_it_was_made_is_told_as_it_was_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """The store may have it without having said so: no line told more of it than its size."""
    async with ground(tmp_path) as here:
        audited = Audited(here, tmp_path / "audit")
        [id] = await containers_of_ml(here, 1)
        found = (await here.frontend.call("GET", "/accounts", bearer(here.root))).json()["accounts"]
        [ml] = [each["accountId"] for each in found if each["accountName"] == "ml"]
        key = await posted(here, "/keys", {"name": "job", "grants": [{"roles": ["read"], "account": "ml"}]})
        public = [{"containerId": id, "isPrivate": False}, {"containerId": id, "description": "x" * 9_999}]
        wide = [{"roles": ["read"], "prefix": f"{'b' * 1_000}{each}"} for each in range(9)] + [{"roles": ["admin"]}]
        body: object = {
            "/accounts": {"accounts": [{"accountId": ml, "containers": public}]},
            "/accounts/containers": {"containers": public},
            "/keys": {"name": "x", "grants": wide},
            "/keys/ID": {"grants": wide},
        }[path]

        async def lost(*_given: object, **_more: object) -> None:
            raise MetadataUnavailable("the store does not answer")

        monkeypatch.setattr(ContainerChanges, "_save", lost)
        monkeypatch.setattr(Keys, "_write", lost)
        own = {**bearer(here.root), "Content-Type": "application/json"}
        headers = {**own, **OF_ML} if path == "/accounts/containers" else own
        method, target = ("PUT", f"/keys/{key['id']}") if path == "/keys/ID" else ("POST", path)
        answer = await here.frontend.call(method, target, headers, json.dumps(body).encode())
        assert answer.status == 503, answer.body
        lines = await audited.lines()
        told = [each for line in lines if line["status"] == 503 for each in line["asked_for"]]
        wanted = {
            "/accounts": "ml/c0: isPrivate to false",
            "/accounts/containers": "c0: isPrivate to false",
            "/keys": "admin in */*",
            "/keys/ID": "granted: admin in */*",
        }
        assert wanted[path] in told


async def test_a_body_of_more_members_than_any_request_has_is_refused(tmp_path: Path) -> None:
    """Those that mean something could be hidden from the audit behind many that mean nothing."""
    async with ground(tmp_path) as here:
        body = {f"x{number}": 1 for number in range(MEMBERS_MAX)} | {"op": "rename", "from": "x/y"}
        own = {**bearer(here.root), "Content-Type": "application/json"}
        answer = await here.frontend.call("POST", "/named/ml/models/x/z", own, json.dumps(body).encode())
        assert answer.status == 400 and "members" in answer.json()["detail"]
