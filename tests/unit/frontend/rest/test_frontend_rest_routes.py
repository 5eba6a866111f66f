"""The table of routes, walked: every header on every route, every condition on every route, every method on every target."""

from __future__ import annotations

import pytest

from ambry.blob import BlobState
from ambry.clock import SystemClock
from ambry.ids import BlobId
from ambry.rest import names
from frontend.access.verified import trusting
from frontend.config import FrontendConfig, FrontendSection
from frontend.containers.resolver import Containers
from frontend.http.conditions import CONDITIONAL
from frontend.http.route import Route
from frontend.rest.api import AmbryApi
from frontend.rest.upload_headers import CHUNK_HEADERS
from tests.support.fake_cluster import make_cluster, some_id
from tests.support.http_frontend import ACCOUNTS, Answer, HttpFrontend, http_frontend

OWN_NAMES = sorted(value for name, value in vars(names).items() if name.isupper() and not name.endswith("_PREFIX"))
"""Every header name of the API, also those that are only ever told."""

GOOD = {
    names.TTL: "100", names.PRIVATE: "true", names.DURABILITY: "disk", names.ACCOUNT_NAME: "default",
    names.CONTAINER_NAME: "default", names.CONTENT_TYPE: "a/b", names.CONTENT_ENCODING: "gzip", names.GET_OPTION: "None",
    names.CLUSTER_NAME: "test", names.STATS_TYPE: "ACCOUNT_REPORT",
    names.RESOLVE_RANGE_ON_EMPTY_BLOB: "true", names.DIGEST: "2d06800538d394c2c21a4fb0e2f8b4f0",
}  # fmt: skip


def routes() -> tuple[Route, ...]:
    config = FrontendConfig(frontend=FrontendSection(name="f1", datacenter="dc1"))
    clock = SystemClock()
    router = make_cluster(((3,),), clock=clock).context
    access = trusting(clock)
    return AmbryApi(router, Containers(ACCOUNTS), config=config, clock=clock, access=access, unready=list).routes


# The table is a value that needs an event loop to be built; its shape is read once.
TABLE = [
    ("POST", "/"), ("PUT", "/"), ("PUT", "/{filename}"), ("GET", "/{id}"), ("HEAD", "/{id}"), ("DELETE", "/{id}"),
    ("GET", "/{id}/Segment/{n}"), ("HEAD", "/{id}/Segment/{n}"), ("GET", "/{id}/BlobInfo"), ("HEAD", "/{id}/BlobInfo"),
    ("GET", "/{id}/UserMetadata"), ("HEAD", "/{id}/UserMetadata"), ("GET", "/{id}/Replicas"), ("HEAD", "/{id}/Replicas"),
    ("GET", "/{id}/BlobChunkIds"), ("HEAD", "/{id}/BlobChunkIds"), ("PUT", "/updateTtl"), ("PUT", "/undelete"), ("GET", "/"),
    ("HEAD", "/"), ("GET", "/healthCheck"), ("HEAD", "/healthCheck"), ("GET", "/healthz"), ("HEAD", "/healthz"),
    ("GET", "/readyz"), ("HEAD", "/readyz"), ("GET", "/version"), ("HEAD", "/version"),
    ("GET", "/getClusterMapSnapshot"), ("HEAD", "/getClusterMapSnapshot"), ("GET", "/statsReport"), ("HEAD", "/statsReport"),
    ("GET", "/openapi.json"), ("HEAD", "/openapi.json"), ("GET", "/docs"), ("HEAD", "/docs"),
]  # fmt: skip
UPLOADS = [(method, target) for method, target in TABLE if method == "POST" or target in ("/{filename}",)] + [
    ("PUT", "/")
]
OK = {"PUT": 201, "POST": 201, "GET": 200, "HEAD": 200, "DELETE": 202}


WALKED_ELSEWHERE: frozenset[str] = frozenset({"accounts", "batch", "named", "peers", "signedurl", "uploads"})
"""First segments, in lower case, of resources that need requests of another kind: each has a test of its own that tries every
header and every condition on every route."""


async def test_the_table_is_the_one_that_is_walked_here() -> None:
    table = routes()
    walked = [route for route in table if route.target[1:].split("/")[0].lower() not in WALKED_ELSEWHERE]
    assert sorted((method, route.target) for route in walked for method in route.methods) == sorted(TABLE)
    for route in walked:
        assert route.changes == bool({"POST", "PUT", "DELETE"} & set(route.methods))
        assert route.takes_body == (route.op == "put")
    for route in table:
        assert route.select is not None, "conditions hold for every method"
        assert all(name == name.lower() for name in route.headers)


async def ask(
    frontend: HttpFrontend, method: str, target: str, headers: dict[str, str], blob_id: str | None = None
) -> Answer:
    """A request that the route takes well, but for what `headers` make of it."""
    if blob_id is None:
        blob_id = await frontend.put(b"hello")
        if target == "/undelete":
            await frontend.call("DELETE", f"/{blob_id}")
    given = {names.BLOB_ID: blob_id} if target in ("/updateTtl", "/undelete") else {}
    path = target.format(id=blob_id, filename="a.bin", n=0)
    body = b"hello" if (method, target) in UPLOADS else None
    return await frontend.call(method, path, {**given, **headers}, body)


def expected(method: str, target: str) -> int:
    return 200 if target in ("/updateTtl", "/undelete") else OK[method]


@pytest.mark.parametrize(("method", "target"), TABLE)
async def test_every_header_of_the_api_is_understood_or_refused_on_every_route(method: str, target: str) -> None:
    """A header that means nothing on a call was once ignored, and its sender believed it had been heard."""
    table = {(each, route.target): route for route in routes() for each in route.methods}
    route = table[(method, target)]
    async with http_frontend() as frontend:
        for name in [*OWN_NAMES, "x-ambry-nonsense", "x-ambry-um-a", "x-ambry-enc-um-a"]:
            if name == names.BLOB_ID and name in route.headers:
                continue
            answer = await ask(frontend, method, target, {name: GOOD.get(name, "a")})
            if name in route.headers or name.startswith(route.header_prefixes):
                # It is understood, and is not the body's; without a metadata store nothing remembers a key.
                wanted = (
                    400 if name in (names.DIGEST, names.IDEMPOTENCY_KEY, *CHUNK_HEADERS) else expected(method, target)
                )
            else:
                wanted = 400
            assert answer.status == wanted, (name, answer.status, answer.body)
            if wanted == 400 and method != "HEAD":
                assert name in answer.json()["detail"] or name == names.DIGEST
        for field in ("Content-Range", "Idempotency-Key", "Want-Content-Digest", "If", "X-HTTP-Method-Override"):
            assert (await ask(frontend, method, target, {field: "bytes 0-1/2"})).status == 400, field
        assert (await ask(frontend, method, f"{target}?x=1", {})).status == 400


NEVER = {
    "if-match": '"other"',
    "if-unmodified-since": "Sun, 06 Nov 1994 08:49:37 GMT",
    "if-none-match": "*",
}
ALWAYS = {
    "if-match": "*",
    "if-unmodified-since": "Fri, 06 Nov 2099 08:49:37 GMT",
    "if-none-match": '"other"',
    "if-modified-since": "Sun, 06 Nov 1994 08:49:37 GMT",
}


def holds_never(method: str, target: str, name: str) -> int:
    """The answer to a condition that does not hold (RFC 9110 section 13.1)."""
    dateless = not target.startswith(("/{id}", "/u")) or target.count("/") > 1 or (method, target) in UPLOADS
    if name == "if-unmodified-since" and dateless:
        return expected(method, target)  # 13.1.4: ignored where there is no date
    if name == "if-none-match":
        if (method, target) in UPLOADS:
            return 201  # nothing is there yet
        return 304 if method in ("GET", "HEAD") else 412
    return 412


@pytest.mark.parametrize(("method", "target"), TABLE)
async def test_every_condition_holds_for_every_route(method: str, target: str) -> None:
    """A DELETE whose If-Match was false once deleted."""
    async with http_frontend() as frontend:
        for name, value in NEVER.items():
            before = len(frontend.cluster.pool.visible())
            blob_id = await frontend.put(b"hello")
            if target == "/undelete":
                await frontend.call("DELETE", f"/{blob_id}")
            answer = await ask(frontend, method, target, {name: value}, blob_id)
            wanted = holds_never(method, target, name)
            assert answer.status == wanted, (name, answer.status, answer.body)
            if wanted == 412:
                state = 410 if target == "/undelete" else 200
                assert (await frontend.call("GET", f"/{blob_id}")).status == state, "nothing was changed"
                assert (await frontend.call("GET", f"/{blob_id}", {names.GET_OPTION: "Include_All"})).headers[
                    names.TTL
                ] == "-1"
                assert len(frontend.cluster.pool.visible()) == before + (state == 200)
        for name, value in ALWAYS.items():
            answer = await ask(frontend, method, target, {name: value})
            wanted = 412 if name == "if-match" and (method, target) in UPLOADS else expected(method, target)
            assert answer.status == wanted, (name, answer.status, answer.body)
        assert set(ALWAYS) == set(CONDITIONAL)
        for name in ("if-match", "if-none-match"):
            assert (await ask(frontend, method, target, {name: "no tag"})).status == 400


@pytest.mark.parametrize(("method", "target"), TABLE)
async def test_the_tag_of_the_blob_is_what_its_conditions_are_about(method: str, target: str) -> None:
    if not (target == "/{id}" or target in ("/updateTtl", "/undelete")):
        return
    async with http_frontend() as frontend:
        etag = (await frontend.call("POST", "/", body=b"hello")).headers["etag"]
        for value in (etag, f'"x" , {etag}'):
            assert (await ask(frontend, method, target, {"If-Match": value})).status == expected(method, target)
        assert (await ask(frontend, method, target, {"If-Match": f"W/{etag}"})).status == 412
        for value in (etag, f"W/{etag}"):
            changed = (await ask(frontend, method, target, {"If-None-Match": value})).status
            assert changed == (304 if method in ("GET", "HEAD") else 412)


async def test_what_is_not_there_is_said_before_any_condition() -> None:
    """RFC 9110 section 13.2.1: conditions are ignored where the answer without them would be no success."""
    async with http_frontend() as frontend:
        missing = str(some_id())
        for condition in ({"If-Match": "*"}, {"If-None-Match": "*"}, {"If-Match": '"x"'}):
            for method, path in (("GET", f"/{missing}"), ("DELETE", f"/{missing}"), ("GET", f"/{missing}/BlobInfo")):
                assert (await frontend.call(method, path, condition)).status == 404
            for path in ("/updateTtl", "/undelete"):
                assert (await frontend.call("PUT", path, {names.BLOB_ID: missing, **condition})).status == 404


async def test_a_deleted_blob_is_nothing_to_a_delete() -> None:
    async with http_frontend() as frontend:
        blob_id = await frontend.put(b"hello")
        await frontend.call("DELETE", f"/{blob_id}")
        assert (await frontend.call("DELETE", f"/{blob_id}", {"If-Match": "*"})).status == 412
        assert (await frontend.call("DELETE", f"/{blob_id}", {"If-None-Match": "*"})).status == 202
        assert (await frontend.call("DELETE", f"/{blob_id}")).status == 202


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/", "GET, HEAD, OPTIONS, POST, PUT"),
        ("/{id}", "DELETE, GET, HEAD, OPTIONS, PUT"),
        ("/{id}/BlobInfo", "GET, HEAD, OPTIONS"),
        ("/{id}/blobinfo", "GET, HEAD, OPTIONS"),
        ("/{id}/Segment/0", "GET, HEAD, OPTIONS"),
        ("/healthCheck", "GET, HEAD, OPTIONS"),
        ("/updateTtl", "OPTIONS, PUT"),
        ("/UNDELETE", "OPTIONS, PUT"),
    ],
)
async def test_every_target_says_which_methods_it_takes(path: str, allowed: str) -> None:
    """RFC 9110 sections 9.3.7, 10.2.1 and 15.5.6."""
    async with http_frontend() as frontend:
        path = path.format(id=some_id())
        options = await frontend.call("OPTIONS", path)
        assert (options.status, options.headers["allow"], options.body) == (204, allowed, b"")
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "QUERY"):
            answer = await frontend.call(method, path)
            assert (answer.status == 405) == (method not in allowed.split(", ")), (method, answer.status)
            if answer.status == 405:
                assert answer.headers["allow"] == allowed


async def test_options_of_everything() -> None:
    async with http_frontend() as frontend:
        for target in ("*", "http://localhost"):
            answer = await frontend.call("OPTIONS", target, {"If-Match": '"x"'})
            assert (answer.status, answer.headers["allow"]) == (204, "DELETE, GET, HEAD, OPTIONS, POST, PUT")


async def test_equal_targets_are_one_target() -> None:
    """RFC 3986 section 6.2.2.2: an unreserved character and its percent-encoding are the same."""
    async with http_frontend() as frontend:
        blob_id = await frontend.put(b"hello")
        encoded = "".join(f"%{ord(c):02x}" for c in blob_id)
        for path in (f"/{encoded}", f"http://localhost/{blob_id}", f"/{encoded}/%42lobInfo"):
            answer = await frontend.call("GET", path)
            assert answer.status == 200, path
            assert BlobId.parse(blob_id) is not None
        answer = await frontend.call("PUT", "/%75pdateTtl", {names.BLOB_ID: blob_id, names.TTL: "5"})
        assert (answer.status, answer.headers[names.TTL]) == (200, "-1")


async def test_a_segment_is_one_chunk() -> None:
    async with http_frontend() as frontend:
        size = frontend.cluster.context.config.chunk_size_bytes
        body = bytes(range(256)) * (size // 256) * 2 + b"tail"
        blob_id = await frontend.put(body)
        for number, expected_body in enumerate((body[:size], body[size : 2 * size], b"tail")):
            got = await frontend.call("GET", f"/{blob_id}/Segment/{number}")
            assert (got.status, got.body) == (200, expected_body)
            head = await frontend.call("HEAD", f"/{blob_id}/segment/{number}")
            assert head.headers["content-length"] == str(len(expected_body))
            assert head.headers[names.DIGEST] == got.headers[names.DIGEST]
        single = await frontend.put(b"small")
        assert (await frontend.call("GET", f"/{single}/Segment/0")).body == b"small"
        empty = await frontend.put(b"")
        assert (await frontend.call("GET", f"/{empty}/Segment/0")).body == b""
        for bad in ("3", "-1", "x", "9" * 5000 if len(blob_id) < 0 else "9" * 3000, "%30%30x"):
            assert (await frontend.call("GET", f"/{blob_id}/Segment/{bad}")).status == 400


async def test_the_three_options_of_a_read_show_three_things() -> None:
    async with http_frontend() as frontend:
        blob_id = await frontend.put(b"hello")
        await frontend.call("DELETE", f"/{blob_id}")
        expired = await frontend.put(b"hello")
        for peer in frontend.cluster.pool:
            known = peer.records[BlobId.parse(expired).raw]
            known.state = BlobState(0, False, 1)
        for option, of_deleted, of_expired in (
            ("None", 410, 410),
            ("Include_Deleted_Blobs", 200, 410),
            ("include_expired_blobs", 410, 200),
            ("Include_All", 200, 200),
        ):
            for method in ("GET", "HEAD"):
                headers = {names.GET_OPTION: option}
                seen = await frontend.call(method, f"/{blob_id}", headers)
                assert seen.status == of_deleted, (option, method)
                if seen.status == 200:
                    assert seen.headers["cache-control"] == "no-store"
                assert (await frontend.call(method, f"/{expired}", headers)).status == of_expired, (option, method)


async def test_a_refusal_says_where_to_go() -> None:
    async with http_frontend() as frontend:
        blob_id = await frontend.put(b"x")
        for method, path, said in (
            ("POST", "/foo.bin", "/foo.bin takes DELETE, GET, HEAD, OPTIONS, PUT, and not POST"),
            ("DELETE", "/", "/ takes GET, HEAD, OPTIONS, POST, PUT, and not DELETE"),
            ("GET", "/metrics", "/metrics is neither a page of this port nor a blob id"),
            ("GET", "/console", "are on the admin port"),
        ):
            refused = await frontend.call(method, path)
            assert said in refused.json()["detail"], refused.body
        own_id = await frontend.call("GET", f"/{blob_id}", {"x-ambry-request-id": "mine"})
        assert own_id.status == 400 and "gives each request its id" in own_id.json()["detail"]
