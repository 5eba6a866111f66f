"""Keys of encryption at rest: `GET /encryption` and `POST /encryption/rewrap`; and below
`/encryption/containers/<account>/<container>` what there is, `POST .../rotate`, and `DELETE`, of all or of one version.

No key is ever shown.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from aiohttp import web

from ambry.errors import AmbryError, InvalidRequest
from ambry.rest.access import Role
from ambry.rest.text import percent_decoded
from ambry.rest.wrong_values import why_not
from frontend.container import Container
from frontend.containers.resolver import Containers
from frontend.encryption.changes import KeyChanges
from frontend.encryption.key_rows import DeletedKey, KeptKey, current_of, shown
from frontend.encryption.keyring import Keyring
from frontend.http.exchange import Exchange
from frontend.http.route import Handle, Route
from frontend.rest.entry import asked_for, decide_on
from frontend.rest.json_body import json_object
from frontend.rest.resource import EVERYWHERE, READS, json_page, of_this_moment
from frontend.router.context import RouterContext
from frontend.who import Needs, in_cluster, in_container

ADMIN = in_container(Role.ADMIN)
"""Of the container, which the path names: its handler decides."""
_VERSION = re.compile(r"([0-9]{1,5})\.([0-9]{1,5})")
CONTAINER = "/encryption/containers/{account}/{container}"


class RewrapStep(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """How far a step of wrapping anew goes: from where the last one ended, for about so many keys."""

    after: int | None = None
    limit: int = 100


class EncryptionPages:
    """Those calls. Without a provider they tell that there is none."""

    def __init__(
        self,
        keyring: Keyring | None,
        keys: KeyChanges | None,
        containers: Containers,
        router: RouterContext,
    ) -> None:
        self._keyring = keyring
        self._keys = keys
        self._containers = containers
        self._router = router

    def routes(self) -> tuple[Route, ...]:
        def page(
            op: str,
            methods: tuple[str, ...],
            target: str,
            handle: Handle,
            needs: Needs,
            query: frozenset[str] = frozenset(),
        ) -> Route:
            changes = methods != READS
            return Route(
                op=op,
                methods=methods,
                target=target,
                handle=handle,
                needs=needs,
                changes=changes,
                takes_body=op == "encryption_rewrap",
                headers=EVERYWHERE,
                query=query,
                select=of_this_moment,
            )

        confirm = frozenset({"confirm"})
        return (
            page("encryption", READS, "/encryption", self.show, in_cluster(Role.ADMIN)),
            page("encryption_rewrap", ("POST",), "/encryption/rewrap", self.rewrap, in_cluster(Role.ADMIN)),
            page("encryption_keys", READS, CONTAINER, self.list, ADMIN),
            page("encryption_rotate", ("POST",), f"{CONTAINER}/rotate", self.rotate, ADMIN),
            page("encryption_delete_all", ("DELETE",), CONTAINER, self.delete, ADMIN, confirm),
            page("encryption_delete", ("DELETE",), f"{CONTAINER}/{{version}}", self.delete, ADMIN, confirm),
        )

    async def show(self, exchange: Exchange) -> web.Response:
        """Who keeps the master keys, and whether they answer."""
        if self._keyring is None:
            return json_page({"provider": None, "masterVersion": None, "away": None, "openKeys": 0})
        version, away = None, None
        try:
            version = await self._keyring.master.newest()
        except AmbryError as error:
            away = error.message
        return json_page({
            "provider": self._keyring.master.name,
            "masterVersion": version,
            "away": away,
            "openKeys": self._keyring.open_count,
        })  # fmt: skip

    async def list(self, exchange: Exchange) -> web.Response:
        """Every key that a container ever had."""
        container = await self._container(exchange)
        return json_page(_told(container, await self._changes().all(container)))

    async def rotate(self, exchange: Exchange) -> web.Response:
        """Another key for what is written from now on."""
        container = await self._container(exchange)
        changes = self._changes()
        made = await changes.rotate(container)
        exchange.noted["version"] = shown(made.version)
        return json_page(_told(container, await changes.all(container)))

    async def delete(self, exchange: Exchange) -> web.Response:
        """Delete all keys of a container, or one, for ever. Whoever asks repeats which container it is."""
        container = await self._container(exchange)
        if exchange.target.query_pairs().get("confirm") != str(container):
            raise InvalidRequest(
                f"what the keys of a container sealed is unreadable for ever when they are deleted: say ?confirm={container}"
            )
        segments = exchange.target.segments
        version = _version(segments[4]) if len(segments) > 4 else None
        changes = self._changes()
        gone = await changes.delete(container, version, by=exchange.context.who.id)
        exchange.noted["versions"] = [shown(each) for each in gone]
        return json_page(_told(container, await changes.all(container)))

    async def rewrap(self, exchange: Exchange) -> web.Response:
        """One step of having the newest master key wrap what older ones had."""
        body = await json_object(exchange, self._router, may_be_empty=True)
        try:
            asked = msgspec.convert(body, RewrapStep)
        except msgspec.ValidationError as cause:
            raise InvalidRequest(f"that is no step: {why_not(cause, RewrapStep)}") from None
        step = await self._changes().rewrap(asked.after, asked.limit)
        return json_page({
            "masterVersion": step.version,
            "rewrapped": step.done,
            "already": step.already,
            "failed": step.failed,
            "next": step.next,
        })  # fmt: skip

    async def _container(self, exchange: Exchange) -> Container:
        """The one that the path names, for who administers it."""
        account, name = (percent_decoded("the path", each) for each in exchange.target.segments[2:4])
        container = await asked_for(exchange.context.who, Role.ADMIN, self._containers, account, name)
        decide_on(exchange, Role.ADMIN, container)
        exchange.noted.update(account=container.account_name, container=container.container_name)
        return container

    def _changes(self) -> KeyChanges:
        if self._keys is None:
            raise InvalidRequest(
                "this frontend is not told who keeps master keys, so there are none of containers; see [encryption] in its "
                "configuration"
            )
        return self._keys


def _version(text: str) -> int:
    match = _VERSION.fullmatch(text)
    if match is None or int(match[1]) > 0xFFFF or int(match[2]) > 0xFFFF:
        raise InvalidRequest(f"a version is two numbers, such as 2.1, and not {text[:20]!r}")
    return int(match[1]) << 16 | int(match[2])


def _told(container: Container, rows: list[KeptKey]) -> dict[str, Any]:
    current = current_of(rows)
    return {
        "account": container.account_name,
        "container": container.container_name,
        "encrypted": container.settings.encrypted,
        "keys": [
            {"version": shown(row.version), "deletedMs": row.key.at_ms, "deletedBy": row.key.by}
            if isinstance(row.key, DeletedKey)
            else {
                "version": shown(row.version),
                "current": row is current,
                "madeMs": row.key.made_ms,
                "provider": row.key.provider,
                "masterVersion": row.key.wrapped.version,
            }
            for row in rows
        ],
    }
