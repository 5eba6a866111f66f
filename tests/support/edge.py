"""The HTTP server of a frontend with nothing behind it but a handler of the test's."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from ambry.clock import SystemClock
from ambry.errors import AmbryError
from ambry.service.listener import bind
from ambry.service.tls import ReloadingTls, TlsSection, front_context
from frontend.config import FrontendSection
from frontend.http.admission import limits_of
from frontend.http.server import HttpServer
from tests.support.http_frontend import RawClient
from tests.support.kept_reader import connect


async def say_ok(_request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="ok")


def problem(error: AmbryError, request_id: str) -> web.Response:
    body = {"status": error.status, "detail": error.message, "request_id": request_id}
    return web.Response(
        status=error.status,
        body=msgspec.json.encode(body),
        headers={"Content-Type": "application/problem+json", "x-request-id": request_id, "Server": "ambry"},
    )


class Edge:
    """A running server, and clients for it."""

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        self.port = server.port

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[RawClient]:
        reader, writer = await connect("127.0.0.1", self.port)
        client = RawClient(reader, writer)
        try:
            yield client
        finally:
            client.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def edge(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] = say_ok,
    *,
    lingering_s: float = 0.5,
    tls: TlsSection | None = None,
    **section: Any,
) -> AsyncIterator[Edge]:
    """`section` overrides fields of FrontendSection."""
    server = HttpServer(
        handler,
        clock=SystemClock(),
        random_source=random.Random(4),
        limits=limits_of(FrontendSection(**section)),
        answer=problem,
        lingering_s=lingering_s,
        tls=None if tls is None else ReloadingTls(tls, front_context),
    )
    server.start(bind("127.0.0.1", 0))
    try:
        yield Edge(server)
    finally:
        hurry = asyncio.Event()
        hurry.set()
        await server.drain(timeout_s=0, hurry=hurry)
