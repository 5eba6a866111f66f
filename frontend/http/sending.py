"""Sending a streamed body to a client that may be slow, or not there any more."""

from __future__ import annotations

import asyncio

from aiohttp import web

from ambry.checksum import Buffer
from frontend.http.body import ClientGone
from frontend.http.exchange import Exchange


async def send(exchange: Exchange, response: web.StreamResponse, data: Buffer, *, stall_timeout_s: float) -> None:
    """Wait until the client took the bytes, or enough of them. Raises ClientGone when it takes none for too long.

    What it does not take stays in our memory, and comes out of the budget that all share.
    """
    transport = exchange.http.transport
    left = len(data) + (transport.get_write_buffer_size() if transport is not None else 0)
    writing = asyncio.create_task(response.write(data))
    try:
        while not (await asyncio.wait((writing,), timeout=stall_timeout_s))[0]:
            if transport is None or transport.get_write_buffer_size() >= left:
                raise ClientGone
            left = transport.get_write_buffer_size()
        await writing
    finally:
        writing.cancel()
