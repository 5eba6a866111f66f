"""Records as a later release may write them: intact, and with something that this one does not know."""

from __future__ import annotations

from typing import TypedDict

from ambry.checksum import Buffer, xxh64
from ambry.format import record as record_format
from ambry.format.record import HEADER_SIZE, Record


class Change(TypedDict, total=False):
    """Fields of a record's header, by the names of its table."""

    version: int
    kind: int
    flags: int
    features: int
    reserved: int


PLACES = {"version": (4, 1), "kind": (5, 1), "flags": (6, 2), "features": (64, 2), "reserved": (67, 5)}
"""Offset and size of each."""

FEATURES: list[Change] = [{"features": 1}, {"features": 2}, {"features": 0x8000}]
"""What hides the payload alone."""
MEANINGS: list[Change] = [
    {"version": 2},
    {"version": 0},
    {"kind": 9},
    {"kind": 0},
    {"flags": 2},
    {"flags": 0x8000},
    {"reserved": 1},
    {"reserved": 1 << 32},
]
"""What hides everything."""
LATER = [*FEATURES, *MEANINGS]


def later(record: Record, lsn: int, salt: int = 0, **change: int) -> bytes:
    """The whole record, with these fields of its header changed, and its check made anew."""
    return as_later(record_format.encode(record, lsn, salt), salt, **change)


def as_later(image: Buffer, salt: int, **change: int) -> bytes:
    """The same of a record that is written already."""
    changed = bytearray(image)
    for name, value in change.items():
        offset, size = PLACES[name]
        changed[offset : offset + size] = value.to_bytes(size, "big")
    end = HEADER_SIZE - 8
    changed[end:HEADER_SIZE] = xxh64(bytes(changed[:end]), salt).to_bytes(8, "big")
    return bytes(changed)
