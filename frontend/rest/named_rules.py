"""What a request by name is about, and whether it may let the name point to something: by its headers, by what stands there,
and by the container as it is when the name changes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import msgspec

from ambry.errors import AlreadyExists, InvalidRequest
from ambry.rest import names as header
from ambry.rest import values
from ambry.rest.accounts import NamedBlobMode
from frontend.container import Container
from frontend.idempotency.keys import KeyedPut
from frontend.metadata.store import Condition, Expect, Space
from frontend.names.names import NameVersion
from frontend.names.rows import NamePlace

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
