"""Clients by the thousand that stand there and do next to nothing: with a key or without, in TLS or not.

They are in a process of their own.

    idle        connected, and silent
    dripping    a head (without a key) or a body (with one) byte by byte
    reading     ask for 5 MB, or without a key for what everybody is told, again and again, and take nothing of it
    half-open   in TLS alone: the first half of a handshake, or all that the client says first, and then nothing

Whoever is turned away comes again at once, so that as many stand there as long as the crowd lasts.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import multiprocessing
import resource
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe

COMING_AT_ONCE = 50
READY_S = 120.0
DRIP_EVERY_S = 1.0
RECEIVE_BUFFER = 4096
READ_SIZE = 5_000_000
UPLOAD = 100_000_000
CROWDS = tuple((how, key) for how in ("idle", "dripping", "reading") for key in (False, True))
"""What they do, and whether they have a key."""
HALF_OPEN = ("half-open", False)
"""In TLS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One crowd. `key` is empty for those who have none, `authority` where nothing is encrypted."""

    how: str
    count: int
    address: tuple[str, int]
    key: str = ""
    blob_id: str = ""
    """What those who read ask for."""
    authority: str = ""

    @property
    def head(self) -> bytes:
        own = f"Authorization: Bearer {self.key}\r\n" if self.key else ""
        return f"Host: {self.address[0]}:{self.address[1]}\r\n{own}".encode()

    @property
    def name(self) -> str:
        who = "" if self.how == "half-open" else f", {'with' if self.key else 'without'} a key"
        return f"{self.count:,} {self.how}{who}, {'TLS' if self.authority else 'clear'}"


class _Crowd:
    """Runs in the process of the crowd."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._tls = ssl.create_default_context(cafile=kind.authority) if kind.authority else None
        self._coming = asyncio.Semaphore(COMING_AT_ONCE)
        self._ways = itertools.count()
        self._missing = kind.count
        """Those who were not here yet."""
        self.complete = asyncio.Event()

    async def stand(self, number: int) -> None:
        """One of them, for ever."""
        known = False
        while True:
            with contextlib.suppress(OSError, EOFError, asyncio.IncompleteReadError):
                async with self._coming:
                    reader, writer = await self._come()
                try:
                    self._missing -= not known
                    known = True
                    if not self._missing:
                        self.complete.set()
                    await self._behave(reader, writer, number)
                finally:
                    writer.transport.abort()
            await asyncio.sleep(0.05)

    async def _come(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        way = next(self._ways)
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        sock.setblocking(False)
        sock.bind((f"127.9.{way // 200 % 200 + 1}.{way % 200 + 1}", 0))
        await asyncio.get_running_loop().sock_connect(sock, self._kind.address)
        half = self._kind.how == "half-open"
        return await asyncio.open_connection(
            sock=sock,
            limit=RECEIVE_BUFFER,
            ssl=None if half else self._tls,
            server_hostname=None if half or self._tls is None else self._kind.address[0],
        )

    async def _behave(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        kind = self._kind
        if kind.how == "half-open":
            said = self._hello()
            writer.write(said if number % 2 else said[: len(said) // 2])
            await reader.read(-1)
        elif kind.how == "idle":
            await reader.read(-1)
        elif kind.how == "dripping":
            if kind.key:
                writer.write(b"POST / HTTP/1.1\r\n" + kind.head + b"Content-Length: %d\r\n\r\n" % UPLOAD)
            else:
                writer.write(b"GET / HTTP/1.1\r\n" + kind.head + b"X-Drip: ")
            while not reader.at_eof():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(DRIP_EVERY_S)
        else:
            target = f"/{kind.blob_id}" if kind.key else "/openapi.json"
            writer.write((f"GET {target} HTTP/1.1\r\n".encode() + kind.head + b"\r\n") * (1 if kind.key else 20))
            # The reader takes what its limit lets it, twice, and then nothing.
            await writer.wait_closed()

    def _hello(self) -> bytes:
        """What a client says first in TLS."""
        assert self._tls is not None
        heard, said = ssl.MemoryBIO(), ssl.MemoryBIO()
        with contextlib.suppress(ssl.SSLWantReadError):
            self._tls.wrap_bio(heard, said, server_hostname=self._kind.address[0]).do_handshake()
        return said.read()


async def _gather(kind: Kind, told: Pipe) -> None:
    crowd = _Crowd(kind)
    tasks = [asyncio.create_task(crowd.stand(number)) for number in range(kind.count)]
    await crowd.complete.wait()
    told.send(kind.count)
    await asyncio.gather(*tasks)


def _run(kind: Kind, told: Pipe) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(_gather(kind, told))


@contextlib.contextmanager
def standing(kind: Kind) -> Iterator[None]:
    """All of them have come once when the block runs; at its end they are gone at once. AssertionError where they stay away."""
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_run, args=(kind, there), daemon=True)
    process.start()
    try:
        assert here.poll(READY_S), f"the crowd did not come within {READY_S:g} s: {kind.name}"
        here.recv()
        yield
    finally:
        process.kill()
        process.join()
