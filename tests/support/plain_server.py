"""frontend/http on a real loopback socket with the smallest API on top of it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager

from ambry.clock import SystemClock
from ambry.service.listener import bind
from ambry.service.origin import Hosts
from frontend.config import FrontendSection
from frontend.http.access_log import AccessLog
from frontend.http.admission import limits_of
from frontend.http.pipeline import Pipeline
from frontend.http.route import Route
from frontend.http.server import HttpServer
from tests.support.http_frontend import RawClient
from tests.support.plain_dialect import PlainDialect


@contextlib.asynccontextmanager
async def plain_server(
    routes: Mapping[str, Route],
) -> AsyncIterator[Callable[[], AbstractAsyncContextManager[RawClient]]]:
    """Gives what makes a connection."""
    dialect = PlainDialect(routes)
    pipeline = Pipeline(
        dialect,
        hosts=Hosts(),
        clock=SystemClock(),
        random_source=random.Random(1),
        request_timeout_s=20.0,
        access_log=AccessLog(enabled=True, random_source=random.Random(5)),
    )
    server = HttpServer(
        pipeline,
        clock=SystemClock(),
        random_source=random.Random(2),
        limits=limits_of(FrontendSection()),
        answer=pipeline.refuse,
        lingering_s=0.1,
    )
    server.start(bind("127.0.0.1", 0))

    @contextlib.asynccontextmanager
    async def connected() -> AsyncIterator[RawClient]:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1 << 20)
        client = RawClient(reader, writer)
        try:
            yield client
        finally:
            client.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    try:
        yield connected
    finally:
        await server.drain(timeout_s=1.0, hurry=asyncio.Event())
