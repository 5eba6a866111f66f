"""The blob calls over a real socket: what comes back is what went in, and HEAD says what GET says."""

from __future__ import annotations

import asyncio
import random
from email import message_from_bytes
from email.policy import HTTP
from typing import Any, cast

import pytest

from ambry.blob import BlobState
from ambry.checksum import digest
from ambry.clock import SystemClock
from ambry.errors import DataCorrupt
from ambry.ids import BlobId, IdKind
from ambry.protocol.frame import MessageType
from frontend.http.ranges import PARTS_MAX
from tests.support.content import content
from tests.support.fake_cluster import CHUNK, make_cluster, some_id
from tests.support.fake_peers import fails
from tests.support.http_frontend import Answer, HttpFrontend, http_frontend, request, until, ways

__all__ = ["ways"]
pytestmark = pytest.mark.usefixtures("ways")

VARYING = {"date", "x-ambry-answered-ms", "x-ambry-request-id"}


def told(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in VARYING}


async def both(frontend: HttpFrontend, path: str, headers: dict[str, str]) -> Answer:
    """The answer to GET; that to HEAD must be the same without a body, and as if no range had been asked for."""
    got = await frontend.call("GET", path, headers)
    head = await frontend.call("HEAD", path, headers)
    whole = {name: value for name, value in headers.items() if name not in ("Range", "If-Range")}
    expected = got if whole == headers else await frontend.call("GET", path, whole)
    assert (head.status, told(head)) == (expected.status, told(expected)), headers
    return got


SIZES = [0, 1, CHUNK, CHUNK + 1, 5 * CHUNK + 7]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("chunked", [False, True])
async def test_what_went_in_comes_out_with_its_digest_and_headers(size: int, chunked: bool) -> None:
    body = content(1, size)
    async with http_frontend() as frontend:
        headers = {
            "Content-Type": "image/png",
            "x-ambry-service-id": "svc",
            "x-ambry-owner-id": "me",
            "x-ambry-um-Kind": "model",
            "x-ambry-um-naïve": "",
            "x-ambry-enc-um-title": "%C3%A9t%C3%A9",
            "x-ambry-filename": "é.png",
        }
        del headers["x-ambry-um-naïve"]
        if chunked:
            headers["Transfer-Encoding"] = "chunked"
            pieces = [body[start : start + 10_000] for start in range(0, size, 10_000)]
            sent = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        else:
            sent = body
        put = await frontend.call("POST", "/", headers, sent)
        whole = digest(body).hex()
        assert put.json() == {"id": put.blob_id, "size": size, "digest": whole}
        assert (put.headers["etag"], put.headers["x-ambry-digest"]) == (f'"{whole}"', whole)
        assert (put.headers["x-ambry-blob-size"], put.headers["x-ambry-durability"]) == (str(size), "disk")
        assert BlobId.parse(put.blob_id).kind is (IdKind.COMPOSITE if size > CHUNK else IdKind.SIMPLE)
        got = await both(frontend, f"/{put.blob_id}", {})
        assert (got.status, got.body) == (200, body)
        expected = {
            "content-length": str(size),
            "content-type": "image/png",
            "etag": f'"{whole}"',
            "accept-ranges": "bytes",
            "cache-control": "public, immutable, max-age=31536000",
            "x-ambry-blob-size": str(size),
            "x-ambry-digest": whole,
            "x-ambry-service-id": "svc",
            "x-ambry-owner-id": "me",
            "x-ambry-um-kind": "model",
            "x-ambry-enc-um-title": "%C3%A9t%C3%A9",
            "x-ambry-enc-filename": "%C3%A9.png",
            "x-ambry-ttl": "-1",
            "x-ambry-life-version": "0",
            "x-ambry-target-account-name": "default",
            "x-ambry-target-container-name": "default",
            "last-modified": put.headers["x-ambry-creation-time"],
        }
        assert expected.items() <= got.headers.items()
        assert (await frontend.call("GET", f"/{put.blob_id}.safetensors")).body == body


RANGES = [
    "bytes=0-", "bytes=0-0", "bytes=1-5", "bytes=-1", "bytes=-100000", f"bytes={CHUNK - 1}-{CHUNK}", f"bytes={CHUNK}-",
    f"bytes={5 * CHUNK + 6}-", f"bytes={5 * CHUNK + 7}-", "bytes=99999999999-", "bytes=-0", "bytes=5-1", "bytes=0-1,3-4",
    "lines=1-2", "bytes=a-b", "bytes=", "bytes=-", "BYTES=0-3",
]  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
async def test_head_equals_get_for_every_range_condition_and_option(size: int) -> None:
    body = content(1, size)
    async with http_frontend() as frontend:
        blob_id = await frontend.put(body)
        etag = f'"{digest(body).hex()}"'
        modified = (await frontend.call("HEAD", f"/{blob_id}")).headers["last-modified"]
        for value in RANGES:
            for extra in (
                {},
                {"If-Range": etag},
                {"If-Range": '"other"'},
                {"If-Range": modified},
                {"x-ambry-resolve-range-on-empty-blob": "true"},
            ):
                got = await both(frontend, f"/{blob_id}", {"Range": value, **extra})
                if got.status == 206 and "content-range" in got.headers:
                    span, total = got.headers["content-range"].removeprefix("bytes ").split("/")
                    first, last = (int(each) for each in span.split("-"))
                    assert total == str(size)
                    assert got.body == body[first : last + 1] and len(got.body) == last + 1 - first > 0
                    assert extra.get("If-Range") != '"other"'
                elif got.status == 206:
                    assert [part for _, part in parts_of(got)] == [body[0:2], body[3:5]]
                elif got.status == 416:
                    assert got.headers["content-range"] == f"bytes */{size}"
                else:
                    assert (got.status, got.body) == (200, body)
        for condition, status in (
            ({"If-None-Match": etag}, 304),
            ({"If-None-Match": f'W/{etag}, "x"'}, 304),
            ({"If-None-Match": "*"}, 304),
            ({"If-None-Match": '"x"'}, 200),
            ({"If-Match": etag}, 200),
            ({"If-Match": '"x"'}, 412),
            ({"If-Match": f"W/{etag}"}, 412),
            ({"If-Modified-Since": modified}, 304),
            ({"If-Unmodified-Since": modified}, 200),
            ({"If-Unmodified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}, 412),
        ):
            got = await both(frontend, f"/{blob_id}", condition)
            assert got.status == status, condition
            if status == 304:
                assert got.body == b"" and got.headers["etag"] == etag


def parts_of(answer: Answer) -> list[tuple[str, bytes]]:
    """The parts of a multipart/byteranges answer by the standard library's parser: Content-Range and body."""
    message = message_from_bytes(
        b"Content-Type: " + answer.headers["content-type"].encode() + b"\r\n\r\n" + answer.body, policy=HTTP
    )
    assert message.is_multipart() and not message.defects
    return [(str(part["Content-Range"]), cast(bytes, part.get_payload(decode=True))) for part in message.iter_parts()]


@pytest.mark.parametrize("size", [1000, CHUNK, 5 * CHUNK + 7])
async def test_several_ranges_are_one_answer_of_several_parts(size: int) -> None:
    body = content(1, size)
    async with http_frontend() as frontend:
        blob_id = (await frontend.call("POST", "/", {"Content-Type": "image/png"}, body)).blob_id
        got = await frontend.call("GET", f"/{blob_id}", {"Range": "bytes=0-1, -3 ,400-405"})
        assert (got.status, "content-range" in got.headers) == (206, False)
        assert got.headers["content-type"].startswith("multipart/byteranges; boundary=")
        assert got.headers["x-ambry-content-type"] == "image/png"
        assert parts_of(got) == [
            (f"bytes 0-1/{size}", body[:2]),
            (f"bytes {size - 3}-{size - 1}/{size}", body[-3:]),
            (f"bytes 400-405/{size}", body[400:406]),
        ]
        assert got.body.count(b"Content-Type: image/png") == 3
        if size > 2 * CHUNK:
            spans = [(CHUNK - 2, CHUNK + 2), (2 * CHUNK, 5 * CHUNK)]
            value = ",".join(f"{first}-{end - 1}" for first, end in spans)
            got = await frontend.call("GET", f"/{blob_id}", {"Range": f"bytes={value}"})
            assert [part for _, part in parts_of(got)] == [body[first:end] for first, end in spans]
        assert frontend.cluster.budget.free == frontend.cluster.budget.size


@pytest.mark.parametrize("chunk_size", [CHUNK, 32 * CHUNK])
async def test_several_ranges_are_one_download(chunk_size: int) -> None:
    """Each of them had a download of its own, the list of chunks was read beside the head, and the first bytes apart."""
    cluster = make_cluster(((3,),) * 4, clock=SystemClock(), chunk_size_bytes=chunk_size)
    async with http_frontend(cluster) as frontend:
        body = content(2, 32 * CHUNK)
        blob_id = await frontend.put(body)
        spans = [(number * CHUNK + 1, (number + 1) * CHUNK - 1) for number in range(0, 32, 2)]
        value = ",".join(f"{first}-{end - 1}" for first, end in spans)
        etag = f'"{digest(body).hex()}"'
        for more in ({}, {"If-Range": etag}):
            cluster.pool.journal.clear()
            got = await frontend.call("GET", f"/{blob_id}", {"Range": f"bytes={value}", **more})
            assert [part for _, part in parts_of(got)] == [body[first:end] for first, end in spans]
            assert len(cluster.pool.calls(MessageType.GET)) <= len(spans) + 1
        await until(lambda: cluster.budget.free == cluster.budget.size, "its memory is back")


async def test_any_ranges_are_answered_with_their_bytes() -> None:
    """Against what RFC 9110 section 14 says: a part has the bytes that it names, and together they have all that were asked."""
    chance = random.Random(5)
    cluster = make_cluster(((3,),) * 4, clock=SystemClock())
    async with http_frontend(cluster) as frontend:
        for size in (1, 700, CHUNK, CHUNK + 1, 5 * CHUNK + 7):
            body = content(size, size)
            blob_id = await frontend.put(body)
            for _ in range(60):
                value, wanted = some_ranges(chance, size)
                got = await frontend.call("GET", f"/{blob_id}", {"Range": f"bytes={value}"})
                if not wanted:
                    assert (got.status, got.headers["content-range"]) == (416, f"bytes */{size}"), value
                    continue
                if got.status == 200:
                    assert got.body == body and len(wanted) > PARTS_MAX, value
                    continue
                assert got.status == 206, value
                told = [(got.headers["content-range"], got.body)] if "content-range" in got.headers else parts_of(got)
                seen: set[int] = set()
                for place, part in told:
                    span, total = place.removeprefix("bytes ").split("/")
                    first, last = map(int, span.split("-"))
                    assert (int(total), part) == (size, body[first : last + 1]), value
                    assert seen.isdisjoint(range(first, last + 1)), "no byte comes twice"
                    seen.update(range(first, last + 1))
                assert all(seen.issuperset(each) for each in wanted), value
        assert cluster.budget.free == cluster.budget.size


def some_ranges(chance: random.Random, size: int) -> tuple[str, list[range]]:
    """A list of ranges, and what each that a blob of so many bytes has is of it."""
    texts, wanted = [], []
    for _ in range(chance.choice((1, 2, 3, 8, 30))):
        first, count = chance.randrange(size + size // 4 + 1), chance.choice((1, 2, 100, size))
        text, each = chance.choice(
            (
                (f"{first}-{first + count - 1}", range(first, min(size, first + count))),
                (f"{first}-", range(first, size)),
                (f"-{count}", range(max(0, size - count), size)),
            )
        )
        texts.append(text)
        if each:
            wanted.append(each)
    return ",".join(texts), wanted


async def test_of_several_ranges_the_rest_is_answered_as_one_or_as_none() -> None:
    body = content(1, 5000)
    async with http_frontend() as frontend:
        put = await frontend.call("POST", "/", body=body)
        blob_id, date = put.blob_id, put.headers["x-ambry-creation-time"]
        etag = f'"{digest(body).hex()}"'
        for value, headers, status, expected in (
            ("bytes=5-6,6000-", {}, 206, body[5:7]),
            ("bytes=0-50,50-99,8-8", {}, 206, body[:100]),
            ("bytes=0-50,60-99", {}, 206, body[:100]),
            ("bytes=5000-,6000-", {}, 416, None),
            ("bytes=0-1,400-500", {"If-Range": '"other"'}, 200, body),
            ("bytes=0-1,400-500", {"If-Range": "Sun, 06 Nov 1994 08:49:37 GMT"}, 200, body),
            ("bytes=" + ",".join(f"{n}-{n}" for n in range(0, 5000, 200)), {}, 200, body),
            ("bytes=" + ",".join(f"{n}-{n}" for n in range(0, 600, 3)), {}, 200, body),
            ("bytes=0-1,400-500", {"If-None-Match": etag}, 304, b""),
        ):
            got = await frontend.call("GET", f"/{blob_id}", {"Range": value, **headers})
            assert got.status == status, value
            assert expected is None or got.body == expected
        for same in (etag, date):
            several = {"Range": "bytes=0-1,400-500", "If-Range": same}
            assert (await frontend.call("GET", f"/{blob_id}", several)).status == 206
        await frontend.call("DELETE", f"/{blob_id}")
        for value in ("bytes=0-1,4-5", "bytes=5000-"):
            for option in ("None", "Include_Expired_Blobs"):
                headers = {"Range": value, "x-ambry-get-option": option}
                assert (await frontend.call("GET", f"/{blob_id}", headers)).status == 410
        empty = await frontend.put(b"")
        assert (await frontend.call("GET", f"/{empty}", {"Range": "bytes=0-1,4-5"})).status == 416
        resolved = {"Range": "bytes=0-1,4-5", "x-ambry-resolve-range-on-empty-blob": "true"}
        assert (await frontend.call("GET", f"/{empty}", resolved)).status == 200


async def test_a_part_that_cannot_be_read_breaks_the_connection() -> None:
    async with http_frontend() as frontend:
        blob_id = await frontend.put(content(2, 9 * CHUNK))
        whole = frontend.cluster.pool.calls(MessageType.PUT)
        bad = {call.message.id for call in whole if call.body == content(2, 9 * CHUNK)[6 * CHUNK : 7 * CHUNK]}
        for peer in frontend.cluster.pool:
            peer.script(fails(DataCorrupt("bad block")), blob=next(iter(bad)))
        async with frontend.connected() as client:
            await client.send(request("GET", f"/{blob_id}", {"Range": f"bytes=0-9,{6 * CHUNK}-{6 * CHUNK + 9}"}))
            status, headers = await client.head()
            assert status == 206
            with pytest.raises(asyncio.IncompleteReadError):
                await client.reader.readexactly(int(headers["content-length"]))
        await until(lambda: frontend.cluster.budget.free == frontend.cluster.budget.size, "memory is back")


async def test_a_range_asks_the_data_nodes_for_no_more_than_it_needs() -> None:
    async with http_frontend() as frontend:
        blob_id = await frontend.put(content(1, 5 * CHUNK))
        frontend.cluster.pool.journal.clear()
        got = await frontend.call("GET", f"/{blob_id}", {"Range": f"bytes={2 * CHUNK + 10}-{2 * CHUNK + 19}"})
        assert got.body == content(1, 5 * CHUNK)[2 * CHUNK + 10 : 2 * CHUNK + 20]
        reads = [call.message for call in frontend.cluster.pool.calls(MessageType.GET)]
        assert [(read.first, read.end) for read in reads][1:] == [(10, 20)]


async def test_a_private_blob_is_not_for_shared_caches() -> None:
    async with http_frontend() as frontend:
        blob_id = (await frontend.call("POST", "/", {"x-ambry-private": "true"}, b"x")).blob_id
        head = await frontend.call("HEAD", f"/{blob_id}")
        assert (head.headers["cache-control"], head.headers["x-ambry-private"]) == ("private, no-cache", "true")


@pytest.mark.parametrize("size", [5, 3 * CHUNK])
async def test_every_digest_that_is_right_is_accepted(size: int) -> None:
    import base64
    import hashlib

    body = content(1, size)
    headers = {
        "x-ambry-digest": digest(body).hex(),
        "Content-MD5": base64.b64encode(hashlib.md5(body).digest()).decode(),
        "Content-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:",
    }
    async with http_frontend() as frontend:
        assert (await frontend.call("POST", "/", headers, body)).status == 201
        for name in headers:
            wrong = await frontend.call("POST", "/", {**headers, name: headers[name]}, body[:-1] + b"\x00" + b"")
            assert wrong.status == 400


async def test_content_encoding_is_kept_and_never_undone() -> None:
    packed = bytes.fromhex("1f8b0800000000000003cb48cdc9c907008 6a6103605000000".replace(" ", ""))
    async with http_frontend() as frontend:
        blob_id = (await frontend.call("POST", "/", {"Content-Encoding": "gzip"}, packed)).blob_id
        got = await both(frontend, f"/{blob_id}", {"Accept-Encoding": "gzip"})
        assert (got.body, got.headers["content-encoding"]) == (packed, "gzip")


async def test_a_known_state_without_bytes_is_503_for_those_who_may_see_everything() -> None:
    async with http_frontend() as frontend:
        blob_id = some_id()
        for peer in frontend.cluster.pool:
            peer.learn(blob_id.raw, BlobState(0, True, 0))
        seen = await both(frontend, f"/{blob_id}", {"x-ambry-get-option": "Include_Deleted_Blobs"})
        assert (seen.status, seen.headers["x-ambry-error-code"]) == (503, "Unavailable")
        assert (await frontend.call("GET", f"/{blob_id}")).status == 410


async def test_an_http_1_0_client_is_served() -> None:
    async with http_frontend() as frontend:
        blob_id = await frontend.put(content(1, 3 * CHUNK))
        old = request("GET", f"/{blob_id}").replace(b"HTTP/1.1", b"HTTP/1.0")
        got: Any = await frontend.exchange(old)
        assert got.body == content(1, 3 * CHUNK)


async def test_several_ranges_of_encoded_bytes_are_not_encoded_as_a_whole() -> None:
    """Content-Encoding once stood on the multipart too, whose frame is plain: clients failed to decode it."""
    async with http_frontend() as frontend:
        headers = {"Content-Encoding": "gzip", "Content-Type": "text/plain", "x-ambry-filename": "a.gz"}
        blob_id = (await frontend.call("POST", "/", headers, content(1, 1000))).blob_id
        got = await frontend.call("GET", f"/{blob_id}", {"Range": "bytes=0-1,400-500"})
        assert (got.status, got.headers["x-ambry-content-encoding"]) == (206, "gzip")
        assert "content-encoding" not in got.headers
        assert got.headers["content-disposition"] == 'attachment; filename="a.gz"'
        assert [part for _, part in parts_of(got)] == [content(1, 1000)[:2], content(1, 1000)[400:501]]


async def test_what_is_empty_is_not_told() -> None:
    async with http_frontend() as frontend:
        got = await frontend.call("GET", f"/{await frontend.put(b'x')}")
        assert "x-ambry-service-id" not in got.headers and "x-ambry-owner-id" not in got.headers
