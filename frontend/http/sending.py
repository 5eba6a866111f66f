"""Sending an answer to its real end: whoever awaits one of these knows afterwards that the kernel has all of it.

What the kernel does not take at once stays in our memory until the client has taken it. A client that is too slow about it is
ended by the server (frontend/http/server.py), and whoever waits for it sees a ConnectionError.
"""

from __future__ import annotations

from aiohttp import web

from ambry.checksum import Buffer
from frontend.http.exchange import Exchange


class StreamedAnswer(web.StreamResponse):
    """An answer whose body is sent piece by piece; its head leaves together with the first."""

    _send_headers_immediately = False

    def __init__(self, *, status: int, headers: dict[str, str], size: int) -> None:
        super().__init__(status=status, headers=headers)
        self.content_length = size


async def send_whole(exchange: Exchange, response: web.StreamResponse) -> web.StreamResponse:
    """Send an answer that is here as a whole, and give it back without its body: the connection remembers its last answer."""
    exchange.finish_headers(response)
    await response.prepare(exchange.http)
    exchange.streaming = True
    await response.write_eof()
    if isinstance(response, web.Response):
        response.body = None
    return response


async def send_head(exchange: Exchange, response: StreamedAnswer) -> None:
    """Begin an answer. From now on a failure can only break the connection."""
    exchange.finish_headers(response)
    await response.prepare(exchange.http)
    exchange.streaming = True


async def send_piece(exchange: Exchange, response: StreamedAnswer, data: Buffer) -> None:
    """Send the next bytes of a body. Raises ConnectionError when the client is not there any more."""
    await response.write(data)
    await exchange.http.writer.drain()
    if exchange.http.transport is None:
        # Nobody must read on for it: what comes next would wait for memory that others need.
        raise ConnectionResetError("the connection ended")
