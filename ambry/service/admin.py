"""The admin port that every process has: health, metrics, background loops, version. Loopback by default.

Pages of one kind of process come in as `pages`: path -> a function that returns something JSON can say. What an operator
may set off comes in as `actions`: path of a POST, with one number in it -> a coroutine that takes the number and the body.
`/` lists them, and so does the answer to a path that is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ambry import __version__
from ambry.errors import AmbryError
from ambry.service.listener import Farewells, Listener, Socket, bind
from ambry.service.metrics import CONTENT_TYPE, render
from ambry.service.origin import Hosts, refuse_cross_site

SPARE_DESCRIPTORS = 8
CONNECTIONS_MAX = 24
FAREWELLS_MAX = 8
"""The port has descriptors of its own, so that it answers when the rest of the process has none left (F12)."""
PIECE_S = 0.005
"""A page that is made piece by piece lets go of the event loop after so long."""
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"

Page = Callable[[], Any]
"""What a page shows. An iterator is a list that is made and encoded piece by piece: others have their turn in between."""
OperatorAction = Callable[[int, bytes], Awaitable[Any]]
"""What an operator may set off; takes the number in its path and the body of the request, at most 1 MiB."""
Ready = Callable[[], list[str]]
"""Reasons why the process is not ready; empty when it is."""


def json_response(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json", status=status)


async def _in_pieces(items: Iterator[Any]) -> web.Response:
    loop = asyncio.get_running_loop()
    encoded: list[bytes] = []
    until = loop.time() + PIECE_S
    for item in items:
        encoded.append(msgspec.json.encode(item))
        if loop.time() >= until:
            await asyncio.sleep(0)
            until = loop.time() + PIECE_S
    return web.Response(body=b"[" + b",".join(encoded) + b"]", content_type="application/json")


def readiness(ready: Ready) -> web.Response:
    """200, or 503 with the reasons."""
    reasons = ready()
    return json_response({"ready": not reasons, "reasons": reasons}, 200 if not reasons else 503)


def _error(name: str, detail: str, status: int) -> web.Response:
    return json_response({"error": name, "detail": detail}, status)


def _only_ours(hosts: Hosts, there: Sequence[str]) -> Middleware:
    """Refuse what a page of a stranger makes a browser send, and in our own words what is none of `there`."""

    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        host = request.headers.get("Host")
        try:
            hosts.check(host)
            if request.method not in ("GET", "HEAD"):
                refuse_cross_site({name.lower(): value for name, value in request.headers.items()}, host)
        except AmbryError as refused:
            return _error(type(refused).__name__, refused.message, refused.status)
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return _error(
                "PageUnknown", f"{request.path} is no page of this admin port, which has {', '.join(there)}", 404
            )
        except web.HTTPMethodNotAllowed as refused:
            takes = ", ".join(sorted(refused.allowed_methods))
            said = _error("MethodNotAllowed", f"{request.path} takes {takes}, and not {request.method}", 405)
            said.headers["Allow"] = takes
            return said

    @web.middleware
    async def named(request: web.Request, handler: Handler) -> web.StreamResponse:
        found = await answer(request, handler)
        found.headers["Server"] = "ambry"
        return found

    return named


class Admin:
    """A running admin port."""

    def __init__(self, runner: web.AppRunner, sockets: list[Socket]) -> None:
        self._runner = runner
        self._adopting: set[asyncio.Task[None]] = set()
        """Accepted, and not among the server's connections yet."""
        self._listener = Listener(sockets, self._accepted, name="admin", spare=SPARE_DESCRIPTORS)
        self._farewells = Farewells(
            most=FAREWELLS_MAX, patience_s=1.0, full=self._listener.pause, room=self._listener.resume
        )

    @property
    def port(self) -> int:
        return self._listener.port

    def _accepted(self, sock: Socket, client: str) -> None:
        server = self._runner.server
        if server is None or len(server.connections) + len(self._adopting) >= CONNECTIONS_MAX:
            self._farewells.say(sock, _FULL)
            return
        task = asyncio.get_running_loop().create_task(self._adopt(server, sock))
        self._adopting.add(task)
        task.add_done_callback(self._adopting.discard)

    @staticmethod
    async def _adopt(server: web.Server, sock: Socket) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(server, sock)
        except OSError:
            sock.close()

    async def close(self) -> None:
        """Accept no more, and end what is being answered after a second."""
        self._listener.close()
        self._farewells.close()
        await self._runner.cleanup()


async def start_admin(
    host: str,
    port: int,
    *,
    ready: Ready,
    pages: Mapping[str, Page],
    actions: Mapping[str, OperatorAction] | None = None,
    hosts: Iterable[str] = (),
    metrics: Callable[[], Awaitable[bytes]] | None = None,
) -> Admin:
    """Serve the admin port; the caller closes it. Raises OSError when the port is taken.

    `hosts` are the names that it answers to beside its own address, every other address, and the names of loopback. `metrics`
    makes the page of metrics where it is not that of this process.
    """
    sockets = bind(host, port, backlog=128)
    there = ["/healthz", "/readyz", "/metrics", "/version", *pages, *(f"POST {path}" for path in actions or {})]
    app = web.Application(middlewares=[_only_ours(Hosts((host, *hosts)), there)])

    async def healthz(request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def readyz(request: web.Request) -> web.Response:
        return readiness(ready)

    async def metrics_page(request: web.Request) -> web.Response:
        body = await (asyncio.to_thread(render) if metrics is None else metrics())
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    def page_handler(page: Page) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            value = page()
            return await _in_pieces(value) if isinstance(value, Iterator) else json_response(value)

        return handle

    def action_handler(action: OperatorAction) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            try:
                return json_response(await action(int(request.match_info["number"]), await request.read()))
            except (AmbryError, OSError) as error:
                status = error.status if isinstance(error, AmbryError) else 500
                return _error(type(error).__name__, str(error), status)

        return handle

    app.router.add_get("/", page_handler(lambda: {"service": "ambry", "version": __version__, "pages": there}))
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", metrics_page)
    app.router.add_get("/version", page_handler(lambda: {"version": __version__}))
    for path, page in pages.items():
        app.router.add_get(path, page_handler(page))
    for path, action in (actions or {}).items():
        app.router.add_post(path.replace("{number}", r"{number:\d{1,18}}"), action_handler(action))
    runner = web.AppRunner(app, access_log=None, auto_decompress=False, keepalive_timeout=15, shutdown_timeout=1)
    await runner.setup()
    return Admin(runner, sockets)
