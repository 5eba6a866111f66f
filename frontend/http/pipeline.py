"""The life of a request, the same for every API:

    parse -> target -> who -> fields -> what it is about -> may -> preconditions -> handler

Each step either fills in the exchange or refuses with an error, which becomes an answer here and nowhere else. Who asks and
whether they may, the dialect decides; until it has, what a request is told is the dialect's to say too.
"""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Iterator, Mapping

import msgspec
from aiohttp import HttpVersion10, HttpVersion11, web

from ambry.clock import Clock
from ambry.errors import AmbryError, HttpVersionNotSupported, InternalError, Overloaded, RateLimited
from ambry.service.logs import get_logger
from ambry.service.origin import FROM_BROWSERS, Hosts, refuse_cross_site
from frontend import metrics
from frontend.container import Container
from frontend.http import wire
from frontend.http.access_log import QUIET_OPERATION, STATUS_CLIENT_GONE, AccessLog, trace_of
from frontend.http.body import ClientGone
from frontend.http.conditions import CONDITIONAL, Condition, evaluate
from frontend.http.connections import READ_BYTES, Connection
from frontend.http.exchange import Exchange
from frontend.http.fields import check_fields, gather, http_date
from frontend.http.handler import Handler
from frontend.http.proxies import Sender, TrustedProxies
from frontend.http.route import Dialect, Route
from frontend.http.target import Target, parse_target
from frontend.limits.meters import Meters, UseTally
from frontend.request import RequestContext
from frontend.who import Who

log = get_logger()

SPOKEN = (HttpVersion11, HttpVersion10)
_ENDS_IN_DOUBT = frozenset({"transfer-encoding", "upgrade"})
"""Of a refused request: what comes behind it on the connection is not taken for the next one (RFC 9112 section 6.1)."""

_EXHAUSTED = frozenset({errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS})


class KnownTarget(msgspec.Struct, frozen=True):
    """A target and what stands there."""

    target: Target
    route: Route


class Pipeline:
    """The handler of the HTTP server."""

    def __init__(
        self,
        dialect: Dialect,
        *,
        hosts: Hosts,
        clock: Clock,
        random_source: random.Random,
        request_timeout_s: float,
        access_log: AccessLog,
        meters: Meters | None = None,
        proxies: TrustedProxies | None = None,
    ) -> None:
        """Without `meters` nobody is bounded. Without `proxies` none is trusted."""
        self._dialect = dialect
        self._common_lines = wire.lines(dialect.common)
        self.hosts = hosts
        self._clock = clock
        self._now = asyncio.get_running_loop().time
        self._random = random_source
        self._timeout_s = request_timeout_s
        self.log = access_log
        self.meters = Meters(now=clock.monotonic) if meters is None else meters
        self._proxies = TrustedProxies() if proxies is None else proxies
        self._fixed = {
            (method, route.target): KnownTarget(parse_target(method, route.target), route)
            for route in dialect.routes
            if "{" not in route.target
            for method in route.methods
        }
        """By method and target as they stand in a request line, for targets in which nothing varies."""

    def tallies(self) -> Iterator[tuple[str | int, UseTally]]:
        """What was asked for, by the id of a key, and by the scope of a container."""
        yield from self.meters.tallies.items()
        yield from self.log.by_container.items()

    def refuse(self, error: AmbryError, request_id: str) -> web.Response:
        """The answer to what never became a request."""
        response = self._dialect.problem(error, request_id)
        response.headers.update(self._common(request_id))
        return response

    async def __call__(self, http: web.BaseRequest) -> web.StreamResponse:
        handler = http.protocol
        connection = handler.connection if isinstance(handler, Handler) else None
        begun = connection.take_begun() if connection is not None else None
        metrics.begun.value += 1
        started = self._clock.monotonic() if begun is None else begun.started
        if begun is None:
            peer = "" if connection is None else connection.client
            context = self._context(self._proxies.sender(peer, http.headers))
        else:
            context = begun.context
        exchange = Exchange(
            http=http,
            method=http.method,
            connection=connection,
            context=context,
            common=self._common(context.id),
            begun=None if begun is None else begun.what,
        )
        status = STATUS_CLIENT_GONE
        try:
            response = await self._answer(exchange)
            status = response.status
            return response
        finally:
            if begun is not None:
                begun.drop()
            metrics.over.value += 1
            self.log.record(exchange, status, self._clock.monotonic() - started)

    def _common(self, request_id: str) -> Mapping[str, str]:
        """What every answer carries. When it is, the clock of the cluster says, not that of this machine: in a
        header of ours too, since a proxy may put its own time into `Date`, as nginx does."""
        dialect, now_ms = self._dialect, self._clock.wall_ms()
        return {
            **dialect.common,
            dialect.request_id_header: request_id,
            dialect.answered_header: str(now_ms),
            "Date": http_date(now_ms // 1000),
        }

    def common_lines(self, context: RequestContext) -> str:
        """The same as it stands in an answer."""
        dialect, now_ms = self._dialect, self._clock.wall_ms()
        return (
            f"{self._common_lines}{dialect.request_id_header}: {context.id}\r\n"
            f"{dialect.answered_header}: {now_ms}\r\nDate: {http_date(now_ms // 1000)}\r\n"
        )

    def _context(self, sender: Sender) -> RequestContext:
        """A request's that begins now."""
        request_id = self._random.getrandbits(128).to_bytes(16, "big").hex()
        return RequestContext(
            id=request_id,
            timeout_s=self._timeout_s,
            deadline=self._now() + self._timeout_s,
            client=sender.client,
            proxy=sender.proxy,
            scheme=sender.scheme,
            standing=self._dialect.check_standing,
        )

    def let_in(
        self, who: Who, connection: Connection, container: Container, *, changes: bool = False, traceparent: str = ""
    ) -> RequestContext | None:
        """The context of a request that begins now and has its place in the rate of who asks; None where there is none, or
        where the audit takes no changes.

        For a request that is plain (frontend/http/plain.py): it has no header in which a proxy tells who its client is.
        """
        audit = self.log.audit
        if changes and audit is not None and not audit.takes_changes:
            return None
        meter = self.meters.admitted(who, connection.client)
        if meter is None:
            return None
        context = self._context(Sender(connection.client))
        context.container, context.who, context.meter, context.changes = container, who, meter, changes
        if traceparent:
            context.trace = trace_of(traceparent)
        return context

    def _admit(self, exchange: Exchange) -> None:
        """Give a request its place in the rate of who asks, unless it has one. Raises RateLimited."""
        context = exchange.context
        if context.meter is None:
            try:
                context.meter = self.meters.admit(context.who, context.client)
            except RateLimited:
                metrics.RATE_LIMITED.labels("key" if context.who.known else "address").value += 1
                raise

    async def _answer(self, exchange: Exchange) -> web.StreamResponse:
        """Answer the request and send the answer to its end; see Exchange.send_whole."""
        try:
            response = await self._made(exchange)
            return response if exchange.streaming else await exchange.send_whole(response)
        except ConnectionError as gone:
            return self._break(exchange, gone)

    async def _made(self, exchange: Exchange) -> web.StreamResponse:
        try:
            route = self._understand(exchange)
            await self._enter(exchange, route)
            if route.changes and not (FROM_BROWSERS.isdisjoint(exchange.headers) or exchange.from_known_page):
                refuse_cross_site(exchange.headers, exchange.authority)
            if not CONDITIONAL.isdisjoint(exchange.headers):
                answer = await self._precondition(exchange, route)
                if answer is not None:
                    return answer
            return await route.handle(exchange)
        except AmbryError as error:
            return (
                self._break(exchange, error)
                if exchange.streaming
                else self._problem(exchange, self._told(exchange, error))
            )
        except (ClientGone, ConnectionError) as gone:
            return self._break(exchange, gone)
        except Exception as error:
            where = {"request_id": exchange.context.id, "method": exchange.method, "path": exchange.target.path}
            if _is_shortage(error):
                log.warning("no memory or descriptor for a request", error=str(error) or type(error).__name__, **where)
                shortage = Overloaded("this frontend is out of memory or descriptors; retry", retry_after_s=1)
                return self._break(exchange, shortage) if exchange.streaming else self._problem(exchange, shortage)
            log.exception("request failed", **where)
            if exchange.streaming:
                return self._break(exchange, error)
            return self._problem(exchange, InternalError("a bug in this server; please report the request id"))

    def _told(self, exchange: Exchange, error: AmbryError) -> AmbryError:
        """What is told of an error: whoever has no key that is good asks as often as anybody without one."""
        if error.status == 401:
            try:
                self._admit(exchange)
            except RateLimited as limited:
                return limited
        return error

    async def _enter(self, exchange: Exchange, route: Route) -> None:
        """Find out what it is about, and whether who asks may."""
        dialect = self._dialect
        if route.enter is not None:
            try:
                await route.enter(exchange)
            except AmbryError as error:
                if exchange.decided:
                    raise
                told = dialect.refused(exchange, error)
                if told is error:
                    raise
                raise told from error
        dialect.authorize(exchange, route)

    def _understand(self, exchange: Exchange) -> Route:
        """Find the route and who asks, take in the fields, and refuse what must not or cannot be done whoever asks."""
        http, method = exchange.http, exchange.method
        # Not `version`, which aiohttp keeps once it was read: the answer would say to be of that version too.
        if http._version not in SPOKEN:
            http._version = HttpVersion11
            raise HttpVersionNotSupported("this server speaks HTTP/1.1 and HTTP/1.0")
        fixed = self._fixed.get((method, http.raw_path))
        if fixed is not None:
            target, route = fixed.target, fixed.route
        else:
            target = parse_target(method, http.raw_path)
            route = self._dialect.find(method, target)
        exchange.target, exchange.op, exchange.needs = target, route.op, route.needs
        exchange.context.path, exchange.context.changes = target.path, route.changes
        exchange.headers = gather(http.headers.items(), self._dialect.own_prefix)
        if "traceparent" in exchange.headers:
            exchange.context.trace = trace_of(exchange.headers["traceparent"])
        if exchange.authority not in self.hosts.known:
            self.hosts.check(exchange.authority)
        self._dialect.authenticate(exchange)
        if route.op != QUIET_OPERATION:
            self._admit(exchange)
        if route.changes_if is not None:
            exchange.context.changes = route.changes_if(target)
        if exchange.context.changes and self.log.audit is not None:
            self.log.audit.check_takes_changes()
        check_fields(exchange, route, self._dialect)
        content = http.content
        if (
            route.takes_body
            and content.is_eof()
            and content.exception() is None
            and content.total_bytes <= READ_BYTES
            and exchange.body_size in (None, content.total_bytes)
            and http.transport is not None
        ):
            # A short one that is here as a whole, with its head most likely: nobody has to wait for it.
            exchange.body = content.read_nowait()
        return route

    async def _precondition(self, exchange: Exchange, route: Route) -> web.Response | None:
        """Hold the request's conditions against what they are about (RFC 9110 section 13.2)."""
        if route.select is None:
            return None
        selected = exchange.selected = await route.select(exchange)
        outcome = evaluate(exchange.headers, exchange.method, selected)
        if outcome is Condition.NOT_MODIFIED and selected is not None:
            return web.Response(status=304, headers=selected.headers)
        return None

    def _break(self, exchange: Exchange, error: Exception) -> web.Response:
        """End the connection: the client must see that the body is not whole.

        The response is for aiohttp, which finds the connection closed and is content; an exception it would log as a bug.
        """
        connection = exchange.connection
        if connection is not None and connection.broken:
            why = connection.broken
        elif isinstance(error, (ClientGone, ConnectionError)) and not isinstance(error, AmbryError):
            why = "the client went away"
        else:
            why = str(error) or type(error).__name__
        exchange.noted["error"] = why
        if connection is not None:
            connection.abort("the answer broke off")
        return web.Response(status=STATUS_CLIENT_GONE)

    def _problem(self, exchange: Exchange, error: AmbryError) -> web.Response:
        exchange.noted.update(error=error.message, code=type(error).__name__)
        response = self._dialect.problem(error, exchange.context.id)
        http = exchange.http
        unread = http.can_read_body and not http.content.is_eof()
        if unread or exchange.method == "CONNECT" or not _ENDS_IN_DOUBT.isdisjoint(map(str.lower, http.headers)):
            # The rest of a refused upload is not worth reading; where such a request ends, others may see otherwise.
            response.force_close()
        return response


def _is_shortage(error: Exception) -> bool:
    """Whether this process, or the machine, had not what it took: that is no bug, and may be had in a moment."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in _EXHAUSTED)
