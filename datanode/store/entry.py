"""One entry of a replica's index: the current state and place of one blob.

The key is the 16 bytes of the blob id's uuid; the value has 60 bytes, big-endian.

    offset  size  field          meaning
    0       1     version        1; any other makes the index be rebuilt from the log, as does an unknown flag
    1       1     flags          bit 0: deleted; bit 1: repaired, an older put record of this blob may still be in the log
    2       12    id_prefix      bytes 0..12 of the blob id (its partition is the replica's, its checksum follows)
    14      8     lsn            of the latest change of this blob
    22      4     segment        number of the segment file that holds the put record; 0: only the state is known
    26      4     offset         of the put record in that file
    30      4     size           of the put record, padding included
    34      4     payload_size   bytes of payload in it
    38      4     life_version
    42      8     expires_at_ms
    50      6     changed_at_ms  when the latest change was made, wall clock; retention counts from it
    56      4     checksum       low 32 bits of xxh3-64 over key and bytes 0..56

Invariant: an entry that fails its checksum is never used; LMDB itself notices no bit rot.
"""

from __future__ import annotations

import struct

import msgspec

from ambry.blob import BlobState, DatedState
from ambry.checksum import xxh64
from ambry.errors import IndexCorrupt
from ambry.ids import raw_id

VERSION = 1
_DELETED = 1
_REPAIRED = 2
_VALUE = struct.Struct(">BB12sQIIIIIQHI")
_CHECK = struct.Struct(">I")
VALUE_SIZE = _VALUE.size + _CHECK.size


class Location(msgspec.Struct, frozen=True, gc=False):
    """Where a record stands: the number of its segment, and the offset in its file, bytes."""

    segment: int
    offset: int


class IndexEntry(msgspec.Struct, frozen=True, gc=False):
    """Where a blob is and what became of it. `id` is the whole blob id; sizes and offsets in bytes."""

    id: bytes
    lsn: int
    segment: int
    offset: int
    size: int
    payload_size: int
    state: BlobState
    changed_at_ms: int
    repaired: bool = False

    @property
    def dated(self) -> DatedState:
        """The state with its time."""
        return DatedState(self.state, self.changed_at_ms)

    @property
    def deleted_at_ms(self) -> int:
        """When it was deleted, 0 where it is not."""
        return self.changed_at_ms if self.state.deleted else 0

    @property
    def present(self) -> bool:
        """Whether this replica holds the blob's bytes."""
        return self.segment != 0

    @property
    def location(self) -> Location:
        """Where its put record stands; only of one that is present."""
        return Location(self.segment, self.offset)


def encode(entry: IndexEntry) -> bytes:
    """The value under the key `entry.id[16:32]`."""
    state = entry.state
    value = _VALUE.pack(
        VERSION,
        _DELETED * state.deleted | _REPAIRED * entry.repaired,
        entry.id[:12],
        entry.lsn,
        entry.segment,
        entry.offset,
        entry.size,
        entry.payload_size,
        state.life_version,
        state.expires_at_ms,
        entry.changed_at_ms >> 32,
        entry.changed_at_ms & 0xFFFFFFFF,
    )
    return value + _CHECK.pack(xxh64(entry.id[16:32] + value) & 0xFFFFFFFF)


def decode(key: bytes, value: bytes, partition: int) -> IndexEntry:
    """Raises IndexCorrupt."""
    if len(value) != VALUE_SIZE or xxh64(key + value[:-4]) & 0xFFFFFFFF != _CHECK.unpack_from(value, _VALUE.size)[0]:
        raise IndexCorrupt(f"the index entry of {key.hex()} in partition {partition} fails its checksum")
    version, flags, prefix, lsn, segment, offset, size, payload_size, life, expires, changed_high, changed_low = (
        _VALUE.unpack_from(value)
    )
    if version != VERSION or flags & ~(_DELETED | _REPAIRED):
        raise IndexCorrupt(
            f"the index entry of {key.hex()} in partition {partition} has version {version}, flags {flags:#04x}"
        )
    state = BlobState(life, bool(flags & _DELETED), expires)
    changed_at_ms = changed_high << 32 | changed_low
    repaired = bool(flags & _REPAIRED)
    return IndexEntry(
        raw_id(prefix, partition, key), lsn, segment, offset, size, payload_size, state, changed_at_ms, repaired
    )
