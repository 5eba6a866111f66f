"""The smallest API that can stand on frontend/http: what it has of its own is a prefix and a way to say no."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiohttp import web

from ambry.errors import AmbryError, InvalidRequest
from frontend.http.exchange import Exchange
from frontend.http.problem import headers_of
from frontend.http.route import Route
from frontend.http.target import Target
from frontend.request import RequestContext


class PlainDialect:
    """`routes` by path; every answer has `x-plain-id` and `x-plain-server`, every refusal is a line of text."""

    own_prefix = "x-plain-"
    request_id_header = "x-plain-id"
    answered_header = "x-plain-answered"
    common: Mapping[str, str] = {"x-plain-server": "one"}
    refused_headers: Mapping[str, str] = {"x-plain-later": "it is not there yet"}
    checked_headers: Mapping[str, Callable[[str, str], object]] = {}

    def __init__(self, routes: Mapping[str, Route] | None = None) -> None:
        self._routes = routes or {}
        self.routes = ()

    def find(self, method: str, target: Target) -> Route:
        try:
            return self._routes[target.path]
        except KeyError:
            raise InvalidRequest("nothing stands there") from None

    def authenticate(self, exchange: Exchange) -> None:
        """Nobody is asked who they are."""

    def authorize(self, exchange: Exchange, route: Route) -> None:
        """Whoever comes may."""

    def check_standing(self, context: RequestContext) -> None:
        """They always may."""

    def refused(self, exchange: Exchange, error: AmbryError) -> AmbryError:
        return error

    def problem(self, error: AmbryError, request_id: str) -> web.Response:
        return web.Response(status=error.status, headers=headers_of(error), text=f"{request_id} {error.message}\n")
