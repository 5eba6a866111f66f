"""Messages between frontends of different datacenters: what their metadata stores have (frontend/metadata/store.py)."""

from __future__ import annotations

from typing import Annotated

import msgspec

from ambry.protocol.messages.base import Message, TimeMs

VERSIONS_MAX = 1_000
"""Of one page of a log."""
REGISTERS_MAX = 32
"""That one request asks for: with their values they fit into one header."""
PAGE_BYTES_MAX = 1 << 20
"""Keys and values of one page, but for the last version of it."""
TRAIL_MAX = 16
"""Places that a cursor may be checked by, beside its own."""
STORE_ID_SIZE = 16
Key = Annotated[bytes, msgspec.Meta(min_length=1, max_length=1_100)]
Unsigned = Annotated[int, msgspec.Meta(ge=0)]
"""The protocol has no larger ones than of 64 bits."""
Seq = Annotated[int, msgspec.Meta(ge=0, le=(1 << 62) - 1)]
Space = Annotated[int, msgspec.Meta(ge=1, le=255)]
Time = Annotated[int, msgspec.Meta(ge=0, le=(1 << 62) - 1)]
Datacenter = Annotated[int, msgspec.Meta(ge=1, le=0xFFFF)]
Stored = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
"""Whatever number a store may hold: what a log has is told as it is, and whoever merges it judges it, version by version."""
StoreId = Annotated[bytes, msgspec.Meta(min_length=STORE_ID_SIZE, max_length=STORE_ID_SIZE)]


class LoggedVersion(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One version of a register. `value` None is a tombstone; `seq` its place in the log of who answers.

    It may be beyond what this release takes: one such version must not make a page unreadable, and all behind it.
    """

    space: Stored
    scope: Unsigned
    key: bytes
    time: Stored
    datacenter: Stored
    value: bytes | None
    seq: Seq


class LogPlace(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A place in the log of one store, and the stamp of the version that stands there."""

    store: StoreId
    seq: Seq
    time: Stored
    datacenter: Stored


class MetadataLogRequest(Message, frozen=True, array_like=True):
    """What did the store of `of`, a datacenter, record after `since`? None: from its beginning.

    Where there is nothing the answer waits up to `wait_ms` for something. `trail` has places before `since`: where one of
    them is none of this log, `since` is none either, whatever stands there.
    """

    of: Datacenter
    since: LogPlace | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=VERSIONS_MAX)] = VERSIONS_MAX
    wait_ms: Annotated[int, msgspec.Meta(ge=0, le=60_000)] = 0
    trail: Annotated[list[LogPlace], msgspec.Meta(max_length=TRAIL_MAX)] = msgspec.field(default_factory=list)


class MetadataLogReply(Message, frozen=True, array_like=True):
    """A page, oldest first, and where to go on; None: the log is empty.

    `started_over`: `since` was no place of this log, so this is its beginning. `end_seq` is how much the log has by now.
    """

    versions: Annotated[list[LoggedVersion], msgspec.Meta(max_length=VERSIONS_MAX)]
    next: LogPlace | None
    started_over: bool
    end_seq: Seq


class RegisterPlace(msgspec.Struct, frozen=True, array_like=True, gc=False):
    space: Space
    scope: Unsigned
    key: Key


class MetadataNewestRequest(Message, frozen=True, array_like=True):
    """What are the newest versions of these registers in the store of the datacenter `of`?"""

    of: Datacenter
    registers: Annotated[list[RegisterPlace], msgspec.Meta(min_length=1, max_length=REGISTERS_MAX)]


class MetadataNewestReply(Message, frozen=True, array_like=True):
    """In order; None where there never was one."""

    versions: Annotated[list[LoggedVersion | None], msgspec.Meta(max_length=REGISTERS_MAX)]


class MetadataHeadRequest(Message, frozen=True, array_like=True):
    """How far is the store of the datacenter `of`?"""

    of: Datacenter


class Followed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How far the log of another datacenter has been merged: a place in its store."""

    datacenter: Datacenter
    store: StoreId
    seq: Seq


class MetadataHeadReply(Message, frozen=True, array_like=True):
    """`time` is the latest of a version that the store has seen, `now_ms` the wall clock of who answers."""

    store: StoreId
    seq: Seq
    time: Time
    followed: list[Followed]
    now_ms: TimeMs
