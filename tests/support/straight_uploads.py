"""Uploads through a real HTTP server, cut into chunks as a frontend does it, with nothing behind that."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any, cast

from aiohttp import web

from ambry.errors import AmbryError
from frontend.http.body import ClientGone, body_of
from frontend.http.exchange import Exchange
from frontend.http.handler import Handler
from frontend.request import RequestContext
from frontend.router.budget import MemoryBudget
from frontend.router.chunker import Chunker
from tests.support.edge import Edge, edge, problem

MIB = 1 << 20
CHUNK = 2 * MIB


def head(size: int) -> bytes:
    return b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size


def content(size: int) -> bytes:
    return random.Random(size).randbytes(size)


class Uploads:
    """Cuts every body into chunks, and answers with their sizes; `gate` holds up whoever has a chunk."""

    def __init__(self) -> None:
        self.budget = MemoryBudget(64 << 20)
        self.gate = asyncio.Event()
        self.gate.set()
        self.bodies: list[list[bytes]] = []
        self.errors: list[str] = []

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        exchange = Exchange(
            http=request,
            method="PUT",
            connection=cast(Handler, request.protocol).connection,
            context=RequestContext(id="r", timeout_s=20.0, deadline=20.0),
            common={},
            body_size=int(request.headers["content-length"]),
        )
        body = body_of(exchange, budget=self.budget, wait_s=5, digests=None)
        chunker = Chunker(body, chunk_size=CHUNK, size=exchange.body_size, size_max=1 << 40, budget=self.budget)
        chunks: list[bytes] = []
        self.bodies.append(chunks)
        try:
            while len((piece := await chunker.next_chunk()).data):
                assert piece.charged >= len(piece.data)
                chunks.append(bytes(piece.data))
                await self.gate.wait()
                chunker.give_back(piece.charged)
        except (AmbryError, ClientGone) as error:
            self.errors.append(type(error).__name__)
            return problem(error, "r") if isinstance(error, AmbryError) else web.Response()
        finally:
            chunker.close()
            body.close()
        return web.Response(text=" ".join(str(len(chunk)) for chunk in chunks))


@contextlib.asynccontextmanager
async def served(**section: Any) -> AsyncIterator[tuple[Uploads, Edge]]:
    uploads = Uploads()
    async with edge(uploads.handle, **section) as server:
        yield uploads, server
    assert uploads.budget.free == uploads.budget.size, "all memory was given back"
