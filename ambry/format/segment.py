"""The header and the footer of a segment file.

A segment is one file of a partition log: a header, then records back to back, each at a multiple of 8, in growing order of
their LSNs, then zeros (the file is preallocated), and in its last 48 bytes the footer, once nothing more is appended to it.
Big-endian; offsets and sizes in bytes.

The header:

    offset  size  field           meaning
    0       8     magic           b"AMBRYSEG"
    8       2     version         1
    10      2     features        what one must know to read or to append to this file; zero: nothing more
    12      4     partition
    16      16    incarnation     uuid of the replica that wrote it
    32      8     base_lsn        first LSN that this file covers
    40      8     end_lsn         first LSN behind those that it covers; no other file of the log covers any between
    48      8     capacity_bytes  size that the file was created with
    56      8     created_at_ms
    64      4     generation      0: written by appends; n: came out of compaction, from files of generation n - 1 or less
    68      52    reserved        zero
    120     8     checksum        xxh3-64 of bytes 0..120

In a file of generation 0 a record at offset o has the LSN base_lsn + o, and end_lsn is base_lsn + capacity_bytes. Compaction
moves records but keeps their LSNs, so in its files the LSNs only grow and lie in [base_lsn, end_lsn).

The footer seals the file: it says how far the records go, so that one that is missing at their end is noticed. It is written
when the next segment exists already: a log whose last file has one has lost what came behind it.

    offset  size  field           meaning
    0       8     magic           b"AMBRYEND"
    8       2     version         1
    10      2     features        as in the header
    12      4     reserved        zero
    16      8     base_lsn        that of the header
    24      8     end_lsn         first LSN behind the last record, or in a compacted file that of the header
    32      8     end_offset      of the byte behind the last record
    40      8     checksum        xxh3-64 of bytes 0..40, seeded with the salt

A version or a feature that is not known, or something in the reserved bytes, is the mark of a later release: the file is
refused as a whole, and is not damaged.

The salt of a log is the xxh3-64 of its incarnation: random, the same in all its segments, and known to no client.

Where two files cover the same LSNs, a crash came between writing the compacted one and deleting what it replaces, if a
receipt says so (datanode/store/compaction/receipt.py): the
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
HEADER_SIZE = 128
FOOTER_SIZE = 48
_HEADER = struct.Struct(">8sHHI16sQQQQI52s")
_FOOTER = struct.Struct(">8sHHIQQQ")
_CHECK = struct.Struct(">Q")
_CHECKED = HEADER_SIZE - _CHECK.size
_FOOTER_CHECKED = FOOTER_SIZE - _CHECK.size
_RESERVED = bytes(52)


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
        _RESERVED,
    )
    return body + _CHECK.pack(xxh64(body))


def decode(data: Buffer) -> SegmentHeader:
    """Raises DataCorrupt, or FormatUnknown for a file of a later release."""
    check = _CHECK.unpack_from(data, _CHECKED)[0] if len(data) >= HEADER_SIZE else None
    if data[:8] != MAGIC or xxh64(data[:_CHECKED]) != check:
        raise DataCorrupt("the segment header is damaged")
    (
        _,
        version,
        features,
        partition,
        incarnation,
        base_lsn,
        end_lsn,
        capacity,
        created,
        generation,
        reserved,
    ) = _HEADER.unpack_from(data)
    if version != VERSION or features or reserved != _RESERVED:
        raise FormatUnknown(
            f"segment version {version}, features {features:#06x}, reserved {reserved.rstrip(bytes(1)).hex()}: "
            "written by a newer release; upgrade to read it"
        )
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
    body = _FOOTER.pack(FOOTER_MAGIC, VERSION, 0, 0, footer.base_lsn, footer.end_lsn, footer.end_offset)
    return body + _CHECK.pack(xxh64(body, salt))


def decode_footer(data: Buffer, salt: int) -> SegmentFooter | None:
    """None where no footer was written yet. Raises DataCorrupt, or FormatUnknown for one of a later release."""
    if not bytes(data).strip(b"\0"):
        return None
    check = _CHECK.unpack_from(data, _FOOTER_CHECKED)[0] if len(data) == FOOTER_SIZE else None
    if xxh64(data[:_FOOTER_CHECKED], salt) != check:
        raise DataCorrupt("the segment footer is damaged")
    magic, version, features, reserved, base_lsn, end_lsn, end_offset = _FOOTER.unpack_from(data)
    if magic != FOOTER_MAGIC or version != VERSION or features or reserved:
        raise FormatUnknown(
            f"segment footer version {version}, features {features:#06x}, reserved {reserved:#x}: "
            "written by a newer release; upgrade to read it"
        )
    return SegmentFooter(base_lsn=base_lsn, end_lsn=end_lsn, end_offset=end_offset)
