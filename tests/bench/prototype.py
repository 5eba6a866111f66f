"""The least that the path of a small blob takes in Python: what the product takes beyond this is what it promises beyond this.

    python -m tests.bench.prototype node FILE
    python -m tests.bench.prototype frontend PORT...

Either prints its port when it listens, and ends when stdin does. An upload goes to every node and is answered when two have it
(for class disk: synced, many in one go); a read comes from one of them, in turn. That is all: blobs have numbers for ids, one
digest is computed and no check, nothing is bounded, nothing lost is noticed, and who restarts knows nothing.

Between them, in one direction and the other, big-endian:

    4 bytes   size of the body that follows
    8 bytes   number of the call
    1 byte    what is asked (GET, or PUT of a class), or what is answered
    8 bytes   number of the blob
"""

from __future__ import annotations

import asyncio
import os
import struct
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, cast

import uvloop
import xxhash
from aiohttp import web

from tests.bench.load import HOST

GET, PUT_MEMORY, PUT_DISK = range(3)
ENOUGH = 2
BUFFERS_MAX = 512
_HEAD = struct.Struct(">IQBQ")

Took = Callable[[int, int, int, bytes], None]
"""Takes a message: the number of its call, what is asked, the number of the blob, the body."""


class Link(asyncio.Protocol):
    """One end of a connection: messages in, and messages out, those of one turn of the event loop together."""

    def __init__(self, take: Callable[[Link], Took]) -> None:
        self._took = take(self)
        self._came = b""
        self._out: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        came = self._came + data if self._came else data
        start = 0
        while len(came) - start >= _HEAD.size:
            size, call, what, blob = _HEAD.unpack_from(came, start)
            end = start + _HEAD.size + size
            if end > len(came):
                break
            self._took(call, what, blob, came[start + _HEAD.size : end])
            start = end
        self._came = came[start:]

    def send(self, call: int, what: int, blob: int, body: bytes = b"") -> None:
        if not self._out:
            asyncio.get_running_loop().call_soon(self._flush)
        self._out.append(_HEAD.pack(len(body), call, what, blob))
        if body:
            self._out.append(body)

    def _flush(self) -> None:
        out, self._out = self._out, []
        if self._transport is not None:
            self._transport.writelines(out)


class Log:
    """What a node has: a file that is appended to, and where the blobs are in it."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_TRUNC, 0o600)
        self._end = 0
        self._places: dict[int, tuple[int, int]] = {}
        self._waiting: list[tuple[int, bytes, bool, Callable[[], None]]] = []
        self._task: asyncio.Task[None] | None = None

    def read(self, blob: int) -> bytes:
        offset, size = self._places[blob]
        return os.pread(self._file, size, offset)

    def append(self, blob: int, body: bytes, sync: bool, done: Callable[[], None]) -> None:
        self._waiting.append((blob, body, sync, done))
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._write_all())

    async def _write_all(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            bodies = [body for _, body, _, _ in batch]
            if any(sync for _, _, sync, _ in batch):
                await asyncio.get_running_loop().run_in_executor(None, self._write, bodies, True)
            else:
                self._write(bodies, False)
            for blob, body, _, done in batch:
                self._places[blob] = (self._end, len(body))
                self._end += len(body)
                done()
        self._task = None

    def _write(self, bodies: list[bytes], sync: bool) -> None:
        offset = self._end
        for first in range(0, len(bodies), BUFFERS_MAX):
            offset += os.pwritev(self._file, bodies[first : first + BUFFERS_MAX], offset)
        if sync:
            os.fdatasync(self._file)


async def node(path: str) -> None:
    """A node that keeps its blobs in this file."""
    log = Log(path)

    def take(link: Link) -> Took:
        def took(call: int, what: int, blob: int, body: bytes) -> None:
            if what == GET:
                link.send(call, what, blob, log.read(blob))
            else:
                log.append(blob, body, what == PUT_DISK, partial(link.send, call, what, blob))

        return took

    server = await asyncio.get_running_loop().create_server(lambda: Link(take), HOST, 0)
    await serve_at(server.sockets[0].getsockname()[1])


class Frontend:
    """Uploads go to all nodes, reads to one."""

    def __init__(self) -> None:
        self._links: list[Link] = []
        self._waiting: dict[int, Callable[[bytes], None]] = {}
        self._calls = 0
        self._blobs = 0

    async def connect(self, ports: list[int]) -> None:
        for port in ports:
            _, link = await asyncio.get_running_loop().create_connection(lambda: Link(self._take), HOST, port)
            self._links.append(link)

    def _take(self, _link: Link) -> Took:
        def took(call: int, _what: int, _blob: int, body: bytes) -> None:
            self._waiting[call](body)

        return took

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self._calls += 1
        call = self._calls
        try:
            if request.method == "GET":
                return await self._read(call, int(request.path[1:]))
            return await self._write(call, request)
        finally:
            # Who answers late is heard by nobody.
            self._waiting[call] = _ignore
            self._waiting.pop(call - 10_000, None)

    async def _read(self, call: int, blob: int) -> web.Response:
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[call] = future.set_result
        self._links[call % len(self._links)].send(call, GET, blob)
        body = await future
        xxhash.xxh3_64_intdigest(body)
        return web.Response(body=body)

    async def _write(self, call: int, request: web.BaseRequest) -> web.Response:
        body = await request.read()
        digest = xxhash.xxh3_128_hexdigest(body)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        confirmed = 0

        def hear(_body: bytes) -> None:
            nonlocal confirmed
            confirmed += 1
            if confirmed == ENOUGH:
                future.set_result(None)

        self._waiting[call] = hear
        self._blobs += 1
        blob = self._blobs
        what = PUT_DISK if request.headers.get("x-ambry-durability") == "disk" else PUT_MEMORY
        for link in self._links:
            link.send(call, what, blob, body)
        await future
        return web.Response(status=201, headers={"Location": f"/{blob}", "x-ambry-digest": digest})


def _ignore(_body: bytes) -> None: ...


async def frontend(ports: list[int]) -> None:
    """A frontend of the nodes at these ports."""
    made = Frontend()
    await made.connect(ports)
    runner = web.ServerRunner(web.Server(made.answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, HOST, 0, backlog=1024).start()
    await serve_at(runner.addresses[0][1])


async def serve_at(port: int) -> None:
    """Say so, and serve until stdin ends."""
    print(port, flush=True)
    ended = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(ended), sys.stdin.buffer)
    await ended.read()


def main(words: list[str]) -> None:
    work: Coroutine[Any, Any, None] = (
        node(words[1]) if words[0] == "node" else frontend([int(word) for word in words[1:]])
    )
    uvloop.run(work)


if __name__ == "__main__":
    main(sys.argv[1:])
