"""Two ends of an RPC connection in one process, on a pair of sockets."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ambry.checksum import Buffer
from ambry.errors import AmbryError
from ambry.network.connection import RpcConnection
from ambry.network.serving import ServingConnection
from ambry.protocol.frame import Frame
from ambry.protocol.messages.base import Message
from datanode.parts import Parts

LONG_S = 60.0


@asynccontextmanager
async def connected(parts: Parts) -> AsyncIterator[RpcConnection]:
    """A connection to a data node, whose end is as the server makes it."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    _, server = await loop.create_connection(
        lambda: ServingConnection(handlers=parts.handlers, tally=parts.counts), sock=theirs
    )
    _, client = await loop.create_connection(RpcConnection, sock=ours)
    try:
        yield client
    finally:
        client.abort()
        server.abort()
        await asyncio.sleep(0)


async def ask(
    connection: RpcConnection, type: int, message: Message, body: Buffer = b"", *, timeout_s: float = LONG_S
) -> Frame:
    """Send a request with a body and wait for its reply. Raises the AmbryError that ended it."""
    future: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()

    def done(outcome: Frame | AmbryError) -> None:
        if isinstance(outcome, AmbryError):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    connection.call(type, message, done, timeout_s=timeout_s, body=body)
    return await future
