"""Versions and local rows as the engines' tables hold them, each with a check of its own.

`scope` is unsigned, and lies in a table as the signed number of the same 64 bits. The check is the lower half of an xxh3-64
over everything else in the row, as a signed number of 32 bits: neither engine finds a bit that its disk turned over.
"""

from __future__ import annotations

import struct

from ambry.checksum import xxh64
from ambry.errors import DataCorrupt
from frontend.metadata.spaces import FORGETTING
from frontend.metadata.store import LocalRow, Stamp, Version

SCHEMA = 1
"""Of the tables, in both engines; each migrates its own forwards."""
STORE_ID_SIZE = 16

VersionColumns = tuple[int, int, bytes, int, int, bytes | None, int, int]
"""space, scope, key, time, datacenter, value, seq, checksum: the columns of `register` and `past`."""
COLUMNS = "space, scope, key, time, datacenter, value, seq, checksum"
LocalColumns = tuple[int, bytes, bytes, int | None, int]
"""space, key, value, expires_ms, checksum: the columns of `local`."""
LOCAL_COLUMNS = "space, key, value, expires_ms, checksum"

_APART = bytes(1024)
"""Before each value of a space that forgets. In pages of 4 KiB SQLite keeps the first 1,002 bytes of a row at most with other
rows, and copies of them stay in gaps when pages are split, whatever `secure_delete` says. What follows has pages of its own,
which that overwrites when they are free (https://www.sqlite.org/fileformat2.html, section 1.6).
"""
_PACK = struct.Struct(">qqqqq?").pack


def signed(scope: int) -> int:
    return scope - (1 << 64) if scope >> 63 else scope


def _check(space: int, scope: int, key: bytes, time: int, datacenter: int, value: bytes | None, seq: int) -> int:
    """32 bits that a row is held against when it is read; SQLite has no checks of its own."""
    head = _PACK(space << 32 | datacenter, scope, time, seq, len(key), value is None)
    return (xxh64(head + key + (value or b"")) & 0xFFFFFFFF) - (1 << 31)


def row_of(version: Version) -> VersionColumns:
    stamp = version.stamp
    scope = signed(version.scope)
    value = version.value
    if value and version.space in FORGETTING:
        value = _APART + value
    columns = (version.space, scope, version.key, stamp.time, stamp.datacenter, value, version.seq)
    return (*columns, _check(*columns))


def version_of(row: VersionColumns) -> Version:
    """Raises DataCorrupt for a row that fails its check."""
    space, scope, key, time, datacenter, value, seq, checksum = row
    if _check(space, scope, key, time, datacenter, value, seq) != checksum:
        raise DataCorrupt(f"version {seq} of {key!r} in the metadata is damaged; `ambry meta check` looks at all of it")
    if value and space in FORGETTING:
        value = value.removeprefix(_APART)
    return Version(space, scope & 0xFFFFFFFFFFFFFFFF, key, Stamp(time, datacenter), value, seq)


def _local_check(space: int, key: bytes, value: bytes, expires_ms: int | None) -> int:
    return _check(space, 0, key, expires_ms or 0, 0, value, 0)


def local_row_of(row: LocalRow) -> LocalColumns:
    columns = (row.space, row.key, row.value, row.expires_ms)
    return (*columns, _local_check(*columns))


def local_of(row: LocalColumns) -> LocalRow:
    """Raises DataCorrupt for a row that fails its check."""
    space, key, value, expires_ms, checksum = row
    if _local_check(space, key, value, expires_ms) != checksum:
        raise DataCorrupt(f"the local row {key!r} in the metadata is damaged; `ambry meta check` looks at all of it")
    return LocalRow(space, key, value, expires_ms)
