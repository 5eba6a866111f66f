"""Blobs by name: `/named/<account>/<container>/<name...>`.

A name is what stands behind the container, percent-decoded once and otherwise exactly as it was sent: slashes, dots and empty
segments are part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import msgspec
from aiohttp import web

from ambry.clock import Clock
from ambry.errors import (
    AlreadyExists,
    AmbryError,
    InvalidRequest,
    NameDeleted,
    PreconditionFailed,
)
from ambry.ids import BlobId
from ambry.rest import text as rules
from frontend.container import Container
from frontend.containers.quota import Hold
from frontend.containers.resolver import Containers
from frontend.containers.standing import StandingRules
from frontend.http.conditions import Selected
from frontend.http.exchange import Exchange
from frontend.metadata.store import Change, Condition, Expect, Require, Version
from frontend.names.intents import Intents
from frontend.names.lives import NameLives
from frontend.names.names import Names, NameVersion
from frontend.names.rows import NamedBlob, name_key
from frontend.rest.blob import BlobFinder, parse_id, selected_head
from frontend.rest.entry import container_of, enter
from frontend.rest.json_body import json_object
from frontend.rest.keyed import drop_conditions
from frontend.rest.named_pages import NameHistory, told_version
from frontend.rest.named_rules import AboutName, check_has_names, may_point, point_now
from frontend.rest.page_tokens import PagedList, limit_of
from frontend.rest.read import Reads
from frontend.rest.resource import json_page
from frontend.rest.upload import NOTHING_CHANGED, UploadedBlob, Uploads, told
from frontend.rest.upload_headers import check_lifetime
from frontend.router.context import RouterContext
from frontend.router.quorum_read import read_head


class FailedPut(msgspec.Struct, frozen=True):
    """A put that was begun the short way (frontend/rest/short_named_put.py), and how it failed."""

    error: BaseException


class _Action(msgspec.Struct, forbid_unknown_fields=True):
    op: str
    id: str | None = None
    source: str | None = msgspec.field(default=None, name="from")
    owned: bool = False


class NamedBlobs:
    """The calls about one name; frontend/rest/named_paths.py has their routes."""

    def __init__(
        self,
        names: Names,
        intents: Intents,
        lives: NameLives,
        router: RouterContext,
        containers: Containers,
        finder: BlobFinder,
        uploads: Uploads,
        reads: Reads,
        standing: StandingRules,
        *,
        clock: Clock,
    ) -> None:
        self._names = names
        self._intents = intents
        self._lives = lives
        self._router = router
        self._containers = containers
        self._finder = finder
        self._uploads = uploads
        self._reads = reads
        self._standing = standing
        self._clock = clock

    # --- which name ---

    async def to_read(self, exchange: Exchange) -> None:
        container = await container_in_path(exchange, self._containers)
        scope, key = container.scope, key_in_path(exchange)
        if _asks_history(exchange):
            exchange.named = AboutName(scope, key, None)
            return
        found = await self._names.find(scope, key)
        exchange.about = found.id
        exchange.noted["blob"] = str(found.id)

    async def to_change(self, exchange: Exchange) -> None:
        container = await container_in_path(exchange, self._containers)
        scope, key = container.scope, key_in_path(exchange)
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
            return Selected(etag=None, modified_ms=None, headers={})
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
        token, limit = query.get("page"), limit_of(query.get("max-keys", ""))
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
        condition = self._may_point(exchange, name) if made is None else Expect.ANY
        announced = self._intents.announcing(name.place)
        new = await self._uploads.make(exchange, "", announced.announce, keyed=keyed, target=name.key.decode())
        result, spec = new.result, new.spec
        if new.again:
            return self._told(exchange, new)
        blob = NamedBlob(result.id.raw, result.size, spec.expires_at_ms, owned=True)
        try:
            await self._point(exchange, name, blob, condition, [*announced.kept(), *new.along()])
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

    def _may_point(self, exchange: Exchange, name: AboutName) -> Condition:
        return may_point(exchange.headers, name, container_of(exchange), self._clock.wall_ms())

    async def _point(
        self, exchange: Exchange, name: AboutName, blob: NamedBlob, condition: Condition, along: Sequence[Change] = ()
    ) -> NameVersion:
        """Let the name point there, if the container lets it now. Raises one of NOTHING_CHANGED, and what the store raises."""

        async def write(container: Container, require: Require) -> NameVersion:
            if blob.owned:
                check_lifetime(blob.expires_at_ms, container)

            async def point(held: Condition) -> NameVersion:
                return await self._names.point(name.scope, name.key, blob, held, [*along, require])

            return await point_now(container, condition, self._clock.wall_ms(), point)

        return await self._standing.write(container_of(exchange), write)

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
        found, head = living, selected_head(exchange)

        async def bury(container: Container, require: Require) -> None:
            container.check_unlocked(self._clock.wall_ms())
            assert found.blob is not None
            if not found.blob.owned:
                await self._names.bury(name.scope, name.key, found.stamp, [require])
                return

            async def bury_it(along: Change) -> None:
                await self._names.bury(name.scope, name.key, found.stamp, [along, require])

            await self._lives.bury(exchange.context, name.place, found, head, bury_it)

        await self._standing.write(container_of(exchange), bury)
        return web.Response(status=202)

    async def act(self, exchange: Exchange) -> web.Response:
        """`POST`: what changes names alone, as JSON: rename, bind, undelete."""
        name = about(exchange)
        try:
            action = msgspec.convert(await json_object(exchange, self._router), _Action)
        except msgspec.ValidationError as cause:
            raise InvalidRequest(f"{_ACTIONS}: {cause}") from cause
        if action.owned and action.op != "bind":
            raise InvalidRequest("owned is for bind: the blob goes with the name then")
        if action.op == "rename" and action.source is not None and action.id is None:
            done = await self._rename(exchange, name, name_key(action.source))
        elif action.op == "bind" and action.id is not None and action.source is None:
            done = await self._bind(exchange, name, parse_id(action.id), owned=action.owned)
        elif action.op == "undelete" and action.id is None and action.source is None:
            done = await self.undelete(exchange, name)
        else:
            raise InvalidRequest(_ACTIONS)
        assert done.blob is not None
        exchange.noted["blob"] = str(done.id)
        body = msgspec.json.encode({"id": str(done.id), "size": done.blob.size}) + b"\n"
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store", "Location": f"/{done.id}"}
        return web.Response(status=200, body=body, headers=headers)

    async def _rename(self, exchange: Exchange, name: AboutName, source_key: bytes) -> NameVersion:
        if source_key == name.key:
            raise InvalidRequest("a name is renamed to another one")
        condition = self._may_point(exchange, name)
        source = await self._names.find(name.scope, source_key)

        async def write(container: Container, require: Require) -> NameVersion:
            now_ms = self._clock.wall_ms()
            container.check_unlocked(now_ms)  # the name that it had goes

            async def rename(held: Condition) -> NameVersion:
                return await self._names.rename(name.scope, source, name.key, held, [require])

            return await point_now(container, condition, now_ms, rename)

        return await self._standing.write(container_of(exchange), write)

    async def _bind(self, exchange: Exchange, name: AboutName, blob_id: BlobId, *, owned: bool) -> NameVersion:
        container = container_of(exchange)
        if (blob_id.account, blob_id.container) != (container.account_id, container.container_id):
            raise PreconditionFailed(f"the blob {blob_id} is not in the container {container}")
        condition = self._may_point(exchange, name)
        head = await read_head(exchange.context, self._router, blob_id)
        blob = NamedBlob(blob_id.raw, head.properties.size, head.state.expires_at_ms, owned=owned)
        return await self._point(exchange, name, blob, condition)

    async def undelete(self, exchange: Exchange, name: AboutName) -> NameVersion:
        """Bring a deleted name back, and the last blob that it pointed to."""
        if name.newest is None:
            with suppress(NameDeleted):
                await self._names.find(name.scope, name.key)  # says that there never was one, or brings it here
            name.newest = await self._names.newest(name.scope, name.key)
        if name.newest is None or name.living is not None:
            raise AlreadyExists("the name is not deleted: it points to a blob")
        last = await self._names.last_blob(name.scope, name.newest)
        if last is None or last.blob is None:
            raise InvalidRequest("the name never pointed to a blob here")
        blob, kept = last.blob, None
        if blob.owned:
            await self._lives.settle(last.id)
        head = await read_head(exchange.context, self._router, last.id, any_state=True)
        if blob.owned and head.state.deleted:
            async with Hold(self._uploads.quotas, container_of(exchange), blob.size):
                kept = await self._lives.revive(exchange.context, name.place, name.newest, last.id)
        # Where it lives it is bound here, it was renamed, or somebody brought it back by its id. It may be another name's, and
        # does not go with this one.
        blob = msgspec.structs.replace(blob, owned=kept is not None)
        along = [] if kept is None else [kept]
        newest = name.newest

        async def point(container: Container, require: Require) -> NameVersion:
            check_has_names(container)
            return await self._names.point(name.scope, name.key, blob, newest.stamp, [*along, require])

        try:
            return await self._standing.write(container_of(exchange), point)
        except NOTHING_CHANGED:
            with suppress(AmbryError):  # the janitor sees to it
                await self._lives.settle(last.id)
            raise


_ACTIONS = 'the body is {"op": "rename", "from": "<name>"}, {"op": "bind", "id": "<id>"} or {"op": "undelete"}'


def _asks_history(exchange: Exchange) -> bool:
    """Raises InvalidRequest for a page of something that has none."""
    if not exchange.target.query:
        return False
    query = exchange.target.query_pairs()
    if "history" not in query and query:
        raise InvalidRequest(f"{min(query)} is about the pages of a history: ask for ?history, or leave it out")
    return bool(query)


def about(exchange: Exchange) -> AboutName:
    """The name that a change is about."""
    named: AboutName = exchange.named
    return named


def key_in_path(exchange: Exchange) -> bytes:
    """The name in the path. Raises InvalidRequest."""
    return name_key(rules.percent_decoded("the name in the path", exchange.target.rest(3)))


async def container_in_path(exchange: Exchange, containers: Containers) -> Container:
    """The container whose names a request is about, which has entered. Raises InvalidRequest, AccessDenied."""
    segments = exchange.target.segments
    account, container = (rules.percent_decoded("the path", each) for each in segments[1:3])
    return await named_container(exchange, containers, account, container)


async def named_container(exchange: Exchange, containers: Containers, account: str, container: str) -> Container:
    """A container for names, into which the request has entered. Raises InvalidRequest, AccessDenied."""
    found = containers.known(account, container) or await containers.resolve(account, container)
    enter(exchange, found)
    check_has_names(found)
    return found
