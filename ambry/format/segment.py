"""The header of a segment file.

A segment is one file of a partition log: this header, then records back to back, each at a multiple of 8. The file is
preallocated, so zeros follow the last record. Big-endian; offsets and sizes in bytes.

    offset  size  field           meaning
    0       8     magic           b"AMBRYSEG"
    8       2     version         1
    10      2     reserved        zero
    12      4     partition
    16      16    incarnation     uuid of the replica that wrote it
    32      8     base_lsn        LSN of byte 0 of this file; a record at offset o was appended with LSN base_lsn + o
    40      8     capacity_bytes  size of the file; the next segment's base_lsn is at least base_lsn + capacity_bytes
    48      8     created_at_ms
    56      8     checksum        xxh3-64 of bytes 0..56
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ambry.checksum import Buffer, xxh64
from ambry.errors import DataCorrupt, FormatUnknown

MAGIC = b"AMBRYSEG"
VERSION = 1
HEADER_SIZE = 64
_HEADER = struct.Struct(">8sHHI16sQQQ")
_CHECK = struct.Struct(">Q")


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentHeader:
    partition: int
    incarnation: bytes
    base_lsn: int
    capacity_bytes: int
    created_at_ms: int


def encode(header: SegmentHeader) -> bytes:
    """The 64 bytes at the start of the file."""
    body = _HEADER.pack(
        MAGIC,
        VERSION,
        0,
        header.partition,
        header.incarnation,
        header.base_lsn,
        header.capacity_bytes,
        header.created_at_ms,
    )
    return body + _CHECK.pack(xxh64(body))


def decode(data: Buffer) -> SegmentHeader:
    """Raises DataCorrupt, or FormatUnknown for a newer version."""
    if len(data) < HEADER_SIZE or data[:8] != MAGIC or xxh64(data[:56]) != _CHECK.unpack_from(data, 56)[0]:
        raise DataCorrupt("the segment header is damaged")
    _, version, _, partition, incarnation, base_lsn, capacity, created = _HEADER.unpack_from(data)
    if version != VERSION:
        raise FormatUnknown(f"segment version {version}: written by a newer release; upgrade to read it")
    return SegmentHeader(
        partition=partition,
        incarnation=incarnation,
        base_lsn=base_lsn,
        capacity_bytes=capacity,
        created_at_ms=created,
    )
