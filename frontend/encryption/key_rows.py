"""Keys of containers as registers of the metadata store.

    space           scope           key                  value
    CONTAINER_KEY   a container's   version, 4 bytes     0, then the wrapped key in msgpack; or 1, then how it was deleted

A version is a count << 16 | the datacenter that made it, so that two that are cut apart make no two keys of one version. The
greatest that was not deleted is current. A register here keeps its newest value alone, and one that says deleted is newer than
any that does not (frontend/metadata/store.py:order): no datacenter brings a deleted key back, whatever it writes, and whenever.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ambry.errors import DataCorrupt, InvariantBroken
from frontend.encryption.provider import Wrapped
from frontend.metadata.store import Stamp, Version

VERSION_SIZE = 4
COUNT_MAX = 0xFFFF
_LIVE, _DELETED = b"\0", b"\1"


class WrappedKey(msgspec.Struct, frozen=True):
    """A key as it is kept: wrapped by a version of a provider's master key."""

    provider: str
    wrapped: Wrapped
    made_ms: int


class DeletedKey(msgspec.Struct, frozen=True):
    """One that is gone for ever: when, and by which key of the API."""

    at_ms: int
    by: str


class KeptKey(msgspec.Struct, frozen=True):
    """One register."""

    version: int
    key: WrappedKey | DeletedKey
    stamp: Stamp


_encode = msgspec.msgpack.Encoder().encode
_stored = msgspec.msgpack.Decoder(WrappedKey).decode
_deleted = msgspec.msgpack.Decoder(DeletedKey).decode


def register_key(version: int) -> bytes:
    return version.to_bytes(VERSION_SIZE, "big")


def encode(key: WrappedKey | DeletedKey) -> bytes:
    return (_LIVE if isinstance(key, WrappedKey) else _DELETED) + _encode(key)


def decode(version: Version) -> KeptKey | None:
    """None for one whose key is not here yet: what was in its place was erased. Raises DataCorrupt."""
    value = version.value
    if not value:
        return None
    try:
        key = _deleted(value[1:]) if value[:1] == _DELETED else _stored(value[1:])
    except (msgspec.DecodeError, UnicodeDecodeError) as cause:
        raise DataCorrupt(f"the key {version.key!r} of a container cannot be read: {cause}") from cause
    return KeptKey(int.from_bytes(version.key, "big"), key, version.stamp)


def next_version(rows: Iterable[KeptKey], datacenter: int) -> int:
    """That of a key which is made now in this datacenter."""
    count = max((row.version >> 16 for row in rows), default=0) + 1
    if count > COUNT_MAX:
        raise InvariantBroken(f"a container had {COUNT_MAX} keys, and there is no number for another")
    return count << 16 | datacenter


def current_of(rows: Iterable[KeptKey]) -> KeptKey | None:
    """The one that new blobs are sealed with."""
    living = [row for row in rows if isinstance(row.key, WrappedKey)]
    return max(living, key=lambda row: row.version, default=None)


def shown(version: int) -> str:
    """As people read it: `2.1` is the second, made in datacenter 1."""
    return f"{version >> 16}.{version & 0xFFFF}"


def about(cluster: str, scope: int, version: int) -> bytes:
    """What a wrapped key is bound to, so that it opens in its place alone."""
    name = cluster.encode()
    return (
        b"ambry container key 1"
        + len(name).to_bytes(2, "big")
        + name
        + scope.to_bytes(8, "big")
        + register_key(version)
    )
