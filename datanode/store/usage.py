"""How much every container has in one replica, counted with its entries: blobs and bytes, by when they expire.

The rows change in the transaction of the checkpoint that changes the entries, as the digests do (datanode/store/ranges.py) and
with their coverage: what cannot be read is counted anew with them, in pieces. So a report reads a few rows for each container
and no entry, and nothing is counted on the path of a request.

A row stands under account (4), container (4), window (8), in which what does not expire, what was deleted, and what expires
within the same few hours stand apart (`window_of` in datanode/store/ranges.py):

    offset  size  field     meaning
    0       4     checksum  low 32 bits of xxh3-64 over the key and what follows
    4       8     blobs     that users know by an id; chunks of larger ones are none
    12      8     bytes     of users, chunks included; lists of chunks have none

What has no bytes here does not count. Invariant: no row counts less than nothing, and one that counts nothing is not there.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import NamedTuple, Protocol

from ambry.checksum import xxh64
from ambry.errors import DataCorrupt
from ambry.ids import IdKind
from datanode.store.entry import IndexEntry
from datanode.store.tables import Pair

CONTAINER_SIZE = 8
"""Bytes of account and container, as they stand in a blob id from CONTAINER_OFFSET on and in front of a key."""
CONTAINER_OFFSET = 4
KIND_OFFSET = 1
ROWS_PER_PAGE = 500
_WINDOW = struct.Struct(">Q")
_COUNTS = struct.Struct(">QQ")
_CHECK = struct.Struct(">I")


class Amount(NamedTuple):
    blobs: int = 0
    bytes: int = 0

    def plus(self, other: Amount) -> Amount:
        return Amount(self.blobs + other.blobs, self.bytes + other.bytes)


class ContainerUsage(NamedTuple):
    """What one container has: what can be read, and what was deleted or has expired and still has its bytes here.

    `container` is account and container as they stand in ids (8 bytes).
    """

    container: bytes
    live: Amount
    dead: Amount


class UsagePage(NamedTuple):
    """Containers in order; `after` is the last of them where there may be more, else empty."""

    containers: list[ContainerUsage]
    after: bytes


class UsageRecords(Protocol):
    """The rows in one transaction that writes."""

    def get_usage(self, key: bytes) -> bytes | None: ...
    def put_usage(self, key: bytes, value: bytes) -> None: ...
    def delete_usage(self, key: bytes) -> None: ...


class UsageChange:
    """What one transaction changes."""

    def __init__(self) -> None:
        self._changed: dict[bytes, list[int]] = {}
        """By key: what blobs and bytes grow by."""

    def note(self, entry: IndexEntry, window: int, sign: int) -> None:
        """An entry comes (`sign` 1) or goes (-1)."""
        if not entry.present:
            return
        key = entry.id[CONTAINER_OFFSET : CONTAINER_OFFSET + CONTAINER_SIZE] + _WINDOW.pack(window)
        growth = self._changed.setdefault(key, [0, 0])
        kind = entry.id[KIND_OFFSET]
        if kind != IdKind.CHUNK:
            growth[0] += sign
        if kind != IdKind.COMPOSITE:
            growth[1] += sign * entry.payload_size

    def write(self, records: UsageRecords) -> None:
        """Raises DataCorrupt for a row that was there and cannot be read, or does not fit what changes."""
        for key, (blobs, size) in self._changed.items():
            found = decode(key, records.get_usage(key)).plus(Amount(blobs, size))
            if found.blobs < 0 or found.bytes < 0:
                raise DataCorrupt(f"the usage under {key.hex()} does not fit the entries")
            if found == Amount():
                records.delete_usage(key)
            else:
                records.put_usage(key, encode(key, found))


def encode(key: bytes, amount: Amount) -> bytes:
    content = _COUNTS.pack(*amount)
    return _CHECK.pack(xxh64(key + content) & 0xFFFFFFFF) + content


def decode(key: bytes, row: bytes | None) -> Amount:
    """Nothing where there is no row. Raises DataCorrupt."""
    if row is None:
        return Amount()
    content = row[_CHECK.size :]
    if len(content) != _COUNTS.size or row[: _CHECK.size] != _CHECK.pack(xxh64(key + content) & 0xFFFFFFFF):
        raise DataCorrupt(f"the usage under {key.hex()} fails its checksum")
    return Amount(*_COUNTS.unpack(content))


def read_page(
    rows: Callable[[bytes, int], list[Pair]], dead: Callable[[int], bool], *, after: bytes, limit: int
) -> UsagePage:
    """The usage of at most `limit` containers behind `after` (8 bytes; empty: from the first on). Blocking.

    `rows` gives those from a key on, `dead` says of a window whether all in it is over. Raises DataCorrupt.
    """
    # The least key behind all of a container.
    start = after + b"\xff" * 9 if after else b""
    found: list[ContainerUsage] = []
    while page := rows(start, ROWS_PER_PAGE):
        for key, row in page:
            container, amount = key[:CONTAINER_SIZE], decode(key, row)
            if not found or found[-1].container != container:
                if len(found) == limit:
                    return UsagePage(found, found[-1].container)
                found.append(ContainerUsage(container, Amount(), Amount()))
            last = found[-1]
            if dead(*_WINDOW.unpack_from(key, CONTAINER_SIZE)):
                found[-1] = ContainerUsage(container, last.live, last.dead.plus(amount))
            else:
                found[-1] = ContainerUsage(container, last.live.plus(amount), last.dead)
        if len(page) < ROWS_PER_PAGE:
            break
        start = page[-1].key + b"\0"
    return UsagePage(found, b"")
