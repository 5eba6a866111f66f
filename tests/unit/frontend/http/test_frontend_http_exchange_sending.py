from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from aiohttp import web

from frontend.http.exchange import Exchange, StreamedAnswer
from frontend.http.handler import Handler
from frontend.request import RequestContext
from tests.support.edge import edge
from tests.support.http_frontend import until

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
LARGE = 16 << 20


def exchange_of(request: web.BaseRequest) -> Exchange:
    connection = cast(Handler, request.protocol).connection
    context = RequestContext(id="r", timeout_s=20.0, deadline=20.0)
    return Exchange(http=request, method="GET", connection=connection, context=context, common={"x-common": "c"})


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
