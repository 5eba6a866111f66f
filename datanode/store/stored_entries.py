"""How the entries of an index stand in its tables: each blob once by its key, once at its latest change, and in a digest."""

from __future__ import annotations

from collections.abc import Sequence

from datanode.store import entry as entry_format
from datanode.store.entry import IndexEntry
from datanode.store.ranges import STATE_KEY, RangeChange, Ranges, read_coverage
from datanode.store.tables import Table, Tables, Writing

META_KEY = b"checkpoint"

Entries = dict[bytes, IndexEntry | None]
"""By key; None: removed."""
PAGE_RANGES = 500


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
    """The digests of ranges in one transaction (datanode/store/ranges.py)."""

    def __init__(self, writing: Writing) -> None:
        self._writing = writing

    def get(self, key: bytes) -> bytes | None:
        return self._writing.get(Table.RANGES, key)

    def put(self, key: bytes, value: bytes) -> None:
        self._writing.put(Table.RANGES, key, value)

    def delete(self, key: bytes) -> None:
        self._writing.delete(Table.RANGES, key)

    def put_coverage(self, value: bytes) -> None:
        self._writing.put(Table.META, STATE_KEY, value)
