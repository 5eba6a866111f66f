"""The header and the footer of a segment file.

A segment is one file of a partition log: a header, then records back to back, each at a multiple of 8, in growing order of
their LSNs, then zeros (the file is preallocated), and in its last 48 bytes the footer, once nothing more is appended to it.
Big-endian; offsets and sizes in bytes.

The header:

    offset  size  field           meaning
    0       8     magic           b"AMBRYSEG"
    8       2     version         1
    10      2     reserved        zero
    12      4     partition
    16      16    incarnation     uuid of the replica that wrote it
    32      8     base_lsn        first LSN that this file covers
    40      8     end_lsn         first LSN behind those that it covers; no other file of the log covers any between
    48      8     capacity_bytes  size that the file was created with
    56      8     created_at_ms
    64      4     generation      0: written by appends; n: came out of compaction, from files of generation n - 1 or less
    68      4     reserved        zero
    72      8     checksum        xxh3-64 of bytes 0..72

In a file of generation 0 a record at offset o has the LSN base_lsn + o, and end_lsn is base_lsn + capacity_bytes. Compaction
moves records but keeps their LSNs, so in its files the LSNs only grow and lie in [base_lsn, end_lsn).

The footer seals the file: it says how far the records go, so that one that is missing at their end is noticed. It is written
when the next segment exists already: a log whose last file has one has lost what came behind it.

    offset  size  field           meaning
    0       8     magic           b"AMBRYEND"
    8       2     version         1
    10      6     reserved        zero
    16      8     base_lsn        that of the header
    24      8     end_lsn         first LSN behind the last record, or in a compacted file that of the header
    32      8     end_offset      of the byte behind the last record
    40      8     checksum        xxh3-64 of bytes 0..40, seeded with the salt

The salt of a log is the xxh3-64 of its incarnation: random, the same in all its segments, and known to no client.

Where two files cover the same LSNs, a crash came between writing the compacted one and deleting what it replaces: the
higher generation holds everything that is still needed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ambry.checksum import Buffer, xxh64
from ambry.errors import DataCorrupt, FormatUnknown

MAGIC = b"AMBRYSEG"
FOOTER_MAGIC = b"AMBRYEND"
VERSION = 1
HEADER_SIZE = 80
FOOTER_SIZE = 48
_HEADER = struct.Struct(">8sHHI16sQQQQII")
_FOOTER = struct.Struct(">8sH6xQQQ")
_CHECK = struct.Struct(">Q")


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentHeader:
    partition: int
    incarnation: bytes
    base_lsn: int
    end_lsn: int
    capacity_bytes: int
    created_at_ms: int
    generation: int = 0

    @property
    def salt(self) -> int:
        """What seeds the checks of this log's record headers and footers."""
        return xxh64(self.incarnation)


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentFooter:
    base_lsn: int
    end_lsn: int
    end_offset: int


def encode(header: SegmentHeader) -> bytes:
    """The bytes at the start of the file."""
    body = _HEADER.pack(
        MAGIC,
        VERSION,
        0,
        header.partition,
        header.incarnation,
        header.base_lsn,
        header.end_lsn,
        header.capacity_bytes,
        header.created_at_ms,
        header.generation,
        0,
    )
    return body + _CHECK.pack(xxh64(body))


def decode(data: Buffer) -> SegmentHeader:
    """Raises DataCorrupt, or FormatUnknown for a newer version."""
    if len(data) < HEADER_SIZE or data[:8] != MAGIC or xxh64(data[:72]) != _CHECK.unpack_from(data, 72)[0]:
        raise DataCorrupt("the segment header is damaged")
    _, version, _, partition, incarnation, base_lsn, end_lsn, capacity, created, generation, _ = _HEADER.unpack_from(
        data
    )
    if version != VERSION:
        raise FormatUnknown(f"segment version {version}: written by a newer release; upgrade to read it")
    return SegmentHeader(
        partition=partition,
        incarnation=incarnation,
        base_lsn=base_lsn,
        end_lsn=end_lsn,
        capacity_bytes=capacity,
        created_at_ms=created,
        generation=generation,
    )


def encode_footer(footer: SegmentFooter, salt: int) -> bytes:
    """The bytes at the end of the file."""
    body = _FOOTER.pack(FOOTER_MAGIC, VERSION, footer.base_lsn, footer.end_lsn, footer.end_offset)
    return body + _CHECK.pack(xxh64(body, salt))


def decode_footer(data: Buffer, salt: int) -> SegmentFooter | None:
    """None where no footer was written yet. Raises DataCorrupt, or FormatUnknown for a newer version."""
    if not bytes(data).strip(b"\0"):
        return None
    if len(data) != FOOTER_SIZE or xxh64(data[:40], salt) != _CHECK.unpack_from(data, 40)[0]:
        raise DataCorrupt("the segment footer is damaged")
    magic, version, base_lsn, end_lsn, end_offset = _FOOTER.unpack_from(data)
    if version != VERSION or magic != FOOTER_MAGIC:
        raise FormatUnknown(f"segment footer version {version}: written by a newer release; upgrade to read it")
    return SegmentFooter(base_lsn=base_lsn, end_lsn=end_lsn, end_offset=end_offset)
