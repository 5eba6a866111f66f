"""Streams that forget nothing that came: a reset is the end of what was sent before it.

asyncio's own reader raises the reset at once, and what it had been fed is never read: an answer that came, and then a reset
because the client was still sending, looked as if nobody had answered. And a write that fails ends asyncio's transport, though
what came is still with the kernel.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any


class KeptReader(asyncio.StreamReader):
    """`reset` says what ended it, where that was not the other end's word."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit=limit)
        self.reset: Exception | None = None
        self.socket: socket.socket | None = None
        """Where the rest may stand; None in TLS, where it is of no use to anybody but the transport."""

    def set_exception(self, exc: Exception) -> None:
        self.reset = exc
        if self.socket is not None:
            with suppress(OSError):  # BlockingIOError: no more of it is here
                while data := self.socket.recv(1 << 16):
                    self.feed_data(data)
        self.feed_eof()


async def connect(host: str, port: int, *, limit: int = 1 << 20, **how: Any) -> tuple[KeptReader, asyncio.StreamWriter]:
    """As `asyncio.open_connection`."""
    loop = asyncio.get_running_loop()
    reader = KeptReader(limit)
    transport, protocol = await loop.create_connection(
        lambda: asyncio.StreamReaderProtocol(reader, loop=loop), host, port, **how
    )
    if transport.get_extra_info("ssl_object") is None:
        reader.socket = transport.get_extra_info("socket")._sock
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)
