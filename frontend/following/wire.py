"""Versions and places of a log as they go to other datacenters, and as the cursor of a follower lies in its own store."""

from __future__ import annotations

import msgspec

from ambry.protocol.messages.metadata import LoggedVersion, LogPlace
from frontend.metadata.store import LogCursor, Stamp, Version

_encode = msgspec.msgpack.Encoder().encode


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


class ReadUpTo(msgspec.Struct, frozen=True):
    """How far a log was read: up to `cursor`, and the last places before it, oldest first.

    A store that was put back from a backup may come to have the version of a cursor at its number again, with others before
    it: whoever misses something after a restore asks for it, in any order. By the places before it that is noticed.
    """

    cursor: LogCursor
    trail: tuple[LogCursor, ...] = ()


class _Row(msgspec.Struct, frozen=True, array_like=True):
    place: LogPlace
    trail: list[LogPlace]


_decode = msgspec.msgpack.Decoder(_Row).decode


def progress_value(progress: ReadUpTo) -> bytes:
    """As it lies in the row of a follower."""
    return _encode(_Row(place_of(progress.cursor), [place_of(cursor) for cursor in progress.trail]))


def read_progress(value: bytes) -> ReadUpTo | None:
    """None for what this release does not know: the log is read from its beginning then, which loses nothing."""
    try:
        row = _decode(value)
    except msgspec.DecodeError:
        return None
    return ReadUpTo(cursor_of(row.place), tuple(map(cursor_of, row.trail)))
