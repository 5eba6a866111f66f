"""Signed URLs over HTTP: what they are good for, and for nothing else."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest

from ambry.clock import SystemClock
from ambry.rest import names
from ambry.rest.access import Grant, KeyText, hash_of
from frontend.access.key_rows import StoredKey
from frontend.access.verified import Access
from frontend.audit.file import AuditFile
from frontend.audit.trail import AuditTrail
from frontend.http import pipeline
from frontend.rest.blob import BlobFinder
from frontend.rest.signed import SIGNABLE
from frontend.rest.upload_headers import CHUNK_HEADERS, ON_UPLOAD
from tests.support.access import access_with, bearer, fresh_key
from tests.support.captured_log import capture_log
from tests.support.fake_cluster import make_cluster
from tests.support.http_frontend import Answer, HttpFrontend, http_frontend
from tests.support.metadata_stores import opened, sqlite_store
from tests.unit.frontend.rest.test_frontend_rest_entry import MODELS, say
from tests.unit.frontend.rest.test_frontend_rest_routes import GOOD, OWN_NAMES

SECRET = bytes(range(32))
APP = "https://app.example"
FROM_APP = {"Origin": APP, "Sec-Fetch-Site": "cross-site"}
NAME = "/named/ml/models/team/fraud"


class Signing:
    """A frontend with an administrator's key."""

    def __init__(self, frontend: HttpFrontend, access: Access, root: KeyText) -> None:
        self.frontend = frontend
        self.access = access
        self.key = bearer(root)

    async def ask(self, path: str, headers: Mapping[str, str] | None = None, **said: Any) -> Answer:
        query = urlencode({"path": path, **{name.replace("_", "-"): value for name, value in said.items()}})
        return await self.frontend.call("GET", f"/signedUrl?{query}", {**self.key, **(headers or {})})

    async def sign(self, path: str, headers: Mapping[str, str] | None = None, **said: Any) -> str:
        """The target of a signed URL."""
        answer = await self.ask(path, headers, **said)
        assert answer.status == 200, answer.body
        assert answer.headers["cache-control"] == "no-store"
        target: str = answer.json()["target"]
        assert answer.json()["url"] == f"http://127.0.0.1{target}"
        return target

    def knows(self, key: KeyText, *grants: Grant) -> None:
        """From now on this is a key, with these grants, and there is no other beside the administrator's."""
        row = StoredKey(name="r", hash=hash_of(key.secret), grants=grants, created_ms=0, created_by="")
        self.access.know([(key.id, row)])

    async def put(self, body: bytes = b"hello") -> str:
        return await self.frontend.put(body, {**self.key, **MODELS})


@contextlib.asynccontextmanager
async def signing(path: Path | None = None, **section: Any) -> AsyncIterator[Signing]:
    """With a metadata store where there is a `path`."""
    cluster = make_cluster(((3,),) * 4, clock=SystemClock())
    root = fresh_key()
    access = access_with(root, cluster.context.clock)
    async with contextlib.AsyncExitStack() as stack:
        store = None if path is None else await stack.enter_async_context(opened(sqlite_store(path / "m")))
        more = {**section, "access": access, "url_secret": SECRET, "metadata": store}
        frontend = await stack.enter_async_context(http_frontend(cluster, **more))
        yield Signing(frontend, access, root)


async def test_a_signed_url_reads_one_blob_and_no_other() -> None:
    async with signing() as on:
        blob, other = await on.put(), await on.put(b"other")
        target = await on.sign(f"/{blob}")
        read = await on.frontend.call("GET", target)
        assert (read.status, read.body) == (200, b"hello")
        assert read.headers["referrer-policy"] == "no-referrer", "a URL that opens something is not told to others"
        assert "public" not in read.headers["cache-control"]
        assert (await on.frontend.call("HEAD", target)).status == 200
        part = await on.frontend.call("GET", target, {"Range": "bytes=1-2"})
        assert (part.status, part.body) == (206, b"el")
        moved = target.replace(blob, other)
        for method, elsewhere in (("GET", moved), ("DELETE", target), ("GET", f"/{blob}/Replicas?{target[2:]}")):
            refused = await on.frontend.call(method, elsewhere)
            assert refused.status == 401, (method, elsewhere, refused.body)
        assert (await on.frontend.call("GET", f"/{blob}")).status == 401, "nothing is open without the URL"


async def test_a_url_is_good_by_itself_and_takes_no_key_beside() -> None:
    async with signing() as on:
        target = await on.sign(f"/{await on.put()}")
        both = await on.frontend.call("GET", target, on.key)
        assert (both.status, both.json()["code"]) == (400, "InvalidRequest")


async def test_a_bug_is_logged_without_the_url_that_showed_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole target stood in the log: whoever read that could use the URL."""
    events = capture_log(monkeypatch, pipeline)
    async with signing() as on:
        blob = await on.put()
        target = await on.sign(f"/{blob}")

        def broken(*_: object, **__: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(BlobFinder, "head", broken)
        assert (await on.frontend.call("HEAD", target)).status == 500
    assert [event["path"] for event in events] == [f"/{blob}"]
    assert target.rpartition("=")[2] not in repr(events)


async def test_a_url_that_was_changed_expired_or_lost_its_key_is_401() -> None:
    async with signing() as on:
        blob = await on.put()
        target = await on.sign(f"/{blob}", expires_in=60)
        for changed in (target[:-1], target + "&max-size=9", target.replace("ambry-expires=1", "ambry-expires=2")):
            assert (await on.frontend.call("GET", changed)).status == 401
        answer = await on.frontend.call("GET", target[:-1])
        assert answer.headers["www-authenticate"].startswith("Bearer") and target[-20:-1] not in answer.body.decode()
        on.access._root = {}
        on.access.know(())
        gone = await on.frontend.call("GET", target)
        assert gone.status == 401 and "revoked" in gone.json()["detail"]


@pytest.mark.parametrize("chunked", [False, True])
async def test_the_size_that_was_signed_holds_however_the_body_comes(chunked: bool) -> None:
    async with signing() as on:
        target = await on.sign("/", MODELS, verb="POST", max_size=100_000)

        async def post(size: int) -> Answer:
            body = bytes(size)
            if not chunked:
                return await on.frontend.call("POST", target, None, body)
            framed = b"%x\r\n%b\r\n0\r\n\r\n" % (size, body)
            return await on.frontend.call("POST", target, {"Transfer-Encoding": "chunked"}, framed)

        assert (await post(100_000)).status == 201
        refused = await post(100_001)
        assert refused.status == 413
        told = "than the 100000 bytes that it may have" if chunked else "100000 bytes that this URL was signed for"
        assert told in refused.json()["detail"], "and it was told as the largest blob of the server"
        small = await on.sign("/", MODELS, verb="POST", max_size=3)
        target = small
        assert ((await post(3)).status, (await post(4)).status) == (201, 413)


async def test_what_a_url_says_is_said_and_its_holder_says_no_more() -> None:
    async with signing() as on:
        headers = {**MODELS, "x-ambry-enc-um-who": "gr%C3%BCn", "x-ambry-ttl": "600", "x-ambry-filename": "a b.png"}
        target = await on.sign("/", headers, verb="PUT", content_type="image/png")
        stored = await on.frontend.call("PUT", target, None, b"hello")
        told = await on.frontend.call("HEAD", f"/{stored.blob_id}", on.key)
        assert (told.headers["x-ambry-enc-um-who"], told.headers["content-type"]) == ("gr%C3%BCn", "image/png")
        assert told.headers["x-ambry-ttl"] == "600"
        assert (await on.frontend.call("PUT", target, {"Content-Type": "image/png"}, b"hello")).status == 201
        for more in (
            {"x-ambry-ttl": "60"},
            {"x-ambry-um-more": "x"},
            {"x-ambry-target-container-name": "other"},
            {"Content-Type": "text/html"},
            {"Content-Type": "image/\udcff"},
        ):
            refused = await on.frontend.call("PUT", target, more, b"hello")
            assert (refused.status, refused.json()["code"]) == (403, "AccessDenied"), more
        same = {"x-ambry-ttl": "600", "x-ambry-service-id": "browser", "x-ambry-digest": told.headers["x-ambry-digest"]}
        assert (await on.frontend.call("PUT", target, same, b"hello")).status == 201
        wrong = {"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="}
        assert (await on.frontend.call("PUT", target, wrong, b"hello")).status == 400


async def test_a_url_signs_for_what_its_key_may_when_it_is_used_and_no_more() -> None:
    async with signing() as on:
        blob = await on.put()
        key = fresh_key()
        on.key = bearer(key)

        def knows(*grants: Grant) -> None:
            on.knows(key, *grants)

        knows(Grant(roles=("read",), account="ml"))
        target = await on.sign(f"/{blob}")
        assert (await on.frontend.call("GET", target)).status == 200
        assert (await on.ask("/", MODELS, verb="PUT")).status == 403, "it may not write"
        assert (await on.ask("/", verb="PUT")).status == 403
        knows(Grant(roles=("write",), account="ml"))
        assert (await on.frontend.call("GET", target)).status == 403
        assert (await on.ask(f"/{blob}")).status == 403
        on.key = {}
        assert (await on.ask(f"/{blob}")).status == 401


async def test_curl_may_put_the_name_of_its_file_behind_the_path_and_nothing_else() -> None:
    """`curl -T small.bin 'http://host/?...'` puts to /small.bin, and its URL was 401."""
    async with signing() as on:
        target = await on.sign("/", MODELS, verb="PUT")
        stored = await on.frontend.call("PUT", f"/a%20b.bin{target[1:]}", None, b"hello")
        told = await on.frontend.call("GET", f"/{stored.blob_id}", on.key)
        assert 'filename="a b.bin"' in told.headers["content-disposition"]
        for path in ("/updateTtl", "/undelete"):
            refused = await on.frontend.call("PUT", f"{path}{target[1:]}", {"x-ambry-blob-id": stored.blob_id})
            assert refused.status == 401, (path, refused.body)
        assert (await on.frontend.call("PUT", f"/accounts{target[1:]}", None, b"hello")).status in (400, 405)
        assert (await on.frontend.call("POST", f"/{stored.blob_id}{target[1:]}", None, b"hello")).status == 405
        named = await on.sign("/", {**MODELS, "x-ambry-filename": "signed.bin"}, verb="PUT")
        stored = await on.frontend.call("PUT", f"/other.bin{named[1:]}", None, b"hello")
        told = await on.frontend.call("GET", f"/{stored.blob_id}", on.key)
        assert 'filename="signed.bin"' in told.headers["content-disposition"]


@pytest.mark.parametrize(
    ("path", "said", "headers"),
    [
        ("/", {"verb": "DELETE"}, {}),
        ("/", {"verb": "PUT", "max_size": "-1"}, {}),
        ("/", {"verb": "PUT", "expires_in": "0"}, {}),
        ("/", {"verb": "PUT", "expires_in": "604801"}, {}),
        ("/", {"verb": "PUT", "once": "yes"}, {}),
        ("/", {"verb": "PUT", "once": "true"}, {}),
        ("/", {"verb": "PUT", "content_type": "png"}, {}),
        ("/", {"verb": "PUT"}, {"x-ambry-ttl": "soon"}),
        ("/", {"verb": "PUT"}, {"x-ambry-get-option": "Include_All"}),
        ("/", {"verb": "PUT"}, {"x-ambry-idempotency-key": "a"}),
        ("/", {"verb": "PUT"}, {"x-ambry-um-a": "%" * 2_000}),
        ("/named", {"verb": "PUT"}, {}),
        ("/accounts", {}, {}),
        ("/signedUrl", {}, {}),
        ("/batch/get", {"verb": "POST"}, {}),
        ("/x?y=1", {"verb": "PUT"}, {}),
        ("x", {"verb": "PUT"}, {}),
        ("/é", {"verb": "PUT"}, {}),
        ("/nothing", {}, {}),
    ],
)
async def test_what_cannot_be_signed_is_said(path: str, said: dict[str, str], headers: dict[str, str]) -> None:
    async with signing() as on:
        answer = await on.ask(path, headers, **said)
        assert 400 <= answer.status < 500, answer.body


async def test_reads_take_no_word_about_a_body() -> None:
    async with signing() as on:
        blob = await on.put()
        for said in ({"max_size": 1}, {"content_type": "image/png"}, {"once": "true"}):
            assert (await on.ask(f"/{blob}", **said)).status == 400


async def test_a_url_for_one_upload_makes_one_blob_whoever_repeats_it(tmp_path: Path) -> None:
    async with signing(tmp_path) as on:
        target = await on.sign("/", MODELS, verb="PUT", once="true")
        first = await on.frontend.call("PUT", target, None, b"hello")
        again = await on.frontend.call("PUT", target, None, b"hello")
        assert first.blob_id == again.blob_id, "an answer that got lost is told again"
        other = await on.frontend.call("PUT", target, None, b"other")
        assert other.status == 409
        keyed = await on.frontend.call("PUT", target, {"x-ambry-idempotency-key": "mine"}, b"other")
        assert keyed.status == 400
        too_long = await on.ask("/", MODELS, verb="PUT", once="true", expires_in=604_800)
        assert too_long.status == 400 and "604740" in too_long.json()["detail"]


async def test_names_are_put_and_read_by_signed_urls(tmp_path: Path) -> None:
    async with signing(tmp_path) as on:
        read = await on.sign(NAME)
        assert (await on.frontend.call("GET", read)).status == 404, "nothing has the name yet"
        put = await on.sign(NAME, {"x-ambry-named-upsert": "true"}, verb="PUT", once="true")
        assert (await on.frontend.call("PUT", put, None, b"one")).status == 201
        got = await on.frontend.call("GET", read)
        assert (got.status, got.body) == (200, b"one")
        assert (await on.frontend.call("GET", f"{read}&history")).status == 401
        assert (await on.frontend.call("PUT", put, None, b"two")).status == 409
        assert (await on.ask(f"{NAME}?history")).status == 400


async def test_only_a_url_that_says_so_lets_a_name_point_to_another_blob(tmp_path: Path) -> None:
    """If-Match lets a name move where nothing is said of upsert, so the holder of a URL for a new name could write over it."""
    async with signing(tmp_path) as on:
        new, over = await on.sign(NAME, verb="PUT"), await on.sign(NAME, {names.NAMED_UPSERT: "true"}, verb="PUT")
        first = await on.frontend.call("PUT", new, None, b"one")
        assert first.status == 201
        for tag in ("*", first.headers["etag"]):
            refused = await on.frontend.call("PUT", new, {"If-Match": tag}, b"two")
            assert (refused.status, refused.json()["code"]) == (403, "AccessDenied"), tag
        assert (await on.frontend.call("GET", await on.sign(NAME))).body == b"one"
        assert (await on.frontend.call("PUT", over, {"If-Match": '"other"'}, b"two")).status == 412
        assert (await on.frontend.call("PUT", over, {"If-Match": first.headers["etag"]}, b"two")).status == 201
        assert (await on.frontend.call("GET", await on.sign(NAME), {"If-Match": "*"})).body == b"two"


async def test_a_key_for_some_names_signs_for_those_alone(tmp_path: Path) -> None:
    async with signing(tmp_path) as on:
        blob = await on.put()
        key = fresh_key()
        on.knows(key, Grant(roles=("read", "write", "name"), account="ml", container="models", prefix="team/"))
        on.key = bearer(key)
        put = await on.sign(NAME, verb="PUT")
        assert (await on.frontend.call("PUT", put, None, b"one")).status == 201
        assert (await on.frontend.call("GET", await on.sign(NAME))).body == b"one"
        for path in (f"/{blob}", "/named/ml/models/other", "/named/ml/others/team/fraud"):
            assert (await on.ask(path)).status in (400, 403), path
        assert (await on.ask("/named/ml/models/other", verb="PUT")).status == 403
        # Wherever the roles end when the URL is used, it ends.
        on.knows(key, Grant(roles=("read", "write", "name"), account="ml", container="models", prefix="team/x"))
        assert (await on.frontend.call("PUT", put, None, b"two")).status == 403


async def test_a_version_of_a_dataset_is_put_and_read_by_signed_urls(tmp_path: Path) -> None:
    async with signing(tmp_path) as on:
        said = {"accountName": "ml", "containerName": "models", "datasetName": "d", "versionSchema": "MONOTONIC"}
        asked = {**on.key, "Content-Type": "application/json"}
        made = await on.frontend.call("POST", "/accounts/containers/datasets", asked, msgspec.json.encode(said))
        assert made.status == 200, made.body
        versioned = {names.DATASET_VERSION_QUERY: "true"}
        put = await on.sign("/named/ml/models/d/1", versioned, verb="PUT")
        assert (await on.frontend.call("PUT", put, None, b"one")).status == 201
        assert (await on.frontend.call("PUT", put, None, b"one")).status == 409, "a version never changes"
        newest = await on.sign("/named/ml/models/d/LATEST", versioned)
        assert (await on.frontend.call("GET", newest)).body == b"one"
        plain = {names.DATASET_VERSION_QUERY: "false"}
        assert (await on.frontend.call("GET", newest, plain)).status == 403


async def test_parts_and_chunks_come_by_signed_urls(tmp_path: Path) -> None:
    async with signing(tmp_path) as on:
        frontend = on.frontend
        upload = (await frontend.call("POST", "/uploads", {**on.key, **MODELS})).headers["location"]
        part = await on.sign(f"{upload}/1", verb="PUT", max_size=5)
        assert (await frontend.call("PUT", part, None, b"hello")).status == 200
        assert (await frontend.call("PUT", part, None, b"hello!")).status == 413
        assert (await on.ask(f"{upload}/complete", verb="POST")).status == 400
        assert (await frontend.call("POST", f"{upload}/complete", on.key)).status == 201
        said = {"x-ambry-chunk-upload": "true", "x-ambry-session": "s1", "x-ambry-max-upload-size": "9"}
        assert (await on.ask("/", {**MODELS, **said}, verb="POST", once="true")).status == 400
        chunk = await on.sign("/", {**MODELS, **said}, verb="POST", max_size=5)
        assert (await frontend.call("POST", chunk, None, b"hello!")).status == 413
        stored = await frontend.call("POST", chunk, None, b"hello")
        listed = b'{"signedChunkIds":["%b"]}' % stored.json()["signedId"].encode()
        assert (await frontend.call("POST", "/stitch", {**on.key, **MODELS}, listed)).status == 201


async def test_a_page_uploads_by_a_signed_url_where_the_container_lets_it_in() -> None:
    async with signing() as on:
        target = await on.sign("/", MODELS, verb="PUT", content_type="image/png")
        asks = {
            "Origin": APP,
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "content-type",
        }
        page = {**FROM_APP, "Content-Type": "image/png"}
        assert (await on.frontend.call("OPTIONS", target, asks)).status == 403
        assert (await on.frontend.call("PUT", target, page, b"hello")).status == 403
        say(on.frontend, access_control_allow_origin=APP)
        told = await on.frontend.call("OPTIONS", target, asks)
        assert (told.status, told.headers["access-control-allow-origin"]) == (204, APP)
        assert told.headers["access-control-allow-headers"] == "content-type"
        stored = await on.frontend.call("PUT", target, page, b"hello")
        assert (stored.status, stored.headers["access-control-allow-origin"]) == (201, APP)
        # A page may read why its request is refused: so it is let send that.
        assert (await on.frontend.call("OPTIONS", target[:-1], asks)).status == 204
        refused = await on.frontend.call("PUT", target[:-1], page, b"hello")
        assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, APP)
        stranger = await on.frontend.call("PUT", target[:-1], {**page, "Origin": "https://other.example"}, b"hello")
        assert stranger.status == 401 and "access-control-allow-origin" not in stranger.headers
        read = await on.sign(f"/{stored.blob_id}")
        assert (await on.frontend.call("GET", read, FROM_APP)).headers["access-control-allow-origin"] == APP


@pytest.mark.parametrize("name", [*OWN_NAMES, "x-ambry-nonsense"])
async def test_every_header_is_of_the_call_or_refused(name: str) -> None:
    async with signing() as on:
        value = {**GOOD, names.MAX_UPLOAD_SIZE: "9", names.CHUNK_UPLOAD: "true"}.get(name, "a")
        answer = await on.ask("/", {name: value}, verb="PUT")
        taken = name in (SIGNABLE & ON_UPLOAD) | CHUNK_HEADERS | {names.SERVICE_ID}
        assert answer.status == (200 if taken else 400), answer.body
        assert taken or name in answer.json()["detail"]


async def test_conditions_hold_for_it_too() -> None:
    async with signing() as on:
        for name, value, status in (("If-Match", "*", 200), ("If-Match", '"a"', 412), ("If-None-Match", "*", 304)):
            assert (await on.ask("/", {name: value}, verb="PUT")).status == status


async def test_a_frontend_without_a_secret_says_so() -> None:
    async with http_frontend() as frontend:
        answer = await frontend.call("GET", "/signedUrl?path=/x")
        assert answer.status == 501
        # What is no signature is a query key like any other.
        assert (await frontend.call("GET", "/x?ambry-signaturex=1")).status == 400


@pytest.mark.parametrize(
    ("proxies", "proto", "scheme"), [(["127.0.0.1"], "https", "https"), (["127.0.0.1"], "x", "http"), ([], "https", "http")]
)  # fmt: skip
async def test_a_url_begins_as_a_trusted_proxy_was_asked(proxies: list[str], proto: str, scheme: str) -> None:
    async with signing(trusted_proxies=proxies) as here:
        answer = await here.ask("/", {"X-Forwarded-Proto": proto, "Host": "blobs.localhost"}, verb="PUT")
        assert answer.status == 421
        answer = await here.ask("/", {"X-Forwarded-Proto": proto, "Host": "localhost:1"}, verb="PUT")
        assert answer.json()["url"] == f"{scheme}://localhost:1{answer.json()['target']}"


async def test_the_audit_tells_who_may_upload_by_a_url_as_it_tells_of_keys(tmp_path: Path) -> None:
    """A URL for uploads was handed out, and no line said by whom."""
    async with signing(tmp_path) as here:
        handler = here.frontend.server.request_handler
        assert isinstance(handler, pipeline.Pipeline)
        file = AuditFile(tmp_path / "audit", rotate_bytes=1 << 20, keep=1)
        trail = handler.log.audit = AuditTrail(file, clock=SystemClock())
        await here.sign(NAME)
        await here.sign(NAME, verb="PUT", max_size=1_000, expires_in=60)
        assert (await here.ask("/stitch", verb="PUT")).status == 400
        await trail.close()
    made, refused = [json.loads(line) for line in (tmp_path / "audit").read_bytes().splitlines()]
    assert (made["op"], made["signed_for"], made["signed_path"]) == ("sign", "PUT named_put", NAME)
    assert made["key"] and made["account"] == "ml" and made["signed_bytes_max"] == 1_000 and made["signed_until_s"]
    assert refused["status"] == 400 and "ambry-signature" not in str(made)
