"""When a connection is at rest: what comes next may be taken up as if it were the first."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from frontend.http.handler import Handler
from tests.support.edge import Edge, edge
from tests.support.http_frontend import RawClient, until

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def handler(server: Edge) -> Handler:
    (connection,) = server.server._open
    assert connection.handler is not None
    return connection.handler


async def at_rest(server: Edge, client: RawClient) -> Handler:
    await client.send(GET)
    assert (await client.answer()).status == 200
    await until(lambda: handler(server).at_rest, "it waits for the next request")
    return handler(server)


@pytest.mark.parametrize(
    "part",
    [
        b"G",
        GET[:-2],
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n",
        b"garbage\r\n\r\n",
    ],
)
async def test_it_is_not_while_a_part_of_a_request_is_here(part: bytes) -> None:
    async def wait(request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        return web.Response()

    async with edge(wait) as server, server.connected() as client:
        resting = await at_rest(server, client)
        await client.send(part)
        await until(lambda: not resting.at_rest, "a part came")


async def test_it_is_not_while_an_answer_is_made_and_is_again_behind_it() -> None:
    go_on = asyncio.Event()
    go_on.set()

    async def wait(_request: web.BaseRequest) -> web.StreamResponse:
        await go_on.wait()
        return web.Response()

    async with edge(wait) as server, server.connected() as client:
        resting = await at_rest(server, client)
        go_on.clear()
        await client.send(GET)
        await until(lambda: not resting.at_rest, "it is handled")
        await asyncio.sleep(0)
        assert not resting.at_rest
        go_on.set()
        assert (await client.answer()).status == 200
        await until(lambda: resting.at_rest, "it is answered")


async def test_a_client_that_sends_no_more_leaves_it_at_rest_no_longer() -> None:
    async with edge() as server, server.connected() as client:
        resting = await at_rest(server, client)
        resting.no_more = True
        assert not resting.at_rest
