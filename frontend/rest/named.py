"""Blobs by name: `/named/<account>/<container>/<name...>`.

A name is what stands behind the container, percent-decoded once and otherwise exactly as it was sent: slashes, dots and empty
segments are part of it.
"""

from __future__ import annotations

from contextlib import suppress

import msgspec
from aiohttp import web

from ambry.errors import InvalidRequest, NameDeleted, must_have
from ambry.rest import text as rules
from frontend.container import Container
from frontend.containers.resolver import Containers
from frontend.http.conditions import Selected
from frontend.http.exchange import Exchange
from frontend.metadata.store import Expect, Version
from frontend.names.intents import Intents
from frontend.names.names import Names, NameVersion
from frontend.names.rows import NamedBlob, name_key
from frontend.rest.blob import BlobFinder, selected_head
from frontend.rest.entry import asked_for, enter
from frontend.rest.keyed import drop_conditions
from frontend.rest.named_actions import NameActions
from frontend.rest.named_pages import NameHistory, told_version
from frontend.rest.named_rules import AboutName, NameChanges, about, check_has_names, mean_blob
from frontend.rest.page_tokens import PagedList, asks_history, limit_of
from frontend.rest.read import Reads
from frontend.rest.resource import json_page, of_this_moment
from frontend.rest.upload import NOTHING_CHANGED, UploadedBlob, Uploads, told
from frontend.router.context import RouterContext


class FailedPut(msgspec.Struct, frozen=True):
    """A put that was begun the short way (frontend/rest/short_named_put.py), and how it failed."""

    error: BaseException


class NamedBlobs:
    """The calls about one name; frontend/rest/named_paths.py has their routes."""

    def __init__(
        self,
        names: Names,
        intents: Intents,
        router: RouterContext,
        containers: Containers,
        finder: BlobFinder,
        uploads: Uploads,
        reads: Reads,
        changes: NameChanges,
        actions: NameActions,
    ) -> None:
        self._names = names
        self._intents = intents
        self._router = router
        self._containers = containers
        self._finder = finder
        self._uploads = uploads
        self._reads = reads
        self._changes = changes
        self._actions = actions

    # --- which name ---

    async def to_read(self, exchange: Exchange) -> None:
        key = key_in_path(exchange)
        scope = (await container_in_path(exchange, self._containers)).scope
        if _asks_history(exchange):
            exchange.named = AboutName(scope, key, None)
            return
        found = await self._names.find(scope, key)
        mean_blob(exchange, must_have(found.blob, "the blob of a name that lives"))
        exchange.about = found.id
        exchange.noted["blob"] = str(found.id)

    async def to_change(self, exchange: Exchange) -> None:
        key = key_in_path(exchange)
        scope = (await container_in_path(exchange, self._containers)).scope
        exchange.named = AboutName(scope, key, await self._names.newest(scope, key))

    async def to_put(self, exchange: Exchange) -> None:
        if exchange.begun is not None:
            failed: FailedPut = exchange.begun
            raise failed.error
        await self.to_change(exchange)
        keyed = about(exchange).keyed = await self._uploads.keyed(exchange)
        if keyed is not None and keyed.made is not None:
            drop_conditions(exchange)

    async def select(self, exchange: Exchange) -> Selected | None:
        """What the conditions of a change are about: the blob that the name points to."""
        living = about(exchange).living
        if living is None:
            return None
        exchange.about = living.id
        return await self._finder.select_deletable(exchange)

    async def select_shown(self, exchange: Exchange) -> Selected:
        """What the conditions of a read are about; a history is of this moment, without a tag or a date."""
        if _asks_history(exchange):
            return await of_this_moment(exchange)
        return await self._finder.select_shown(exchange)

    # --- reads ---

    async def get(self, exchange: Exchange) -> web.StreamResponse:
        """`GET`: the blob that the name points to now, or the history of the name."""
        return await self._history(exchange) if _asks_history(exchange) else await self._reads.read(exchange)

    async def head(self, exchange: Exchange) -> web.Response:
        """`HEAD`."""
        return await self._history(exchange) if _asks_history(exchange) else await self._reads.head(exchange)

    async def _history(self, exchange: Exchange) -> web.Response:
        name = about(exchange)
        query = exchange.target.query_pairs()
        token, limit = query.get("page"), limit_of(query)
        pages = PagedList(self._router.map.cluster, "history", name.scope, (name.key,))

        async def read(before: Version | None, limit: int) -> list[NameVersion]:
            return await self._names.history(name.scope, name.key, before=before, limit=limit)

        found = await pages.history(token, limit, read)
        if not found.shown and token is None:
            with suppress(NameDeleted):
                await self._names.find(name.scope, name.key)  # says that there is none, or brings it here
            found = await pages.history(token, limit, read)
        return json_page(NameHistory([told_version(each) for each in found.shown], found.next_token))

    # --- changes ---

    async def put(self, exchange: Exchange) -> web.Response:
        """`PUT`: the blob is durable before the name points to it, and nothing stays of it where the name does not."""
        name = about(exchange)
        keyed = name.keyed
        made = None if keyed is None else keyed.made
        condition = self._changes.may_point(exchange, name) if made is None else Expect.ANY
        announced = self._intents.announcing(name.place)
        new = await self._uploads.make(exchange, "", announced.announce, keyed=keyed, target=name.key.decode())
        result, spec = new.result, new.spec
        if new.again:
            return self._told(exchange, new)
        blob = NamedBlob(result.id.raw, result.size, spec.expires_at_ms, owned=True)
        try:
            await self._changes.point(exchange, name, blob, condition, [*announced.kept(), *new.along()])
        except NOTHING_CHANGED:
            # The janitor sees to it if nobody hears of this.
            self._router.discards.forget(exchange.context.id, [result.id], spec.expires_at_ms)
            raise
        return self._told(exchange, new)

    @staticmethod
    def _told(exchange: Exchange, new: UploadedBlob) -> web.Response:
        answer = told(new.result, new.spec)
        exchange.noted["blob"], exchange.noted["size"] = answer.id, new.result.size
        return web.Response(status=201, body=answer.body, headers=answer.headers)

    async def delete(self, exchange: Exchange) -> web.Response:
        """`DELETE`: the name is gone, and the blob that was put under it. Again is fine."""
        name = about(exchange)
        living = name.living
        if living is None:
            if name.newest is not None:
                return web.Response(status=202)
            try:
                # Says that there is none, or another datacenter has it.
                living = await self._names.find(name.scope, name.key)
            except NameDeleted:
                return web.Response(status=202)
        exchange.noted["blob"] = str(living.id)
        await self._changes.delete(exchange.context, name, living, selected_head(exchange))
        return web.Response(status=202)

    async def act(self, exchange: Exchange) -> web.Response:
        """`POST`: what changes names alone."""
        return await self._actions.act(exchange)


def _asks_history(exchange: Exchange) -> bool:
    """Raises InvalidRequest for a page of something that has none."""
    if not exchange.target.query:
        return False
    query = exchange.target.query_pairs()
    if not asks_history(query) and query:
        raise InvalidRequest(f"{min(query)} is about the pages of a history: ask for ?history, or leave it out")
    return bool(query)


def key_in_path(exchange: Exchange) -> bytes:
    """The name in the path, which the request is about from now on. Raises InvalidRequest."""
    exchange.name = rules.percent_decoded("the name in the path", exchange.target.rest(3))
    return name_key(exchange.name)


async def container_in_path(exchange: Exchange, containers: Containers) -> Container:
    """The container whose names a request is about, which has entered. Raises InvalidRequest, AccessDenied."""
    segments = exchange.target.segments
    account, container = (rules.percent_decoded("the path", each) for each in segments[1:3])
    return await named_container(exchange, containers, account, container)


async def named_container(exchange: Exchange, containers: Containers, account: str, container: str) -> Container:
    """A container for names, into which the request has entered. Raises InvalidRequest, AccessDenied."""
    found = await asked_for(exchange.context.who, exchange.needs.roles, containers, account, container)
    enter(exchange, found)
    check_has_names(found)
    return found
