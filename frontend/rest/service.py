"""What a frontend says of itself: for load balancers, orchestrators and people."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

from aiohttp import web

from ambry import __version__
from ambry.clock import Clock
from ambry.service.admin import readiness_of
from frontend.http.exchange import Exchange, json_response
from frontend.http.problem import RETRY_AFTER_S
from frontend.http.route import Handle, Route
from frontend.rest.resource import EVERYWHERE, READS, of_this_moment
from frontend.who import OPEN


class ServicePages:
    """Pages that need no blob. They are of this moment, and never kept."""

    def __init__(self, unready: Callable[[], list[str]], clock: Clock) -> None:
        """`unready` gives the reasons why this frontend should get no requests; `clock` is that of the cluster."""
        self._unready = unready
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        def page(target: str, handle: Handle, gives: str = "application/json") -> Route:
            return Route(
                op="health",
                methods=READS,
                target=target,
                handle=handle,
                needs=OPEN,
                headers=EVERYWHERE,
                select=of_this_moment,
                gives=(gives,),
            )

        return (
            page("/", self.root),
            page("/healthCheck", self.health_check, "text/plain"),
            page("/healthz", self.healthz, "text/plain"),
            page("/readyz", self.readyz),
            page("/version", self.version),
        )

    async def root(self, exchange: Exchange) -> web.Response:
        """What this is."""
        return _now(
            json_response({"service": "ambry", "version": __version__, "upload": "POST /", "read": "GET /<id>"})
        )

    async def health_check(self, exchange: Exchange) -> web.Response:
        """GOOD or BAD, for load balancers."""
        bad = bool(self._unready())
        return _now(web.Response(text="BAD" if bad else "GOOD", status=503 if bad else 200))

    async def healthz(self, exchange: Exchange) -> web.Response:
        """Whether the process answers."""
        return _now(web.Response(text="ok\n"))

    async def readyz(self, exchange: Exchange) -> web.Response:
        """Whether it should get requests, with reasons."""
        return _now(json_response(*readiness_of(self._unready())))

    async def version(self, exchange: Exchange) -> web.Response:
        """Which release it is, and which time: for clients that have to know and may have no key."""
        return _now(json_response({"version": __version__, "atMs": self._clock.wall_ms()}))


def _now(response: web.Response) -> web.Response:
    response.headers["Cache-Control"] = "no-store"
    if response.status == HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    return response
