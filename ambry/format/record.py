"""One record of a partition log.

Records are appended and never changed, so a torn write can only be at the end. Big-endian; offsets and sizes in bytes.

    offset  size  field            meaning
    0       4     magic            b"AMBR"; never zero, so a zero-filled tail is not a record
    4       1     version          1
    5       1     kind             RecordKind; values are on disk, never renumber
    6       2     flags            bit 0: deleted; the others zero
    8       4     life_version     of the state that the record carries (ambry.blob.BlobState)
    12      4     properties_size  bytes of the properties section
    16      4     metadata_size    bytes of the user metadata section
    20      4     payload_size     bytes of the payload
    24      8     lsn              log sequence number: the logical offset at which the record was appended
    32      8     written_at_ms    a put: when the blob was created; an update: when it was made
    40      8     expires_at_ms    ambry.blob.NEVER_MS for a permanent blob
    48      16    digest           xxh3-128 of the payload
    64      8     body_check       xxh3-64 of id, properties, metadata and checks
    72      8     header_check     xxh3-64 of bytes 0..72, seeded with the salt

Then, without gaps: blob id (36), properties, user metadata, checks (xxh3-64 of every 64 KiB block of the payload), payload,
zeros up to a multiple of 8.

Invariant: no size is believed until header_check matches, and no byte of the body until its check does. The record carries
its own blob id and LSN: a right checksum on the wrong record is caught by comparing them with what was asked for.

The salt is that of the log a record stands in (ambry/format/segment.py), which no client knows: so a record image inside
somebody's payload is not taken for a record of the log by whoever looks for the next one behind damaged bytes. A record
that travels between nodes has the salt 0.
"""

from __future__ import annotations

import struct
from enum import IntEnum

import msgspec

from ambry.blob import BlobState
from ambry.checksum import CHECK_SIZE, Buffer, block_count, blocks_intact, xxh64
from ambry.errors import DataCorrupt, FormatUnknown
from ambry.ids import ID_SIZE

MAGIC = b"AMBR"
VERSION = 1
HEADER_SIZE = 80
ALIGNMENT = 8
SECTION_SIZE_MAX = 64 << 10
"""Bound on the properties and on the user metadata, bytes each."""
PAYLOAD_SIZE_MAX = 32 << 20
"""Bound on a payload, bytes: a whole record must fit one frame of the RPC."""
FLAG_DELETED = 1

_HEADER = struct.Struct(">4sBBHIIIIQQQ16sQQ")
_CHECK = struct.Struct(">Q")


class RecordKind(IntEnum):
    """What a record is. BLOB and CHUNK carry data, COMPOSITE a list of chunks, UPDATE only a state."""

    BLOB = 1
    COMPOSITE = 2
    CHUNK = 3
    UPDATE = 4


_KINDS = frozenset(RecordKind)


class Header(msgspec.Struct, frozen=True):
    """A decoded header; sizes in bytes."""

    kind: int
    state: BlobState
    properties_size: int
    metadata_size: int
    payload_size: int
    lsn: int
    written_at_ms: int
    digest: bytes
    body_check: int

    @property
    def checks_size(self) -> int:
        return block_count(self.payload_size) * CHECK_SIZE

    @property
    def payload_start(self) -> int:
        """Offset of the payload from the start of the record: the size of everything before it."""
        return HEADER_SIZE + ID_SIZE + self.properties_size + self.metadata_size + self.checks_size

    @property
    def record_size(self) -> int:
        """The whole record, padding included."""
        return _padded(self.payload_start + self.payload_size)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A record as it is written or was read; buffers are borrowed from the caller. `checks` covers `payload`."""

    kind: int
    id: bytes
    state: BlobState
    written_at_ms: int
    properties: Buffer = b""
    metadata: Buffer = b""
    digest: bytes = bytes(16)
    checks: Buffer = b""
    payload: Buffer = b""

    @property
    def size(self) -> int:
        """Bytes on disk, padding included."""
        head = HEADER_SIZE + ID_SIZE + len(self.properties) + len(self.metadata) + len(self.checks)
        return _padded(head + len(self.payload))


def _padded(size: int) -> int:
    return size + -size % ALIGNMENT


def encode_head(record: Record, lsn: int, salt: int = 0) -> bytes:
    """Everything before the payload. The payload and the padding follow it on disk."""
    body = b"".join((record.id, record.properties, record.metadata, record.checks))
    state = record.state
    header = _HEADER.pack(
        MAGIC,
        VERSION,
        record.kind,
        FLAG_DELETED if state.deleted else 0,
        state.life_version,
        len(record.properties),
        len(record.metadata),
        len(record.payload),
        lsn,
        record.written_at_ms,
        state.expires_at_ms,
        record.digest,
        xxh64(body),
        0,
    )[:72]
    return b"".join((header, _CHECK.pack(xxh64(header, salt)), body))


def encode(record: Record, lsn: int, salt: int = 0) -> bytes:
    """The whole record, padding included."""
    head = encode_head(record, lsn, salt)
    return b"".join((head, record.payload, bytes(record.size - len(head) - len(record.payload))))


def restamp(image: bytearray, salt: int = 0) -> None:
    """Give a verified record another salt, in place."""
    _CHECK.pack_into(image, HEADER_SIZE - _CHECK.size, xxh64(image[: HEADER_SIZE - _CHECK.size], salt))


def peek_lsn(data: Buffer) -> int:
    """The LSN field of what may be a header, unverified. It stands at the same place in every version."""
    lsn: int = _CHECK.unpack_from(data, 24)[0]
    return lsn


def decode_header(data: Buffer, salt: int = 0) -> Header:
    """Decode the first 80 bytes of `data`. Raises DataCorrupt, or FormatUnknown for a newer version."""
    if len(data) < HEADER_SIZE or data[:4] != MAGIC:
        raise DataCorrupt("no record starts here")
    if xxh64(data[:72], salt) != _CHECK.unpack_from(data, 72)[0]:
        raise DataCorrupt("the record header fails its checksum")
    (_, version, kind, flags, life, props, meta, payload, lsn, written, expires, digest, body_check, _) = (
        _HEADER.unpack_from(data)
    )
    if version != VERSION or kind not in _KINDS:
        raise FormatUnknown(f"record version {version}, kind {kind}: written by a newer release; upgrade to read it")
    return Header(
        kind,
        BlobState(life, bool(flags & FLAG_DELETED), expires),
        props,
        meta,
        payload,
        lsn,
        written,
        digest,
        body_check,
    )


class Head(msgspec.Struct, frozen=True):
    """The decoded and verified part of a record before its payload. Buffers point into what was decoded."""

    header: Header
    id: bytes
    properties: Buffer
    metadata: Buffer
    checks: Buffer


def decode_head(data: Buffer, salt: int = 0) -> Head:
    """Decode and verify header, id, properties, metadata and checks. `data` may go on after them.

    Raises DataCorrupt when anything fails its checksum or `data` is too short.
    """
    header = decode_header(data, salt)
    end = header.payload_start
    if len(data) < end:
        raise DataCorrupt(f"the record's head has {end} bytes, only {len(data)} are there")
    view = memoryview(data)
    if xxh64(view[HEADER_SIZE:end]) != header.body_check:
        raise DataCorrupt("the record's id, properties or checks fail their checksum")
    properties = HEADER_SIZE + ID_SIZE
    metadata = properties + header.properties_size
    checks = metadata + header.metadata_size
    return Head(
        header,
        bytes(view[HEADER_SIZE:properties]),
        view[properties:metadata],
        view[metadata:checks],
        view[checks:end],
    )


def decode(data: Buffer, salt: int = 0) -> Record:
    """Decode and verify one whole record; its buffers point into `data`. Raises DataCorrupt."""
    head = decode_head(data, salt)
    header = head.header
    payload = memoryview(data)[header.payload_start : header.payload_start + header.payload_size]
    if not blocks_intact(payload, head.checks):
        raise DataCorrupt("the record's payload fails its checksum")
    return Record(
        kind=header.kind,
        id=head.id,
        state=header.state,
        written_at_ms=header.written_at_ms,
        properties=head.properties,
        metadata=head.metadata,
        digest=header.digest,
        checks=head.checks,
        payload=payload,
    )
