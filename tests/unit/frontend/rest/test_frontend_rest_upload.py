from __future__ import annotations

import asyncio

import pytest

from ambry.blob import NEVER_MS, BlobProperties
from ambry.clock import SystemClock
from ambry.durability import Durability
from ambry.errors import HeadersTooLarge, InvalidRequest
from ambry.format.properties import decode_metadata
from ambry.rest.text import TEXT_SIZE_MAX
from ambry.rest.values import TTL_SECONDS_MAX
from frontend.containers.resolver import Containers
from frontend.rest.entry import known_target
from frontend.rest.upload import RESERVED
from frontend.rest.upload_headers import expiry, put_spec
from frontend.router.values import PutSpec
from tests.support.fake_cluster import make_cluster
from tests.support.http_frontend import ACCOUNTS, http_frontend, request, until, ways

__all__ = ["ways"]

NOW = 1_700_000_000_000


def spec(headers: dict[str, str], filename: str = "") -> PutSpec:
    return put_spec({name.lower(): value for name, value in headers.items()}, filename=filename, now_ms=NOW)


def target(headers: dict[str, str]) -> tuple[int, int]:
    found = known_target(headers, Containers(ACCOUNTS))
    assert found is not None
    return found.account_id, found.container_id


def test_an_upload_without_headers_has_the_defaults() -> None:
    made = spec({})
    assert target({}) == (1, 1)
    assert made.expires_at_ms == NEVER_MS
    assert (made.durability, made.metadata) == (Durability.DISK, b"")
    assert made.properties == BlobProperties(size=0, digest=b"")


def test_an_upload_says_what_it_wants() -> None:
    headers = {
        "x-ambry-content-type": "image/png",
        "Content-Type": "application/x-www-form-urlencoded",
        "x-ambry-target-account-name": "ml",
        "x-ambry-target-container-name": "models",
        "x-ambry-ttl": "60",
        "x-ambry-private": "TRUE",
        "x-ambry-durability": "Geo",
        "x-ambry-um-A": "b",
    }
    made = spec(headers, filename="from-path")
    assert target(headers) == (7, 70)
    assert made.durability is Durability.GEO
    assert made.expires_at_ms == NOW + 60_000
    assert (made.properties.content_type, made.properties.private) == ("image/png", True)
    assert made.properties.filename == "from-path"
    assert decode_metadata(made.metadata) == {"a": "b"}


@pytest.mark.parametrize(
    "headers",
    [
        {"x-ambry-private": "yes"},
        {"x-ambry-durability": "eternal"},
        {"x-ambry-durability": ""},
        {"x-ambry-service-id": "é"},
        {"x-ambry-owner-id": "a" * (TEXT_SIZE_MAX + 1)},
        {"Content-Type": "\udcff"},
        {"Content-Type": ""},
        {"Content-Type": "text/plain, text/html"},
        {"x-ambry-content-type": "text"},
        {"Content-Encoding": "gzip,,br"},
        {"x-ambry-filename": "a\x00b"},
        {"x-ambry-filename": "\udcff"},
        {"x-ambry-filename": "a/b"},
        {"x-ambry-enc-filename": "%FF"},
        {"x-ambry-filename": "a", "x-ambry-enc-filename": "b"},
        {"x-ambry-ttl": "9" * 5000},
    ],
)
def test_what_cannot_be_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest):
        spec(headers)


# --- time to live ---


def test_a_time_to_live_becomes_an_expiry() -> None:
    assert expiry(None, NOW) == expiry("-1", NOW) == NEVER_MS
    assert expiry("7", NOW) == NOW + 7000
    assert expiry(str(TTL_SECONDS_MAX), NOW) < NEVER_MS


# --- user metadata ---


def test_user_metadata_is_stored_as_text_whichever_way_it_came() -> None:
    headers = {"X-Ambry-UM-Title": "été", "x-ambry-enc-um-a": "x%0D%0Ay%00"}
    assert decode_metadata(spec(headers).metadata) == {"title": "été", "a": "x\r\ny\x00"}


def test_user_metadata_beyond_its_bounds_as_it_will_go_out_is_refused() -> None:
    """Two bytes of UTF-8 go out as six: what was taken by its size in the request could not be read back by every client."""
    with pytest.raises(HeadersTooLarge):
        spec({"x-ambry-um-k": "é" * 2000})


# --- PUT /<filename> ---


@pytest.mark.parametrize(
    "name", [*sorted(RESERVED - {"updatettl", "undelete"}), "_", "_x.bin", "NAMED", "%6eamed", "%5Fx"]
)
@pytest.mark.usefixtures("ways")
async def test_a_name_of_the_api_s_own_is_no_file_name(name: str) -> None:
    """What stands there later must not have been a blob's name before."""
    async with http_frontend() as frontend:
        refused = await frontend.call("PUT", f"/{name}", body=b"x")
        assert refused.status == 400 and "of the API's own" in refused.json()["detail"]
        assert frontend.cluster.pool.visible() == set()


@pytest.mark.usefixtures("ways")
async def test_a_name_that_only_begins_like_one_is_a_file_name() -> None:
    async with http_frontend() as frontend:
        for name in ("named.bin", "docs.tar", "a_b"):
            blob_id = (await frontend.call("PUT", f"/{name}", body=b"x")).blob_id
            assert (await frontend.call("HEAD", f"/{blob_id}")).headers["x-ambry-filename"] == name


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.usefixtures("ways")
async def test_both_verbs_upload_and_a_path_is_a_filename(method: str) -> None:
    async with http_frontend() as frontend:
        plain = await frontend.call(method, "/", body=b"x")
        assert plain.status == 201
        named = await frontend.call("PUT", "/mod%C3%A8le%20a.bin", body=b"x")
        told = (await frontend.call("HEAD", named.headers["location"])).headers
        assert told["x-ambry-enc-filename"] == "mod%C3%A8le%20a.bin"
        given = await frontend.call("PUT", "/a.bin", {"x-ambry-filename": "b.bin"}, b"x")
        assert (await frontend.call("HEAD", given.headers["location"])).headers["x-ambry-filename"] == "b.bin"


# --- bodies that are here as a whole, and others ---


@pytest.mark.parametrize(
    ("size", "chunked"),
    [(0, True), *((size, chunked) for size in (1, 4096, 15_000, 40_000) for chunked in (False, True))],
)
@pytest.mark.usefixtures("ways")
async def test_a_body_is_the_same_blob_whether_it_comes_with_its_head_or_in_pieces(size: int, chunked: bool) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    framed = b"%x\r\n%s\r\n0\r\n\r\n" % (size, body) if chunked and size else b"0\r\n\r\n" if chunked else body
    data = request("POST", "/", {"Transfer-Encoding": "chunked"} if chunked else None, framed)
    async with http_frontend() as frontend:
        at_once = await frontend.exchange(data)
        async with frontend.connected() as client:
            head = data.index(b"\r\n\r\n") + 4
            await client.send(data[:head])
            await until(lambda: frontend.cluster.context.budget.free < frontend.cluster.context.budget.size, "it waits")
            await client.send(data[head:])
            in_pieces = await client.answer()
        for answer in (at_once, in_pieces):
            assert answer.status == 201
            assert (await frontend.call("GET", f"/{answer.blob_id}")).body == body
        assert frontend.cluster.context.budget.free == frontend.cluster.context.budget.size


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.usefixtures("ways")
async def test_a_body_over_the_bound_is_refused_also_when_it_comes_at_once(chunked: bool) -> None:
    body = b"x" * 101
    framed = b"65\r\n%s\r\n0\r\n\r\n" % body if chunked else body
    async with http_frontend(blob_size_max=100) as frontend:
        refused = await frontend.call("POST", "/", {"Transfer-Encoding": "chunked"} if chunked else None, framed)
        assert refused.status == 413
        assert frontend.cluster.pool.visible() == set()
        assert frontend.cluster.context.budget.free == frontend.cluster.context.budget.size


@pytest.mark.usefixtures("ways")
async def test_a_form_is_refused_unless_its_bytes_are_meant() -> None:
    """`curl -F` and `requests.post(files=)` once stored the envelope of the form around the file, and said 201."""
    form = {"Content-Type": "Multipart/Form-Data; boundary=b"}
    async with http_frontend() as frontend:
        for body in (b"x", b"x" * 300_000):
            refused = await frontend.call("POST", "/", form, body)
            assert (refused.status, refused.headers["x-ambry-error-code"]) == (415, "MediaTypeUnsupported")
            assert "send the file itself" in refused.json()["detail"]
        meant = await frontend.call(
            "POST", "/", {**form, "x-ambry-content-type": "multipart/form-data; boundary=b"}, b"x"
        )
        head = await frontend.call("HEAD", f"/{meant.blob_id}")
        assert head.headers["content-type"] == "multipart/form-data; boundary=b"


@pytest.mark.parametrize(
    ("headers", "stored"),
    [
        ({"content-type": "application/x-www-form-urlencoded"}, "application/octet-stream"),
        ({"content-type": "Application/X-WWW-Form-Urlencoded;charset=utf-8"}, "application/octet-stream"),
        ({"x-ambry-content-type": "application/x-www-form-urlencoded"}, "application/x-www-form-urlencoded"),
        ({"content-type": "multipart/mixed; boundary=a"}, "multipart/mixed; boundary=a"),
    ],
)
def test_what_curl_says_of_any_data_unasked_is_not_taken_for_its_type(headers: dict[str, str], stored: str) -> None:
    assert spec(headers).properties.content_type == stored


@pytest.mark.parametrize("suffix", ["", ".safetensors"])
@pytest.mark.usefixtures("ways")
async def test_a_put_onto_an_id_makes_no_blob_and_says_why(suffix: str) -> None:
    """It once made a new blob that had the id for its file name, and the user thought the old one was overwritten."""
    async with http_frontend() as frontend:
        blob_id = await frontend.put(b"x")
        refused = await frontend.call("PUT", f"/{blob_id}{suffix}", {}, b"y")
        assert refused.status == 400 and "never changes" in refused.json()["detail"]
        assert (await frontend.call("PUT", f"/{blob_id[:-1]}", {}, b"y")).status == 201


@pytest.mark.usefixtures("ways")
async def test_geo_needs_a_second_datacenter() -> None:
    """It once was 503, which clients repeat, though it could never succeed."""
    async with http_frontend() as frontend:
        refused = await frontend.call("POST", "/", {"x-ambry-durability": "geo"}, b"x")
        assert refused.status == 400 and "second datacenter" in refused.json()["detail"]
    async with http_frontend(make_cluster(((3, 3),) * 4, clock=SystemClock())) as frontend:
        assert (await frontend.call("POST", "/", {"x-ambry-durability": "geo"}, b"x")).status == 201


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("connection", ["close", "Close, X-Other", "close, keep-alive", "keep-alive"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.usefixtures("ways")
async def test_an_upload_of_any_version_is_taken_whatever_its_connection_is_to_become(
    version: str, connection: str, apart: bool
) -> None:
    """HTTP/1.0 with `Connection: close` is what many proxies send; its body was not read, and the request hung."""
    body = b"x" * 5000
    head = (
        f"POST / HTTP/{version}\r\nHost: 127.0.0.1\r\nContent-Length: 5000\r\nConnection: {connection}\r\n\r\n".encode()
    )
    async with http_frontend() as frontend, frontend.connected() as client:
        for piece in (head, body[:10], body[10:]) if apart else (head + body,):
            await client.send(piece)
            await asyncio.sleep(0)
        answer = await client.answer()
        assert answer.status == 201
        assert (await frontend.call("GET", f"/{answer.blob_id}")).body == body
