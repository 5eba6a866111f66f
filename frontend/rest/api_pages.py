"""The API about itself: `/openapi.json`, and `/docs` for people."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import NamedTuple

import msgspec
from aiohttp import web

from ambry.checksum import digest
from frontend.http.conditions import Selected
from frontend.http.exchange import Exchange
from frontend.http.route import Handle, Route
from frontend.rest import docs_page
from frontend.rest.openapi import document
from frontend.rest.resource import EVERYWHERE, READS
from frontend.who import OPEN

OPENAPI = "/openapi.json"
DOCS = "/docs"


class _Page(NamedTuple):
    body: bytes
    headers: dict[str, str]


class ApiPages:
    """They are the same for as long as the process runs."""

    def __init__(self, routes: Callable[[], Sequence[Route]]) -> None:
        """`routes` gives those of the whole API, these two among them."""
        self._routes = routes

    def routes(self) -> tuple[Route, ...]:
        def page(target: str, handle: Handle, gives: str) -> Route:
            return Route(
                op="api",
                methods=READS,
                target=target,
                handle=handle,
                needs=OPEN,
                headers=EVERYWHERE,
                select=self.select,
                gives=(gives,),
            )

        return page(OPENAPI, self.openapi, "application/json"), page(DOCS, self.docs, "text/html")

    @cached_property
    def _pages(self) -> dict[str, _Page]:
        made = document(self._routes())
        told = msgspec.json.encode(made) + b"\n"
        shown = docs_page.page(made)
        return {
            OPENAPI: _Page(told, _headers(told, "application/json", "default-src 'none'")),
            DOCS: _Page(shown, _headers(shown, "text/html; charset=utf-8", docs_page.POLICY)),
        }

    async def select(self, exchange: Exchange) -> Selected:
        headers = self._pages[exchange.target.path.lower()].headers
        return Selected(etag=headers["ETag"], modified_ms=None, headers=headers)

    async def openapi(self, exchange: Exchange) -> web.Response:
        """This document."""
        return self._answer(exchange)

    async def docs(self, exchange: Exchange) -> web.Response:
        """The same as a page for people; it needs no other."""
        return self._answer(exchange)

    def _answer(self, exchange: Exchange) -> web.Response:
        page = self._pages[exchange.target.path.lower()]
        return web.Response(body=page.body, headers=page.headers)


def _headers(body: bytes, content_type: str, policy: str) -> dict[str, str]:
    return {
        "Content-Type": content_type,
        "ETag": f'"{digest(body).hex()}"',
        "Cache-Control": "no-cache",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": policy,
    }
