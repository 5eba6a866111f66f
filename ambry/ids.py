"""Blob ids: self-describing, self-checking, never reused.

An id says where its blob lies, so no lookup service is needed, and carries a checksum, so that a mistyped one is an error
and not an absence. 36 bytes big-endian, 48 characters of base64url without padding.

    offset  size  field       meaning
    0       1     version     1
    1       1     kind        IdKind; values are in ids that users keep, never renumber
    2       2     datacenter  of origin
    4       4     account
    8       4     container
    12      4     partition
    16      16    uuid        version 7 (RFC 9562): starts with the time, so ids of one partition arrive nearly in order
    32      4     checksum    low 32 bits of xxh3-64 over bytes 0..32

Invariant: a BlobId object always passed its checksum.
"""

from __future__ import annotations

import binascii
import random
import struct
from enum import IntEnum

from ambry.checksum import xxh64
from ambry.errors import InvalidBlobId

ID_SIZE = 36
ID_TEXT_SIZE = 48
_STANDARD = bytes.maketrans(b"-_+/=", b"+/!!!")
"""From base64url to base64; what base64url does not have becomes what neither has."""
_URLSAFE = bytes.maketrans(b"+/", b"-_")
_VERSION = 1
_FIELDS = struct.Struct(">BBHIII16s")
_CHECKSUM = struct.Struct(">I")
_WHOLE = struct.Struct(_FIELDS.format + "I")
_PARTITION = struct.Struct(">B11xI16xI")
"""Version, partition and checksum, where they stand among the rest."""


class IdKind(IntEnum):
    """What the record under an id is."""

    SIMPLE = 0
    COMPOSITE = 1
    CHUNK = 2


_KINDS = tuple(IdKind)
"""By value: they count from 0."""


class BlobId:
    """One blob id. Immutable, hashable, ordered by its bytes."""

    __slots__ = ("account", "container", "datacenter", "key", "kind", "partition", "raw")

    raw: bytes
    kind: IdKind
    datacenter: int
    account: int
    container: int
    partition: int
    key: bytes
    """The 16 bytes of the uuid, the key of a partition's index."""

    def __init__(self, raw: bytes) -> None:
        """Check and keep the 36 bytes. Raises InvalidBlobId."""
        if len(raw) != ID_SIZE:
            raise InvalidBlobId(f"a blob id has {ID_SIZE} bytes, this one has {len(raw)}; check for a cut-off copy")
        fields = _WHOLE.unpack(raw)
        version, kind, self.datacenter, self.account, self.container, self.partition, self.key, checksum = fields
        if xxh64(raw[:32]) & 0xFFFFFFFF != checksum:
            raise InvalidBlobId("the blob id fails its own checksum; check for a typing or copying mistake")
        if version != _VERSION:
            raise InvalidBlobId(f"blob id version {version} is not known to this release; upgrade to read it")
        if kind >= len(_KINDS):
            raise InvalidBlobId(f"blob id kind {kind} is not known to this release; upgrade to read it")
        self.raw = bytes(raw)
        self.kind = _KINDS[kind]

    @classmethod
    def parse(cls, text: str | bytes) -> BlobId:
        """Read the 48 characters that users see. Raises InvalidBlobId."""
        if len(text) != ID_TEXT_SIZE:
            raise InvalidBlobId(f"a blob id has {ID_TEXT_SIZE} characters, this one has {len(text)}")
        try:
            characters = text.encode("ascii") if isinstance(text, str) else text
            # Strict, and 48 characters are 36 bytes to the last bit: one blob has no two spellings.
            raw = binascii.a2b_base64(characters.translate(_STANDARD), strict_mode=True)
        except (binascii.Error, UnicodeEncodeError, ValueError) as cause:
            raise InvalidBlobId("a blob id holds only the characters A-Z a-z 0-9 - _") from cause
        return cls(raw)

    @classmethod
    def make(
        cls, *, kind: IdKind, datacenter: int, account: int, container: int, partition: int, uuid: bytes
    ) -> BlobId:
        """Put an id together; every number must fit its field."""
        body = _FIELDS.pack(_VERSION, kind, datacenter, account, container, partition, uuid)
        made = object.__new__(cls)
        made.raw = body + _CHECKSUM.pack(xxh64(body) & 0xFFFFFFFF)
        made.kind, made.datacenter, made.account = kind, datacenter, account
        made.container, made.partition, made.key = container, partition, uuid
        return made

    def __str__(self) -> str:
        return binascii.b2a_base64(self.raw, newline=False).translate(_URLSAFE).decode("ascii")

    def __repr__(self) -> str:
        return f"BlobId({str(self)!r})"

    def __hash__(self) -> int:
        return hash(self.raw)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BlobId) and self.raw == other.raw

    def __lt__(self, other: BlobId) -> bool:
        return self.raw < other.raw


def partition_of(raw: bytes) -> int:
    """The partition of the blob with this id, as BlobId tells it. Raises InvalidBlobId."""
    if len(raw) == ID_SIZE:
        version, partition, checksum = _PARTITION.unpack(raw)
        if xxh64(raw[:32]) & 0xFFFFFFFF == checksum and version == _VERSION and raw[1] < len(_KINDS):
            return int(partition)
    return BlobId(raw).partition


def raw_id(prefix: bytes, partition: int, key: bytes) -> bytes:
    """The bytes of the id whose fields before its partition are `prefix`: what an index keeps of one."""
    body = prefix + partition.to_bytes(4, "big") + key
    return body + _CHECKSUM.pack(xxh64(body) & 0xFFFFFFFF)


def uuid7(wall_ms: int, source: random.Random) -> bytes:
    """A version 7 UUID (RFC 9562 section 5.7): 48 bits of milliseconds, 74 random bits."""
    bits = source.getrandbits(74)
    high = (wall_ms & 0xFFFF_FFFF_FFFF) << 16 | 0x7000 | bits >> 62
    low = 0x8000_0000_0000_0000 | bits & 0x3FFF_FFFF_FFFF_FFFF
    return (high << 64 | low).to_bytes(16, "big")
