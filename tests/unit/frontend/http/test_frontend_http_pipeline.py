"""From raw bytes on a socket to an answer that helps: routes, refusals, broken uploads, broken downloads."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
from email.utils import parsedate_to_datetime

import pytest

from ambry.clock import FollowingClock, SystemClock
from ambry.errors import DataCorrupt
from ambry.format.record import RecordKind
from ambry.protocol.frame import MessageType
from frontend.http import pipeline
from frontend.rest.blob import BlobFinder
from tests.support.captured_log import capture_log
from tests.support.content import content
from tests.support.eventually import GIVE_UP_S
from tests.support.fake_cluster import CHUNK, FakeCluster, make_cluster, some_id
from tests.support.fake_peers import fails, held, lost, silent
from tests.support.http_frontend import Answer, HttpFrontend, http_frontend, request, until

ID = str(some_id())


def is_problem(answer: Answer, status: int, code: str) -> None:
    """The shape that docs/rest.md promises of every error."""
    assert answer.status == status, (answer.status, answer.body)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-ambry-error-code"] == code
    assert answer.headers["cache-control"] == "no-store"
    has_common_headers(answer)
    body = answer.json()
    assert (body["status"], body["code"], body["request_id"]) == (status, code, answer.headers["x-ambry-request-id"])
    assert body["detail"] and "Traceback" not in answer.body.decode()
    assert ("retry-after" in answer.headers) == (status in (429, 503))


def has_common_headers(answer: Answer) -> None:
    assert len(answer.headers["x-ambry-request-id"]) == 32
    assert (answer.headers["x-ambry-datacenter"], answer.headers["x-ambry-frontend"]) == ("dc1", "f1")


def clean(cluster: FakeCluster) -> bool:
    """Nothing visible, all memory back, nothing on its way."""
    return (
        cluster.pool.visible() == set()
        and cluster.budget.free == cluster.budget.size
        and all(peer.open_calls == 0 for peer in cluster.pool)
    )


async def test_an_answer_is_dated_by_the_clock_of_the_cluster() -> None:
    """Clients ask it for the time. It was that of the frontend's machine, which may be days off."""
    clock = FollowingClock(SystemClock())
    clock.base_ms = 1_900_000_000_000 - int(clock.monotonic() * 1000)
    cluster = make_cluster(((3,),) * 4, clock=clock)
    async with http_frontend(cluster) as frontend:
        for target in ("/version", f"/{ID}", "/nonsense"):
            answer = await frontend.call("GET", target)
            assert 0 <= parsedate_to_datetime(answer.headers["date"]).timestamp() - 1_900_000_000 < 3_600, target
            assert 0 <= int(answer.headers["x-ambry-answered-ms"]) - 1_900_000_000_000 < 3_600_000, target


# --- refusals ---


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("GET", f"/{ID}", {}, 404, "BlobNotFound"),
        ("GET", f"/{ID}.safetensors", {}, 404, "BlobNotFound"),
        ("DELETE", f"/{ID}", {}, 404, "BlobNotFound"),
        ("GET", f"/{ID}/BlobInfo", {}, 404, "BlobNotFound"),
        ("GET", f"/{ID[:-1]}A", {}, 400, "InvalidBlobId"),
        ("GET", "/nonsense", {}, 400, "InvalidBlobId"),
        ("DELETE", "/nonsense", {}, 400, "InvalidBlobId"),
        ("GET", f"/{ID}/Nothing", {}, 400, "InvalidRequest"),
        ("GET", "/%2e%2e/%2e%2e/etc/passwd", {}, 400, "InvalidRequest"),
        ("PATCH", "/", {}, 405, "MethodNotAllowed"),
        ("POST", "/x", {}, 405, "MethodNotAllowed"),
        ("DELETE", "/", {}, 405, "MethodNotAllowed"),
        ("DELETE", f"/{ID}/x", {}, 400, "InvalidRequest"),
        ("DELETE", f"/{ID}/BlobInfo", {}, 405, "MethodNotAllowed"),
        ("TRACE", "/", {}, 405, "MethodNotAllowed"),
        ("CONNECT", "localhost:80", {}, 501, "NotSupported"),
        ("CONNECT", "/", {}, 501, "NotSupported"),
        ("FETCH", "/", {}, 501, "NotSupported"),
        ("get", "/", {}, 501, "NotSupported"),
        ("PUT", "/healthz", {}, 405, "MethodNotAllowed"),
        ("GET", f"http://elsewhere/{ID}", {}, 421, "MisdirectedRequest"),
        ("GET", f"http://localhost/{ID}", {"Host": "elsewhere"}, 404, "BlobNotFound"),
        ("GET", f"/{ID}", {"Host": "elsewhere"}, 421, "MisdirectedRequest"),
        ("DELETE", f"/{ID}", {"Origin": "http://elsewhere"}, 403, "AccessDenied"),
        ("POST", "/", {"Sec-Fetch-Site": "cross-site"}, 403, "AccessDenied"),
        ("GET", "/" + "a" * 4096, {}, 414, "UriTooLong"),
        ("PUT", "/" + "a" * 4096, {}, 414, "UriTooLong"),
        ("PUT", "/undelete", {}, 400, "InvalidBlobId"),
        ("PUT", "/updateTtl", {"x-ambry-blob-id": "nonsense"}, 400, "InvalidBlobId"),
        ("PUT", "/updateTtl", {"x-ambry-blob-id": ID, "x-ambry-ttl": "soon"}, 400, "InvalidRequest"),
        ("PUT", "/undelete", {"x-ambry-blob-id": ID}, 404, "BlobNotFound"),
        ("PUT", "/named/a/b", {}, 400, "InvalidRequest"),
        ("PUT", "/uploads", {}, 400, "InvalidRequest"),
        ("GET", f"/{ID}", {"x-ambry-get-option": "Everything"}, 400, "InvalidRequest"),
        ("POST", "/", {"x-ambry-target-account-name": "nobody"}, 400, "InvalidRequest"),
        ("POST", "/", {"x-ambry-durability": "\udcff"}, 400, "InvalidRequest"),
        ("POST", "/", {"x-ambry-enc-um-a": "\udcff"}, 400, "InvalidRequest"),
        ("POST", "/", {"x-ambry-um-a": "\udcff"}, 400, "InvalidRequest"),
        ("PUT", "/%ff%00", {}, 400, "InvalidRequest"),
        ("PUT", "/%ff", {}, 400, "InvalidRequest"),
        ("GET", f"/{ID}/%ff", {}, 400, "InvalidRequest"),
        ("DELETE", f"/{ID}/%ff", {}, 400, "InvalidRequest"),
        ("GET", f"/{ID}/", {}, 400, "InvalidRequest"),
        ("GET", f"//{ID}", {}, 400, "InvalidRequest"),
        ("GET", f"/{ID}?x=1", {}, 400, "InvalidRequest"),
        ("GET", "/healthz?x", {}, 400, "InvalidRequest"),
        ("POST", "/", {"Expect": "tea"}, 417, "ExpectationFailed"),
        ("GET", f"/{ID}", {"If-Match": "x"}, 404, "BlobNotFound"),
        ("POST", "/", {"x-ambry-filename": "\udcff"}, 400, "InvalidRequest"),
        ("POST", "/", {"x-ambry-service-id": "\udcff"}, 400, "InvalidRequest"),
        ("POST", "/", {"x-ambry-target-account-name": "\udcff"}, 400, "InvalidRequest"),
        ("POST", "/", {"Transfer-Encoding": "gzip, chunked"}, 501, "NotSupported"),
    ],
)
async def test_every_refusal_is_a_problem_with_its_code_and_request_id(
    method: str, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    async with http_frontend() as frontend:
        body = b"" if method in ("POST", "PUT") and "Transfer-Encoding" not in headers else None
        tail = b"0\r\n\r\n" if "Transfer-Encoding" in headers else b""
        answer = await frontend.exchange(request(method, path, headers, body) + tail)
        if code:
            is_problem(answer, status, code)
        else:
            assert answer.status == status, answer.body
            has_common_headers(answer)
        if status == 405:
            assert {"GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS"} >= set(answer.headers["allow"].split(", "))


async def test_an_id_of_a_longer_path_is_414_whatever_the_method() -> None:
    async with http_frontend() as frontend:
        assert (await frontend.call("GET", "/" + "a" * 4095)).status == 400
        is_problem(await frontend.call("GET", "/" + "a" * 4095 + "?" + "b" * 3000), 400, "InvalidRequest")


async def test_what_cannot_be_known_is_503_with_retry_after_and_never_404() -> None:
    cluster = make_cluster(((3,),))
    for number in (1, 2):
        cluster.peer(number).connected = False
    async with http_frontend(cluster) as frontend:
        for method in ("GET", "DELETE"):
            is_problem(await frontend.call(method, f"/{ID}"), 503, "Unavailable")
        is_problem(await frontend.call("POST", "/", body=b"x"), 503, "QuorumNotReached")


async def test_a_bug_is_a_500_that_names_the_request_and_shows_nothing_else(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with http_frontend() as frontend:

        def broken(*_: object, **__: object) -> None:
            raise ZeroDivisionError("secret detail")

        monkeypatch.setattr(BlobFinder, "head", broken)
        answer = await frontend.call("GET", f"/{ID}/BlobInfo")
    is_problem(answer, 500, "InternalError")
    assert b"secret" not in answer.body and b"ZeroDivision" not in answer.body


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.EMFILE, "Too many open files")])
async def test_a_shortage_is_no_bug_and_told_to_be_over_soon(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    events = capture_log(monkeypatch, pipeline)
    async with http_frontend() as frontend:

        def short(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(BlobFinder, "head", short)
        answer = await frontend.call("GET", f"/{ID}/BlobInfo")
    is_problem(answer, 503, "Overloaded")
    assert answer.headers["retry-after"] == "1"
    assert [event["log_level"] for event in events] == ["warning"]


# --- fixed pages ---


@pytest.mark.parametrize("reasons", [[], ["too few replicas connected for partitions [3]"]])
async def test_health_pages(reasons: list[str]) -> None:
    async with http_frontend(unready=reasons) as frontend:
        ready = await frontend.call("GET", "/readyz")
        assert (ready.status, ready.json()) == (503 if reasons else 200, {"ready": not reasons, "reasons": reasons})
        check = await frontend.call("GET", "/healthCheck")
        assert (check.status, check.body) == ((503, b"BAD") if reasons else (200, b"GOOD"))
        assert (await frontend.call("GET", "/healthz")).body == b"ok\n"
        assert "version" in (await frontend.call("GET", "/version")).json()
        root = await frontend.call("GET", "/")
        assert root.json()["service"] == "ambry"
        has_common_headers(root)


# --- uploads that end badly ---


async def test_an_upload_that_is_refused_early_reaches_a_client_that_is_still_sending() -> None:
    async with http_frontend(blob_size_max=1 << 20) as frontend, frontend.connected() as client:
        await client.send(request("POST", "/", {"Content-Length": str(64 << 20)}))
        sending = asyncio.create_task(send_much(frontend, client.writer, 8 << 20))
        answer = await client.answer()
        is_problem(answer, 413, "TooLarge")
        assert answer.headers["connection"] == "close"
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await until(lambda: clean(frontend.cluster), "everything returned")


async def send_much(frontend: HttpFrontend, writer: asyncio.StreamWriter, size: int) -> None:
    for _ in range(size >> 16):
        writer.write(bytes(1 << 16))
        await writer.drain()


async def test_a_chunked_upload_over_the_bound_is_413_and_leaves_nothing() -> None:
    async with http_frontend(blob_size_max=3 * CHUNK) as frontend, frontend.connected() as client:
        await client.send(request("POST", "/", {"Transfer-Encoding": "chunked"}))
        for _ in range(4):
            await client.send(b"%x\r\n" % CHUNK + bytes(CHUNK) + b"\r\n")
        is_problem(await client.answer(), 413, "TooLarge")
        await until(lambda: clean(frontend.cluster), "everything returned")


async def test_expect_100_is_answered_only_when_nothing_speaks_against_the_body() -> None:
    async with http_frontend(blob_size_max=100, lingering_time_s=0.05) as frontend:
        async with frontend.connected() as client:
            await client.send(request("POST", "/", {"Content-Length": "5", "Expect": "100-continue"}))
            status, _ = await client.head()
            assert status == 100
            await client.send(b"hello")
            assert (await client.answer()).status == 201
        for headers in (
            {"Content-Length": "101", "Expect": "100-continue"},
            {"Content-Length": "5", "Expect": "100-continue", "x-ambry-durability": "eternal"},
        ):
            async with frontend.connected() as client:
                await client.send(request("POST", "/", headers))
                answer = await client.answer()
                assert answer.status in (400, 413)
                assert await client.at_end(), "the refused body would be taken for the next request"


@pytest.mark.parametrize("sent", [0, 1, CHUNK - 1, CHUNK, 3 * CHUNK + 5])
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_client_that_goes_away_mid_body_leaves_nothing(sent: int, chunked: bool) -> None:
    async with http_frontend() as frontend:
        async with frontend.connected() as client:
            length = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(8 * CHUNK)}
            await client.send(request("POST", "/", length))
            body = content(1, sent)
            await client.send(b"%x\r\n" % sent + body + b"\r\n" if chunked and sent else body)
            wanted = sent // CHUNK if sent > CHUNK else 0
            puts = frontend.cluster.pool.calls
            await until(lambda: len(puts(MessageType.PUT)) >= 3 * wanted, "the whole chunks are written")
        await until(lambda: clean(frontend.cluster), "everything returned")


async def test_a_body_that_stalls_is_408_and_leaves_nothing() -> None:
    async with http_frontend(body_stall_timeout_s=0.1) as frontend, frontend.connected() as client:
        await client.send(request("POST", "/", {"Content-Length": str(4 * CHUNK)}) + content(1, 2 * CHUNK + 7))
        is_problem(await client.answer(), 408, "RequestTimeout")
        await until(lambda: clean(frontend.cluster), "everything returned")


@pytest.mark.parametrize("garbage", [b"zz\r\n", b"5\r\nhelloXX", b"-1\r\n", b"5;" + b"x" * 20_000 + b"\r\n"])
async def test_a_malformed_chunked_body_is_an_error_and_stores_nothing(garbage: bytes) -> None:
    async with http_frontend(body_stall_timeout_s=0.1) as frontend, frontend.connected() as client:
        await client.send(request("POST", "/", {"Transfer-Encoding": "chunked"}) + b"3\r\nabc\r\n")
        await asyncio.sleep(0.02)
        await client.send(garbage)
        answer = await client.answer()
        # aiohttp does not tell the handler of it, so it may show as a body that stalls.
        assert answer.status in (400, 408)
        await until(lambda: clean(frontend.cluster), "everything returned")


@pytest.mark.parametrize("extension", [b" ;a", b"; a", b";a =b", b";a= b", b";a=b ", b"\t;a", b" "])
async def test_white_space_in_the_line_before_a_chunk_is_refused_and_nothing_behind_it_is_a_request(
    extension: bytes,
) -> None:
    """RFC 9110 section 5.6.3 would have it borne; but who reads such a line differently sees another request in it."""
    hidden = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\nhidden"
    async with http_frontend() as frontend, frontend.connected() as client:
        chunks = b"5" + extension + b"\r\nabcde\r\n0\r\n\r\n"
        await client.send(request("POST", "/", {"Transfer-Encoding": "chunked"}) + chunks + hidden)
        answer = await client.answer()
        is_problem(answer, 400, "InvalidRequest")
        assert answer.headers["connection"] == "close"
        assert await client.at_end()
        await until(lambda: clean(frontend.cluster), "everything returned")


async def test_a_wrong_digest_is_400_and_leaves_nothing() -> None:
    async with http_frontend() as frontend:
        for size in (10, 3 * CHUNK):
            headers = {"x-ambry-digest": "0" * 32}
            is_problem(await frontend.call("POST", "/", headers, content(1, size)), 400, "ChecksumMismatch")
            await until(lambda: clean(frontend.cluster), "everything returned")


async def test_a_full_cluster_is_507() -> None:
    cluster = make_cluster(((0, 3), (0, 3)))
    async with http_frontend(cluster) as frontend:
        is_problem(await frontend.call("POST", "/", body=b"x"), 507, "InsufficientStorage")


async def test_the_connection_is_kept_after_answers_that_read_the_whole_request() -> None:
    async with http_frontend() as frontend, frontend.connected() as client:
        await client.send(request("POST", "/", body=b"hello"))
        blob_id = (await client.answer()).blob_id
        for _ in range(3):
            await client.send(request("GET", f"/{blob_id}"))
            assert (await client.answer()).body == b"hello"
            await client.send(request("GET", "/nonsense"))
            assert (await client.answer()).status == 400
            await client.send(request("HEAD", f"/{blob_id}"))
            assert (await client.answer("HEAD")).status == 200


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with http_frontend() as frontend, frontend.connected() as client:
        blob_id = await frontend.put(b"hello")
        await client.send(
            request("GET", f"/{blob_id}") * 5 + request("GET", "/nonsense") + request("GET", f"/{blob_id}")
        )
        assert [(await client.answer()).status for _ in range(7)] == [200] * 5 + [400, 200]


# --- downloads that end badly ---


async def test_a_chunk_that_cannot_be_read_breaks_the_connection_short_of_content_length() -> None:
    body = content(2, 9 * CHUNK)
    async with http_frontend() as frontend:
        blob_id = await frontend.put(body)
        chunks = (await frontend.call("GET", f"/{blob_id}/BlobChunkIds")).json()["chunks"]
        bad = {
            call.message.id
            for call in frontend.cluster.pool.calls(MessageType.PUT)
            if call.body == body[6 * CHUNK : 7 * CHUNK]
        }
        assert len(chunks) == 9 and len(bad) == 1
        for peer in frontend.cluster.pool:
            peer.script(fails(DataCorrupt("bad block")), blob=next(iter(bad)))
        async with frontend.connected() as client:
            await client.send(request("GET", f"/{blob_id}"))
            status, headers = await client.head()
            assert (status, headers["content-length"]) == (200, str(len(body)))
            got = b""
            try:
                async with asyncio.timeout(60):
                    while piece := await client.reader.read(1 << 16):
                        got += piece
            except ConnectionError:
                pass
            assert len(got) <= 6 * CHUNK
            assert body.startswith(got)
        await until(lambda: frontend.cluster.budget.free == frontend.cluster.budget.size, "memory is back")
        assert (await frontend.call("GET", f"/{blob_id}", {"Range": f"bytes=0-{6 * CHUNK - 1}"})).body == body[
            : 6 * CHUNK
        ]


async def test_a_client_that_goes_away_mid_download_gives_the_memory_back() -> None:
    async with http_frontend() as frontend:
        blob_id = await frontend.put(content(2, 200 * CHUNK))
        async with frontend.connected() as client:
            await client.send(request("GET", f"/{blob_id}"))
            await client.reader.readexactly(CHUNK)
            assert frontend.cluster.budget.free < frontend.cluster.budget.size
        await until(lambda: frontend.cluster.budget.free == frontend.cluster.budget.size, "memory is back")


async def test_a_reader_that_takes_nothing_is_cut_off_and_its_memory_returned() -> None:
    """Once such readers kept the memory budget for as long as they liked, and with it stopped everybody else."""
    async with http_frontend(body_stall_timeout_s=0.2) as frontend:
        blob_id = await frontend.put(content(2, 400 * CHUNK))
        async with frontend.connected() as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(request("GET", f"/{blob_id}"))
            await until(lambda: frontend.cluster.budget.free < frontend.cluster.budget.size, "the download runs")
            await until(lambda: frontend.cluster.budget.free == frontend.cluster.budget.size, "memory is back")


async def test_a_crowd_that_does_not_read_makes_way_for_those_who_do() -> None:
    """Once everybody waited until the crowd's deadlines had passed: 1,300 readers stopped reads of 5 MB for 47 s."""
    body = content(2, 400 * CHUNK)
    # A block and the list of 400 chunks are 2.6 CHUNK for each: a few of the crowd find no memory.
    cluster = make_cluster(((3,),) * 4, clock=SystemClock(), budget=164 * CHUNK)
    async with http_frontend(cluster, body_stall_timeout_s=60.0) as frontend, contextlib.AsyncExitStack() as crowd:
        blob_id = await frontend.put(body)
        for _ in range(70):
            client = await crowd.enter_async_context(frontend.connected())
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(request("GET", f"/{blob_id}"))
        await until(lambda: cluster.budget.free <= cluster.budget.size // 4, "the crowd has the memory")
        answer = await frontend.call("GET", f"/{blob_id}")
        assert (answer.status, answer.body == body) == (200, True)
    await until(lambda: cluster.budget.free == cluster.budget.size, "memory is back")


async def test_a_slow_reader_that_takes_something_is_served_to_the_end() -> None:
    """One write takes several times the deadline here, and some of it is taken in each."""
    body = content(2, 192 * CHUNK)
    cluster = make_cluster(((3,),), chunk_size_bytes=64 * CHUNK, read_unit_bytes=64 * CHUNK, budget=512 * CHUNK)
    async with http_frontend(cluster, body_stall_timeout_s=0.5) as frontend:
        blob_id = await frontend.put(body)
        async with frontend.connected() as client:
            await client.send(request("GET", f"/{blob_id}"))
            _, headers = await client.head()
            got = 0
            while got < len(body):
                got += len(await client.reader.readexactly(min(8 * CHUNK, len(body) - got)))
                await asyncio.sleep(0.1)
            assert headers["content-length"] == str(got)


# --- logs ---


async def test_a_request_that_breaks_says_nothing_of_asyncio_or_aiohttp(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with http_frontend() as frontend:
        async with frontend.connected() as client:
            await client.send(request("POST", "/", {"Content-Length": str(8 * CHUNK)}) + bytes(100))
            await asyncio.sleep(0.02)
        await until(lambda: clean(frontend.cluster), "everything returned")
        blob_id = await frontend.put(content(2, 3 * CHUNK))
        for peer in frontend.cluster.pool:
            peer.script(lost(), type=MessageType.GET)
        is_problem(await frontend.call("GET", f"/{blob_id}"), 503, "Unavailable")
    assert [record for record in caplog.records if record.name.startswith(("asyncio", "aiohttp"))] == []


async def test_a_stop_during_an_upload_leaves_nothing() -> None:
    cluster = make_cluster(((3,),) * 2)
    release = asyncio.Event()
    async with http_frontend(cluster) as frontend, frontend.connected() as client:
        for peer in cluster.pool:
            peer.script(held(release), record_kind=RecordKind.CHUNK)
        await client.send(request("POST", "/", {"Content-Length": str(8 * CHUNK)}) + bytes(7 * CHUNK))
        await until(lambda: len(cluster.pool.calls(MessageType.PUT)) >= 3, "chunks are on their way")
    release.set()
    await until(lambda: clean(cluster), "everything returned")


async def test_a_silent_cluster_is_answered_within_the_deadline() -> None:
    cluster = make_cluster(((3,),), request_timeout_ms=200, hedge_after_ms=20)
    for peer in cluster.pool:
        peer.script(silent(), type=MessageType.GET)
    async with http_frontend(cluster) as frontend:
        async with asyncio.timeout(GIVE_UP_S):
            answer = await frontend.call("GET", f"/{ID}")
        is_problem(answer, 503, "Unavailable")
        assert json.loads(answer.body)["detail"].count("did not answer in time") == 3
