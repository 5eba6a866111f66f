"""Where a follower of a container's changes stands, and the token that says so: opaque to users, and kept by nobody else.

Big-endian; numbers of any size are varints (7 bits to a byte, the lowest first, the high bit set on all but the last byte).

    field       bytes    meaning
    version     1        1
    cluster     4        low 32 bits of xxh3-64 of the cluster's name
    container   8        account and container as in blob ids
    logs        varint   how many places in metadata logs follow: of this datacenter's store, and of others (frontend/metadata)
      store     16       of each: which store, its sequence number, and the stamp of the version there
      seq       varint
      time      8
      origin    varint   the datacenter of that version
    partitions  varint   how many partitions follow, by number
      shape     1        of each: how many places follow; 128 more where it is behind, 64 more where a floor stands before them,
                         32 more where a gap does
      gap       varint   how many numbers were passed over since the one before
      floor     varint   where a log ended when it was begun from the beginning
      behind    varint   how far the first place is beyond the last end that was come to, in units of 64 KiB, rounded up
      tag       4        of each place: which log (ambry/protocol/messages/feed.py)
      lsn       varint   of the first as it is, of others in units of 64 KiB, rounded down: they are for when the first is gone
    checksum    4        low 32 bits of xxh3-64 of all before

In base64url without padding. A token goes into a header of a request, which holds 16 KiB: there is room for PARTITIONS_MAX, and
places of other replicas are left out where there is none for all, first those that come last.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence

import msgspec

from ambry.checksum import xxh64
from ambry.errors import InvalidRequest, NotSupported
from ambry.protocol.messages.feed import PLACES_MAX, TAG_SIZE, FeedPlace
from frontend.metadata.store import LogCursor, Stamp

VERSION = 1
PARTITIONS_MAX = 1_000
TOKEN_BYTES_MAX = 12_000
"""Before base64: the rest of a header's 16 KiB is for its name."""
TOKEN_TEXT_MAX = -(-TOKEN_BYTES_MAX * 4 // 3)
_ROUND_BITS = 16
_BEHIND = 128
_FLOORED = 64
_GAPPED = 32
_CHECK_SIZE = 4
_LOGS_MAX = 64
_VARINT_BYTES_MAX = 9


class PartitionPosition(msgspec.Struct, frozen=True):
    """What was told of one partition. The first place is of the replica that it was read from, the others of its siblings.

    `floor` and `behind` are of that replica's log, as in FeedPartition.
    """

    places: tuple[FeedPlace, ...]
    floor: int = 0
    behind: int = 0


class Position(msgspec.Struct, frozen=True):
    """A partition that is not there was not begun: it is read from its beginning. So is the metadata without a place in it."""

    logs: tuple[LogCursor, ...] = ()
    partitions: Mapping[int, PartitionPosition] = {}


BEGINNING = Position()


class TokenCodec:
    """Tokens of one cluster."""

    def __init__(self, cluster: str) -> None:
        self._cluster = (xxh64(cluster.encode()) & 0xFFFF_FFFF).to_bytes(4, "big")

    def encode(self, container: bytes, position: Position) -> str:
        """The token of a follower of this container. Raises NotSupported where there are too many partitions.

        Also for those that are read from their beginning, with two numbers each: then with the first token, and not on the way.
        """
        if len(position.partitions) > PARTITIONS_MAX:
            raise NotSupported(f"changes are followed in clusters of at most {PARTITIONS_MAX} partitions")
        head = bytes((VERSION,)) + self._cluster + container + _encode_logs(position.logs)
        room = TOKEN_BYTES_MAX - len(head) - _CHECK_SIZE
        raw = head + _encode_partitions(position.partitions, room)
        raw += (xxh64(raw) & 0xFFFF_FFFF).to_bytes(_CHECK_SIZE, "big")
        return base64.urlsafe_b64encode(raw).decode().rstrip("=")

    def decode(self, container: bytes, token: str) -> Position:
        """Raises InvalidRequest for what is no token of this cluster and container."""
        try:
            if len(token) > TOKEN_TEXT_MAX or not token.isascii():
                raise ValueError
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        check = (xxh64(raw[:-_CHECK_SIZE]) & 0xFFFF_FFFF).to_bytes(_CHECK_SIZE, "big")
        if len(raw) <= _CHECK_SIZE or raw[-_CHECK_SIZE:] != check:
            raise InvalidRequest(
                "since is beginning, now, or a token as an answer told it; this one is none, or not whole: was it cut off?"
            )
        if raw[0] != VERSION:
            raise InvalidRequest("the token is of a newer release; ask a frontend that is upgraded, or begin anew")
        if raw[1:5] != self._cluster:
            raise InvalidRequest("the token is of another cluster; ask that one, or begin anew here")
        if raw[5:13] != container:
            raise InvalidRequest("the token is of another container; name that one, or begin anew in this")
        try:
            reader = _Reader(raw[13:-_CHECK_SIZE])
            logs = tuple(_read_log(reader) for _ in range(reader.count(_LOGS_MAX)))
            position = Position(logs, _read_partitions(reader))
            reader.end()
        except (ValueError, IndexError):
            raise InvalidRequest("the token cannot be read; begin anew") from None
        return position


def _varint(number: int) -> bytes:
    found = bytearray()
    while number >= 0x80:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)


def _encode_logs(logs: Sequence[LogCursor]) -> bytes:
    pieces = [_varint(len(logs))]
    for log in logs:
        pieces += [log.store, _varint(log.seq), log.stamp.time.to_bytes(8, "big"), _varint(log.stamp.datacenter)]
    return b"".join(pieces)


def _encode_partitions(partitions: Mapping[int, PartitionPosition], room: int) -> bytes:
    """With all first places, and as many of the others as there is room for."""
    numbers = sorted(partitions)
    pieces = [_varint(len(numbers))]
    kept: dict[int, list[bytes]] = {}
    before = -1
    fronts: dict[int, bytes] = {}
    for number in numbers:
        position = partitions[number]
        gap = number - before - 1
        fronts[number] = _varint(gap) if gap else b""
        kept[number] = [place.tag + _varint(place.lsn) for place in position.places[:1]]
        before = number
        room -= len(fronts[number]) + 1 + sum(map(len, kept[number]))
        if position.floor:
            # Its place will be as large as the floor.
            floor_size = len(_varint(position.floor))
            room -= floor_size + max(0, TAG_SIZE + floor_size - sum(map(len, kept[number])))
        if position.behind:
            room -= len(_rounded_up(position.behind))
    room -= len(pieces[0])
    if room < 0:
        raise NotSupported(
            f"a token has no room for how far {len(numbers)} partitions of this size are told, least of all from their "
            "beginning; follow from now on, and list what there is"
        )
    for rank in range(1, PLACES_MAX):
        for number in numbers:
            places = partitions[number].places
            if rank < len(places):
                place = places[rank].tag + _varint(places[rank].lsn >> _ROUND_BITS)
                if len(place) <= room:
                    kept[number].append(place)
                    room -= len(place)
    for number in numbers:
        floor, behind = partitions[number].floor, partitions[number].behind
        front = fronts[number]
        flags = (_BEHIND if behind else 0) | (_FLOORED if floor else 0) | (_GAPPED if front else 0)
        pieces += [bytes((len(kept[number]) | flags,)), front]
        pieces += [_varint(floor)] if floor else []
        pieces += [_rounded_up(behind)] if behind else []
        pieces += kept[number]
    return b"".join(pieces)


def _rounded_up(behind: int) -> bytes:
    """What is too far back is told again."""
    return _varint(-(-behind >> _ROUND_BITS))


class _Reader:
    """Takes a token apart. Raises ValueError, IndexError where it ends early or has what no token has."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def bytes(self, size: int) -> bytes:
        found = self._raw[self._at : self._at + size]
        if len(found) != size:
            raise ValueError
        self._at += size
        return found

    def number(self) -> int:
        found = 0
        for shift in range(0, 7 * _VARINT_BYTES_MAX, 7):
            byte = self._raw[self._at]
            self._at += 1
            found |= (byte & 0x7F) << shift
            if byte < 0x80:
                return found
        raise ValueError

    def count(self, most: int) -> int:
        found = self.number()
        if found > most:
            raise ValueError
        return found

    def end(self) -> None:
        if self._at != len(self._raw):
            raise ValueError


def _read_log(reader: _Reader) -> LogCursor:
    store, seq = reader.bytes(16), reader.number()
    time = int.from_bytes(reader.bytes(8), "big")
    if time >= 1 << 63:
        raise ValueError
    return LogCursor(store, seq, Stamp(time, reader.number()))


def _read_partitions(reader: _Reader) -> dict[int, PartitionPosition]:
    found: dict[int, PartitionPosition] = {}
    number = -1
    for _ in range(reader.count(TOKEN_BYTES_MAX)):
        shape = reader.bytes(1)[0]
        number += (reader.number() if shape & _GAPPED else 0) + 1
        floor = reader.number() if shape & _FLOORED else 0
        behind = reader.number() << _ROUND_BITS if shape & _BEHIND else 0
        places = []
        for rank in range(shape & (_GAPPED - 1)):
            tag, lsn = reader.bytes(TAG_SIZE), reader.number() << (_ROUND_BITS if rank else 0)
            if lsn >= 1 << 63:
                raise ValueError
            places.append(FeedPlace(tag, lsn))
        if number >= 1 << 32:
            raise ValueError
        found[number] = PartitionPosition(tuple(places), floor, min(behind, places[0].lsn) if places else 0)
    return found
