"""Idempotency keys as local rows of the metadata store (frontend/metadata/store.py).

    space        key                                value
    IDEMPOTENCY  container (8 bytes), the key text  version 1 and a KeyRow in msgpack, for as long as keys are remembered

The container is account << 32 | container, big-endian. Who puts a row there has written down with it, as an intent
(frontend/names/intents.py), that the blob goes where the key does not get it: a row that is left behind holds nothing up.
"""

from __future__ import annotations

import msgspec

from ambry.checksum import digest
from ambry.errors import DataCorrupt, FormatUnknown
from ambry.format.properties import encode_properties
from frontend.router.values import PutResult, PutSpec

_VERSION = b"\x01"


class KeyedBlob(msgspec.Struct, frozen=True, array_like=True):
    """What was acknowledged under a key."""

    size: int
    digest: bytes
    parts: int
    created_at_ms: int
    said: bytes
    """What was said of it, by `said_of`."""
    version: str = ""
    """Which it became of a dataset; empty for a blob that is none."""


class KeyRow(msgspec.Struct, frozen=True, array_like=True):
    """`made` None: a put is under way, or ended without an acknowledgement."""

    blob: bytes
    """The id, 36 bytes, under which it is tried now, or that was acknowledged."""
    chance: bytes
    """Makes the row of each put another one."""
    made: KeyedBlob | None = None


_encode = msgspec.msgpack.Encoder().encode
_row = msgspec.msgpack.Decoder(KeyRow)


def row_key(scope: int, text: str) -> bytes:
    return scope.to_bytes(8, "big") + text.encode()


def encode_row(row: KeyRow) -> bytes:
    return _VERSION + _encode(row)


def decode_row(value: bytes) -> KeyRow:
    """Raises DataCorrupt, FormatUnknown."""
    if value[:1] != _VERSION:
        raise FormatUnknown("an idempotency key was written by a newer release; upgrade to use it")
    try:
        return _row.decode(memoryview(value)[1:])
    except msgspec.DecodeError as cause:
        raise DataCorrupt(f"the row of an idempotency key cannot be read: {cause}") from cause


def keyed_blob(result: PutResult, said: bytes, version: str) -> KeyedBlob:
    return KeyedBlob(result.size, result.digest, result.parts, result.created_at_ms, said, version)


def said_of(target: str, spec: PutSpec, ttl: str | None) -> bytes:
    """16 bytes that stand for all that a put asks for but its bytes; `ttl` as its header has it, which counts from each put."""
    said = (target, encode_properties(spec.properties), spec.metadata, ttl, int(spec.durability))
    return digest(_encode(said))
