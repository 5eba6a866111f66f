"""The entries of an index in its tables: each blob once by its key, once at its latest change, and in a digest.

Everything here may wait for the disk; it is called on disk threads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ambry.errors import IndexCorrupt
from datanode.store import entry as entry_format
from datanode.store.entry import IndexEntry
from datanode.store.files import Files
from datanode.store.ranges import STATE_KEY, RangeChange, Ranges, Records, read_coverage
from datanode.store.tables import Pair, Table, Tables, Writing

META_KEY = b"checkpoint"

Entries = dict[bytes, IndexEntry | None]
"""By key; None: removed."""
PAGE_RANGES = 500
PAGE_ENTRIES = 200
"""Entries that a walk through the index takes at once: under a millisecond."""
ENTRY_BYTES = 128
"""About what an entry takes of the index, both orders together."""


class EntryFile:
    """The tables of one index. Blocking, on any thread; `write` and `write_ranges` on one at a time.

    All raise IndexCorrupt, which `on_corrupt` hears of before; Overloaded, InsufficientStorage with nothing done. The first
    three methods, which are of the opening, leave it to the caller to tell.
    """

    def __init__(self, files: Files, directory: Path, partition: int, on_corrupt: Callable[[str], None]) -> None:
        self._partition, self._on_corrupt = partition, on_corrupt
        with self._telling():
            self.tables = files.open_tables(directory)
        self.close = self.tables.close

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Let `on_corrupt` hear of damage that is found in it."""
        try:
            yield
        except IndexCorrupt as error:
            self._on_corrupt(error.message)
            raise

    def read_checkpoint(self) -> bytes | None:
        return self.tables.get(Table.META, META_KEY)

    def last_key(self) -> bytes:
        """The greatest of all keys."""
        return self.tables.last_key(Table.ENTRIES)

    def last_lsn(self) -> int:
        """Of the latest change; 0 where there is none."""
        return int.from_bytes(self.tables.last_key(Table.CHANGES)[:8], "big")

    def read_ranges(self, *, empty: bool) -> Ranges:
        """Where ranges start; `empty`: there are no entries."""
        return read_ranges(self.tables, empty=empty)

    def count(self) -> int:
        """How many blobs there are."""
        return self.tables.count(Table.ENTRIES)

    def look_up(self, keys: Collection[bytes]) -> Entries:
        """The entries of these keys, None where there is none, all of one moment."""
        with self._telling():
            return {
                key: None if value is None else entry_format.decode(key, value, self._partition)
                for key, value in zip(keys, self.tables.get_all(Table.ENTRIES, keys), strict=True)
            }

    def find_all(self, keys: Sequence[bytes], waiting: tuple[Entries, Entries]) -> list[IndexEntry | None]:
        """The entries of these keys as they are now; `waiting` has those that are not stored yet, taken before."""
        recent, frozen = waiting
        missing = [key for key in keys if key not in recent and key not in frozen]
        stored = self.look_up(missing) if missing else {}
        return [recent[key] if key in recent else frozen[key] if key in frozen else stored[key] for key in keys]

    def between(self, after: bytes, last: bytes, but: Container[bytes] = ()) -> Iterator[IndexEntry]:
        """Entries with keys behind `after` and up to `last`, in order, without those keys. In pages; see Index.stored."""
        while page := self._page(after, last):
            with self._telling():
                found = [entry_format.decode(*pair, self._partition) for pair in page if pair.key not in but]
            yield from found
            after = page[-1].key

    def _page(self, after: bytes, last: bytes) -> list[Pair]:
        """The next entries behind key `after`, up to `last`, as they stand there."""
        # The least key behind `after`: no other lies between them.
        with self._telling():
            page = self.tables.page(Table.ENTRIES, after + b"\0", PAGE_ENTRIES)
        return [pair for pair in page if pair.key <= last]

    def changes(self, start: bytes, limit: int) -> list[Pair]:
        """The next changes from an LSN on: that, and the key."""
        with self._telling():
            return self.tables.page(Table.CHANGES, start, limit)

    def range_record(self, start: bytes) -> bytes | None:
        """The digest of the range that starts there."""
        with self._telling():
            return self.tables.get(Table.RANGES, start)

    def usage(self, start: bytes, limit: int) -> list[Pair]:
        """What containers have: at most `limit` rows from a key on (datanode/store/usage.py)."""
        with self._telling():
            return self.tables.page(Table.USAGE, start, limit)

    def write_ranges(self, change: Callable[[Records], None]) -> None:
        """Change digests in one durable transaction, in which `change` may be called again from the start."""
        with self._telling():
            self.tables.write(lambda writing: change(RangeRecords(writing)))

    def write(self, entries: Entries, journal: Sequence[tuple[int, bytes]], checkpoint: bytes, ranges: Ranges) -> None:
        """Write what a checkpoint writes in one durable transaction: see `write_entries`."""

        def change(writing: Writing) -> None:
            # The change of ranges is a new one each time: it gathers what changes.
            write_entries(writing, self._partition, entries, journal, checkpoint, RangeChange(ranges))

        with self._telling():
            self.tables.write(change)


def write_entries(
    writing: Writing,
    partition: int,
    entries: Entries,
    journal: Sequence[tuple[int, bytes]],
    checkpoint: bytes,
    ranges: RangeChange,
) -> None:
    """Write entries, their order of changes, their digests and what is to stand under META_KEY. `ranges` is a new one.

    Raises IndexCorrupt for an entry that was there and cannot be read.
    """
    for key in sorted(entries):
        _write_entry(writing, partition, key, entries[key], ranges)
    for lsn, key in journal:
        entry = entries[key]
        if entry is not None and entry.lsn == lsn:
            writing.put(Table.CHANGES, lsn.to_bytes(8, "big"), key)
    writing.put(Table.META, META_KEY, checkpoint)
    ranges.write(RangeRecords(writing))


def _write_entry(writing: Writing, partition: int, key: bytes, entry: IndexEntry | None, ranges: RangeChange) -> None:
    stored = writing.get(Table.ENTRIES, key)
    old = None if stored is None else entry_format.decode(key, stored, partition)
    ranges.note(key, old, entry)
    if old is not None and (entry is None or entry.lsn != old.lsn):
        writing.delete(Table.CHANGES, old.lsn.to_bytes(8, "big"))
    if entry is not None:
        writing.put(Table.ENTRIES, key, entry_format.encode(entry))
    elif old is not None:
        writing.delete(Table.ENTRIES, key)


def read_ranges(tables: Tables, *, empty: bool) -> Ranges:
    """Where ranges start; `empty`: there are no entries. Blocking."""
    starts: list[bytes] = []
    while page := tables.page(Table.RANGES, starts[-1] + b"\0" if starts else b"", PAGE_RANGES):
        starts += [pair.key for pair in page]
    return Ranges(starts, read_coverage(tables.get(Table.META, STATE_KEY), empty=empty))


class RangeRecords:
    """The digests of ranges and the usage of containers in one transaction (datanode/store/ranges.py)."""

    def __init__(self, writing: Writing) -> None:
        self._writing = writing

    def get(self, key: bytes) -> bytes | None:
        return self._writing.get(Table.RANGES, key)

    def put(self, key: bytes, value: bytes) -> None:
        self._writing.put(Table.RANGES, key, value)

    def delete(self, key: bytes) -> None:
        self._writing.delete(Table.RANGES, key)

    def get_usage(self, key: bytes) -> bytes | None:
        return self._writing.get(Table.USAGE, key)

    def put_usage(self, key: bytes, value: bytes) -> None:
        self._writing.put(Table.USAGE, key, value)

    def delete_usage(self, key: bytes) -> None:
        self._writing.delete(Table.USAGE, key)

    def put_coverage(self, value: bytes) -> None:
        self._writing.put(Table.META, STATE_KEY, value)
