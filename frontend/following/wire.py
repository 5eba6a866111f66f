"""Versions and places of a log as they go to other datacenters, and as the cursor of a follower lies in its own store."""

from __future__ import annotations

import msgspec

from ambry.protocol.messages.metadata import LoggedVersion, LogPlace
from frontend.metadata.store import LogCursor, Stamp, Version

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(LogPlace).decode


def to_wire(version: Version) -> LoggedVersion:
    stamp = version.stamp
    return LoggedVersion(
        version.space, version.scope, version.key, stamp.time, stamp.datacenter, version.value, version.seq
    )


def from_wire(version: LoggedVersion) -> Version:
    stamp = Stamp(version.time, version.datacenter)
    return Version(version.space, version.scope, version.key, stamp, version.value, version.seq)


def place_of(cursor: LogCursor) -> LogPlace:
    return LogPlace(cursor.store, cursor.seq, cursor.stamp.time, cursor.stamp.datacenter)


def cursor_of(place: LogPlace) -> LogCursor:
    return LogCursor(place.store, place.seq, Stamp(place.time, place.datacenter))


def cursor_key(datacenter: int) -> bytes:
    """The key of the local row that says how far a datacenter is followed."""
    return b"%d" % datacenter


def cursor_value(cursor: LogCursor) -> bytes:
    return _encode(place_of(cursor))


def read_cursor(value: bytes) -> LogCursor | None:
    """None for what is no cursor of this release: the log is read from its beginning then, which loses nothing."""
    try:
        return cursor_of(_decode(value))
    except msgspec.DecodeError:
        return None
