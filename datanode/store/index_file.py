"""The file of an index: opened with care, since LMDB maps it and takes it as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lmdb

from ambry.errors import IndexCorrupt
from datanode.store import entry as entry_format
from datanode.store.entry import IndexEntry
from datanode.store.ranges import STATE_KEY, RangeChange, Ranges, Records, read_coverage

MAP_SIZE = 64 << 30
"""Address space, not disk: the file grows with its content. Resizing a map under readers is not safe, so it starts large
enough for half a billion blobs in one partition."""
META_BYTES = 8192
"""LMDB's two meta pages."""
INDEX_NAME = "index"
"""Its directory, in a replica's."""
FILE_NAMES = ("data.mdb", "lock.mdb")
META_KEY = b"checkpoint"
READ_BYTES = 1 << 20

Entries = dict[bytes, IndexEntry | None]
"""By key; None: removed."""


class IndexFile(NamedTuple):
    """An open index file: LMDB's environment, and its databases."""

    env: Any
    entries: Any
    changes: Any
    meta: Any
    ranges: Any


def open_index(directory: Path) -> IndexFile:
    """Open or create the index file in `directory`. Blocking. Raises IndexCorrupt, OSError, lmdb.Error."""
    path = directory / FILE_NAMES[0]
    if path.exists():
        if path.stat().st_size < META_BYTES:
            # LMDB would make a new, empty index of a file that lost even its meta pages.
            raise IndexCorrupt(f"{path} has not even its first {META_BYTES} bytes")
        _read_through(path)
    # Readers of a killed process leave slots behind; a table of our own size, cleared at open, cannot fill up.
    env = lmdb.open(str(directory), map_size=MAP_SIZE, max_dbs=4, max_readers=64, subdir=True, readahead=False)
    try:
        size = path.stat().st_size
        expected = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
        if size < expected:
            # The file is mapped: touching a page that was cut off would end the process with SIGBUS, at every start.
            raise IndexCorrupt(f"{path} has {size} bytes instead of {expected}")
        env.reader_check()
        return IndexFile(env, *(env.open_db(name) for name in (b"entries", b"changes", b"meta", b"ranges")))
    except BaseException:
        env.close()  # left open, it could not be opened again by this process
        raise


def _read_through(path: Path) -> None:
    """Read the whole file, as a file: where the disk cannot (EIO), this says so. Raises OSError.

    Through LMDB's map such a page is a SIGBUS, which ends the process, and would at every start. Found here, the index is
    rebuilt from the log. And what was read needs no waiting for the disk by those who look something up.
    """
    buffer = bytearray(READ_BYTES)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def write_entries(
    file: IndexFile,
    partition: int,
    entries: Entries,
    journal: Sequence[tuple[int, bytes]],
    checkpoint: bytes,
    ranges: RangeChange,
) -> None:
    """Write entries, their order of changes, their digests and what is to stand under META_KEY in one transaction.

    Durable on return.

    Blocking. Raises IndexCorrupt for an entry that was there and cannot be read, lmdb.Error.
    """
    with file.env.begin(write=True) as txn:
        for key in sorted(entries):
            _write_entry(txn, file, partition, key, entries[key], ranges)
        for lsn, key in journal:
            entry = entries[key]
            if entry is not None and entry.lsn == lsn:
                txn.put(lsn.to_bytes(8, "big"), key, db=file.changes)
        txn.put(META_KEY, checkpoint, db=file.meta)
        ranges.write(RangeRecords(txn, file))


def last_key(file: IndexFile) -> bytes:
    """The greatest key of an entry; empty where there is none. Blocking. Raises lmdb.Error."""
    with file.env.begin() as txn, txn.cursor(db=file.entries) as cursor:
        return bytes(cursor.key()) if cursor.last() else b""


def count(file: IndexFile) -> int:
    """How many entries there are. Blocking. Raises lmdb.Error."""
    with file.env.begin() as txn:
        return int(txn.stat(file.entries)["entries"])


def read_ranges(file: IndexFile, *, empty: bool) -> Ranges:
    """Where ranges start; `empty`: there are no entries. Blocking. Raises lmdb.Error."""
    with file.env.begin() as txn, txn.cursor(db=file.ranges) as cursor:
        raw = txn.get(STATE_KEY, db=file.meta)
        return Ranges([bytes(start) for start in cursor.iternext(values=False)], read_coverage(raw, empty=empty))


def write_ranges(file: IndexFile, change: Callable[[Records], None]) -> None:
    """Change the digests of ranges in one durable transaction. Blocking. Raises lmdb.Error."""
    with file.env.begin(write=True) as txn:
        change(RangeRecords(txn, file))


class RangeRecords:
    """The digests of ranges in one transaction (datanode/store/ranges.py)."""

    def __init__(self, txn: Any, file: IndexFile) -> None:
        self._txn = txn
        self._file = file

    def get(self, key: bytes) -> bytes | None:
        value: bytes | None = self._txn.get(key, db=self._file.ranges)
        return value

    def put(self, key: bytes, value: bytes) -> None:
        self._txn.put(key, value, db=self._file.ranges)

    def delete(self, key: bytes) -> None:
        self._txn.delete(key, db=self._file.ranges)

    def put_coverage(self, value: bytes) -> None:
        self._txn.put(STATE_KEY, value, db=self._file.meta)


def _write_entry(
    txn: Any, file: IndexFile, partition: int, key: bytes, entry: IndexEntry | None, ranges: RangeChange
) -> None:
    stored = txn.get(key, db=file.entries)
    old = None if stored is None else entry_format.decode(key, stored, partition)
    ranges.note(key, old, entry)
    if old is not None and (entry is None or entry.lsn != old.lsn):
        txn.delete(old.lsn.to_bytes(8, "big"), db=file.changes)
    if entry is not None:
        txn.put(key, entry_format.encode(entry), db=file.entries)
    elif old is not None:
        txn.delete(key, db=file.entries)
