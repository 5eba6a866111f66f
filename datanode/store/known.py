"""What memory knows of an index beside the entries that wait for a checkpoint, so that nobody needs to wait for its file.

The file of an index is mapped: whoever asks it may wait for a page, for as long as the disk takes. So the event loop asks
memory alone, and what that does not know is looked up on a disk thread (datanode/lookups.py). Two things stand in memory:

- of all indexes of a node the entries that were looked up or written lately (`EntryMemory`), bounded;
- for whoever needs them to stay: what was known of some blobs, kept as it changes (Held, in store/index.py).

Both follow the one event by which an entry leaves those that wait: the end of a checkpoint. Until then what waits is asked
first, so nothing here is ever seen in an older state. It belongs to the event loop's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

from datanode.store.entry import IndexEntry


class Unknown(Enum):
    """Memory does not tell."""

    UNKNOWN = 0


UNKNOWN: Final = Unknown.UNKNOWN
Known = IndexEntry | None | Unknown
"""What memory tells of a blob; None: there is none."""


class Remembered:
    """The stored entries of one index that memory has too: those of late, and those from before."""

    def __init__(self, memory: EntryMemory) -> None:
        self.newer: dict[bytes, IndexEntry | None] = {}
        self.older: dict[bytes, IndexEntry | None] = {}
        """What stands in both is as in `newer`."""
        self._memory = memory

    def recall(self, key: bytes) -> Known:
        """What is known of a key that is not among the newer ones; then it is."""
        found = self.older.pop(key, UNKNOWN)
        if found is not UNKNOWN:
            self.note({key: found})
        return found

    def note(self, entries: Mapping[bytes, IndexEntry | None]) -> None:
        """So they stand in the index now."""
        before = len(self.newer)
        self.newer.update(entries)
        self._memory.grown(len(self.newer) - before)

    def leave(self) -> None:
        """The index is closed."""
        self._memory.leave(self)


class EntryMemory:
    """Bounds what all indexes of a node remember: `entries_max`, and one checkpoint more.

    What was not asked for since as many others were as fit into half of it goes. Some 500 bytes each.
    """

    def __init__(self, entries_max: int) -> None:
        self._half = max(1, entries_max // 2)
        self._newer_count = 0
        self._members: dict[int, Remembered] = {}

    def join(self) -> Remembered:
        """For one more index."""
        member = Remembered(self)
        self._members[id(member)] = member
        return member

    def leave(self, member: Remembered) -> None:
        """On any thread: what it had still counts until the next halving."""
        self._members.pop(id(member), None)

    def grown(self, count: int) -> None:
        """So many more are among the newer ones."""
        self._newer_count += count
        if self._newer_count > self._half:
            for member in list(self._members.values()):
                member.older, member.newer = member.newer, {}
            self._newer_count = 0

    def count(self) -> int:
        """How many are remembered, those in both halves twice."""
        return sum(len(member.newer) + len(member.older) for member in self._members.values())
