"""What came before a reset is read, however the client learns of the reset."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from tests.support.eventually import eventually
from tests.support.kept_reader import KeptReader, connect

WORDS = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@pytest.fixture
async def listener() -> AsyncIterator[socket.socket]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        sock.setblocking(False)
        yield sock


async def answered_and_reset(listener: socket.socket) -> tuple[KeptReader, asyncio.StreamWriter]:
    """A client that was answered and then reset, and has looked at neither."""
    reader, writer = await connect(*listener.getsockname())
    there, _ = await asyncio.get_running_loop().sock_accept(listener)
    there.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    there.send(WORDS)
    there.close()
    return reader, writer


async def test_what_was_read_before_the_reset_is_kept(listener: socket.socket) -> None:
    reader, writer = await answered_and_reset(listener)
    await eventually(lambda: reader.reset is not None)
    assert await reader.read(-1) == WORDS
    assert isinstance(reader.reset, ConnectionResetError)
    writer.transport.abort()


async def test_what_the_kernel_has_when_a_write_fails_is_read(listener: socket.socket) -> None:
    reader, writer = await answered_and_reset(listener)
    # No turn of the loop since: nothing was read yet. The first write after a reset fails, whatever stands there to be read.
    writer.write(b"x")
    with suppress(ConnectionError):
        await writer.drain()
    async with asyncio.timeout(30):
        assert await reader.read(-1) == WORDS
    assert isinstance(reader.reset, ConnectionError)
    writer.transport.abort()


async def test_the_other_ends_own_end_is_no_reset(listener: socket.socket) -> None:
    reader, writer = await connect(*listener.getsockname())
    there, _ = await asyncio.get_running_loop().sock_accept(listener)
    there.send(WORDS)
    there.close()
    async with asyncio.timeout(30):
        assert await reader.read(-1) == WORDS
    assert reader.reset is None
    writer.transport.abort()
