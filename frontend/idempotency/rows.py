"""Idempotency keys as local rows of the metadata store (frontend/metadata/store.py).

    space        key                                                  value
    IDEMPOTENCY  container (8 bytes), who, a zero byte, the key text  version and a KeyRow in msgpack

A row stays for as long as keys are remembered. The container is account << 32 | container, big-endian; who is the id of the API
key that the upload came with, which is the same when its secret is rotated, and empty where none is asked for: whoever guesses
the text of somebody else's has another row. Who puts a row there has written down with it, as an intent
(frontend/names/intents.py), that the blob goes where the key does not get it: a row that is left behind holds nothing up.

Version 2 is of a container that is encrypted: `digest` and `said` of what was made are sealed (frontend/uploads/row_seal.py),
in the places "digest" and "said" before the row's key.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from ambry.checksum import digest
from ambry.errors import DataCorrupt, FormatUnknown
from ambry.format.properties import encode_properties
from frontend.router.values import PutResult, PutSpec
from frontend.uploads.row_seal import WrappedBy

_PLAIN = b"\x01"
_SEALED = b"\x02"


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
    key: WrappedBy | None = None
    """What the row is sealed with, where it is."""


_encode = msgspec.msgpack.Encoder().encode
_row = msgspec.msgpack.Decoder(KeyRow)


def row_key(scope: int, who: str, text: str) -> bytes:
    return b"%b%b\0%b" % (scope.to_bytes(8, "big"), who.encode(), text.encode())


def encode_row(row: KeyRow) -> bytes:
    return (_PLAIN if row.key is None else _SEALED) + _encode(row)


def sealed_row(key: bytes, row: KeyRow, change: Callable[[bytes, bytes], bytes]) -> KeyRow:
    """With what tells of the content closed, or opened, by the row's seal. `key` is the row's in the store."""
    made = row.made
    if made is None:
        return row
    made = replace(made, digest=change(made.digest, b"digest" + key), said=change(made.said, b"said" + key))
    return replace(row, made=made)


def about_seal(key: bytes) -> bytes:
    """What the key of a row's seal is bound to."""
    return b"ambry keyed put 1" + key


def decode_row(value: bytes) -> KeyRow:
    """As it stands there: what is sealed stays so. Raises DataCorrupt, FormatUnknown."""
    if value[:1] not in (_PLAIN, _SEALED):
        raise FormatUnknown("an idempotency key was written by a newer release; upgrade to use it")
    try:
        row = _row.decode(memoryview(value)[1:])
    except msgspec.DecodeError as cause:
        raise DataCorrupt(f"the row of an idempotency key cannot be read: {cause}") from cause
    if (value[:1] == _SEALED) != (row.key is not None):
        raise DataCorrupt("the row of an idempotency key is not as sealed as it says")
    return row


def keyed_blob(result: PutResult, said: bytes, version: str) -> KeyedBlob:
    return KeyedBlob(result.size, result.digest, result.parts, result.created_at_ms, said, version)


def said_of(target: str, spec: PutSpec, ttl: str | None) -> bytes:
    """16 bytes that stand for all that a put asks for but its bytes; `ttl` as its header has it, which counts from each put."""
    said = (target, encode_properties(spec.properties), spec.metadata, ttl, int(spec.durability))
    return digest(_encode(said))
