"""Changes of a blob's state: `DELETE /<id>`, `PUT /updateTtl`, `PUT /undelete`."""

from __future__ import annotations

from aiohttp import web

from ambry.clock import Clock
from ambry.errors import InvalidRequest
from ambry.rest import names
from ambry.rest.access import Role
from frontend.containers.quota import Hold, Quotas
from frontend.containers.quota_bounds import bounds_of
from frontend.http.exchange import Exchange
from frontend.http.route import Enter, Handle, Route, Select
from frontend.rest.blob import ANY, BlobFinder, id_in_header, id_in_path, selected_head, ttl_of
from frontend.rest.entry import OF_BLOB, Entry, container_of
from frontend.rest.named_updates import PREFIX, NamedUpdates
from frontend.rest.resource import EVERYWHERE
from frontend.rest.upload_headers import check_lifetime, expiry
from frontend.router import update
from frontend.router.context import RouterContext
from frontend.who import in_container


class Updates:
    """The calls that change a blob. Their conditions are held before, not with, the change: two updates join in any order."""

    def __init__(
        self, router: RouterContext, finder: BlobFinder, entry: Entry, quotas: Quotas | None, *, clock: Clock
    ) -> None:
        self._router = router
        self._finder = finder
        self._entry = entry
        self._quotas = quotas
        self._clock = clock
        self.by_name: NamedUpdates | None = None
        """For blobs that are named by their name, where there is a metadata store."""

    def routes(self) -> tuple[Route, ...]:
        def change(
            op: str, target: str, handle: Handle, role: Role, enter: Enter, select: Select, *headers: str
        ) -> Route:
            return Route(
                op=op,
                methods=("PUT",),
                target=target,
                handle=handle,
                needs=in_container(role),
                enter=enter,
                changes=True,
                headers=EVERYWHERE | OF_BLOB | {names.BLOB_ID, *headers},
                required=frozenset({names.BLOB_ID}),
                select=select,
                gives=(),
            )

        finder = self._finder
        delete = Route(
            op="delete",
            methods=("DELETE",),
            target="/{id}",
            handle=self.delete,
            needs=in_container(Role.DELETE),
            enter=self._entry.to_delete,
            changes=True,
            headers=EVERYWHERE | OF_BLOB,
            select=finder.select_deletable,
            statuses=(202,),
            gives=(),
        )
        return (
            delete,
            change(
                "update_ttl",
                "/updateTtl",
                self.update_ttl,
                Role.WRITE,
                self._enter_living,
                finder.select_living,
                names.TTL,
            ),
            change("undelete", "/undelete", self.undelete, Role.DELETE, self._enter_deleted, finder.select_kept),
        )

    async def _enter_living(self, exchange: Exchange) -> None:
        if (text := self._name(exchange)) is None:
            await self._entry.by_header(exchange)
        else:
            await self._by_name().enter_living(exchange, text)

    async def _enter_deleted(self, exchange: Exchange) -> None:
        if (text := self._name(exchange)) is None:
            await self._entry.by_header(exchange)
        else:
            await self._by_name().enter_deleted(exchange, text)

    @staticmethod
    def _name(exchange: Exchange) -> str | None:
        """The path of a name, where one stands in the place of an id."""
        text = exchange.headers.get(names.BLOB_ID, "")
        return text if text.startswith(PREFIX) else None

    def _by_name(self) -> NamedUpdates:
        if self.by_name is None:
            raise InvalidRequest("this frontend has no metadata store that has names; give the blob's id")
        return self.by_name

    async def delete(self, exchange: Exchange) -> web.Response:
        """Delete a blob; again is fine."""
        known = selected_head(exchange)
        await update.delete(exchange.context, self._router, id_in_path(exchange), known)
        return web.Response(status=202)

    async def update_ttl(self, exchange: Exchange) -> web.Response:
        """Let a blob live longer; never shorter."""
        blob_id = id_in_header(exchange)
        expires_at_ms = expiry(exchange.headers.get(names.TTL), self._clock.wall_ms())
        check_lifetime(expires_at_ms, container_of(exchange))
        head = await update.extend_ttl(exchange.context, self._router, blob_id, expires_at_ms, selected_head(exchange))
        if exchange.named is not None:
            await self._by_name().extended(exchange, head)
        return web.Response(headers={names.TTL: ttl_of(head.state, head.created_at_ms)})

    async def undelete(self, exchange: Exchange) -> web.Response:
        """Bring a deleted blob back, within the retention."""
        if exchange.named is not None:
            return await self._by_name().undelete(exchange)
        blob_id, known = id_in_header(exchange), selected_head(exchange)
        container = container_of(exchange)
        if known is None and bounds_of(container):
            known = await self._finder.head(exchange, blob_id, ANY)
        # It may have been counted out meanwhile, and takes its room again.
        async with Hold(self._quotas, container, 0 if known is None else known.properties.size):
            await update.undelete(exchange.context, self._router, blob_id, known)
        return web.Response()
