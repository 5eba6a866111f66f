"""The HTTP port: accepts, admits, watches over slow clients, and drains.

aiohttp's low-level server is below it, with connections of our own (frontend/http/connections.py). What its parser or the edge
refuses never reaches the handler; it is answered as everything else, in the words of the API, and logged as one line.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from ambry.clock import Clock
from ambry.errors import AmbryError, InvalidRequest, Overloaded, Unavailable, must_have
from ambry.patience import Patience
from ambry.service import heap
from ambry.service.handshakes import IN_THE_CLEAR, Handshakes
from ambry.service.listener import Farewells, Listener, Socket, bound_unsent, unconfirmed
from ambry.service.logs import get_logger
from ambry.service.tls import ReloadingTls
from ambry.service.turned_away import TurnedAway
from frontend import metrics
from frontend.http.admission import LINGERING_MAX, Admission, Limits
from frontend.http.connections import READ_BYTES, READ_BYTES_LARGE, Connection
from frontend.http.handler import Handler
from frontend.http.proxies import TrustedProxies
from frontend.http.refusals import PARSER_LIMITS
from frontend.http.short import Shortcut
from frontend.http.taken import UNSENT_BYTES
from frontend.http.turns import Portions, Turns
from frontend.http.wire import answer_head

log = get_logger()

SWEEP_S = 0.5
"""How often slow clients are looked after, or five times within the shortest deadline."""
LOOKS_MAX = 32
"""Slow clients that are looked at in one turn of the event loop."""
HANDSHAKES_S = 1.0
"""How long a drain waits for handshakes."""
FIRST_WORDS_S = 0.1
LOOK_EVERY_S = 0.005
"""How often a drain looks whether it is over, and how long after some slow clients others are looked at."""
GIVE_BACK_AFTER_S = 2.0
"""After a crowd has gone: what was done for it has ended by then."""
LAST_WORDS_S = 1.0
"""How long answers get to leave when a drain is over."""

Answer = Callable[[AmbryError, str], web.Response]
"""An error and a request id, as the API answers them, with the headers that every answer carries."""


class HttpServer(web.Server):
    """Serves on the sockets it is started on."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        clock: Clock,
        random_source: random.Random,
        limits: Limits,
        answer: Answer,
        lingering_s: float = 2.0,
        tls: ReloadingTls[Any] | None = None,
        proxies: TrustedProxies | None = None,
    ) -> None:
        """With `tls` nothing is heard in the clear. `proxies` have as many connections as there are."""
        super().__init__(
            handler,
            access_log=None,
            # Bodies are stored as they come: a gzip body must not arrive unpacked.
            auto_decompress=False,
            keepalive_timeout=limits.head_timeout_s,
            **PARSER_LIMITS,
            # A body is read no further than one read ahead of whoever takes it.
            read_bufsize=READ_BYTES // 2,
            lingering_time=lingering_s,
        )
        self._tls = tls
        self.limits = limits
        self.admission = Admission(limits, (proxies or TrustedProxies()).trusts)
        self.lingering_s = lingering_s
        self.draining = False
        """Every answer is the last on its connection."""
        self.shortcuts: Mapping[bytes, Shortcut] = {}
        """By the first byte of a request."""
        self.view_large = memoryview(bytearray(READ_BYTES_LARGE))
        self.view = self.view_large[:READ_BYTES]
        """What all connections read into, one after the other."""
        self.heads: set[Connection] = set()
        """Connections that wait for the rest of a head, or for the first one."""
        self.charged: set[Connection] = set()
        self.turns = Turns(self._loop)
        self.portions = Portions(self._loop, clock=clock)
        self.slow: set[Connection] = set()
        """Connections that have bytes the kernel does not take."""
        self._to_look_at: list[Connection] = []
        """Those of them whose turn did not come since the last sweep."""
        self._open: set[Connection] = set()
        self._crowd = heap.Crowd()
        self._farewells = Farewells(
            most=LINGERING_MAX,
            patience_s=lingering_s,
            full=self._pause_accepting,
            room=self._resume_accepting,
        )
        self._parting: set[asyncio.Task[None]] = set()
        self._random = random_source
        self._answer = answer
        self.now = asyncio.get_running_loop().time
        self._handshakes: Handshakes[Connection] = Handshakes(
            TurnedAway("a client", self.now),
            within_s=limits.head_timeout_s,
            to_http=self._speaks_https,
            failed=metrics.REFUSED.labels("handshake").inc,
            turn=self.portions.turn,
        )
        self._listener: Listener | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._sweep_s = min(SWEEP_S, limits.head_timeout_s / 5, limits.stall_timeout_s / 5)

    # --- accepting ---

    def start(self, sockets: list[Socket]) -> None:
        """Serve on these listening sockets, which it owns from now on."""
        self._listener = Listener(sockets, self._accepted, name="http")
        self._sweeper = self._loop.call_later(self._sweep_s, self._sweep)

    @property
    def port(self) -> int:
        return must_have(self._listener, "the socket of a server that was started").port

    def _accepted(self, sock: Socket, client: str) -> None:
        reason = self.admission.enter(client)
        if reason is not None:
            response = self.refused(Overloaded(reason, retry_after_s=1), None, client, kind="connections")
            if self._tls is not None:
                # It would take what is said in the clear for a broken handshake. This is one client with too many, or the end.
                sock.close()
                return
            self._farewells.say(sock, _as_bytes(response))
            return
        # A client that takes nothing has no more than that in the kernel. Who has taken something is not bound by it.
        bound_unsent(sock, UNSENT_BYTES)
        self._handshakes.begin(sock, client, Connection(self, client), self._tls)
        if self._tls is not None and self.admission.full:
            # Nobody can be told without a handshake: more wait in the kernel's queue until one leaves.
            self._pause_accepting()

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Run what ends a connection, with a reference to it."""
        task = self._loop.create_task(work)
        self._parting.add(task)
        task.add_done_callback(self._parting.discard)

    def _pause_accepting(self) -> None:
        if self._listener is not None:
            self._listener.pause()

    def _resume_accepting(self) -> None:
        if self._listener is not None:
            self._listener.resume()

    def _speaks_https(self, client: str) -> bytes:
        return _as_bytes(self.refused(InvalidRequest(IN_THE_CLEAR), None, client, kind="in_the_clear"))

    # --- connections ---

    def connected(self, connection: Connection) -> None:
        self._open.add(connection)
        if self._listener is None:
            connection.turn_down(self._stopping)

    def disconnected(self, connection: Connection) -> None:
        self._open.discard(connection)
        self.heads.discard(connection)
        self.slow.discard(connection)
        self._release_head(connection)
        self.admission.leave(connection.client)
        if self._tls is not None:
            self._resume_accepting()

    def _release_head(self, connection: Connection) -> None:
        if connection.head_charged:
            self.admission.release_head(connection.head_charged)
            connection.head_charged = 0
        self.charged.discard(connection)

    def make_handler(self, connection: Connection) -> Handler:
        handler = Handler(self, connection, loop=self._loop, **self._kwargs)
        handler.connection_made(connection.transport)
        return handler

    def refused(
        self, error: AmbryError, cause: BaseException | None, client: Connection | str, *, kind: str = ""
    ) -> web.Response:
        """The answer to what never became a request; counted and logged here."""
        request_id = self._random.randbytes(16).hex()
        name = type(error).__name__
        metrics.REFUSED.labels(kind or name).inc()
        log.info(
            "request refused at the edge",
            request_id=request_id,
            client=client if isinstance(client, str) else client.client,
            status=error.status,
            code=name,
            error=error.message,
            cause=type(cause).__name__ if cause is not None else "",
        )
        return self._answer(error, request_id)

    # --- slow clients ---

    def _sweep(self) -> None:
        """Look after everybody who is slow. Costs nothing for those who are not."""
        self._sweeper = self._loop.call_later(self._sweep_s, self._sweep)
        now = self.now()
        for connection in [each for each in self.heads if each.head_deadline <= now]:
            metrics.REFUSED.labels("head_timeout").inc()
            connection.head_is_late()
        for connection in [each for each in self.charged if each.idle]:
            self._release_head(connection)
        if self._crowd.left(self.admission.connections):
            self._loop.call_later(GIVE_BACK_AFTER_S, self._loop.run_in_executor, None, heap.give_back)
        if not self._to_look_at:
            self._to_look_at = list(self.slow)
            self._look_further()

    def _look_further(self) -> None:
        """Look at some of those who are slow, and at others in a later turn."""
        now = self.now()
        these, self._to_look_at = self._to_look_at[:LOOKS_MAX], self._to_look_at[LOOKS_MAX:]
        for connection in these:
            if connection in self.slow:
                self._look_at(connection, now)
        if self._to_look_at:
            self._loop.call_later(LOOK_EVERY_S, self._look_further)

    def _look_at(self, connection: Connection, now: float) -> None:
        """End a connection whose client takes its answer more slowly than may be."""
        patience = connection.patience
        if patience is None:
            patience = connection.patience = Patience(self.limits.stall_timeout_s, self.limits.rate_min)
        unsent = unconfirmed(connection.transport)
        patience.waited(now - connection.looked_at)
        patience.moved(max(0, connection.unsent - unsent))
        connection.unsent = unsent
        connection.looked_at = now
        if not patience.left_s:
            connection.abort("takes its answer too slowly")
            metrics.REFUSED.labels("send_rate").inc()

    # --- the end ---

    async def drain(self, *, timeout_s: float, hurry: asyncio.Event) -> None:
        """Accept no more and finish what is under way; at the end, or when told to hurry, answer or break off the rest.

        Nobody is reset who is connected already: who sends a request from now on is answered 503.
        """
        self.draining = True
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for connection in self._open:
            connection.turn_down(self._stopping)
        # Those too that the kernel has accepted; who says nothing until then gets no connection.
        await self._until(lambda: not self._handshakes, HANDSHAKES_S, hurry)
        await self._handshakes.ended(within_s=0)
        # What those sent who were waiting to be accepted is read in the next turns.
        await self._until(lambda: not self._open, min(timeout_s, FIRST_WORDS_S), hurry)
        await self._until(lambda: not self._busy(), timeout_s, hurry)
        left = self._busy()
        if left:
            log.warning("drain is over", requests=len(left))
        for connection in left:
            connection.give_up(Unavailable("this frontend is stopping; retry", retry_after_s=1))
        await self._until(lambda: not self._busy(), LAST_WORDS_S, asyncio.Event())
        await self._close()

    async def _stopping(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol.connection  # type: ignore[attr-defined]
        if connection.begun is not None:
            # It came before, and went the ordinary way only now.
            return await self.request_handler(request)
        response = self.refused(
            Unavailable("this frontend is stopping; retry", retry_after_s=1), None, connection, kind="stopping"
        )
        response.force_close()
        return response

    def _busy(self) -> list[Connection]:
        return [
            connection
            for connection in self._open
            if not connection.idle or connection.transport.get_write_buffer_size()
        ]

    @staticmethod
    async def _until(done: Callable[[], bool], timeout_s: float, hurry: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        while not done() and not hurry.is_set() and (left := end - loop.time()) > 0:
            try:
                async with asyncio.timeout(min(left, LOOK_EVERY_S)):
                    await hurry.wait()
            except TimeoutError:
                pass

    async def _close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
        self._farewells.close()
        tasks = [task for connection in self._open if (task := connection.end()) is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_WORDS_S)


def _as_bytes(response: web.Response) -> bytes:
    """A response as it goes over a connection that nothing else goes over."""
    body = response.body if isinstance(response.body, bytes) else b""
    headers = CIMultiDict(response.headers)
    headers["Content-Length"] = str(len(body))
    headers["Connection"] = "close"
    return answer_head(response.status, headers) + body
