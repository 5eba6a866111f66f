"""A connection that was lost leaves nothing behind that a collector would have to find."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from ambry.service.listener import TCP_CLOSE, bound_unsent, state_of, unconfirmed
from ambry.service.tls import ReloadingTls, TlsSection, front_context
from frontend.http.connections import Connection
from frontend.http.gone import GONE
from frontend.http.handler import Handler
from tests.support.certificates import Authority
from tests.support.edge import edge
from tests.support.http_frontend import RawClient, until

HEAD = b" / HTTP/1.1\r\nHost: x\r\n"
SENT = {
    "nothing": b"",
    "half a head": b"GET / HTT",
    "a request": b"GET" + HEAD + b"\r\n",
    "the last request": b"GET" + HEAD + b"Connection: close\r\n\r\n",
    "half a body": b"POST" + HEAD + b"Content-Length: 90\r\n\r\nx",
    "what is no request": b"GET" + HEAD + b"Host : x\r\n\r\n",
    "no chunk": b"POST" + HEAD + b"Transfer-Encoding: chunked\r\n\r\nx\r\n",
}


def left_behind() -> list[object]:
    return [each for each in gc.get_objects() if isinstance(each, Connection | Handler)]


@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize("sent", SENT.values(), ids=SENT)
def test_a_connection_that_is_lost_is_freed_at_once(tmp_path: Path, tls: bool, sent: bytes) -> None:
    """Each one in TLS was a circle, of 16 KB and more, which nobody looked for: 15,000 took a frontend from 58 to 306 MiB."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # the one that servers have
        runner.run(lose_some(tmp_path, tls, sent))


async def lose_some(tmp_path: Path, tls: bool, sent: bytes) -> None:
    authority = Authority(tmp_path)
    issued = authority.issue("front")
    trusting = ssl.create_default_context(cafile=str(authority.ca)) if tls else None
    gc.collect()
    gc.disable()
    try:
        async with edge(lingering_s=0.05) as running:
            server = running.server
            if tls:
                section = TlsSection(certificate=str(issued.cert), key=str(issued.key))
                server._tls = ReloadingTls(section, front_context)
            before = len(left_behind())
            for _ in range(3):
                reader, writer = await asyncio.open_connection("127.0.0.1", running.port, ssl=trusting)
                client = RawClient(reader, writer)
                await client.send(sent)
                if sent.endswith(b"\r\n\r\n"):
                    await client.head()
                await until(lambda: server._open, "it is connected")
                client.abort()
                await until(lambda: not server._open and not server._parting, "it is gone")
            del client, reader, writer
            await until(lambda: _freed(before), "nothing is left")
    finally:
        gc.enable()


def _freed(before: int) -> bool:
    return len(left_behind()) <= before


def test_what_is_asked_of_a_lost_transport_is_answered_as_of_one_that_is_closed() -> None:
    assert GONE.is_closing() and not GONE.can_write_eof() and GONE.get_write_buffer_size() == 0
    assert GONE.get_extra_info("peername", "nobody") == "nobody"
    assert unconfirmed(GONE) == 0 and state_of(GONE) == TCP_CLOSE
    bound_unsent(GONE.get_extra_info("socket"), 0)
    calls: list[Callable[[], None]] = [GONE.close, GONE.abort, GONE.pause_reading, GONE.resume_reading]
    for call in calls:
        call()
    GONE.write(b"x")
