"""The admin port that every process has: health, metrics, background loops, version. Loopback by default.

On loopback it asks nobody who they are. Elsewhere it speaks TLS and answers operators: who shows a certificate of the cluster's
authority with that role (ambry/service/tls.py).

Pages of one kind of process come in as `pages`: path -> a function that returns something JSON can say. What an operator
may set off comes in as `actions`: path of a POST, with one number in it -> a coroutine that takes the number and the body.
`/` lists them, and so does the answer to a path that is none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from ambry import __version__
from ambry.address import is_loopback
from ambry.errors import AmbryError, ConfigInvalid
from ambry.service.admin_http import AdminAnswer, AdminConnection, AdminRequest, as_bytes, as_json, refusal
from ambry.service.handshakes import IN_THE_CLEAR, SPEAKS_HTTP, Handshakes
from ambry.service.listener import Farewells, Listener, Socket, bind
from ambry.service.logs import get_logger
from ambry.service.metrics import CONTENT_TYPE, render
from ambry.service.origin import Hosts, refuse_cross_site
from ambry.service.tls import NodeRole, NodeTls, identity_of
from ambry.service.turned_away import TurnedAway

log = get_logger()

SPARE_DESCRIPTORS = 8
CONNECTIONS_MAX = 24
FAREWELLS_MAX = 8
"""The port has descriptors of its own, so that it answers when the rest of the process has none left (F12)."""
GIVES_WAY_S = 1.0
"""So long a handshake keeps its place when others come."""
TOLD_EVERY_S = 60.0
PIECE_S = 0.005
"""A page that is made piece by piece lets go of the event loop after so long."""
DIGITS_MAX = 18
_FULL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
Page = Callable[[], Any]
"""What a page shows, or a coroutine that finds it out. An iterator is a list that is made and encoded piece by piece: others
have their turn in between."""
OperatorAction = Callable[[int, bytes], Awaitable[Any]]
"""What an operator may set off; takes the number in its path and the body of the request, at most 1 MiB."""
Ready = Callable[[], list[str]]
"""Reasons why the process is not ready; empty when it is."""


async def _page(value: Any) -> AdminAnswer:
    """What a page shows, encoded."""
    if isinstance(value, Awaitable):
        value = await value
    if not isinstance(value, Iterator):
        return as_json(value)
    loop = asyncio.get_running_loop()
    encoded: list[bytes] = []
    until = loop.time() + PIECE_S
    for item in value:
        encoded.append(msgspec.json.encode(item))
        if loop.time() >= until:
            await asyncio.sleep(0)
            until = loop.time() + PIECE_S
    return AdminAnswer(200, b"[" + b",".join(encoded) + b"]")


def readiness_of(reasons: list[str]) -> tuple[dict[str, Any], int]:
    """What is said of it, and the status: 200, or 503 where there are reasons why not."""
    return {"ready": not reasons, "reasons": reasons}, 503 if reasons else 200


def _nothing() -> list[str]:
    return []


class Pages:
    """What an admin port answers."""

    def __init__(
        self,
        hosts: Hosts,
        gets: Mapping[str, Callable[[], Awaitable[AdminAnswer]]],
        actions: Mapping[str, OperatorAction],
    ) -> None:
        self._hosts = hosts
        self._gets = gets
        self._actions = {tuple(path.split("{number}")): action for path, action in actions.items()}
        self._there = [*(path for path in gets if path != "/"), *(f"POST {path}" for path in actions)]

    def listed(self) -> dict[str, Any]:
        return {"service": "ambry", "version": __version__, "pages": self._there}

    async def answer(self, request: AdminRequest) -> AdminAnswer:
        """Refuses what a page of a stranger makes a browser send."""
        try:
            self._hosts.check(request.authority)
            if request.method not in ("GET", "HEAD"):
                refuse_cross_site(request.headers, request.authority)
        except AmbryError as refused:
            return refusal(type(refused).__name__, refused.message, refused.status)
        path = request.path
        page = self._gets.get(path)
        if page is not None:
            return await page() if request.method in ("GET", "HEAD") else _takes_only("GET, HEAD", request)
        for (before, behind), action in self._actions.items():
            number = path[len(before) : len(path) - len(behind)]
            fits = path.startswith(before) and path.endswith(behind) and number.isascii() and number.isdigit()
            if fits and len(number) <= DIGITS_MAX:
                return (
                    await _act(action, int(number), request)
                    if request.method == "POST"
                    else _takes_only("POST", request)
                )
        return refusal("PageUnknown", f"{path} is no page of this admin port, which has {', '.join(self._there)}", 404)


def _takes_only(methods: str, request: AdminRequest) -> AdminAnswer:
    said = refusal("MethodNotAllowed", f"{request.path} takes {methods}, and not {request.method}", 405)
    said.headers = {"Allow": methods}
    return said


async def _act(action: OperatorAction, number: int, request: AdminRequest) -> AdminAnswer:
    try:
        return as_json(await action(number, request.body))
    except (AmbryError, OSError) as error:
        return refusal(type(error).__name__, str(error), error.status if isinstance(error, AmbryError) else 500)


class AdminTls(NamedTuple):
    """How an admin port off loopback speaks TLS, and whose operators it answers."""

    node: NodeTls
    cluster: str

    def refuses(self, transport: asyncio.Transport) -> str:
        """Why whoever is at the other end is answered nothing; empty for an operator of the cluster."""
        found = identity_of(transport.get_extra_info("ssl_object").getpeercert())
        if found is not None and (found.cluster, found.role) == (self.cluster, NodeRole.OPERATOR):
            return ""
        who = "a certificate that says nothing of who it is" if found is None else f"the certificate of {found.uri}"
        reason = f"{who} is none of an operator of {self.cluster}"
        log.warning("no operator is answered nothing", client=str(transport.get_extra_info("peername")), reason=reason)
        return f"{reason}; `ambry certs issue --dir D operator NAME` makes one"


class Admin:
    """A running admin port."""

    def __init__(self, pages: Pages, sockets: list[Socket], tls: AdminTls | None) -> None:
        self._pages = pages
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._tell_at = 0.0
        """When it may be told again that it is full, on the event loop's clock."""
        self._connections: set[AdminConnection] = set()
        self._waiting: list[tuple[Socket, str]] = []
        """Who came to a full port in TLS, one: others wait in the kernel's queue."""
        self._later: asyncio.TimerHandle | None = None
        """When somebody may give way for that one."""
        self._turned_away = TurnedAway("an operator", self._loop.time)
        self._handshakes: Handshakes[AdminConnection] = Handshakes(self._turned_away, to_http=self._speaks_https)
        self._listener = Listener(sockets, self._accepted, name="admin", spare=SPARE_DESCRIPTORS)
        self._farewells = Farewells(
            most=FAREWELLS_MAX, patience_s=1.0, full=self._listener.pause, room=self._listener.resume
        )

    @property
    def port(self) -> int:
        return self._listener.port

    def _speaks_https(self, client: str) -> bytes:
        self._turned_away.tell(client, SPEAKS_HTTP)
        return as_bytes(refusal("InvalidRequest", IN_THE_CLEAR, 400))

    def _accepted(self, sock: Socket, client: str) -> None:
        if self._has_room():
            self._begin(sock, client)
        elif self._tls is None:
            self._farewells.say(sock, _FULL)
        else:
            # Nobody can be told without a handshake, which would take what there is none of.
            self._waiting.append((sock, client))
            self._listener.pause()
            self._tell_full(client)
            self._let_in()

    def _has_room(self) -> bool:
        if len(self._connections) >= CONNECTIONS_MAX and self._tls is not None:
            # Whoever has not said who it is gives way.
            given_up = self._handshakes.give_up_oldest(after_s=GIVES_WAY_S)
            if given_up is not None:
                self._connections.discard(given_up)
        return len(self._connections) < CONNECTIONS_MAX

    def _tell_full(self, client: str) -> None:
        now = self._loop.time()
        if now >= self._tell_at:
            self._tell_at = now + TOLD_EVERY_S
            log.warning("the admin port is full; who comes waits", connections=CONNECTIONS_MAX, client=client)

    def _begin(self, sock: Socket, client: str) -> None:
        refuses = None if self._tls is None else self._tls.refuses
        connection = AdminConnection(self._pages.answer, self._left, refuses)
        self._connections.add(connection)
        self._handshakes.begin(sock, client, connection, None if self._tls is None else self._tls.node.serving)

    def _left(self, connection: AdminConnection) -> None:
        self._connections.discard(connection)
        self._let_in()

    def _let_in(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if not self._waiting:
            return
        if self._has_room():
            self._begin(*self._waiting.pop())
            self._listener.resume()
        else:
            self._later = self._loop.call_later(GIVES_WAY_S, self._let_in)

    async def close(self) -> None:
        """Accept no more, and end what is being answered after a second."""
        self._listener.close()
        self._farewells.close()
        for sock, _ in self._waiting:
            sock.close()
        self._waiting.clear()
        self._let_in()
        await self._handshakes.ended(within_s=1.0)
        answering = [connection.task for connection in self._connections if connection.task is not None]
        if answering:
            _, late = await asyncio.wait(answering, timeout=1.0)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for connection in list(self._connections):
            connection.close()


async def start_admin(
    host: str,
    port: int,
    *,
    ready: Ready,
    pages: Mapping[str, Page],
    actions: Mapping[str, OperatorAction] | None = None,
    hosts: Iterable[str] = (),
    metrics: Callable[[], Awaitable[bytes]] | None = None,
    tls: AdminTls | None = None,
    warnings: Ready = _nothing,
) -> Admin:
    """Serve the admin port; the caller closes it. Raises OSError when the port is taken.

    `warnings` stand beside the reasons why it is not `ready`: what somebody should see to, and what makes it unready in no way.

    `tls` is for an address that is not on loopback; without it such a one is refused (ConfigInvalid).

    `hosts` are the names that it answers to beside its own address, every other address, and the names of loopback. `metrics`
    makes the page of metrics where it is not that of this process.
    """
    loopback = is_loopback(host)
    if not loopback and tls is None:
        raise ConfigInvalid(no_operators(host))
    sockets = bind(host, port, backlog=128)

    async def healthz() -> AdminAnswer:
        return AdminAnswer(200, b"ok\n", "text/plain; charset=utf-8")

    async def readyz() -> AdminAnswer:
        reasons = ready()
        said, status = readiness_of(reasons)
        return as_json(said | {"warnings": [each for each in warnings() if each not in reasons]}, status)

    async def metrics_page() -> AdminAnswer:
        body = await (asyncio.to_thread(render) if metrics is None else metrics())
        return AdminAnswer(200, body, CONTENT_TYPE)

    def shows(page: Page) -> Callable[[], Awaitable[AdminAnswer]]:
        return lambda: _page(page())

    gets: dict[str, Callable[[], Awaitable[AdminAnswer]]] = {
        "/": shows(lambda: answers.listed()),
        "/healthz": healthz,
        "/readyz": readyz,
        "/metrics": metrics_page,
        "/version": shows(lambda: {"version": __version__}),
        **{path: shows(page) for path, page in pages.items()},
    }
    answers = Pages(Hosts((host, *hosts)), gets, actions or {})
    return Admin(answers, sockets, None if loopback else tls)


def no_operators(host: str) -> str:
    """Why an admin port may not listen there without TLS, for people."""
    return (
        f"the admin port's address is {host!r}, and node_tls is not set: off loopback it answers operators alone, by their "
        "certificates; `ambry certs` makes some, or listen on 127.0.0.1"
    )
