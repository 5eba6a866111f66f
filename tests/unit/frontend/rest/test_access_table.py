"""Every route times every role: who is let in, and who is not. A route that is missing here fails the build."""

from __future__ import annotations

import base64
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from ambry.checksum import digest
from ambry.clock import SystemClock, system_secret
from ambry.rest.access import ALL_ROLES, Grant, KeyText, hash_of, new_key, role_texts
from frontend.access.key_rows import StoredKey
from frontend.access.verified import Access
from frontend.uploads import stitching
from tests.support.access import bearer, fresh_key, root_line
from tests.support.http_frontend import HttpFrontend, http_frontend, request
from tests.support.metadata_stores import opened, sqlite_store
from tests.unit.frontend.rest.test_frontend_rest_batch import AS_FRAMES, dechunked, parts_of

ROLES = role_texts(ALL_ROLES)
READS = ("GET", "HEAD")
OPEN = "open"
KEY = "any key"
EVERYWHERE = "everywhere"
IN_BODY = "the container stands in the body or in headers of its own"


class Rule(NamedTuple):
    """What a call takes, as docs/rest.md says it: written here by hand, not read from the code."""

    roles: frozenset[str]
    where: str = "container"
    body: Any = None


def rule(*roles: str, where: str = "container", body: Any = None) -> Rule:
    return Rule(frozenset(roles), where, body)


def reads(target: str, taken: Rule) -> dict[tuple[str, str], Rule]:
    return {("GET", target): taken, ("HEAD", target): taken}


DATASETS = "/accounts/containers/datasets"
NAMED = "/named/{account}/{container}/{name...}"
DATASET = {"accountName": "ml", "containerName": "models", "datasetName": "d", "versionSchema": "MONOTONIC"}
ALIAS = {
    "accountName": "ml",
    "containerName": "models",
    "datasetName": "d",
    "alias": "a",
    "version": "1",
    "ifVersion": None,
}
ENCRYPTED = "/encryption/containers/{account}/{container}"
HEALTH = ("/", "/healthCheck", "/healthz", "/readyz", "/version")
ABOUT = ("", "/Segment/{n}", "/BlobInfo", "/UserMetadata", "/Replicas", "/BlobChunkIds")
TABLE: dict[tuple[str, str], Rule] = {
    **{pair: each for path in HEALTH for pair, each in reads(path, rule(where=OPEN)).items()},
    **reads("/openapi.json", rule(where=OPEN)),
    **reads("/docs", rule(where=OPEN)),
    **reads("/peers", rule("admin", where=EVERYWHERE)),
    **reads("/getClusterMapSnapshot", rule("admin", where=EVERYWHERE)),
    **reads("/statsReport", rule("admin", where=EVERYWHERE)),
    ("POST", "/"): rule("write"),
    ("PUT", "/"): rule("write"),
    ("PUT", "/{filename}"): rule("write"),
    **{pair: each for below in ABOUT for pair, each in reads("/{id}" + below, rule("read")).items()},
    ("DELETE", "/{id}"): rule("delete"),
    ("PUT", "/updateTtl"): rule("write"),
    ("PUT", "/undelete"): rule("delete"),
    ("POST", "/stitch"): rule("write"),
    ("POST", "/batch/put"): rule("write"),
    ("POST", "/batch/get"): rule("read", where=KEY),
    ("POST", "/batch/head"): rule("read", where=KEY),
    ("POST", "/batch/delete"): rule("delete", where=KEY),
    **reads("/accounts", rule(where=KEY)),
    **reads("/accounts/containers", rule(where=KEY)),
    ("POST", "/accounts"): rule("admin", where=EVERYWHERE, body={"accounts": [{"accountName": "new"}]}),
    ("POST", "/accounts/containers"): rule("admin", where=IN_BODY, body={"containers": [{"containerName": "new"}]}),
    **reads(DATASETS, rule("read")),
    ("POST", DATASETS): rule("name", where=IN_BODY, body=DATASET),
    ("DELETE", DATASETS): rule("delete"),
    **reads(f"{DATASETS}/aliases", rule("read")),
    ("POST", f"{DATASETS}/aliases"): rule("name", where=IN_BODY, body=ALIAS),
    **reads("/named/{account}/{container}", rule("read")),
    **reads(NAMED, rule("read")),
    ("PUT", NAMED): rule("write", "name"),
    ("DELETE", NAMED): rule("delete"),
    ("POST", NAMED): rule("name", body={"op": "rename", "from": "x/other"}),
    ("POST", "/uploads"): rule("write"),
    ("PUT", "/uploads/{upload}/{part}"): rule("write"),
    **reads("/uploads/{upload}", rule("write")),
    ("POST", "/uploads/{upload}/complete"): rule("write"),
    ("DELETE", "/uploads/{upload}"): rule("write"),
    **reads("/changes", rule("read")),
    ("GET", "/signedUrl"): rule(where=KEY),
    **reads("/usage", rule(where=KEY)),
    **reads("/keys", rule(where=KEY)),
    **reads("/keys/{key}", rule(where=KEY)),
    ("POST", "/keys"): rule("admin", where=KEY, body={"name": "k", "grants": [{"roles": ["admin"], "account": "ml"}]}),
    ("PUT", "/keys/{key}"): rule("admin", where=KEY, body={"name": "k"}),
    ("POST", "/keys/{key}/rotate"): rule("admin", where=KEY, body={}),
    **reads("/encryption", rule("admin", where=EVERYWHERE)),
    ("POST", "/encryption/rewrap"): rule("admin", where=EVERYWHERE, body={}),
    **reads(ENCRYPTED, rule("admin")),
    ("POST", f"{ENCRYPTED}/rotate"): rule("admin"),
    ("DELETE", ENCRYPTED): rule("admin"),
    ("DELETE", f"{ENCRYPTED}/{{version}}"): rule("admin"),
    ("DELETE", "/keys/{key}"): rule("admin", where=KEY),
}  # fmt: skip
SUCCESS = {200, 201, 202, 204}
TOLD: dict[tuple[str, str], tuple[int, ...]] = {
    **dict.fromkeys(reads("/peers", rule()), (400,)),  # of no data node
    ("PUT", "/updateTtl"): (410,),  # deleted by the row before it
    ("PUT", "/undelete"): (200, 409),
    ("POST", "/stitch"): (400,),
    ("POST", "/batch/put"): (415,),
    ("POST", "/accounts"): (200, 409),
    ("POST", "/accounts/containers"): (200, 409),
    **dict.fromkeys(reads(DATASETS, rule()), (404,)),
    ("POST", DATASETS): (200, 409),
    ("DELETE", DATASETS): (202, 410),
    **dict.fromkeys(reads(f"{DATASETS}/aliases", rule()), (410,)),
    ("POST", f"{DATASETS}/aliases"): (410,),
    ("PUT", NAMED): (409,),
    ("POST", NAMED): (200, 409),
    ("POST", "/uploads/{upload}/complete"): (400,),  # parts that begin with 0
    ("DELETE", "/uploads/{upload}"): (202, 410),
    ("POST", "/encryption/rewrap"): (400,),
    **dict.fromkeys(reads(ENCRYPTED, rule()), (400,)),
    **dict.fromkeys(
        ((m, f"{ENCRYPTED}{b}") for m, b in (("POST", "/rotate"), ("DELETE", ""), ("DELETE", "/{version}"))), (400,)
    ),
}
"""What whoever may is told of these calls, the first who asks and those after; of all others, that it was done."""
DECIDE_THEMSELVES = {
    target
    for method, target in TABLE
    if target.startswith(("/batch/", "/keys", "/signedUrl", "/usage")) and target != "/batch/put"
}
"""Calls that are answered to any key, and say of each thing whether it may be had: tests of their own look at that."""
MODELS = {"x-ambry-target-account-name": "ml", "x-ambry-target-container-name": "models"}


class Ground:
    """A frontend in which everything is that the calls are about."""

    def __init__(self, frontend: HttpFrontend, access: Access, root: KeyText) -> None:
        self.frontend = frontend
        self.root = root
        self._access = access
        self._stored: dict[str, StoredKey] = {}
        self.values: dict[str, str] = {}

    def key(self, *grants: Grant, expires_ms: int | None = None, name: str = "k") -> KeyText:
        made = new_key(system_secret)
        self._stored[made.id] = StoredKey(
            name=name,
            hash=hash_of(made.secret),
            grants=grants,
            created_ms=0,
            created_by="",
            expires_ms=expires_ms,
        )
        self._access.know(self._stored.items())
        return made

    def grant(self, key: KeyText, *grants: Grant) -> None:
        """From now on these are all that it has."""
        self._stored[key.id] = msgspec.structs.replace(self._stored[key.id], grants=grants)
        self._access.know(self._stored.items())

    def revoke(self, key: KeyText) -> None:
        del self._stored[key.id]
        self._access.know(self._stored.items())

    async def prepare(self) -> None:
        call, own = self.frontend.call, bearer(self.root)
        answer = await call("POST", "/", {**own, **MODELS}, b"hello")
        self.values = {"id": answer.json()["id"], "filename": "a.bin", "n": "0", "account": "ml", "container": "models"}
        self.values |= {"name...": "x/y", "part": "1", "version": "1.1", "key": self.root.id}
        for name in ("x/y", "x/other"):
            assert (await call("PUT", f"/named/ml/models/{name}", {**own, **MODELS}, b"hello")).status == 201
        begun = await call("POST", "/uploads", {**own, **MODELS})
        self.values["upload"] = begun.headers["location"].rpartition("/")[2]

    async def ask(self, method: str, target: str, headers: dict[str, str]) -> int:
        """The status that a well-formed request of this route gets."""
        path, given, body = self.asking(method, target, headers)
        return (await self.frontend.call(method, path, given, body)).status

    def asking(self, method: str, target: str, headers: dict[str, str]) -> tuple[str, dict[str, str], bytes | None]:
        """The path, the headers and the body of a well-formed request of this route."""
        taken, path = TABLE[method, target], target
        for name, value in self.values.items():
            path = path.replace(f"{{{name}}}", value)
        given = dict(headers)
        if target in ("/updateTtl", "/undelete"):
            given["x-ambry-blob-id"] = self.values["id"]
        elif method in READS and target in ("/", "/accounts"):
            pass
        elif path.startswith("/accounts/containers") or target in (
            "/",
            "/{filename}",
            "/uploads",
            "/stitch",
            "/batch/put",
        ):
            given |= MODELS if target != "/accounts/containers" else {"x-ambry-target-account-name": "ml"}
            if method == "POST" and target.startswith(DATASETS):
                given = dict(headers)
        if target == "/changes":
            path += "?account=ml&container=models"
        if target in (DATASETS, f"{DATASETS}/aliases") and method != "POST":
            given["x-ambry-target-dataset-name"] = "d"
        body: bytes | None = None
        if taken.body is not None:
            given["Content-Type"], body = "application/json", msgspec.json.encode(taken.body)
        elif target.startswith("/batch/") and target != "/batch/put":
            given["Content-Type"], body = "application/json", msgspec.json.encode([self.values["id"]])
        elif method in ("PUT", "POST") and target not in ("/updateTtl", "/undelete", "/uploads", f"{ENCRYPTED}/rotate"):
            body = b"hello"
        return path, given, body


@contextlib.asynccontextmanager
async def ground(path: Path, *, shortcut: bool = False, keys: bool = True) -> AsyncIterator[Ground]:
    """Without `keys` nobody is asked for one."""
    root, clock = fresh_key(), SystemClock()
    access = Access(clock=clock, root_keys=[root_line(root)], enabled=keys)
    async with (
        opened(sqlite_store(path / "m")) as store,
        http_frontend(metadata=store, access=access, url_secret=bytes(32), shortcut=shortcut) as frontend,
    ):
        made = Ground(frontend, access, root)
        await made.prepare()
        yield made


def told_strangers(target: str) -> int:
    """What a key that has nothing in the container is told: of an upload that may be, or not, not even that it is there."""
    return 404 if target.startswith("/uploads/") else 403


def allowed(taken: Rule, roles: Iterable[str]) -> bool:
    return taken.roles <= set(roles)


async def test_every_route_has_a_rule_here(tmp_path: Path) -> None:
    async with ground(tmp_path) as here:
        routed = {
            (method, route.target)
            for route in here.frontend.server.request_handler._dialect.routes
            for method in route.methods
        }
        assert routed == set(TABLE)


@pytest.mark.parametrize("shortcut", [False, True])
async def test_nobody_and_whoever_has_a_key_no_more_learn_that_it_takes_one(tmp_path: Path, shortcut: bool) -> None:
    async with ground(tmp_path, shortcut=shortcut) as here:
        everything = Grant(roles=tuple(ROLES))
        revoked, expired = here.key(everything), here.key(everything, expires_ms=1)
        here.revoke(revoked)
        wrong = KeyText(here.root.id, fresh_key().secret)
        for (method, target), taken in TABLE.items():
            assert (await here.ask(method, target, {}) == 401) == (taken.where != OPEN), (method, target)
            for key in (revoked, expired, wrong, fresh_key()):
                status = await here.ask(method, target, bearer(key))
                assert (status == 401) == (taken.where != OPEN), (method, target)


@pytest.mark.parametrize("account", ["*", "ml"])
async def test_each_route_takes_just_its_roles(tmp_path: Path, account: str) -> None:
    async with ground(tmp_path) as here:
        some = [roles for count in (1, 2, 4) for roles in itertools.combinations(ROLES, count)]
        keys = {roles: here.key(Grant(roles=roles, account=account)) for roles in some}
        for (method, target), taken in TABLE.items():
            if target in DECIDE_THEMSELVES:
                continue
            # Whoever may comes last: what it ends is not there for others.
            told = iter(TOLD.get((method, target), ()))
            expected: Iterable[int] = SUCCESS
            for roles, key in sorted(keys.items(), key=lambda each: allowed(taken, each[0])):
                status = await here.ask(method, target, bearer(key))
                if allowed(taken, roles) and not (taken.where == EVERYWHERE and account != "*"):
                    expected = [each] if (each := next(told, None)) is not None else expected
                    assert status in expected, (method, target, roles, status)
                else:
                    assert status == 403, (method, target, roles)


async def test_calls_about_many_things_give_each_role_what_it_has(tmp_path: Path) -> None:
    """The table passed over them, and let any answer pass of a call that may be: a 500 too."""
    async with ground(tmp_path) as here:
        call, blob = here.frontend.call, here.values["id"]
        as_root, as_json = bearer(here.root), {"Content-Type": "application/json"}

        async def made(*roles: str) -> tuple[str, dict[str, str]]:
            body = msgspec.json.encode({"name": "k", "grants": [{"roles": roles, "account": "ml"}]})
            answer = await call("POST", "/keys", {**as_root, **as_json}, body)
            assert answer.status == 201, answer.body
            return answer.json()["id"], {"Authorization": f"Bearer {answer.json()['key']}", **as_json}

        async def statuses(op: str, headers: dict[str, str]) -> list[str]:
            async with here.frontend.connected() as client:
                items = msgspec.json.encode([blob, {"name": "ml/models/x/y"}])
                await client.send(request("POST", f"/batch/{op}", {**headers, **AS_FRAMES}, items))
                parts = parts_of(await dechunked(client))
            return [parts[number, None][0]["x-ambry-batch-status"] for number in range(2)]

        keys = [(roles, *await made(*roles)) for count in (1, 2, 4) for roles in itertools.combinations(ROLES, count)]
        other, _ = await made("admin")
        for roles, own, headers in keys:
            admin, read = "admin" in roles, "read" in roles
            for op in ("get", "head"):
                assert await statuses(op, headers) == (["200"] * 2 if read else ["403"] * 2), (op, roles)
            asked = f"/signedUrl?verb=GET&path=/{blob}"
            assert (await call("GET", asked, headers)).status == (200 if read else 403), roles
            for method in READS:
                for path in ("/keys", "/usage", "/keys/self", f"/keys/{own}"):
                    assert (await call(method, path, headers)).status == 200, (method, path, roles)
                assert (await call(method, f"/keys/{other}", headers)).status == (200 if admin else 403), (
                    method,
                    roles,
                )
            for path in ("/keys", "/usage"):
                shown = {each["id"] for each in (await call("GET", path, headers)).json()["keys"]}
                assert own in shown and (other in shown) == admin, (path, roles)
            told = (await call("GET", "/usage", headers)).json()["containers"]
            assert {each["account"] for each in told} == {"ml"}, roles
            grants = {"name": "more", "grants": [{"roles": roles, "account": "ml"}]}
            wider = {"name": "more", "grants": [{"roles": roles}]}
            rename, nothing = {"name": "changed"}, dict[str, str]()
            for method, path, body, status in (
                ("POST", "/keys", grants, 201 if admin else 403),
                ("POST", "/keys", wider, 403),
                ("PUT", f"/keys/{other}", rename, 200 if admin else 403),
                ("POST", f"/keys/{other}/rotate", nothing, 200 if admin else 403),
            ):
                answer = await call(method, path, headers, msgspec.json.encode(body))
                assert answer.status == status, (method, path, roles, answer.body)
            revoked, _ = await made("admin")
            answer = await call("DELETE", f"/keys/{revoked}", headers)
            assert answer.status == (204 if admin else 403), (roles, answer.body)
        for roles, _own, headers in sorted(keys, key=lambda each: "delete" in each[0]):
            items = msgspec.json.encode([blob, {"name": "ml/models/x/y"}])
            found = (await call("POST", "/batch/delete", headers, items)).json()["items"]
            assert [each["status"] for each in found] == [202 if "delete" in roles else 403] * 2, (roles, found)


async def test_a_key_of_another_account_or_container_is_let_in_nowhere(tmp_path: Path) -> None:
    async with ground(tmp_path) as here:
        for grant in (
            Grant(roles=tuple(ROLES), account="default"),
            Grant(roles=tuple(ROLES), account="ml", container="others"),
            Grant(roles=tuple(ROLES), account="ML", container="models"),
        ):
            key = here.key(grant)
            for (method, target), taken in TABLE.items():
                if taken.where not in (OPEN, KEY):
                    assert await here.ask(method, target, bearer(key)) == told_strangers(target), (
                        method,
                        target,
                        grant,
                    )


async def test_a_key_for_some_names_is_let_in_to_those_alone(tmp_path: Path) -> None:
    async with ground(tmp_path) as here:
        roles = ("read", "write", "delete", "name")
        own = here.key(Grant(roles=roles, account="ml", container="models", prefix="x/"))
        other = here.key(Grant(roles=roles, account="ml", container="models", prefix="y"))
        for (method, target), taken in TABLE.items():
            if target == NAMED:
                assert await here.ask(method, target, bearer(own)) not in (401, 403), method
                assert await here.ask(method, target, bearer(other)) == 403, method
            elif taken.where not in (OPEN, KEY):
                assert await here.ask(method, target, bearer(own)) == told_strangers(target), (method, target)
        listed = await here.frontend.call("GET", "/named/ml/models?prefix=x/", bearer(own))
        assert listed.status == 200
        for query in ("", "?prefix=", "?prefix=x", "?prefix=y/&start-after=x/"):
            assert (await here.frontend.call("GET", f"/named/ml/models{query}", bearer(own))).status == 403, query


async def test_an_upload_of_others_is_as_one_that_is_not_there(tmp_path: Path) -> None:
    """A key for something else was told 403 of an upload that there was, 410 of one that was aborted, and 404 of others."""
    async with ground(tmp_path) as here:
        stranger = bearer(here.key(Grant(roles=tuple(ROLES), account="default")))
        reader = bearer(here.key(Grant(roles=("read",), account="ml", container="models")))
        open_one, none = here.values["upload"], "0" * 32
        aborted = (await here.frontend.call("POST", "/uploads", {**bearer(here.root), **MODELS})).json()["upload"]
        assert (await here.frontend.call("DELETE", f"/uploads/{aborted}", bearer(here.root))).status == 202
        told = {}
        for upload in (open_one, aborted, none):
            answer = await here.frontend.call("GET", f"/uploads/{upload}", stranger)
            told[upload] = answer.status, answer.json()["detail"].replace(upload, "")
            assert (await here.frontend.call("GET", f"/uploads/{upload}")).status == 401
        assert told[open_one] == told[aborted] == told[none] and told[none][0] == 404
        assert (await here.frontend.call("GET", f"/uploads/{open_one}", reader)).status == 403
        chunk = {"x-ambry-chunk-upload": "true", "x-ambry-session": "s", "x-ambry-max-upload-size": "9"}
        put = await here.frontend.call("POST", "/", {**bearer(here.root), **MODELS, **chunk}, b"hello")
        signed = stitching.parse_signed(put.headers["location"])
        ghost = stitching.SignedChunk(none, signed.part, signed.size, signed.digest, signed.expiration_time_ms)
        stitched = set()
        for each in (signed, ghost):
            text = stitching.PREFIX + base64.urlsafe_b64encode(msgspec.json.encode(each)).rstrip(b"=").decode()
            body = msgspec.json.encode({"signedChunkIds": [text]})
            answer = await here.frontend.call("POST", "/stitch", {**stranger, "Content-Type": "application/json"}, body)
            stitched.add((answer.status, answer.json()["detail"].replace(each.session, "")))
        assert len(stitched) == 1 and stitched.pop()[0] == 404


BELOW = ("read", "write", "delete", "name")


async def test_an_upload_for_a_name_is_gone_on_with_by_whoever_may_put_that_name(tmp_path: Path) -> None:
    """A key for some names was told 403 where it began an upload in parts, so it put no large file at all."""
    async with ground(tmp_path) as here:
        place, call = {"account": "ml", "container": "models"}, here.frontend.call
        to_x = {**MODELS, "x-ambry-upload-name": "x/n%20w"}
        writer = bearer(here.key(Grant(roles=("write", "name"), prefix="x/", **place)))
        whole = bearer(here.key(Grant(roles=("write", "name"), **place)))
        others = [
            bearer(here.key(Grant(roles=BELOW, prefix="y", **place))),
            bearer(here.key(Grant(roles=BELOW, prefix="x/n/", **place))),
            bearer(here.key(Grant(roles=tuple(ROLES), account="default"))),
        ]
        for roles in itertools.chain(*(itertools.combinations(BELOW, count) for count in range(1, 4))):
            some = bearer(here.key(Grant(roles=roles, prefix="x/", **place)))
            may = {"write", "name"} <= set(roles)
            assert (await call("POST", "/uploads", {**some, **to_x})).status == (201 if may else 403), roles
        for key in others:
            assert (await call("POST", "/uploads", {**key, **to_x})).status == 403
        assert (await call("POST", "/uploads", {**writer, **MODELS})).status == 403, "for no name"
        assert (await call("POST", "/uploads", {**writer, **MODELS, "x-ambry-upload-name": "z"})).status == 403
        begun = (await call("POST", "/uploads", {**writer, **to_x})).json()
        assert begun["name"] == "x/n w"
        path, none, aborted = (f"/uploads/{id}" for id in (begun["upload"], "0" * 32, here.values["upload"]))
        assert (await call("DELETE", aborted, bearer(here.root))).status == 202
        unnamed = (await call("POST", "/uploads", {**whole, **MODELS})).json()["upload"]
        steps = [("PUT", "/1", b"part"), ("GET", "", None), ("POST", "/complete", b""), ("DELETE", "", None)]
        askers: list[dict[str, str] | None] = [*others, None]
        for asker in askers:
            told = set()
            for each in (path, none, aborted, f"/uploads/{unnamed}"):
                for method, below, body in steps:
                    answer = await call(method, each + below, asker, body)
                    told.add((answer.status, answer.json()["detail"].replace(each.rpartition("/")[2], "")))
            assert len(told) == 1 and told.pop()[0] == (401 if asker is None else 404)
        for method, below, body in steps:
            answer = await call(method, f"/uploads/{unnamed}{below}", writer, body)
            assert answer.status == 404, "another one's, for no name"
        reader = bearer(here.key(Grant(roles=("read", "name"), prefix="x/", **place)))
        for method, below, body in steps:
            assert (await call(method, path + below, reader, body)).status == 403, (method, below)
        assert (await call("PUT", f"{path}/1", writer, b"part")).status == 200
        assert [each["part"] for each in (await call("GET", path, writer)).json()["parts"]] == [1]
        signed = await call("GET", f"/signedUrl?verb=PUT&path={path}/2", writer)
        assert (await call("PUT", signed.json()["target"], None, b"more")).status == 200
        assert (await call("POST", f"{path}/complete", writer, b"")).status == 201

        async def bind(key: dict[str, str], name: str, upload: str = begun["upload"]) -> int:
            action = {"op": "bind", "owned": True, "id": begun["id"], "upload": upload}
            headers = {**key, "Content-Type": "application/json"}
            return (await call("POST", f"/named/ml/models/{name}", headers, msgspec.json.encode(action))).status

        assert (
            await bind(others[0], "y", unnamed)
            == await bind(others[0], "y")
            == await bind(others[0], "y", "0" * 32)
            == 404
        )
        assert await bind(writer, "x/other") == 403, "it is for another name"
        assert await bind(reader, "x/n%20w") == 403
        assert await bind(writer, "x/n%20w") == await bind(writer, "x/n%20w") == 200, "once, and again"
        assert (await call("GET", "/named/ml/models/x/n%20w", bearer(here.root))).body == b"partmore"
        dropped = (await call("POST", "/uploads", {**writer, **to_x})).json()["upload"]
        assert (await call("DELETE", f"/uploads/{dropped}", writer)).status == 202


async def test_whoever_may_not_read_hears_no_digest(tmp_path: Path) -> None:
    """The 412 of a change named the entity tag of what stood there, which is the digest of its bytes."""
    async with ground(tmp_path) as here:
        key = bearer(here.key(Grant(roles=("write", "delete", "name"), account="ml", container="models")))
        secret = digest(b"hello").hex()
        blob = {"x-ambry-blob-id": here.values["id"]}
        for method, path, headers in (
            ("PUT", "/named/ml/models/x/y", {"If-Match": '"a"'}),
            ("PUT", "/named/ml/models/x/y", {"If-None-Match": "*"}),
            ("DELETE", "/named/ml/models/x/y", {"If-Match": '"a"'}),
            ("DELETE", f"/{here.values['id']}", {"If-Match": '"a"'}),
            ("PUT", "/updateTtl", {**blob, "If-Match": '"a"'}),
        ):
            body = b"mine" if method == "PUT" and path != "/updateTtl" else None
            answer = await here.frontend.call(method, path, {**key, **headers}, body)
            assert answer.status == (412 if headers.get("If-None-Match") == "*" else 403), (method, path)
            assert secret not in f"{answer.headers} {answer.body!r}", (method, path)


async def test_each_blob_of_a_batch_is_decided_for_itself(tmp_path: Path) -> None:
    async with ground(tmp_path) as here:
        elsewhere = (await here.frontend.call("POST", "/", bearer(here.root), b"other")).json()["id"]
        key = here.key(Grant(roles=("read",), account="ml", container="models"))
        items: list[Any] = [here.values["id"], elsewhere, {"name": "ml/models/x/y"}, {"name": "default/default/n"}]
        body = msgspec.json.encode(items)
        given = {**bearer(key), "Content-Type": "application/json"}
        answer = await here.frontend.call("POST", "/batch/delete", given, body)
        assert [each["status"] for each in answer.json()["items"]] == [403] * 4
        async with here.frontend.connected() as client:
            await client.send(request("POST", "/batch/head", {**given, **AS_FRAMES}, body))
            parts = parts_of(await dechunked(client))
        assert [parts[number, None][0]["x-ambry-batch-status"] for number in range(4)] == ["200", "403", "200", "403"]


async def test_what_changes_two_things_takes_the_roles_for_both(tmp_path: Path) -> None:
    async with ground(tmp_path) as here:
        team = here.key(Grant(roles=("read", "write", "delete", "name"), account="ml", container="models", prefix="x/"))
        outside = await here.frontend.call("PUT", "/named/ml/models/secret", {**bearer(here.root), **MODELS}, b"hidden")
        given = {**bearer(team), "Content-Type": "application/json"}
        for body in (
            {"op": "rename", "from": "secret"},
            {"op": "bind", "id": outside.json()["id"]},
        ):
            answer = await here.frontend.call("POST", "/named/ml/models/x/new", given, msgspec.json.encode(body))
            assert answer.status == 403, body
        assert (await here.frontend.call("GET", "/named/ml/models/secret", bearer(here.root))).body == b"hidden"
        named = here.key(Grant(roles=("name",), account="ml"))
        undelete = msgspec.json.encode({"op": "undelete"})
        answer = await here.frontend.call(
            "POST", "/named/ml/models/x/y", {**bearer(named), "Content-Type": "application/json"}, undelete
        )
        assert answer.status == 403


@pytest.mark.parametrize("role", ["read", "write", "delete"])
async def test_a_rename_gives_nobody_a_role_for_the_blob(tmp_path: Path, role: str) -> None:
    """A key that might name everywhere, and read or delete beneath one prefix, moved what others had put to that prefix."""
    async with ground(tmp_path) as here:
        place = {"account": "ml", "container": "models"}
        mover = here.key(Grant(roles=("name",), **place), Grant(roles=(role,), prefix="mine/", **place))
        both = here.key(Grant(roles=("name", role), **place))
        plain = here.key(Grant(roles=("name",), **place))

        async def rename(key: KeyText, source: str, target: str) -> int:
            body = msgspec.json.encode({"op": "rename", "from": source})
            headers = {**bearer(key), "Content-Type": "application/json"}
            return (await here.frontend.call("POST", f"/named/ml/models/{target}", headers, body)).status

        assert await rename(mover, "x/y", "mine/y") == 403
        assert await rename(plain, "x/y", "z/y") == 200, "it may no more with it there"
        assert await rename(both, "z/y", "mine/y") == 200
        assert await rename(mover, "mine/y", "mine/z") == 200
        assert await rename(mover, "mine/z", "x/y") == 200, "to where it may less"


async def test_a_name_that_a_blob_was_bound_to_lets_it_be_read_and_no_more(tmp_path: Path) -> None:
    """With a name of its own a key let any blob that it might read live for ever, and saw it after its delete."""
    async with ground(tmp_path) as here:
        place = {"account": "ml", "container": "models"}
        own = ("write", "name", "delete")
        key = here.key(Grant(roles=("read",), **place), Grant(roles=own, prefix="mine/", **place))
        whole = here.key(Grant(roles=("read", "write", "delete", "name"), **place))
        body = msgspec.json.encode({"op": "bind", "id": here.values["id"]})
        bound = await here.frontend.call(
            "POST", "/named/ml/models/mine/bound", {**bearer(key), "Content-Type": "application/json"}, body
        )
        assert bound.status == 200
        put = await here.frontend.call(
            "PUT", "/named/ml/models/mine/put", {**bearer(key), "x-ambry-ttl": "60"}, b"ours"
        )
        assert put.status == 201

        async def extend(key: KeyText, name: str) -> int:
            headers = {**bearer(key), "x-ambry-blob-id": f"/named/ml/models/{name}"}
            return (await here.frontend.call("PUT", "/updateTtl", headers)).status

        async def look(key: KeyText, name: str, option: str = "include_all") -> int:
            headers = {**bearer(key), "x-ambry-get-option": option}
            return (await here.frontend.call("GET", f"/named/ml/models/{name}", headers)).status

        assert [await extend(each, "mine/bound") for each in (key, whole)] == [403, 200]
        assert [await extend(each, "mine/put") for each in (key, whole)] == [200, 200]
        assert (await here.frontend.call("DELETE", f"/{here.values['id']}", bearer(whole))).status == 202
        assert [await look(each, "mine/bound") for each in (key, whole)] == [403, 200]
        assert await look(key, "mine/bound", "none") == 410
        assert [await look(each, "mine/put") for each in (key, whole)] == [200, 200]


async def test_a_blob_goes_with_a_name_where_who_binds_it_may_delete_it_or_has_uploaded_it(tmp_path: Path) -> None:
    """A key without `delete` bound somebody's blob with `owned`, and its name was deleted by another key that had no blob."""
    async with ground(tmp_path) as here:
        writer = here.key(Grant(roles=("read", "write", "name"), account="ml", container="models"))
        deleter = here.key(Grant(roles=("read", "name", "delete"), account="ml", container="models"))
        given = {**bearer(writer), "Content-Type": "application/json"}
        theirs = here.values["id"]

        async def bind(key: KeyText, **action: object) -> int:
            body = msgspec.json.encode({"op": "bind", "owned": True, **action})
            headers = {**bearer(key), "Content-Type": "application/json", "x-ambry-named-upsert": "true"}
            return (await here.frontend.call("POST", "/named/ml/models/x/bound", headers, body)).status

        assert await bind(writer, id=theirs) == 403
        begun = (await here.frontend.call("POST", "/uploads", {**given, **MODELS})).json()
        assert (await here.frontend.call("PUT", f"/uploads/{begun['upload']}/1", bearer(writer), b"ours")).status == 200
        assert await bind(writer, id=begun["id"], upload=begun["upload"]) == 400, "it has made no blob yet"
        made = await here.frontend.call("POST", f"/uploads/{begun['upload']}/complete", given, b"")
        assert made.json()["id"] == begun["id"]
        assert await bind(writer, id=theirs, upload=begun["upload"]) == 400, "it made another one"
        assert await bind(writer, id=begun["id"], upload="0" * 32) == 404
        assert await bind(writer, id=begun["id"]) == 403
        assert await bind(writer, id=begun["id"], upload=begun["upload"]) == 200
        assert await bind(deleter, id=theirs) == 200
        assert await bind(deleter, id=begun["id"], upload=begun["upload"]) == 403, "it could not have made it"


async def test_whoever_lets_versions_go_by_themselves_may_delete_them(tmp_path: Path) -> None:
    """A key with `name` alone made the rule by which all others' versions went."""
    async with ground(tmp_path) as here:
        namer = here.key(Grant(roles=("read", "name"), account="ml"))
        both = here.key(Grant(roles=("name", "delete"), account="ml"))
        about = {"accountName": "ml", "containerName": "models", "datasetName": "kept", "versionSchema": "MONOTONIC"}

        async def save(key: KeyText, update: bool = False, **rules: object) -> int:
            headers = {**bearer(key), "Content-Type": "application/json"}
            headers |= {"x-ambry-dataset-update": "true"} if update else {}
            return (await here.frontend.call("POST", DATASETS, headers, msgspec.json.encode({**about, **rules}))).status

        assert await save(namer, retentionPolicy="COUNT_BASED", retentionCount=1) == 403
        assert await save(namer, retentionTimeInSeconds=60) == 403
        assert await save(namer) == 200
        assert await save(namer, True, retentionCount=1) == 403
        assert await save(both, True, retentionCount=1) == 200
        assert await save(namer, True, userTags={"by": "namer"}) == 200, "what stands there stays"
        assert await save(namer, True, retentionCount=-1) == 200, "nothing goes by that"


async def test_a_url_is_signed_for_what_the_key_may_and_does_what_the_key_may_then(tmp_path: Path) -> None:
    async with ground(tmp_path) as here:
        some = [roles for count in (1, 2) for roles in itertools.combinations(ROLES, count)]
        calls = {("GET", "/{id}"), ("GET", NAMED), ("PUT", NAMED), ("PUT", "/"), ("POST", "/"), ("PUT", "/{filename}")}
        for verb, target in sorted(calls | {("PUT", "/uploads/{upload}/{part}")}):
            path = target
            for name, value in here.values.items():
                path = path.replace(f"{{{name}}}", value)
            headers = MODELS if target in ("/", "/{filename}") else {}
            body = b"hello" if verb != "GET" else None
            for roles in some:
                may = allowed(TABLE[verb, target], roles)
                key = here.key(Grant(roles=roles, account="ml"))
                asked = f"/signedUrl?verb={verb}&path={path}"
                answer = await here.frontend.call("GET", asked, {**bearer(key), **headers})
                assert answer.status == (200 if may else 403), (verb, target, roles, answer.body)
                if may:
                    url = answer.json()["target"]
                    used = await here.frontend.call(verb, url, None, body)
                    assert used.status in (200, 201, 409), (verb, target, roles, used.body)
                    here.grant(key)
                    told = (await here.frontend.call(verb, url, None, body)).status
                    assert told == told_strangers(target), (verb, target, roles)
                    here.revoke(key)
                    assert (await here.frontend.call(verb, url, None, body)).status == 401, (verb, target, roles)


async def test_what_was_deleted_is_shown_to_whoever_may_delete(tmp_path: Path) -> None:
    async with ground(tmp_path) as here:
        blob = here.values["id"]
        assert (await here.frontend.call("DELETE", f"/{blob}", bearer(here.root))).status == 202
        option = {"x-ambry-get-option": "Include_Deleted_Blobs"}
        reader = here.key(Grant(roles=("read",), account="ml"))
        both = here.key(Grant(roles=("read", "delete"), account="ml"))
        assert (await here.frontend.call("GET", f"/{blob}", {**bearer(reader), **option})).status == 403
        assert (await here.frontend.call("GET", f"/{blob}", {**bearer(both), **option})).status == 200
