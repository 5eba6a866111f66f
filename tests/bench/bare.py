"""The in-run baseline, a process of its own: aiohttp's low-level server on uvloop that does nothing else.

`python -m tests.bench.bare SIZE...`; prints its port when it listens, ends when stdin does. A POST is read and answered 201;
`GET /<size>` answers blob number 0 of that size (tests/bench/load.py).
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from aiohttp import web

from tests.bench.load import HOST, NUMBER_SIZE, Payload


async def serve(sizes: list[int]) -> None:
    """Serve until stdin ends."""
    bodies = {f"/{size}": bytes(NUMBER_SIZE) + Payload(size).tail for size in sizes}

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "GET":
            return web.Response(body=bodies[request.path])
        content = request.content
        while await content.readany():
            pass
        return web.Response(status=201)

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, HOST, 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    ended = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(ended), sys.stdin.buffer)
    await ended.read()
    await runner.cleanup()


def main() -> None:
    uvloop.run(serve([int(size) for size in sys.argv[1:]]))


if __name__ == "__main__":
    main()
