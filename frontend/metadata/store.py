"""The metadata store: everything that is known of names, accounts, datasets and sessions, and nothing of blobs' bytes.

What datacenters share are registers. A register is found by space, scope and key, and is a set of versions; the newest by
`order` is its value, all others are its history. Versions are only ever added, so stores that have seen the same versions in
whatever order are equal: that is the only join there is. Every version that a store records, its own or another's, gets
the next `seq` of that store; by it they are the store's metadata log.

Beside them lie local rows: of one datacenter alone, without history, with an end. They hold what is under way.

Everything here is durable when it returns. Two implementations pass one suite (tests/conformance/test_metadata_conformance.py).
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from ambry.errors import PreconditionFailed
from frontend.metadata.spaces import FORGETTING, LocalSpace, Space

KEY_BYTES_MAX = 1_100
"""A name has at most 1,024; the rest is room for what stands before it."""
VALUE_BYTES_MAX = 64 << 10
PAGE_MAX = 1_000
"""Versions or rows of one answer."""
GROUP_MAX = 2_000
"""Changes of one atomic group."""
SPACE_MAX = 255
"""Of registers, whatever release knows them."""
TIME_MAX = (1 << 62) - 1
"""Of a version; the year 4199. Whatever claims to be later is refused, or it would end all clocks."""
NEVER: None = None
"""The end of a local row that has none."""


class Expect(enum.Enum):
    """What must hold before a change; the change with its whole group is refused otherwise."""

    ANY = "any"
    ABSENT = "absent"
    """Never there, or a tombstone; of a local row: not there, or past its end."""
    PRESENT = "present"


class Stamp(msgspec.Struct, frozen=True, order=True, gc=False):
    """When and where a version was made. `time` is a hybrid logical clock: wall milliseconds << 16 | counter.

    One datacenter gives each of its versions a stamp of its own, later than every one that it had seen.
    """

    time: int
    datacenter: int

    @property
    def wall_ms(self) -> int:
        return self.time >> 16


Condition = Expect | Stamp
"""A stamp is that of the newest version, be it a tombstone."""


class Version(msgspec.Struct, frozen=True, gc=False):
    """One version of a register. `scope` has 64 bits: account << 32 | container, or 0. `value` is None in a tombstone."""

    space: int
    scope: int
    key: bytes
    stamp: Stamp
    value: bytes | None
    seq: int
    """Its place in the log of the store that was asked; another store has it at another."""

    @property
    def living(self) -> bool:
        return self.value is not None


class CommonPrefix(msgspec.Struct, frozen=True, gc=False):
    """What some keys begin with, up to and with the delimiter; at least one of them lives."""

    prefix: bytes

    @property
    def key(self) -> bytes:
        """Behind which what follows is listed."""
        return self.prefix


class LocalRow(msgspec.Struct, frozen=True, gc=False):
    space: int
    key: bytes
    value: bytes
    expires_ms: int | None
    """Wall time from which on it is not there any more; None: never."""


class Put(msgspec.Struct, frozen=True, gc=False):
    """A new version of a register; `value` None buries it."""

    space: Space
    scope: int
    key: bytes
    value: bytes | None
    condition: Condition = Expect.ANY


class Require(msgspec.Struct, frozen=True, gc=False):
    """Changes nothing: the group is done only where this register is as it says."""

    space: Space
    scope: int
    key: bytes
    condition: Condition


class LocalPut(msgspec.Struct, frozen=True, gc=False):
    """`condition` in bytes: the row's value is just that."""

    space: LocalSpace
    key: bytes
    value: bytes
    expires_ms: int | None = NEVER
    condition: Expect | bytes = Expect.ANY


class LocalDelete(msgspec.Struct, frozen=True, gc=False):
    space: LocalSpace
    key: bytes
    condition: Expect | bytes = Expect.ANY


Change = Put | Require | LocalPut | LocalDelete


class LogHead(msgspec.Struct, frozen=True):
    """How far a store is."""

    store: bytes
    """16 bytes of chance, made with the store; one that is made anew has others."""
    seq: int
    """Of the newest version; 0 where there is none."""
    time: int
    """The latest time of a version that it has seen."""


class LogCursor(msgspec.Struct, frozen=True):
    """A place in the log of one store: everything up to `seq` has been read, and the version there had this stamp.

    A store that was put back from a backup gives its numbers again, to other versions: by the stamp that is noticed.
    """

    store: bytes
    seq: int
    stamp: Stamp


class LogPage(msgspec.Struct, frozen=True):
    versions: list[Version]
    """By seq, oldest first."""
    cursor: LogCursor | None
    """Where to go on. None: the log is empty."""
    started_over: bool
    """The cursor was not of this log, so this is its beginning."""


class Conflict(PreconditionFailed):
    """A condition of a group does not hold, so nothing of the group was done."""

    def __init__(self, change: Change, current: Version | LocalRow | None) -> None:
        super().__init__(f"{type(change).__name__} in {change.space.name}: the condition does not hold")
        self.change = change
        self.current = current
        """What stands there instead; None: nothing ever did."""


class Query(NamedTuple):
    """SQL that both engines take, with `?` for a value, and the values."""

    text: str
    values: tuple[int | bytes | None, ...]


class MetadataStore(Protocol):
    """One store.

    All methods raise MetadataUnavailable (503) where it cannot be reached in time, InsufficientStorage (507) where its disk is
    full, and DataCorrupt where what it holds fails its check.

    An object belongs to one event loop. Whoever is cancelled does not know whether its change was done.
    """

    @property
    def datacenter(self) -> int:
        """Whose store it is, by the number that stands in stamps."""
        ...

    @property
    def waiting(self) -> int:
        """Requests that wait for it."""
        ...

    async def reach(self) -> None:
        """Reach it, make it or bring its schema up to date. Raises StoreMismatch, FormatUnknown when it must not be used.

        Everything else that may be wrong with it is tried again with each call.
        """
        ...

    async def close(self) -> None:
        """What was asked for is done or fails first."""
        ...

    async def write(self, group: Sequence[Change]) -> list[Version]:
        """Do all of it or nothing; the new versions, one for each Put, in order. Raises Conflict.

        All conditions are held against what was there before the group. It names nothing twice.
        """
        ...

    def begin_write(self, group: Sequence[Change]) -> asyncio.Future[list[Version]]:
        """As `write`, begun at once; also raises at once what can be told at once."""
        ...

    async def merge(self, versions: Sequence[Version], *, along: Sequence[LocalPut] = ()) -> int:
        """Record versions of other stores, and `along` local rows in the same moment; how many versions were new."""
        ...

    async def get(self, space: Space, scope: int, key: bytes) -> Version | None:
        """The newest version, tombstones included; None where there never was one."""
        ...

    def known(self, space: Space, scope: int, key: bytes) -> Version | None:
        """What `get` would say in this moment, where that is known without waiting for anybody; None says nothing."""
        ...

    async def get_many(self, space: Space, scope: int, keys: Sequence[bytes]) -> list[Version | None]:
        """As `get`, in order; at most PAGE_MAX."""
        ...

    async def history(
        self, space: Space, scope: int, key: bytes, *, before: Version | None = None, limit: int = PAGE_MAX
    ) -> list[Version]:
        """Versions, the newest first; those older than `before`."""
        ...

    async def prefixes(
        self,
        space: Space,
        scope: int,
        *,
        prefix: bytes = b"",
        delimiter: bytes,
        after: bytes | None = None,
        limit: int = PAGE_MAX,
    ) -> list[Version | CommonPrefix]:
        """As `list`, but keys that have the delimiter beyond the prefix as one CommonPrefix each kind.

        `after` is the last key or prefix that was seen; what has it as its common prefix is seen with it.
        """
        ...

    async def log(self, since: LogCursor | None = None, *, limit: int = PAGE_MAX) -> LogPage:
        """What was recorded after a cursor; from the beginning where it is None or of another log."""
        ...

    async def head(self) -> LogHead: ...

    async def wait(self, after_seq: int, timeout_s: float) -> int:
        """Until the log has more than `after_seq`, by this process or another, or time is up; what it has by then."""
        ...

    async def local(self, space: LocalSpace, key: bytes) -> LocalRow | None: ...

    async def locals(
        self, space: LocalSpace, *, prefix: bytes = b"", after: bytes | None = None, limit: int = PAGE_MAX
    ) -> list[LocalRow]:
        """Rows that have not ended, by key."""
        ...

    async def rows(self, query: Query) -> list[Any]:
        """Rows of the engine's tables as they are; for an operator's look at all of them, and for where the log ends."""
        ...

    # The last: behind it `list` means this.
    async def list(
        self,
        space: Space,
        scope: int,
        *,
        prefix: bytes = b"",
        after: bytes | None = None,
        descending: bool = False,
        limit: int = PAGE_MAX,
    ) -> list[Version]:
        """The living by the order of the keys' bytes; those beyond `after`."""
        ...


def order(version: Version) -> tuple[int, int, int, bool, bytes]:
    """Versions of one register by this: the greatest is its value, everywhere alike.

    A store that was put back from a backup may give a time again. Then the values decide, so that the order is total.
    """
    value = version.value
    stamp = version.stamp
    return rank(version.space, value), stamp.time, stamp.datacenter, value is not None, value or b""


def rank(space: int, value: bytes | None) -> int:
    """What goes before the time of a version: 0 but in spaces that forget (frontend/metadata/spaces.py)."""
    return value[0] if value and space in FORGETTING else 0


def successor(prefix: bytes) -> bytes | None:
    """The least key that is above every one with this prefix; None where there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes((stripped[-1] + 1,)) if stripped else None
