"""What stands under a name, and what is written down before a name changes, as bytes in the metadata store.

The value of a NAME register, big-endian:

    offset  size  field          meaning
    0       1     version        1
    1       1     flags          bit 0: the blob belongs to the name, and goes with it
    2       36    id             of the blob
    38      8     size           of the blob, bytes
    46      8     expires_at_ms  of the blob when it got the name; ambry.blob.NEVER_MS for a permanent one

The key is the name's UTF-8, the scope its container.

A blob goes with one name at a time. The value of an OWNER register, whose key is the blob's id, says which: version 1 and the
name's UTF-8. It is written in the group in which a name gets a blob that goes with it otherwise than by a put: by a rename, or
a bind with `owned`. Where it never was, the blob goes with the name that it was put under. Bit 0 of a name that is not the one
is not believed.

A row of INTENT holds version 1 and an Intent in msgpack; its key is 16 bytes of chance, or "life" and a blob's id.
"""

from __future__ import annotations

import struct
from enum import IntEnum

import msgspec

from ambry.errors import DataCorrupt, FormatUnknown, InvalidRequest
from ambry.ids import BlobId
from frontend.metadata.spaces import Space

NAME_BYTES_MAX = 1_024

_VERSION = 1
_OWNED = 1
_VALUE = struct.Struct(">BB36sQQ")


class NamedBlob(msgspec.Struct, frozen=True, gc=False):
    """What a name points to."""

    id: bytes
    size: int
    expires_at_ms: int
    owned: bool
    """Whether the blob was put under a name, and is deleted with it."""


def encode_named(named: NamedBlob) -> bytes:
    return _VALUE.pack(_VERSION, _OWNED if named.owned else 0, named.id, named.size, named.expires_at_ms)


def decode_named(value: bytes) -> NamedBlob:
    """Raises DataCorrupt, FormatUnknown."""
    if value[:1] != b"\x01":
        raise FormatUnknown("a name was written by a newer release; upgrade to read it")
    if len(value) != _VALUE.size:
        raise DataCorrupt(f"a name's value has {_VALUE.size} bytes, this one {len(value)}")
    _, flags, blob_id, size, expires_at_ms = _VALUE.unpack(value)
    return NamedBlob(blob_id, size, expires_at_ms, bool(flags & _OWNED))


def encode_owner(name: bytes) -> bytes:
    return b"\x01" + name


def decode_owner(value: bytes) -> bytes:
    """The key of the name. Raises FormatUnknown."""
    if value[:1] != b"\x01":
        raise FormatUnknown("what a blob goes with was written by a newer release; upgrade to change its name")
    return value[1:]


def name_key(name: str) -> bytes:
    """A name as a key. Raises InvalidRequest for one that is none."""
    try:
        key = name.encode()
    except UnicodeEncodeError:
        raise InvalidRequest("a name is text that UTF-8 can hold; this one has half a character in it") from None
    if not 0 < len(key) <= NAME_BYTES_MAX:
        raise InvalidRequest(f"a name has 1 to {NAME_BYTES_MAX} bytes of UTF-8, not {len(key)}")
    return key


class NamePlace(msgspec.Struct, frozen=True):
    """Where a name stands: its register."""

    space: Space
    scope: int
    key: bytes


class IntentKind(IntEnum):
    """The numbers are in rows: never renumber."""

    POINT = 1
    """A blob is made or brought back for a name; where the name never gets it, the blob goes."""
    BURY = 2
    """A name was deleted, and its blob goes too. Its key is that of the blob's lives."""
    KEY = 3
    """A blob is made for an idempotency key; an intent that is left was not acknowledged, and the blob goes."""
    REVIVE = 4
    """A blob is to live for a name, and is brought back for it if need be; where the name never gets it, the blob goes again
    that was brought back. Its key is that of the blob's lives."""


class Intent(msgspec.Struct, frozen=True, array_like=True):
    """A step on two sides, written down before its first half."""

    kind: IntentKind
    blob: bytes
    scope: int
    key: bytes
    due_ms: int
    """Wall time from which on whoever began it has given up."""
    after: int = 0
    """Only a version with a later time counts as one by which the name got the blob (frontend/metadata/store.py, Stamp): REVIVE
    that of the tombstone which is undone, BURY that of the version which was deleted."""
    taken: bool = False
    """Somebody else ends it: whoever began it must not go on."""
    space: int = Space.NAME
    """Of the name: also a version of a dataset."""
    life: int = 0
    """Of REVIVE: the life version that is tried; 0 while none is."""


def lives_key(blob_id: BlobId) -> bytes:
    """The key of whatever changes for a name whether a blob lives: of one blob there is one at a time."""
    return b"life" + blob_id.raw


_encode = msgspec.msgpack.Encoder().encode
_intent = msgspec.msgpack.Decoder(Intent)


def encode_intent(intent: Intent) -> bytes:
    return b"\x01" + _encode(intent)


def decode_intent(value: bytes) -> Intent:
    """Raises DataCorrupt, FormatUnknown."""
    if value[:1] != b"\x01":
        raise FormatUnknown("an intent was written by a newer release; upgrade to end it")
    try:
        intent = _intent.decode(memoryview(value)[1:])
        BlobId(intent.blob)
        Space(intent.space)
    except (msgspec.DecodeError, InvalidRequest, ValueError) as cause:
        raise DataCorrupt(f"an intent cannot be read: {cause}") from cause
    return intent
