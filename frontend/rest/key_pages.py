"""Keys: `GET` and `POST /keys`, `GET`, `PUT` and `DELETE /keys/<id>`, `POST /keys/<id>/rotate`, `GET /keys/self`.

A secret is in the answer that makes it, and nowhere else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from aiohttp import web

from ambry.errors import InvalidRequest, MetadataUnavailable
from ambry.rest.access import Grant, role_of, role_texts
from ambry.rest.wrong_values import why_not
from frontend.access.key_rows import StoredKey
from frontend.access.key_use import KeyUse
from frontend.access.keys import ChangeOfKey, Keys, shown
from frontend.http.exchange import Exchange
from frontend.http.route import Handle, Route
from frontend.limits.rates import ChangedRates, Rates
from frontend.rest.doubt import told_in_doubt
from frontend.rest.json_body import json_object
from frontend.rest.resource import EVERYWHERE, READS, json_page, of_this_moment
from frontend.router.context import RouterContext
from frontend.who import ANY_KEY


class NewKey(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """What is said of a new key."""

    name: str
    grants: list[Grant]
    expires_ms: int | None = None
    limits: Rates = Rates()


class ChangedKey(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """What is said of one that changes; what is left out stays."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    grants: list[Grant] | msgspec.UnsetType = msgspec.UNSET
    expires_ms: int | msgspec.UnsetType | None = msgspec.UNSET
    limits: ChangedRates | msgspec.UnsetType | None = msgspec.UNSET


class Rotation(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """For how many seconds the secret so far still opens."""

    overlap_s: int = 0


class KeyPages:
    """Those calls."""

    def __init__(self, keys: Keys, use: KeyUse, router: RouterContext) -> None:
        self._keys = keys
        self._use = use
        self._router = router

    def routes(self) -> tuple[Route, ...]:
        def page(op: str, methods: tuple[str, ...], target: str, handle: Handle, status: int = 200) -> Route:
            changes = methods != READS
            body = changes and methods != ("DELETE",)
            return Route(
                op=op,
                methods=methods,
                target=target,
                handle=handle,
                needs=ANY_KEY,
                changes=changes,
                takes_body=body,
                headers=EVERYWHERE,
                select=of_this_moment,
                statuses=(status,),
                gives=() if status == 204 else ("application/json",),
            )

        return (
            page("keys", READS, "/keys", self.list),
            page("key_create", ("POST",), "/keys", self.create, 201),
            page("key", READS, "/keys/{key}", self.show),
            page("key_change", ("PUT",), "/keys/{key}", self.change),
            page("key_revoke", ("DELETE",), "/keys/{key}", self.revoke, 204),
            page("key_rotate", ("POST",), "/keys/{key}/rotate", self.rotate),
        )

    async def list(self, exchange: Exchange) -> web.Response:
        """Those that whoever asks may administer, and their own."""
        found = await self._keys.all(exchange.context.who)
        return json_page({"keys": [await self._told(id, key) for id, key in found]})

    async def show(self, exchange: Exchange) -> web.Response:
        """One; `self` is that of whoever asks."""
        who, id = exchange.context.who, exchange.target.segments[1]
        if id == "self":
            id = who.id
            if not id:
                raise InvalidRequest("no keys are asked for here, so nobody has one (access.enabled is false)")
        return json_page(await self._told(id, await self._keys.find(who, id)))

    async def create(self, exchange: Exchange) -> web.Response:
        """A new key; its text is in this answer alone."""
        asked = await self._asked(exchange, NewKey)
        with told_in_doubt(exchange, lambda: _told_grants(asked.grants)):
            made = await self._keys.create(
                exchange.context.who, asked.name, asked.grants, expires_ms=asked.expires_ms, limits=asked.limits
            )
        exchange.noted["about_key"], exchange.noted["about_key_name"] = made.id, made.stored.name
        exchange.noted["granted"] = list(_told_grants(made.stored.grants))
        exchange.noted["expires"], exchange.noted["limits"] = _expiry(made.stored), made.stored.limits.shown()
        told = {**await self._told(made.id, made.stored), **self._same_name(exchange, made.id, made.stored)}
        return json_page({**told, "key": made.text}, 201)

    async def change(self, exchange: Exchange) -> web.Response:
        """Let a key be good for something else."""
        asked, id = await self._asked(exchange, ChangedKey), self._id(exchange)
        before = await self._keys.find(exchange.context.who, id)
        change = ChangeOfKey(name=asked.name, grants=asked.grants, expires_ms=asked.expires_ms, limits=asked.limits)
        with told_in_doubt(exchange, lambda: _differences(before, change.of(before))):
            changed = await self._keys.change(exchange.context.who, id, change)
        exchange.noted["changed"] = list(_differences(before, changed))
        same = self._same_name(exchange, id, changed) if changed.name != before.name else {}
        return json_page({**await self._told(id, changed), **same})

    async def rotate(self, exchange: Exchange) -> web.Response:
        """Another secret for a key."""
        asked = await self._asked(exchange, Rotation, may_be_empty=True)
        made = await self._keys.rotate(exchange.context.who, self._id(exchange), overlap_s=asked.overlap_s)
        return json_page({**await self._told(made.id, made.stored), "key": made.text})

    async def revoke(self, exchange: Exchange) -> web.Response:
        """It opens nothing from now on, here at once and everywhere within a second."""
        await self._keys.revoke(exchange.context.who, self._id(exchange))
        return web.Response(status=204, headers={"Cache-Control": "no-store"})

    def _id(self, exchange: Exchange) -> str:
        id = exchange.target.segments[1]
        exchange.noted["about_key"] = id[:16]
        name = self._keys.name_of(id)
        if name is not None:
            exchange.noted["about_key_name"] = name
        return id

    async def _asked(self, exchange: Exchange, shape: type[Any], *, may_be_empty: bool = False) -> Any:
        body = await json_object(exchange, self._router, may_be_empty=may_be_empty)
        try:
            return msgspec.convert(body, shape)
        except msgspec.ValidationError as cause:
            raise InvalidRequest(f"that is no key: {why_not(cause, shape)}") from None

    def _same_name(self, exchange: Exchange, id: str, key: StoredKey) -> dict[str, Any]:
        """Who may not have wanted two keys of one name is told of the others."""
        others = self._keys.called(exchange.context.who, key.name, besides=id)
        return {"sameName": others} if others else {}

    async def _told(self, id: str, key: StoredKey) -> dict[str, Any]:
        try:
            used = await self._use.last_ms(id)
        except MetadataUnavailable:
            used = None
        return {
            "id": id,
            "name": key.name,
            "grants": msgspec.to_builtins(key.grants),
            "createdMs": key.created_ms,
            "createdBy": key.created_by,
            "expiresMs": key.expires_ms,
            "lastUsedMs": used,
            "limits": msgspec.to_builtins(key.limits),
            "sharesLimitsOf": self._keys.shares(id, key),
        }


def _differences(before: StoredKey, after: StoredKey) -> Iterator[str]:
    """What became another one of a key, for the audit: all of it, each grant by itself."""
    had, has = (list(_told_grants(key.grants)) for key in (before, after))
    yield from (f"granted: {grant}" for grant in has if grant not in had)
    yield from (f"taken away: {grant}" for grant in had if grant not in has)
    for what, was, now in (
        ("name", before.name, after.name),
        ("expires", _expiry(before), _expiry(after)),
        ("limits", before.limits.shown(), after.limits.shown()),
    ):
        if was != now:
            yield f"{what} from {was} to {now}"


def _told_grants(grants: Iterable[Grant]) -> Iterator[str]:
    """Grants as the audit tells them: whole, and each role once, however often and in which order it was said."""
    for grant in grants:
        yield shown(msgspec.structs.replace(grant, roles=tuple(role_texts(role_of(grant.roles)))))


def _expiry(key: StoredKey) -> str:
    return "never" if key.expires_ms is None else str(key.expires_ms)
