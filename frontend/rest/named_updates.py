"""`PUT /updateTtl` and `PUT /undelete` of a name: `x-ambry-blob-id: /named/<account>/<container>/<name>`, as in Ambry."""

from __future__ import annotations

import msgspec
from aiohttp import web

from ambry.errors import must_have
from ambry.rest import names as header
from ambry.rest import text as rules
from frontend.containers.resolver import Containers
from frontend.http.exchange import Exchange
from frontend.names.names import Names
from frontend.names.rows import name_key
from frontend.rest.entry import check_said, container_of, decide_on
from frontend.rest.named import named_container
from frontend.rest.named_actions import NameActions
from frontend.rest.named_rules import AboutName, NameChanges, about, mean_blob
from frontend.router.values import BlobHead

PREFIX = "/named/"


class NamedUpdates:
    """What these two calls have to do with names. The blob is named by its name from `enter` on."""

    def __init__(self, names: Names, changes: NameChanges, actions: NameActions, containers: Containers) -> None:
        self._names = names
        self._changes = changes
        self._actions = actions
        self._containers = containers

    async def enter_living(self, exchange: Exchange, text: str) -> None:
        """For the blob that a name points to. Raises InvalidRequest, NameNotFound, NameDeleted, Unavailable, AccessDenied."""
        name = await self._enter(exchange, text)
        name.newest = await self._names.as_owner(await self._names.find(name.scope, name.key))
        mean_blob(exchange, must_have(name.newest.blob, "the blob of a name that lives"))
        decide_on(exchange, exchange.needs.roles, container_of(exchange), exchange.name)
        exchange.about = name.newest.id

    async def enter_deleted(self, exchange: Exchange, text: str) -> None:
        """For the last blob that a deleted name pointed to. Raises as enter_living."""
        name = await self._enter(exchange, text)
        exchange.about = (await self._actions.last(exchange, name)).id

    async def _enter(self, exchange: Exchange, text: str) -> AboutName:
        account, _, rest = text.removeprefix(PREFIX).partition("/")
        container, _, name = rest.partition("/")
        decoded = [rules.percent_decoded(header.BLOB_ID, each) for each in (account, container, name)]
        exchange.name = decoded[2]
        found = await named_container(exchange, self._containers, *decoded[:2])
        check_said(exchange, found)
        entered = AboutName(found.scope, name_key(decoded[2]), None)
        exchange.named = entered
        return entered

    async def extended(self, exchange: Exchange, head: BlobHead) -> None:
        """The blob lives longer now: let lists say so too. Raises UpdateConflict where the name was changed meanwhile."""
        name = about(exchange)
        living = must_have(name.living, "the name of a blob that lives longer")
        known = must_have(living.blob, "the blob of a name that lives")
        if known.expires_at_ms == head.state.expires_at_ms:
            return
        blob = msgspec.structs.replace(known, expires_at_ms=head.state.expires_at_ms)
        await self._changes.replace(exchange, name, living, blob)

    async def undelete(self, exchange: Exchange) -> web.Response:
        """The name and its blob are back."""
        await self._actions.undelete(exchange, about(exchange))
        return web.Response()
