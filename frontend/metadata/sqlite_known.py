"""Newest versions of registers that were read from a metadata file, kept for as long as they are known to be the newest.

They count while the file's mark (frontend/metadata/sqlite_mark.py) is the one that they were read under: then nothing was
committed since, here or by another process, and what is kept is what a read would find in this moment. When the mark has moved,
the log tells which registers changed; those are forgotten, and the others count again.

Everything here is on the event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import msgspec

from frontend.metadata.plan import RegisterKey
from frontend.metadata.sqlite_file import HeldConnection
from frontend.metadata.sqlite_mark import FileMark
from frontend.metadata.store import LogCursor, Version

VERSIONS_MAX = 16_384
VALUE_BYTES_MAX = 256
"""Larger values are read each time. With the longest keys and values all of them take some 30 MiB, with usual names 7."""
UNSEEN_S = 1.0
"""The path is looked at so often at least: a file that was put in the place of another one has a mark of its own."""


class Changed(msgspec.Struct, frozen=True):
    """What the log says. `places` None: so much that it is not told."""

    places: Sequence[RegisterKey] | None
    cursor: LogCursor | None


class Moment(msgspec.Struct, frozen=True):
    """That before a read."""

    mark: FileMark | None
    head: bytes
    at: float


class KnownVersions:
    """`held` is the connection of the thread that reads; `ask` has that thread tell what changed since a cursor."""

    def __init__(self, held: HeldConnection, ask: Callable[[LogCursor | None], asyncio.Future[Changed]]) -> None:
        self._held = held
        self._ask = ask
        self._versions: dict[RegisterKey, Version] = {}
        self._mark: FileMark | None = None
        self._head = b""
        """Of the mark, when all that is kept was the newest."""
        self._cursor: LogCursor | None = None
        self._asking = False
        self._seen_until = 0.0
        self._now = asyncio.get_running_loop().time

    def find(self, place: RegisterKey) -> Version | None:
        """The newest version of a register, if that is known."""
        version = self._versions.get(place)
        mark = self._mark
        if version is None or mark is None or self._now() >= self._seen_until or mark.glance() != self._head:
            return None
        return version

    def before_read(self) -> Moment:
        """To be told to `keep` with what was read. Where the mark has moved, it is asked what changed, ahead of that read."""
        connection = self._held.connection
        mark = None if connection is None else connection.mark
        head = b"" if mark is None else mark.glance()
        moment = Moment(mark, head, self._now())
        if mark is not self._mark:
            self._mark, self._head, self._cursor = mark, b"", None
            self._versions.clear()
        if head and head != self._head and not self._asking:
            asked = self._ask(self._cursor)
            self._asking = True
            asked.add_done_callback(lambda done: self._heard(moment, done))
        return moment

    def _heard(self, moment: Moment, done: asyncio.Future[Changed]) -> None:
        self._asking = False
        if done.cancelled() or done.exception() is not None or moment.mark is not self._mark:
            return
        changed = done.result()
        if changed.places is None:
            self._versions.clear()
        else:
            for place in changed.places:
                self._versions.pop(place, None)
        self._cursor, self._head = changed.cursor, moment.head

    def keep(self, place: RegisterKey, version: Version | None, moment: Moment) -> None:
        """What was read after a moment."""
        mark, connection = self._mark, self._held.connection
        if connection is None or mark is None or not (connection.mark is mark is moment.mark):
            return
        # The file was that of its name when it was read.
        self._seen_until = moment.at + UNSEEN_S
        if (
            not moment.head
            or moment.head != self._head
            or version is None
            or len(version.value or b"") > VALUE_BYTES_MAX
        ):
            return
        if len(self._versions) >= VERSIONS_MAX:
            del self._versions[next(iter(self._versions))]
        self._versions[place] = version
