from __future__ import annotations

import asyncio
import gc
import ssl
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.http_writer import StreamWriter

from ambry.errors import InvalidRequest
from ambry.service.tls import ReloadingTls, TlsSection, front_context
from frontend.http.body import ClientGone, body_of
from frontend.http.exchange import APART_BYTES, WHOLE_BYTES, Exchange, StreamedAnswer
from frontend.http.handler import Handler
from frontend.http.taken import GIVEN_BYTES, SHARE
from frontend.request import RequestContext
from frontend.router.budget import MemoryBudget
from tests.support.certificates import Authority
from tests.support.edge import edge
from tests.support.http_frontend import RawClient, until

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = 16 << 20
CHUNK = b"\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"


def exchange_of(request: web.BaseRequest) -> Exchange:
    connection = cast(Handler, request.protocol).connection
    context = RequestContext(id="r", timeout_s=20.0, deadline=20.0)
    return Exchange(
        http=request, method=request.method, connection=connection, context=context, common={"x-common": "c"}
    )


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
async def test_what_is_kept_of_a_long_answer_that_nobody_takes_is_no_copy(
    tmp_path: Path, tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2,000 who asked for a page of 190 KB and took nothing had a copy of it each, 386 MiB in all, and 580 MiB in TLS."""
    body = bytes(LARGE)
    written: list[int] = []
    write = web.StreamResponse.write

    async def noted(response: web.StreamResponse, data: Any) -> None:
        written.append(len(data))
        assert data.obj is body, "not a copy"
        await write(response, data)

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        return await exchange_of(request).send_whole(web.Response(body=body))

    monkeypatch.setattr(web.StreamResponse, "write", noted)
    authority = Authority(tmp_path)
    issued = authority.issue("front")
    trusting = ssl.create_default_context(cafile=str(authority.ca)) if tls else None
    async with edge(handler) as running:
        if tls:
            section = TlsSection(certificate=str(issued.cert), key=str(issued.key))
            running.server._tls = ReloadingTls(section, front_context)
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port, ssl=trusting)
        client = RawClient(reader, writer)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(GET)
        await until(lambda: running.server.slow, "the client does not take it")
        if tls:
            assert sum(written) < LARGE and set(written) == {WHOLE_BYTES}
        else:
            assert written == [LARGE]
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        answer = await client.answer()
        assert answer.body == body and answer.headers["x-common"] == "c"
        written.clear()
        await client.send(GET.replace(b"GET", b"HEAD"))
        assert (await client.answer("HEAD")).headers["content-length"] == str(LARGE)
        assert written == []
        await client.send(GET)
        assert (await client.answer()).body == body
        client.abort()


async def test_of_a_download_in_tls_little_is_encrypted_for_a_client_that_takes_nothing_and_whole_pieces_for_one_that_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of 2,000 who asked for 5 MB and took nothing had up to a MiB of ciphertext."""
    piece, count = bytes(1 << 20), 16
    written: list[int] = []
    write = web.StreamResponse.write

    async def noted(response: web.StreamResponse, data: Any) -> None:
        written.append(len(data))
        await write(response, data)

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        exchange, answer = exchange_of(request), StreamedAnswer(status=200, headers={}, size=count * len(piece))
        await exchange.send_head(answer)
        for _ in range(count):
            await exchange.send_piece(answer, piece)
        await answer.write_eof()
        return answer

    monkeypatch.setattr(web.StreamResponse, "write", noted)
    made = Authority(tmp_path)
    issued = made.issue("front")
    section = TlsSection(certificate=str(issued.cert), key=str(issued.key))
    async with edge(handler, tls=section) as running:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", running.port, ssl=ssl.create_default_context(cafile=str(made.ca))
        )
        client = RawClient(reader, writer)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(GET)
        await until(lambda: running.server.slow, "the client does not take it")
        # Its kernel takes something all the same, and asyncio's TLS 256 KiB.
        assert sum(written) < count * len(piece)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert (await client.answer()).body == piece * count
        assert written[:4] == [WHOLE_BYTES] * 4
        for number, size in enumerate(written):
            # With the handshake, and what TLS adds.
            most = 8_192 + sum(written[:number]) * 1.01
            assert size <= max(WHOLE_BYTES, most / SHARE) or most > SHARE * GIVEN_BYTES
        written.clear()
        await client.send(GET)
        assert (await client.answer()).body == piece * count
        assert written[:count] == [len(piece)] * count, "it has read 16 MiB"
        client.abort()


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_counts_as_sent_when_the_kernel_has_all_of_it_and_is_not_kept(streamed: bool) -> None:
    """1,000 idle connections that had once read 1 MB each kept it, 1 GB in all."""
    sent: list[int] = []
    kept: list[Any] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        exchange = exchange_of(request)
        response: web.StreamResponse
        if streamed:
            response = answer = StreamedAnswer(status=200, headers={}, size=LARGE)
            await exchange.send_head(answer)
            for _ in range(4):
                await exchange.send_piece(answer, bytes(LARGE // 4))
            await response.write_eof()
        else:
            response = await exchange.send_whole(web.Response(body=bytes(LARGE)))
        protocol = cast(Handler, request.protocol)
        assert protocol.transport is not None
        sent.append(protocol.transport.get_write_buffer_size())
        kept.append(getattr(response, "body", None))
        return response

    async with edge(handler) as server, server.connected() as client:
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await client.send(GET)
        await until(lambda: server.server.slow, "the client does not take it")
        await asyncio.sleep(0.05)
        assert not sent
        client.writer.transport.resume_reading()  # type: ignore[attr-defined]
        answer = await client.answer()
        assert (len(answer.body), answer.headers["x-common"]) == (LARGE, "c")
        assert (sent, kept) == ([0], [None])


@pytest.mark.parametrize(("size", "whole"), [(APART_BYTES, False), (APART_BYTES + 1, True)])
async def test_a_long_first_piece_is_sent_as_it_is_and_a_short_one_with_the_head(
    size: int, whole: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was joined to the head: 1 MiB more for each reader of a crowd, which no budget knew of."""
    written: list[Any] = []
    real = StreamWriter._write

    def note(writer: StreamWriter, chunk: Any) -> None:
        written.append(chunk)
        real(writer, chunk)

    monkeypatch.setattr(StreamWriter, "_write", note)
    piece = bytes(size)

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        exchange, answer = exchange_of(request), StreamedAnswer(status=200, headers={}, size=size)
        await exchange.send_head(answer)
        await exchange.send_piece(answer, piece)
        await answer.write_eof()
        return answer

    async with edge(handler) as server, server.connected() as client:
        await client.send(GET)
        assert (await client.answer()).body == piece
    assert any(chunk is piece for chunk in written) == whole


class Held:
    """What a request holds while it waits for its client."""


@pytest.fixture
def without_the_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("sending", [True, False])
@pytest.mark.usefixtures("without_the_collector")
async def test_nothing_of_a_request_outlives_its_connection(sending: bool) -> None:
    """What broke it and whoever waited held each other: every 1,300 readers left 65 MB behind, and four crowds 320 (F20)."""
    kept: list[weakref.ref[Held]] = []
    gone: list[str] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        held = Held()
        kept.append(weakref.ref(held))
        exchange = exchange_of(request)
        try:
            if sending:
                answer = StreamedAnswer(status=200, headers={}, size=LARGE)
                await exchange.send_head(answer)
                await exchange.send_piece(answer, bytes(LARGE))
            else:
                exchange.body_size = None
                async for _ in body_of(exchange, budget=MemoryBudget(1 << 20), wait_s=1, digests=None):
                    pass
        except (ClientGone, ConnectionError, InvalidRequest) as error:
            gone.append(type(error).__name__)
        return web.Response()

    async with edge(handler) as server:
        async with server.connected() as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(GET if sending else GET.replace(b"GET", b"POST").replace(b"\r\n\r\n", CHUNK))
            await until(lambda: kept and (server.server.slow or not sending), "it waits for its client")
        await until(lambda: gone, "it is told that its client has gone")
        await until(lambda: not server.server._open, "the connection is forgotten")
        await until(lambda: kept[0]() is None, "so is all that it held")
