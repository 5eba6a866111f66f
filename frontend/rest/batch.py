"""Batches: many small blobs in one request, each with an answer of its own (`/batch/get`, `/batch/head`, `/batch/delete`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from ambry.clock import Clock
from ambry.errors import (
    AccessDenied,
    AmbryError,
    InternalError,
    InvalidRequest,
    NameDeleted,
    PreconditionFailed,
    must_have,
)
from ambry.ids import ID_TEXT_SIZE, BlobId
from ambry.rest import frames
from ambry.rest.access import Role
from ambry.rest.text import is_plain
from ambry.service.logs import get_logger
from frontend.container import Container
from frontend.containers.resolver import Containers
from frontend.http.exchange import Exchange
from frontend.http.ranges import parse_ranges
from frontend.http.route import Handle, Route
from frontend.names.names import NameVersion
from frontend.request import RequestContext
from frontend.rest.batch_forms import form_of
from frontend.rest.batch_items import (
    LIST,
    LIST_OF_DELETES,
    LIST_WITH_RANGES,
    BatchItem,
    failed_item,
    read_items,
    told_items,
)
from frontend.rest.batch_names import BatchNames, FoundName
from frontend.rest.batch_parts import Unit
from frontend.rest.batch_read import BatchRead
from frontend.rest.blob import parse_id
from frontend.rest.entry import asked_for_id, decide_on
from frontend.rest.named_rules import NameChanges
from frontend.rest.resource import EVERYWHERE
from frontend.router import update
from frontend.router.context import RouterContext
from frontend.router.values import RangeSpec
from frontend.who import ANY_KEY, decide, in_container

log = get_logger()

DELETES_AT_ONCE = 32


class Batches:
    """The calls for many blobs."""

    def __init__(self, router: RouterContext, containers: Containers, *, clock: Clock) -> None:
        self._router = router
        self._containers = containers
        self._clock = clock
        self.names: BatchNames | None = None
        self.changes: NameChanges | None = None
        """Both None where there is no metadata store."""

    def routes(self) -> tuple[Route, ...]:
        def batch(name: str, handle: Handle, schema: Mapping[str, Any], *, changes: bool = False) -> Route:
            return Route(
                op=f"batch_{name}",
                methods=("POST",),
                target=f"/batch/{name}",
                handle=handle,
                needs=ANY_KEY,
                changes=changes,
                takes_body=True,
                headers=EVERYWHERE,
                select=self.select_nothing,
                body_schema=schema,
                gives=("application/json",) if changes else ("multipart/mixed", frames.CONTENT_TYPE),
            )

        return (
            batch("get", self.get, LIST_WITH_RANGES),
            batch("head", self.head, LIST),
            batch("delete", self.delete, LIST_OF_DELETES, changes=True),
        )

    @staticmethod
    async def select_nothing(exchange: Exchange) -> None:
        """Conditions are about one thing that stands there; of a batch there is none."""

    async def get(self, exchange: Exchange) -> web.StreamResponse:
        """Many blobs, or ranges of them, each with a status of its own, in the order in which they are ready."""
        return await self._read(exchange, bodies=True)

    async def head(self, exchange: Exchange) -> web.StreamResponse:
        """What a batch of gets says, without bodies."""
        return await self._read(exchange, bodies=False)

    async def _read(self, exchange: Exchange, *, bodies: bool) -> web.StreamResponse:
        items = await read_items(exchange, self._router, ranges=bodies)
        by_name = await self._find_names(exchange, items, Role.READ)
        units: list[Unit] = []
        for index, item in enumerate(items):
            text, ranges = (item, None) if isinstance(item, str) else (item.id, item.ranges)
            text = text.removeprefix("/")
            by_its_name = index in by_name
            try:
                if not by_its_name:
                    blob_id = parse_id(text)
                    container = self._readable(exchange, blob_id) or await self._container(exchange, Role.READ, blob_id)
                    text, name = text[:ID_TEXT_SIZE], None
                else:
                    named = _found(by_name, index)
                    blob_id, container, name = _living(named).id, named.container, named.key.decode()
                    text = str(blob_id)
                as_everybody = container.public and not exchange.context.who.granted(Role.READ, container, name)
                unit = Unit(
                    index=index,
                    text=text,
                    named=by_its_name,
                    container=container,
                    as_everybody=as_everybody,
                    id=blob_id,
                )
                if ranges is None:
                    units.append(unit)
                    continue
                units += [
                    msgspec.structs.replace(unit, range_index=number, wanted=_range(each))
                    for number, each in enumerate(ranges)
                ]
            except AmbryError as error:
                units.append(Unit(index=index, text=shown(text), error=error))
        exchange.context.items = _audited(items, units, self._place_of)
        return await BatchRead(exchange, self._router, form_of(exchange), bodies=bodies).run(units)

    async def _find_names(
        self, exchange: Exchange, items: Sequence[str | BatchItem], role: Role
    ) -> dict[int, FoundName | AmbryError]:
        """What is known of those items that are names, as far as whoever asks has the role for it."""
        wanted = {index: item.name for index, item in enumerate(items) if not isinstance(item, str) and item.name}
        if not wanted:
            return {}
        if self.names is None:
            raise InvalidRequest("this frontend has no metadata store that would know names; give ids")
        return dict(zip(wanted, await self.names.find(exchange.context.who, list(wanted.values()), role), strict=True))

    def _readable(self, exchange: Exchange, blob_id: BlobId) -> Container | None:
        """The container of a blob, if it is known, active, and who asks may read in it."""
        found = self._containers.known_id(blob_id.account, blob_id.container)
        return found if found is not None and found.active and exchange.context.who.may(Role.READ, found) else None

    async def _container(self, exchange: Exchange, role: Role, blob_id: BlobId) -> Container:
        """The container of a blob, in which who asks has the role. Raises AccessDenied, Unavailable."""
        found = await asked_for_id(exchange.context.who, role, self._containers, blob_id)
        decide_on(exchange, role, found)
        found.check_active()
        return found

    async def delete(self, exchange: Exchange) -> web.Response:
        """Delete many blobs, each for itself: those that cannot be deleted keep none of the others."""
        items = await read_items(exchange, self._router, ranges=False, bound=True)
        by_name = await self._find_names(exchange, items, Role.DELETE)
        answers: list[dict[str, Any]] = [{} for _ in items]
        again = _repetitions([item if isinstance(item, str) else item.id for item in items], by_name)
        numbers = iter([number for number in range(len(items)) if number not in again])

        async def work() -> None:
            for number in numbers:
                item = items[number]
                text = item if isinstance(item, str) else item.id
                answers[number] = await self._delete_one(exchange, number, text, by_name)

        await asyncio.gather(*(work() for _ in range(min(DELETES_AT_ONCE, len(items)))))
        for number, first in again.items():
            answers[number] = {**answers[first], "index": number}
        exchange.context.items = [
            {
                **answer,
                **self._place_of(item),
                **({"name": item.name} if index in by_name and not isinstance(item, str) else {}),
            }
            for index, (item, answer) in enumerate(zip(items, answers, strict=True))
        ]
        return told_items(exchange, answers)

    def _place_of(self, item: str | BatchItem) -> dict[str, str]:
        """The account and the container of an item, as the audit names them; nothing where they are not known here."""
        if not isinstance(item, str) and item.name:
            account, _, rest = item.name.partition("/")
            return {"account": account, "container": rest.partition("/")[0]}
        try:
            blob_id = parse_id((item if isinstance(item, str) else item.id).removeprefix("/"))
        except AmbryError:
            return {}
        found = self._containers.known_id(blob_id.account, blob_id.container)
        return {} if found is None else {"account": found.account_name, "container": found.container_name}

    async def _delete_one(
        self, exchange: Exchange, index: int, text: str, by_name: Mapping[int, FoundName | AmbryError]
    ) -> dict[str, Any]:
        """Delete a blob, or the name that an item is; with an id too, while it points to that blob."""
        own = exchange.context
        context = RequestContext(
            id=own.id, timeout_s=own.timeout_s, deadline=own.deadline, who=own.who, standing=own.standing
        )
        by_its_name = index in by_name
        told = {} if by_its_name else {"id": shown(text)}
        try:
            context.check_standing()
            if not by_its_name:
                blob_id = parse_id(text.removeprefix("/"))
                told["id"] = str(blob_id)
                context.container = await self._container(exchange, Role.DELETE, blob_id)
                context.container.check_unlocked(self._clock.wall_ms())
                await update.delete(context, self._router, blob_id, None)
            else:
                named = _found(by_name, index)
                context.container = named.container
                await self._delete_name(context, named, parse_id(text.removeprefix("/")) if text else None)
        except AmbryError as error:
            return failed_item(index, error, **told)
        except Exception:
            log.exception("part of a batch failed", request_id=context.id, blob=text)
            return failed_item(index, InternalError("a bug in this server; please report the request id"))
        return {"index": index, "status": 202, **told}

    async def _delete_name(self, context: RequestContext, named: FoundName, blob: BlobId | None) -> None:
        changes = must_have(self.changes, "the metadata store of a name that was found")
        if blob is not None:
            # Its answer tells what the name points to.
            decide(context.who, in_container(Role.READ), named.container, named.key.decode())
        if isinstance(named.version, NameDeleted):
            return
        living = _living(named)
        if blob is not None and living.id != blob:
            raise PreconditionFailed(f"the name points to another blob than {blob}")
        await changes.delete(context, named.about, living, None)


def _audited(
    items: Sequence[str | BatchItem], units: Sequence[Unit], place_of: Callable[[str | BatchItem], dict[str, str]]
) -> list[dict[str, Any]]:
    """Of the items of a read, those whose container asks for it to be told, and those that were refused."""
    told: dict[int, dict[str, Any]] = {}
    for unit in units:
        item, error = items[unit.index], unit.error
        refused = isinstance(error, AccessDenied)
        if refused or (unit.container is not None and unit.container.settings.audit_reads):
            what = {"name": item.name} if not isinstance(item, str) and item.name else {"id": unit.text}
            told[unit.index] = {
                "index": unit.index,
                **what,
                **place_of(item),
                **({} if error is None else {"code": type(error).__name__}),
            }
    return list(told.values())


def _repetitions(texts: Sequence[str], by_name: Mapping[int, FoundName | AmbryError]) -> dict[int, int]:
    """Of items that are the name or the blob of one before, in whatever spelling: the index of the first that is."""
    firsts: dict[BlobId | tuple[int, bytes, str], int] = {}
    again: dict[int, int] = {}
    for index, text in enumerate(texts):
        what: BlobId | tuple[int, bytes, str]
        try:
            if index in by_name:
                named = _found(by_name, index)
                what = (named.container.scope, named.key, text)
            else:
                what = parse_id(text.removeprefix("/"))
        except AmbryError:
            continue  # told of it when its turn comes
        first = firsts.setdefault(what, index)
        if first != index:
            again[index] = first
    return again


def _found(by_name: Mapping[int, FoundName | AmbryError], index: int) -> FoundName:
    found = by_name[index]
    if isinstance(found, AmbryError):
        raise found
    return found


def _living(named: FoundName) -> NameVersion:
    if isinstance(named.version, AmbryError):
        raise named.version
    return named.version


def shown(text: str) -> str:
    """An id as it was given, as far as it can stand in a header."""
    known = text.removeprefix("/")[:ID_TEXT_SIZE]
    if is_plain(known):
        return known
    return "".join(character if "!" <= character <= "~" else "?" for character in known)


def _range(text: str) -> RangeSpec:
    found = parse_ranges(f"bytes={text}")
    if len(found) != 1:
        raise InvalidRequest(f"a range is 0-99, 100- or -5, and not {text[:40]!r}")
    return found[0]
