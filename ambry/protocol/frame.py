"""One frame of the RPC between frontends and data nodes.

Big-endian; offsets and sizes in bytes.

    offset  size  field        meaning
    0       2     magic        0xA3BC
    2       1     version      1
    3       1     type         MessageType; values are on the wire, never renumber
    4       1     flags        bit 0: reply, bit 1: the reply is an error
    5       3     reserved     zero
    8       4     timeout_ms   requests: how long the caller still waits; replies: zero
    12      4     header_size  of the msgpack header (ambry/protocol/messages.py)
    16      4     body_size    of the body
    20      4     reserved     zero
    24      8     correlation  the caller's number of the request; the reply repeats it
    32      8     checksum     xxh3-64 of bytes 0..32, header and checks

Then header, checks (xxh3-64 of every 64 KiB block of the body, 8 bytes each), body. The checks are those of a record's
payload (ambry/format/record.py), so neither end hashes the same bytes twice.

Invariant: no header or body is handed on before its checksum matched, and no size above the bounds allocates anything.
"""

from __future__ import annotations

import struct
from enum import IntEnum

import msgspec

from ambry.checksum import CHECK_SIZE, Buffer, block_checks, block_count, xxh64
from ambry.errors import ProtocolViolation

MAGIC = 0xA3BC
VERSION = 1
PREFIX_SIZE = 40
HEADER_SIZE_MAX = 4 << 20
BODY_SIZE_MAX = 64 << 20
FLAG_REPLY = 1
FLAG_ERROR = 2

_PREFIX = struct.Struct(">HBBB3xIII4xQ")
_CHECK = struct.Struct(">Q")


class MessageType(IntEnum):
    """What a frame asks or answers."""

    HELLO = 1
    PING = 2
    PUT = 3
    GET = 4
    UPDATE = 5
    PRESENCE = 6
    CHANGES = 7
    FETCH = 8
    FATES = 9


_TYPES = frozenset(MessageType)


class Prefix(msgspec.Struct, frozen=True):
    """The decoded first 40 bytes."""

    type: int
    flags: int
    timeout_ms: int
    header_size: int
    body_size: int
    correlation: int
    checksum: int

    @property
    def checks_size(self) -> int:
        return block_count(self.body_size) * CHECK_SIZE


class Frame(msgspec.Struct, frozen=True):
    """One received frame, verified. `body` belongs to the receiver."""

    type: int
    flags: int
    timeout_ms: int
    correlation: int
    header: bytes
    checks: bytes
    body: Buffer

    @property
    def is_reply(self) -> bool:
        return bool(self.flags & FLAG_REPLY)

    @property
    def is_error(self) -> bool:
        return bool(self.flags & FLAG_ERROR)


def encode_head(
    type: int,
    correlation: int,
    header: bytes,
    body: Buffer = b"",
    checks: Buffer | None = None,
    *,
    flags: int = 0,
    timeout_ms: int = 0,
) -> bytes:
    """Everything before the body. `checks` are computed from `body` unless they are given."""
    if checks is None:
        checks = block_checks(body)
    if len(header) > HEADER_SIZE_MAX or len(body) > BODY_SIZE_MAX:
        raise ProtocolViolation(f"a frame of {len(header)} + {len(body)} bytes exceeds the bounds of the protocol")
    prefix = _PREFIX.pack(MAGIC, VERSION, type, flags, timeout_ms, len(header), len(body), correlation)
    covered = b"".join((prefix, header, checks))
    return b"".join((prefix, _CHECK.pack(xxh64(covered)), header, checks))


def decode_prefix(data: Buffer, offset: int) -> Prefix:
    """Decode 40 bytes at `offset`. Raises ProtocolViolation for what cannot be a frame of ours."""
    magic, version, type_, flags, timeout_ms, header_size, body_size, correlation = _PREFIX.unpack_from(data, offset)
    if magic != MAGIC or version != VERSION:
        raise ProtocolViolation(f"not a frame of protocol version {VERSION} (magic {magic:#06x}, version {version})")
    if type_ not in _TYPES or header_size > HEADER_SIZE_MAX or body_size > BODY_SIZE_MAX:
        raise ProtocolViolation(f"a frame of type {type_} with {header_size} + {body_size} bytes is out of bounds")
    return Prefix(
        type_, flags, timeout_ms, header_size, body_size, correlation, _CHECK.unpack_from(data, offset + 32)[0]
    )


def verify_head(prefix: Buffer, header_and_checks: Buffer, checksum: int) -> None:
    """Raises ProtocolViolation unless the checksum of a frame's head matches. `prefix` is its first 32 bytes."""
    if xxh64(b"".join((prefix, header_and_checks))) != checksum:
        raise ProtocolViolation("a frame's header fails its checksum")
