"""What a request by name is about, and the changes of a name: by the request's headers, by what stands there, and by the
container as it is when the name changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from ambry.clock import Clock
from ambry.errors import AlreadyExists, InvalidRequest, InvariantBroken
from ambry.rest import names as header
from ambry.rest import values
from ambry.rest.accounts import NamedBlobMode
from frontend.container import Container
from frontend.containers.standing import StandingRules
from frontend.http.exchange import Exchange
from frontend.idempotency.keys import KeyedPut
from frontend.metadata.spaces import Space
from frontend.metadata.store import Change, Condition, Expect, Require
from frontend.names.lives import NameLives
from frontend.names.names import Names, NameVersion
from frontend.names.rows import NamedBlob, NamePlace
from frontend.request import RequestContext
from frontend.rest.entry import container_of
from frontend.rest.upload_headers import check_lifetime
from frontend.router.values import BlobHead

T = TypeVar("T")


class AboutName(msgspec.Struct):
    """What a request by name is about."""

    scope: int
    key: bytes
    newest: NameVersion | None
    """Its newest version here, deleted or not, when the request came."""
    keyed: KeyedPut | None = None
    """What is known of the idempotency key of an upload."""

    @property
    def place(self) -> NamePlace:
        return NamePlace(Space.NAME, self.scope, self.key)

    @property
    def living(self) -> NameVersion | None:
        return self.newest if self.newest is not None and self.newest.blob is not None else None


def check_has_names(container: Container) -> None:
    """Raises InvalidRequest."""
    if container.settings.named_blob_mode is NamedBlobMode.DISABLED:
        raise InvalidRequest(f"the container {container} has no names (namedBlobMode is DISABLED)")


def may_point(headers: Mapping[str, str], name: AboutName, container: Container, now_ms: int) -> Condition:
    """The condition of a change that lets the name point to something. Raises AlreadyExists, RetentionLocked."""
    living = name.living
    upsert = header.NAMED_UPSERT in headers and values.flag(header.NAMED_UPSERT, headers[header.NAMED_UPSERT])
    conditional = "if-match" in headers or "if-none-match" in headers or "if-unmodified-since" in headers
    if living is not None:
        _check_movable(container)
        if not (upsert or "if-match" in headers):
            raise AlreadyExists(
                f"the name exists; {header.NAMED_UPSERT}: true, or If-Match with its ETag, lets it point to another blob"
            )
        container.check_unlocked(now_ms)
    if upsert and not conditional and container.settings.named_blob_mode is not NamedBlobMode.NO_UPDATE:
        return Expect.ANY
    return Expect.ABSENT if living is None else living.stamp


async def point_now(
    container: Container, condition: Condition, now_ms: int, point: Callable[[Condition], Awaitable[T]]
) -> T:
    """`point` under that condition, as the container lets it by now: it may be locked since the request came.

    Raises InvalidRequest, AlreadyExists, RetentionLocked, and what `point` raises.
    """
    check_has_names(container)
    if condition is Expect.ABSENT:
        return await point(condition)
    if condition is not Expect.ANY:
        _check_movable(container)
        container.check_unlocked(now_ms)
        return await point(condition)
    if container.settings.named_blob_mode is not NamedBlobMode.NO_UPDATE and not container.locked(now_ms):
        return await point(condition)
    try:
        return await point(Expect.ABSENT)
    except AlreadyExists:
        _check_movable(container)
        container.check_unlocked(now_ms)
        raise


def _check_movable(container: Container) -> None:
    if container.settings.named_blob_mode is NamedBlobMode.NO_UPDATE:
        raise AlreadyExists(f"the name exists, and in the container {container} a name keeps its blob")


def about(exchange: Exchange) -> AboutName:
    """The name that a change is about."""
    named: AboutName = exchange.named
    return named


def mean_blob(exchange: Exchange, blob: NamedBlob) -> None:
    """From now on the request is about the blob that its name points to.

    What somebody has for the name alone reaches a blob that goes with it, and none that it was only bound to.
    """
    if not blob.owned:
        exchange.name = None


class NameChanges:
    """Changes of one name, each by what its container lets in the moment in which it is made."""

    def __init__(self, names: Names, lives: NameLives, standing: StandingRules, *, clock: Clock) -> None:
        self._names = names
        self._lives = lives
        self._standing = standing
        self._clock = clock

    def may_point(self, exchange: Exchange, name: AboutName) -> Condition:
        """See `may_point`."""
        return may_point(exchange.headers, name, container_of(exchange), self._clock.wall_ms())

    async def point(
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

    async def rename(
        self, exchange: Exchange, name: AboutName, source: NameVersion, condition: Condition
    ) -> NameVersion:
        """Move what `source` points to to the name. Raises as `point`."""

        async def write(container: Container, require: Require) -> NameVersion:
            now_ms = self._clock.wall_ms()
            container.check_unlocked(now_ms)  # the name that it had goes

            async def rename(held: Condition) -> NameVersion:
                return await self._names.rename(name.scope, source, name.key, held, [require])

            return await point_now(container, condition, now_ms, rename)

        return await self._standing.write(container_of(exchange), write)

    async def replace(
        self, exchange: Exchange, name: AboutName, stands: NameVersion, blob: NamedBlob, along: Sequence[Change] = ()
    ) -> NameVersion:
        """Say something else of the name, in place of what `stands` there, be it deleted. Raises as `point`."""

        async def write(container: Container, require: Require) -> NameVersion:
            check_has_names(container)
            return await self._names.point(name.scope, name.key, blob, stands.stamp, [*along, require])

        return await self._standing.write(container_of(exchange), write)

    async def delete(
        self, request: RequestContext, name: AboutName, living: NameVersion, head: BlobHead | None
    ) -> None:
        """Delete the name, and the blob that goes with it, whose `head` may have been read. Raises as NameLives.bury."""

        async def write(container: Container, require: Require) -> None:
            container.check_unlocked(self._clock.wall_ms())
            owner = await self._names.as_owner(living)
            if owner.blob is None or not owner.blob.owned:
                await self._names.bury(name.scope, name.key, living.stamp, [require])
                return

            async def bury(along: Change) -> None:
                await self._names.bury(name.scope, name.key, living.stamp, [along, require])

            await self._lives.bury(request, name.place, living, head, bury)

        if request.container is None:
            raise InvariantBroken("a delete of a name came here before it was known in which container")
        await self._standing.write(request.container, write)
