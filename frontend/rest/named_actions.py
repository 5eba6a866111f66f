"""What changes names and writes no blob: `POST /named/<account>/<container>/<name>` with rename, bind or undelete."""

from __future__ import annotations

from contextlib import suppress

import msgspec
from aiohttp import web

from ambry.errors import (
    AccessDenied,
    AlreadyExists,
    AmbryError,
    InvalidRequest,
    NameDeleted,
    PreconditionFailed,
    must_have,
)
from ambry.ids import BlobId
from ambry.rest.access import Role
from frontend.containers.quota import Hold, Quotas
from frontend.http.exchange import Exchange
from frontend.metadata.store import Change
from frontend.names.lives import NameLives
from frontend.names.names import Names, NameVersion, Owner
from frontend.names.rows import NamedBlob, name_key
from frontend.rest.blob import parse_id
from frontend.rest.entry import Entry, container_of, decide_on
from frontend.rest.json_body import json_object
from frontend.rest.named_rules import AboutName, NameChanges, about
from frontend.rest.sessions import session_id
from frontend.rest.upload import NOTHING_CHANGED
from frontend.router.context import RouterContext
from frontend.router.quorum_read import read_head
from frontend.uploads.bound import BoundLives
from frontend.uploads.rows import Session, SessionState
from frontend.uploads.sessions import Sessions

_ACTIONS = 'the body is {"op": "rename", "from": "<name>"}, {"op": "bind", "id": "<id>"} or {"op": "undelete"}'


class _Action(msgspec.Struct, forbid_unknown_fields=True):
    op: str
    id: str | None = None
    source: str | None = msgspec.field(default=None, name="from")
    owned: bool = False
    upload: str | None = None
    """With `owned`: the upload session that made the blob."""


class NameActions:
    """Those calls."""

    def __init__(
        self,
        names: Names,
        lives: NameLives,
        changes: NameChanges,
        sessions: Sessions,
        entry: Entry,
        router: RouterContext,
        quotas: Quotas,
        bound: BoundLives,
    ) -> None:
        self._names = names
        self._lives = lives
        self._changes = changes
        self._sessions = sessions
        self._entry = entry
        self._router = router
        self._quotas = quotas
        self._bound = bound

    async def act(self, exchange: Exchange) -> web.Response:
        """`POST`: what changes names alone, as JSON: rename, bind, undelete."""
        name = about(exchange)
        try:
            action = msgspec.convert(await json_object(exchange, self._router), _Action)
        except msgspec.ValidationError as cause:
            raise InvalidRequest(f"{_ACTIONS}: {cause}") from cause
        if (action.owned or action.upload) and not (action.owned and action.op == "bind"):
            raise InvalidRequest("owned is for bind: the blob goes with the name then; upload is for owned")
        if action.op == "rename" and action.source is not None and action.id is None:
            done = await self._rename(exchange, name, name_key(action.source))
        elif action.op == "bind" and action.id is not None and action.source is None:
            done = await self._bind(exchange, name, parse_id(action.id), action)
        elif action.op == "undelete" and action.id is None and action.source is None:
            decide_on(exchange, Role.DELETE, container_of(exchange), exchange.name)
            done = await self.undelete(exchange, name)
        else:
            raise InvalidRequest(_ACTIONS)
        blob = must_have(done.blob, "the blob that a name was bound to")
        exchange.noted["blob"] = str(done.id)
        body = msgspec.json.encode({"id": str(done.id), "size": blob.size}) + b"\n"
        headers = {"Content-Type": "application/json", "Cache-Control": "no-store", "Location": f"/{done.id}"}
        return web.Response(status=200, body=body, headers=headers)

    async def _rename(self, exchange: Exchange, name: AboutName, source_key: bytes) -> NameVersion:
        if source_key == name.key:
            raise InvalidRequest("a name is renamed to another one")
        container, before = container_of(exchange), source_key.decode()
        # Both names change, and nobody gets at a blob by moving it.
        gained = exchange.context.who.gained(container, must_have(exchange.name, "a name that is changed"), before)
        decide_on(exchange, Role.NAME | gained, container, before)
        condition = self._changes.may_point(exchange, name)
        source = await self._names.find(name.scope, source_key)
        return await self._changes.rename(exchange, name, source, condition)

    async def _bind(self, exchange: Exchange, name: AboutName, blob_id: BlobId, action: _Action) -> NameVersion:
        container = container_of(exchange)
        if (blob_id.account, blob_id.container) != (container.account_id, container.container_id):
            raise PreconditionFailed(f"the blob {blob_id} is not in the container {container}")
        living, owner = name.living, await self._names.owner(name.scope, blob_id)
        if action.upload is not None:
            await self._check_made(exchange, blob_id, action.upload)
            owned = living is not None and living.id == blob_id and living.blob is not None and living.blob.owned
            if living is not None and owned and owner.name == name.key:
                await self._bound.lengthen(exchange.context, blob_id)
                return living  # the same again
            self._check_has_no_owner(exchange, owner)
        else:
            self._decide_to_bind(exchange, owned=action.owned)
        condition = self._changes.may_point(exchange, name)
        held = await self._lives.hold(name.place, blob_id)
        try:
            head = await read_head(exchange.context, self._router, blob_id)
            wanted_ms = self._bound.wanted_ms(head)
            expires_at_ms = head.state.expires_at_ms if wanted_ms is None else wanted_ms
            blob = NamedBlob(blob_id.raw, head.properties.size, expires_at_ms, owned=action.owned)
            along: list[Change] = [held.kept()]
            if action.owned:
                along.append(owner.becomes(name.key))
            if wanted_ms is not None:
                along.append(self._bound.row(blob_id, wanted_ms))
            done = await self._changes.point(exchange, name, blob, condition, along)
        except AmbryError:
            with suppress(AmbryError):  # the janitor sees to it
                await self._lives.settle(blob_id)
            raise
        if wanted_ms is not None:
            await self._bound.lengthen(exchange.context, blob_id)
        return done

    @staticmethod
    def _decide_to_bind(exchange: Exchange, *, owned: bool) -> None:
        """Whether who asks may let the name point to any blob of the container: who may read it, as the name's readers will,
        and delete it where it goes with the name. Every binding is decided here but the first of an upload's blob.

        Raises AccessDenied.
        """
        decide_on(exchange, Role.READ | Role.DELETE if owned else Role.READ, container_of(exchange))

    def _check_has_no_owner(self, exchange: Exchange, owner: Owner) -> None:
        """An upload binds its blob once: from then on that is somebody's by its name, and is bound as any other.

        Raises AccessDenied.
        """
        if owner.name is None:
            return
        try:
            self._decide_to_bind(exchange, owned=True)
        except AccessDenied as denied:
            raise AccessDenied(
                f"the blob {owner.blob} went with a name already, so that its upload gives no right to it any more; "
                f"{denied.message}"
            ) from denied

    async def _check_made(self, exchange: Exchange, blob_id: BlobId, upload: str) -> None:
        """Whether who asks may go on with the upload session, for this name, and it made the blob.

        Raises AccessDenied; InvalidRequest for the session of another blob, UploadNotFound, UploadGone.
        """
        container, id = container_of(exchange), session_id(upload)

        async def admit(session: Session) -> None:
            await self._entry.admit_to_session(exchange, id, session)

        found = await self._sessions.find(id, admit)
        if found.session.name and found.session.name == exchange.name:
            decide_on(exchange, Role.WRITE, container, exchange.name)
        else:
            decide_on(exchange, Role.READ | Role.WRITE, container)
        if found.session.blob_id != blob_id or found.session.state is not SessionState.DONE:
            raise InvalidRequest(f"the upload session {upload} has not made the blob {blob_id}")

    async def last(self, exchange: Exchange, name: AboutName) -> NameVersion:
        """What a name pointed to last, or does, for who may let it point there again.

        A blob that does not go with the name, because it was bound to it or moved to another one, is as any of the container.
        Raises AccessDenied, NameNotFound, InvalidRequest, Unavailable.
        """
        if name.newest is None:
            with suppress(NameDeleted):
                await self._names.find(name.scope, name.key)  # says that there never was one, or brings it here
            name.newest = await self._names.newest(name.scope, name.key)
        last = name.newest
        if last is not None and last.blob is None:
            last = await self._names.last_blob(name.scope, last)
        if last is None or last.blob is None:
            raise InvalidRequest("the name never pointed to a blob here")
        last = await self._names.as_owner(last)
        if not must_have(last.blob, "the blob of a version that has one").owned:
            self._decide_to_bind(exchange, owned=False)
        return last

    async def undelete(self, exchange: Exchange, name: AboutName) -> NameVersion:
        """Bring a deleted name back, and the last blob that it pointed to."""
        if name.living is not None:
            raise AlreadyExists("the name is not deleted: it points to a blob")
        last = await self.last(exchange, name)
        if name.newest is None or name.living is not None:  # another datacenter has it
            raise AlreadyExists("the name is not deleted: it points to a blob")
        known = must_have(last.blob, "the blob of a version that has one")
        quota = Hold(self._quotas, container_of(exchange), known.size)

        def may_bind() -> None:
            self._decide_to_bind(exchange, owned=False)

        revived = await self._lives.revive(exchange.context, name.place, name.newest, last, quota, may_bind)
        blob = msgspec.structs.replace(known, owned=revived.brought_back)
        try:
            return await self._changes.replace(exchange, name, name.newest, blob, [revived.kept])
        except NOTHING_CHANGED:
            with suppress(AmbryError):  # the janitor sees to it
                await self._lives.settle(last.id)
            raise
