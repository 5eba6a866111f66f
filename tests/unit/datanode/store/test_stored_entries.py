"""How entries stand in the tables: whatever becomes of a blob, it stands once by its key and once at its latest change."""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path

import pytest

from ambry.errors import IndexCorrupt
from datanode.store import entry as entry_format
from datanode.store.entry import IndexEntry
from datanode.store.ranges import RangeChange
from datanode.store.stored_entries import META_KEY, Entries, read_ranges, write_entries
from datanode.store.tables import Table
from tests.support.fake_files import FakeFiles
from tests.support.samples import ALIVE, PARTITION, blob_id


def entry(number: int, lsn: int) -> IndexEntry:
    return IndexEntry(blob_id(number), lsn, 1, lsn, 200, 100, ALIVE, 0)


def test_each_blob_stands_once_in_both_orders_whatever_was_written(tmp_path: Path) -> None:
    rng = random.Random(5)
    tables = FakeFiles(tmp_path, wholly_simulated=True).open_tables(tmp_path)
    model: dict[bytes, IndexEntry] = {}
    lsn = 0
    for checkpoint in range(30):
        entries: Entries = {}
        journal: list[tuple[int, bytes]] = []
        for _ in range(10):
            lsn += 8
            number = rng.randrange(12)
            key = blob_id(number)[16:32]
            if rng.random() < 0.3:
                entries[key] = None
                model.pop(key, None)
            else:
                entries[key] = model[key] = entry(number, lsn)
                journal.append((lsn, key))
        ranges = RangeChange(read_ranges(tables, empty=not checkpoint))
        write = partial(write_entries, partition=PARTITION, entries=entries, journal=journal, ranges=ranges)
        tables.write(partial(write, checkpoint=b"%d" % checkpoint))
        assert tables.page(Table.ENTRIES, b"", 99) == [(key, entry_format.encode(model[key])) for key in sorted(model)]
        changes = sorted((item.lsn.to_bytes(8, "big"), key) for key, item in model.items())
        assert tables.page(Table.CHANGES, b"", 99) == changes
        assert tables.get(Table.META, META_KEY) == b"%d" % checkpoint


def test_an_entry_that_cannot_be_read_is_not_written_over(tmp_path: Path) -> None:
    """Where its old change stands is not known, and it would stay for ever."""
    tables = FakeFiles(tmp_path, wholly_simulated=True).open_tables(tmp_path)
    key = blob_id(1)[16:32]
    tables.write(lambda writing: writing.put(Table.ENTRIES, key, b"rotten"))
    change = RangeChange(read_ranges(tables, empty=False))
    with pytest.raises(IndexCorrupt):
        tables.write(lambda writing: write_entries(writing, PARTITION, {key: entry(1, 8)}, [(8, key)], b"", change))
    assert tables.get(Table.ENTRIES, key) == b"rotten"
