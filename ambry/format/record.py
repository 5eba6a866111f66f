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
    64      2     features         what was done to the payload before it was stored (below); zero: nothing
    66      1     tag_size         bytes of the tag that every block of the payload has; 0: none
    67      5     reserved         zero
    72      8     body_check       xxh3-64 of everything between the header and the payload
    80      8     header_check     xxh3-64 of bytes 0..80, seeded with the salt

Then, without gaps: blob id (36), properties, user metadata, checks (xxh3-64 of every 64 KiB block of the payload), tags
(tag_size for every block), zeros that bring the whole to a multiple of 8, payload.

All of it speaks of the bytes as they are stored: who verifies, copies or ships a record needs no key.

    features bit 0   the payload is encrypted, each block for itself; tag_size is 16, the blocks' authentication tags, and the
                     user metadata section is sealed with it (ambry/format/sealed.py)
    features bit 1   the payload is compressed: a later release may set it, and no other part of the record changes with it
    the others       not given yet

Who reads a record ships its features and tags with its payload; only who puts and gets blobs has the keys to undo that.

Invariant: no size is believed until header_check matches, and no byte of the body until its check does. The record carries
its own blob id and LSN: a right checksum on the wrong record is caught by comparing them with what was asked for. Every byte
of a record is under a check, the padding too. It stands in front of the payload, so whoever knows the sizes of the record and
of its payload knows where the payload is.

What a release does not know it refuses, and takes for no damage. Sizes, LSN, id and checks stand where they stand whatever
version, kind, flags and features say (anything else gets another magic, and a segment of another version around it): so a
record of a later release is found, verified, kept by compaction and sent to peers, by a release that cannot read it. An unknown
feature hides the payload: the blob has its state, is deleted and replicated as any other, and no read returns it. An unknown
version, kind or flag, or something in the reserved bytes, hides what the record means: nothing is concluded from it.

The salt is that of the log a record stands in (ambry/format/segment.py), which no client knows: so a record image inside
somebody's payload is not taken for a record of the log by whoever looks for the next one behind damaged bytes. A record
that travels between nodes has the salt 0.
"""

from __future__ import annotations

import struct
from enum import IntEnum

import msgspec

from ambry.blob import BlobState
from ambry.checksum import BLOCK_SIZE, CHECK_SIZE, Buffer, blocks_intact, xxh64
from ambry.errors import DataCorrupt, FormatUnknown, InvalidRequest
from ambry.ids import ID_SIZE

MAGIC = b"AMBR"
VERSION = 1
HEADER_SIZE = 88
ALIGNMENT = 8
SECTION_SIZE_MAX = 64 << 10
"""Bound on the properties and on the user metadata, bytes each."""
PAYLOAD_SIZE_MAX = 32 << 20
"""Bound on a payload, bytes: a whole record must fit one frame of the RPC."""
FLAG_DELETED = 1
ENCRYPTED = 1
"""Feature: the payload and the user metadata are encrypted."""
TAG_SIZE = 16
"""Of an encrypted block, bytes."""
FEATURES_KNOWN = ENCRYPTED
"""Those that this release understands."""

_HEADER = struct.Struct(">4sBBHIIIIQQQ16sQQQ")
_CHECK = struct.Struct(">Q")
_STATE = struct.Struct(">HI")
"""Flags and life version, which follow each other."""
_CHECKED = HEADER_SIZE - _CHECK.size
_FIXED_SIZE = HEADER_SIZE + ID_SIZE
_RESERVED = (1 << 40) - 1
"""Of the eight bytes that begin with `features`."""
_PADDING = [bytes(size) for size in range(ALIGNMENT)]


class RecordKind(IntEnum):
    """What a record is. BLOB and CHUNK carry data, COMPOSITE a list of chunks, UPDATE only a state."""

    BLOB = 1
    COMPOSITE = 2
    CHUNK = 3
    UPDATE = 4


_KINDS = frozenset(RecordKind)


class Header(msgspec.Struct, frozen=True):
    """A decoded header; sizes in bytes. `unknown` says why this release does not know what the record means, if so."""

    kind: int
    state: BlobState
    properties_size: int
    metadata_size: int
    payload_size: int
    lsn: int
    written_at_ms: int
    digest: bytes
    body_check: int
    record_size: int
    """The whole record, padding included."""
    features: int = 0
    tag_size: int = 0
    unknown: str = ""

    @property
    def payload_start(self) -> int:
        """Offset of the payload from the start of the record: the size of everything before it."""
        return self.record_size - self.payload_size


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A record as it is written or was read; buffers are borrowed from the caller. `checks` and `tags` are `payload`'s."""

    kind: int
    id: bytes
    state: BlobState
    written_at_ms: int
    properties: Buffer = b""
    metadata: Buffer = b""
    digest: bytes = bytes(16)
    checks: Buffer = b""
    payload: Buffer = b""
    features: int = 0
    tag_size: int = 0
    tags: Buffer = b""

    @property
    def size(self) -> int:
        """Bytes on disk, padding included."""
        sections = len(self.properties) + len(self.metadata) + len(self.checks) + len(self.tags)
        size = _FIXED_SIZE + sections + len(self.payload)
        return size + -size % ALIGNMENT


def encode_head(record: Record, lsn: int, salt: int = 0) -> bytes:
    """Everything before the payload, which follows it on disk and ends the record."""
    body = b"".join((record.id, record.properties, record.metadata, record.checks, record.tags))
    body += _PADDING[-(len(body) + len(record.payload)) % ALIGNMENT]  # the header's size is a multiple of it
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
        record.features << 48 | record.tag_size << 40,
        xxh64(body),
        0,
    )[:_CHECKED]
    return b"".join((header, _CHECK.pack(xxh64(header, salt)), body))


def encode(record: Record, lsn: int, salt: int = 0) -> bytes:
    """The whole record."""
    return b"".join((encode_head(record, lsn, salt), record.payload))


def restamp(image: bytearray | memoryview, salt: int = 0) -> None:
    """Give a verified record another salt, in place."""
    _CHECK.pack_into(image, _CHECKED, xxh64(image[:_CHECKED], salt))


def rewrite(image: Buffer, state: BlobState, lsn: int, salt: int) -> None:
    """Give a verified record, whose meaning is known, another place in a log and another state of its blob, in place."""
    _STATE.pack_into(image, 6, FLAG_DELETED if state.deleted else 0, state.life_version)
    _CHECK.pack_into(image, 24, lsn)
    _CHECK.pack_into(image, 40, state.expires_at_ms)
    _CHECK.pack_into(image, _CHECKED, xxh64(image[:_CHECKED], salt))


def peek_lsn(data: Buffer) -> int:
    """The LSN field of what may be a header, unverified."""
    lsn: int = _CHECK.unpack_from(data, 24)[0]
    return lsn


def decode_header(data: Buffer, salt: int = 0) -> Header:
    """Decode the first 88 bytes of `data`, also of a record that this release does not know. Raises DataCorrupt."""
    if len(data) < HEADER_SIZE or data[:4] != MAGIC:
        raise DataCorrupt("no record starts here")
    (
        _,
        version,
        kind,
        flags,
        life,
        properties_size,
        metadata_size,
        payload_size,
        lsn,
        written_at_ms,
        expires_at_ms,
        digest,
        storing,
        body_check,
        header_check,
    ) = _HEADER.unpack_from(data)
    if xxh64(data[:_CHECKED], salt) != header_check:
        raise DataCorrupt("the record header fails its checksum")
    features = tag_size = 0
    unknown = ""
    if storing:
        features, tag_size = storing >> 48, storing >> 40 & 0xFF
    if version != VERSION or kind not in _KINDS or flags > FLAG_DELETED or storing & _RESERVED:
        reserved = f"{storing & _RESERVED:010x}"
        unknown = f"record version {version}, kind {kind}, flags {flags:#06x}, reserved {reserved}"
    blocks = (payload_size + BLOCK_SIZE - 1) // BLOCK_SIZE
    size = _FIXED_SIZE + properties_size + metadata_size + blocks * (CHECK_SIZE + tag_size) + payload_size
    return Header(
        kind,
        BlobState(life, bool(flags & FLAG_DELETED), expires_at_ms),
        properties_size,
        metadata_size,
        payload_size,
        lsn,
        written_at_ms,
        digest,
        body_check,
        size + -size % ALIGNMENT,
        features,
        tag_size,
        unknown,
    )


def require_meaning(header: Header) -> None:
    """Raises FormatUnknown where this release does not know what a record says."""
    if header.unknown:
        raise FormatUnknown(f"{header.unknown}: written by a newer release; upgrade to read it")


def require_readable(header: Header) -> None:
    """Raises FormatUnknown where this release cannot give the payload back as it was, or does not know what it is."""
    if header.unknown:
        require_meaning(header)
    if header.features & ~FEATURES_KNOWN or header.tag_size != (TAG_SIZE if header.features & ENCRYPTED else 0):
        raise FormatUnknown(f"record features {header.features:#06x}: written by a newer release; upgrade to read it")


def tag_size_of(features: int, tags: Buffer, payload_size: int) -> int:
    """The tag size of a record that is to be put with these. Raises InvalidRequest where they do not fit together."""
    if features & ~FEATURES_KNOWN:
        raise InvalidRequest(f"record features {features:#06x} are of a newer release")
    size = TAG_SIZE if features & ENCRYPTED else 0
    blocks = (payload_size + BLOCK_SIZE - 1) // BLOCK_SIZE
    if len(tags) != blocks * size:
        raise InvalidRequest(
            f"{len(tags)} bytes of tags do not belong to {blocks} blocks with features {features:#06x}"
        )
    return size


def tags_of(head: Head, start: int, stop: int) -> bytes:
    """The tags of the blocks that hold payload bytes `start` to `stop` of a record."""
    size = head.header.tag_size
    return head.tags[start // BLOCK_SIZE * size : -(-stop // BLOCK_SIZE) * size] if stop > start else b""


def refusal(header: Header) -> str:
    """Why this release cannot read an intact record; empty when it can."""
    try:
        require_readable(header)
    except FormatUnknown as error:
        return error.message
    return ""


class Head(msgspec.Struct, frozen=True):
    """The decoded and verified part of a record before its payload."""

    header: Header
    id: bytes
    properties: bytes
    metadata: bytes
    checks: bytes
    tags: bytes


def decode_head(data: Buffer, salt: int = 0) -> Head:
    """Decode and verify everything before the payload, of any record. `data` may go on after it.

    Raises DataCorrupt when anything fails its checksum or `data` is too short.
    """
    return head_of(data, decode_header(data, salt))


def head_of(data: Buffer, header: Header) -> Head:
    """As decode_head, of a record whose header was decoded already."""
    end = header.record_size - header.payload_size
    if len(data) < end:
        raise DataCorrupt(f"the record's head has {end} bytes, only {len(data)} are there")
    # A copy of its own: it is short, and whoever keeps a part of it keeps no payload with it.
    body = bytes(data[HEADER_SIZE:end])
    if xxh64(body) != header.body_check:
        raise DataCorrupt("the record's id, properties or checks fail their checksum")
    metadata = ID_SIZE + header.properties_size
    checks = metadata + header.metadata_size
    blocks = (header.payload_size + BLOCK_SIZE - 1) // BLOCK_SIZE
    tags = checks + blocks * CHECK_SIZE
    return Head(
        header,
        body[:ID_SIZE],
        body[ID_SIZE:metadata],
        body[metadata:checks],
        body[checks:tags],
        body[tags : tags + blocks * header.tag_size] if header.tag_size else b"",
    )


def verify(data: Buffer, salt: int = 0) -> Head:
    """Decode the head of any record and verify every byte of the whole. Raises DataCorrupt."""
    head = decode_head(data, salt)
    verify_payload(data, head)
    return head


def verify_payload(data: Buffer, head: Head) -> None:
    """Raises DataCorrupt unless the payload of a record, whose head was verified, is intact."""
    if not blocks_intact(_payload(data, head.header), head.checks):
        raise DataCorrupt("the record's payload fails its checksum")


def decode(data: Buffer, salt: int = 0) -> Record:
    """Decode and verify one whole record; its buffers point into `data`. It may have features that only others can read.

    Raises DataCorrupt; FormatUnknown where it is intact and its meaning not known.
    """
    head = verify(data, salt)
    header = head.header
    require_meaning(header)
    return Record(
        kind=header.kind,
        id=head.id,
        state=header.state,
        written_at_ms=header.written_at_ms,
        properties=head.properties,
        metadata=head.metadata,
        digest=header.digest,
        checks=head.checks,
        payload=_payload(data, header),
        features=header.features,
        tag_size=header.tag_size,
        tags=head.tags,
    )


def _payload(data: Buffer, header: Header) -> memoryview:
    start = header.payload_start
    return memoryview(data)[start : start + header.payload_size]
