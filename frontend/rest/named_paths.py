"""What stands below `/named/<account>/<container>/`: names, and where a header says so, datasets and their versions."""

from __future__ import annotations

from typing import Any, Protocol

from aiohttp import web

from ambry.rest import names as header
from ambry.rest import values
from ambry.rest.access import Role
from frontend.http.conditions import Selected
from frontend.http.exchange import Exchange
from frontend.http.route import Enter, Handle, Route, Select
from frontend.rest.read import ON_READ
from frontend.rest.resource import EVERYWHERE
from frontend.rest.upload_headers import METADATA_PREFIXES, ON_UPLOAD
from frontend.who import in_container

TARGET = "/named/{account}/{container}/{name...}"


class NamedThings(Protocol):
    """The calls about what a path names."""

    async def to_read(self, exchange: Exchange) -> None: ...

    async def to_change(self, exchange: Exchange) -> None: ...

    async def to_put(self, exchange: Exchange) -> None: ...

    async def select_shown(self, exchange: Exchange) -> Selected | None: ...

    async def select(self, exchange: Exchange) -> Selected | None: ...

    async def get(self, exchange: Exchange) -> web.StreamResponse: ...

    async def head(self, exchange: Exchange) -> web.Response: ...

    async def put(self, exchange: Exchange) -> web.Response: ...

    async def delete(self, exchange: Exchange) -> web.Response: ...

    async def act(self, exchange: Exchange) -> web.Response: ...


class NamedPaths:
    """Hands each call to the one of the two that it is for."""

    def __init__(self, names: NamedThings, versions: NamedThings) -> None:
        self._names = names
        self._versions = versions

    def routes(self) -> tuple[Route, ...]:
        either = EVERYWHERE | {header.DATASET_VERSION_QUERY}

        def route(
            op: str, method: str, handle: Handle, roles: Role, enter: Enter, select: Select, **more: Any
        ) -> Route:
            needs = in_container(roles)
            return Route(
                op=op, methods=(method,), target=TARGET, handle=handle, needs=needs, enter=enter, select=select, **more
            )

        def read(op: str, method: str, handle: Handle) -> Route:
            query = frozenset({"history", "page", "max-keys"})
            gives = ("*/*", "multipart/byteranges", "application/json")
            return route(
                op,
                method,
                handle,
                Role.READ,
                self._to_read,
                self._select_shown,
                headers=either | ON_READ,
                query=query,
                statuses=(200, 206) if method == "GET" else (200,),
                gives=gives,
            )

        def change(
            op: str, method: str, handle: Handle, roles: Role, enter: Enter = self._to_change, **more: Any
        ) -> Route:
            return route(op, method, handle, roles, enter, self._select, changes=True, **more)

        on_put = either | ON_UPLOAD | {header.NAMED_UPSERT}
        return (
            read("named_get", "GET", self._get),
            read("named_head", "HEAD", self._head),
            change(
                "named_put",
                "PUT",
                self._put,
                Role.WRITE | Role.NAME,
                self._to_put,
                takes_body=True,
                headers=on_put,
                header_prefixes=METADATA_PREFIXES,
                statuses=(201,),
                takes=("application/octet-stream",),
            ),
            change("named_delete", "DELETE", self._delete, Role.DELETE, headers=either, statuses=(202,), gives=()),
            change(
                "named_change", "POST", self._act, Role.NAME, takes_body=True, headers=either | {header.NAMED_UPSERT}
            ),
        )

    def _of(self, exchange: Exchange) -> NamedThings:
        """Raises InvalidRequest for a header that says neither."""
        said = exchange.headers.get(header.DATASET_VERSION_QUERY)
        return self._versions if said and values.flag(header.DATASET_VERSION_QUERY, said) else self._names

    async def _to_read(self, exchange: Exchange) -> None:
        await self._of(exchange).to_read(exchange)

    async def _to_change(self, exchange: Exchange) -> None:
        await self._of(exchange).to_change(exchange)

    async def _to_put(self, exchange: Exchange) -> None:
        await self._of(exchange).to_put(exchange)

    async def _select_shown(self, exchange: Exchange) -> Selected | None:
        return await self._of(exchange).select_shown(exchange)

    async def _select(self, exchange: Exchange) -> Selected | None:
        return await self._of(exchange).select(exchange)

    async def _get(self, exchange: Exchange) -> web.StreamResponse:
        return await self._of(exchange).get(exchange)

    async def _head(self, exchange: Exchange) -> web.Response:
        return await self._of(exchange).head(exchange)

    async def _put(self, exchange: Exchange) -> web.Response:
        return await self._of(exchange).put(exchange)

    async def _delete(self, exchange: Exchange) -> web.Response:
        return await self._of(exchange).delete(exchange)

    async def _act(self, exchange: Exchange) -> web.Response:
        return await self._of(exchange).act(exchange)
