"""What a resource of Ambry's HTTP API is: a value that knows its own routes.

One file each. AmbryApi (frontend/rest/api.py) names it in one line, and from then on it is found, its OPTIONS are answered,
and what its routes do not list is refused.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
from aiohttp import web

from ambry.rest import names
from frontend.http.conditions import Selected
from frontend.http.exchange import Exchange
from frontend.http.route import Route

READS = ("GET", "HEAD")
EVERYWHERE = frozenset({names.SERVICE_ID})
"""Headers that whoever calls may send on any call."""


class Resource(Protocol):
    """Calls of one subject."""

    def routes(self) -> tuple[Route, ...]:
        """All of them. OPTIONS is answered from what all resources have at a target."""


async def of_this_moment(_exchange: Exchange) -> Selected:
    """What conditions are about where nothing has a tag or a date: a page that is always there and says what holds now."""
    return Selected(etag=None, modified_ms=None, headers={})


def json_page(value: object, status: int = 200, **headers: str) -> web.Response:
    """An answer in JSON that is of this moment."""
    said = {**headers, "Content-Type": "application/json", "Cache-Control": "no-store"}
    return web.Response(status=status, headers=said, body=msgspec.json.encode(value) + b"\n")
