"""The in-run baseline, a process of its own: aiohttp's low-level server on uvloop that does nothing else.

`python -m tests.bench.bare [--tls CERTIFICATE KEY] SIZE...`; prints its port when it listens, ends when stdin does. A POST is
read and answered 201; `GET /<size>` answers blob number 0 of that size (tests/bench/load.py).
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
import sys

import uvloop
from aiohttp import web

from tests.bench.load import HOST, NUMBER_SIZE, Payload

TLS_PIECE = 256 << 10


async def in_pieces(request: web.BaseRequest, body: bytes) -> web.StreamResponse:
    """For TLS: uvloop encrypts what it is given before any of it goes, which takes a body of 64 MiB six times as long."""
    response = web.StreamResponse()
    response.content_length = len(body)
    await response.prepare(request)
    view = memoryview(body)
    for start in range(0, len(view), TLS_PIECE):
        await response.write(view[start : start + TLS_PIECE])
    await response.write_eof()
    return response


async def serve(sizes: list[int], tls: list[str] | None = None) -> None:
    """Serve until stdin ends."""
    bodies = {f"/{size}": bytes(NUMBER_SIZE) + Payload(size).tail for size in sizes}

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.method == "GET":
            body = bodies[request.path]
            return web.Response(body=body) if tls is None else await in_pieces(request, body)
        content = request.content
        while await content.readany():
            pass
        return web.Response(status=201)

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
    await web.TCPSite(runner, HOST, 0, backlog=1024, ssl_context=context).start()
    print(runner.addresses[0][1], flush=True)
    ended = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(ended), sys.stdin.buffer)
    await ended.read()
    await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tls", nargs=2, metavar=("CERTIFICATE", "KEY"))
    parser.add_argument("sizes", type=int, nargs="+")
    given = parser.parse_args()
    uvloop.run(serve(given.sizes, given.tls))


if __name__ == "__main__":
    main()
