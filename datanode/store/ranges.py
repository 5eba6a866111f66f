"""Digests over ranges of an index: what makes two replicas of a partition comparable without listing their blobs.

A digest is a sum modulo 2**128 over the blobs of a range of keys, of the xxh3-128 of (id, life version, expiry, bytes here or
not). A sum forgets order, places and LSNs, and follows every change: the old entry out, the new one in. That happens in the
transaction of the checkpoint that writes the entries, so digests and entries can never disagree, whatever crashes.

Retention drops what is dead at another moment on every replica, so it must not count. Tombstones count nowhere: a blob that
lives here differs from one that is deleted or absent there all the same. A blob with a time to live counts in a window of its
expiry; a comparison leaves out the windows from which something may have been dropped. The window is chosen by id and expiry
alone: 2**24 ms (4.7 hours), or a 32nd of the time to live where that is more.

Ranges are cut where they grow beyond SIZE_MAX entries, at aligned places of the key space (keys start with the time), so two
replicas that hold nearly the same cut nearly the same. A digest of any other range is a sum of whole ranges and of the entries
at its ends. A range's record stands under its first key (16):

    offset  size  field     meaning
    0       4     checksum  low 32 bits of xxh3-64 over the key and what follows
    4       28*n  windows   of each, in order: window (8), sum (16), count of blobs (4)

Memory: the first key of every range, some 60 bytes for a thousand blobs.
"""

from __future__ import annotations

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec
import xxhash

from ambry.blob import NEVER_MS
from ambry.checksum import xxh64
from ambry.errors import DataCorrupt
from datanode.store.entry import IndexEntry
from datanode.store.usage import UsageChange, UsageRecords

SIZE_MAX = 2_048
"""Entries of a range, deleted ones included, beyond which it is cut."""
KEY_SIZE = 16
FIRST_KEY = bytes(KEY_SIZE)
BEHIND_ALL = b"\xff" * (KEY_SIZE + 1)
"""Behind every key."""
STATE_KEY = b"ranges"
"""Where the index keeps a Coverage, beside its checkpoint."""
FOREVER = 0xFF << 56
"""The window of what does not expire."""
DELETED = 0
"""The window of tombstones, which no comparison looks at: they only count for the size of a range."""

_MODULUS = 1 << 128
_WINDOW_BITS_MIN = 24
_WINDOW_SHARE_BITS = 5
_STATE = struct.Struct(">IQ?")
_WINDOW = struct.Struct(">Q16sI")
_CHECK = struct.Struct(">I")


class Sum(NamedTuple):
    """Of some blobs: the digest, and how many they are."""

    digest: int = 0
    blobs: int = 0

    def plus(self, other: Sum) -> Sum:
        return Sum((self.digest + other.digest) % _MODULUS, self.blobs + other.blobs)

    def minus(self, other: Sum) -> Sum:
        return Sum((self.digest - other.digest) % _MODULUS, self.blobs - other.blobs)


NOTHING = Sum()
Windows = dict[int, Sum]
"""A range, by window."""


class Coverage(msgspec.Struct, frozen=True):
    """How far the digests, and the usage of containers, describe the entries: all before this key; BEHIND_ALL: they are whole,
    empty: begin anew."""

    version: int = 2
    before: bytes = BEHIND_ALL


_coverage = msgspec.msgpack.Decoder(Coverage)

WHOLE = Coverage()
UNKNOWN = Coverage(before=b"")


def read_coverage(raw: bytes | None, *, empty: bool) -> Coverage:
    """What an index says of its digests; `empty`: it has no entries. What it does not say is found out anew."""
    if raw is None:
        return WHOLE if empty else UNKNOWN
    try:
        found = _coverage.decode(raw)
    except msgspec.MsgspecError:
        return UNKNOWN
    return found if found.version == WHOLE.version else UNKNOWN


def window_of(entry: IndexEntry) -> int:
    """The window that an entry counts in."""
    if entry.state.deleted:
        return DELETED
    expires_at_ms = entry.state.expires_at_ms
    if expires_at_ms >= NEVER_MS:
        return FOREVER
    created_at_ms = int.from_bytes(entry.id[16:22], "big")
    bits = max(_WINDOW_BITS_MIN, max(0, expires_at_ms - created_at_ms).bit_length() - _WINDOW_SHARE_BITS)
    return bits << 56 | expires_at_ms >> bits


def compared(window: int, after_ms: int) -> bool:
    """Whether everything in a window expires after `after_ms`, wall clock."""
    if window == FOREVER:
        return True
    return (window & ((1 << 56) - 1)) << (window >> 56) > after_ms


def over(window: int, now_ms: int) -> bool:
    """Whether nothing in a window is alive any more at `now_ms`, wall clock."""
    if window in (DELETED, FOREVER):
        return window == DELETED
    bits = window >> 56
    return ((window & ((1 << 56) - 1)) + 1) << bits <= now_ms


def digest_of(entry: IndexEntry) -> int:
    """What an entry adds to the digest of its window."""
    state = entry.state
    if state.deleted:
        return 0
    told = _STATE.pack(state.life_version, state.expires_at_ms, entry.present)
    return xxhash.xxh3_128_intdigest(entry.id + told)


def sum_of(entry: IndexEntry) -> Sum:
    """What an entry adds to its window."""
    return Sum(digest_of(entry), 1)


def add(windows: Windows, entry: IndexEntry) -> None:
    """Count an entry."""
    window = window_of(entry)
    windows[window] = windows.get(window, NOTHING).plus(sum_of(entry))


def size_of(windows: Mapping[int, Sum]) -> int:
    """How many entries a range has."""
    return sum(item.blobs for item in windows.values())


def total(windows: Mapping[int, Sum], after_ms: int) -> Sum:
    """The digest over the windows that are compared."""
    found = NOTHING
    for window, item in windows.items():
        if compared(window, after_ms):
            found = found.plus(item)
    return found


def encode(start: bytes, windows: Mapping[int, Sum]) -> bytes:
    """The record of a range."""
    content = b"".join(
        _WINDOW.pack(window, item.digest.to_bytes(16, "big"), item.blobs) for window, item in sorted(windows.items())
    )
    return _CHECK.pack(xxh64(start + content) & 0xFFFFFFFF) + content


def decode(start: bytes, record: bytes | None) -> Windows:
    """A range that has no record is empty. Raises DataCorrupt."""
    if record is None:
        return {}
    content = record[_CHECK.size :]
    check = _CHECK.pack(xxh64(start + content) & 0xFFFFFFFF)
    if len(content) % _WINDOW.size or record[: _CHECK.size] != check:
        raise DataCorrupt(f"the digest of the range from {start.hex()} on fails its checksum")
    return {window: Sum(int.from_bytes(raw, "big"), count) for window, raw, count in _WINDOW.iter_unpack(content)}


class Records(UsageRecords, Protocol):
    """The records of ranges, and of what goes with them, in one transaction that writes."""

    def get(self, key: bytes) -> bytes | None: ...
    def put(self, key: bytes, value: bytes) -> None: ...
    def delete(self, key: bytes) -> None: ...
    def put_coverage(self, value: bytes) -> None: ...


class Ranges:
    """The ranges of one index: where they start, and how far they describe it. Its owner keeps the records."""

    def __init__(self, starts: Sequence[bytes], coverage: Coverage) -> None:
        self.starts = list(starts) or [FIRST_KEY]
        self.coverage = coverage
        self.too_large: set[bytes] = set()
        """The first keys of ranges that are to be cut, as far as it was noticed."""

    @property
    def whole(self) -> bool:
        """Whether digests describe the whole index."""
        return self.coverage == WHOLE

    def start_of(self, key: bytes) -> bytes:
        """The first key of the range that a key lies in."""
        return self.starts[bisect_right(self.starts, key) - 1]

    def end_of(self, start: bytes) -> bytes:
        """Behind the range that starts there."""
        place = bisect_right(self.starts, start)
        return self.starts[place] if place < len(self.starts) else BEHIND_ALL

    def note_size(self, start: bytes, windows: Mapping[int, Sum]) -> None:
        """What a range was seen to hold."""
        if size_of(windows) > SIZE_MAX:
            self.too_large.add(start)

    def between(self, low: bytes, high: bytes) -> list[bytes]:
        """The first keys of the ranges that have keys from `low` on and before `high`."""
        return self.starts[max(0, bisect_right(self.starts, low) - 1) : bisect_left(self.starts, high)]


class RangeChange:
    """What one transaction changes; it is asked to `write` that at its end."""

    def __init__(self, ranges: Ranges) -> None:
        self._ranges = ranges
        self._usage = UsageChange()
        self._changed: dict[bytes, dict[int, list[int]]] = {}
        """By the start of a range, and by window: what its digest and its blobs grow by. Numbers, since there is one change of
        them for every blob of a checkpoint."""

    def note(self, key: bytes, old: IndexEntry | None, new: IndexEntry | None) -> None:
        """The entry of a key changes."""
        if key >= self._ranges.coverage.before:
            return  # it is counted when the digests get there
        if old is not None and new is not None and old.state == new.state and old.present == new.present:
            return
        growths = self._changed.setdefault(self._ranges.start_of(key), {})
        if new is not None:
            window = window_of(new)
            growth = growths.setdefault(window, [0, 0])
            growth[0] += digest_of(new)
            growth[1] += 1
            self._usage.note(new, window, 1)
        if old is not None:
            window = window_of(old)
            growth = growths.setdefault(window, [0, 0])
            growth[0] -= digest_of(old)
            growth[1] -= 1
            self._usage.note(old, window, -1)

    def write(self, records: Records) -> None:
        """One that was there and cannot be read makes all begin anew: that is found again when this is not durable."""
        ranges = self._ranges
        try:
            for start, growths in self._changed.items():
                change = {window: Sum(digest % _MODULUS, blobs) for window, (digest, blobs) in growths.items()}
                windows = merged(decode(start, records.get(start)), change)
                records.put(start, encode(start, windows))
                ranges.note_size(start, windows)
            self._usage.write(records)
        except DataCorrupt:
            ranges.coverage = UNKNOWN
        records.put_coverage(msgspec.msgpack.encode(ranges.coverage))


def merged(windows: Mapping[int, Sum], change: Mapping[int, Sum]) -> Windows:
    """A range after a change; windows that nothing is left in go."""
    found = dict(windows)
    for window, item in change.items():
        found[window] = found.get(window, NOTHING).plus(item)
        if not found[window].blobs:
            del found[window]
    return found


def place_to_cut(start: bytes, end: bytes, keys: Sequence[bytes]) -> bytes:
    """Where to cut a range that has these keys, in order, and more than SIZE_MAX: the first range then has SIZE_MAX at most.

    It ends with the largest aligned block from its start on that holds so few; a block without any joins what comes after it.
    """
    beyond = int.from_bytes(keys[SIZE_MAX], "big")
    first = int.from_bytes(keys[0], "big")
    low = int.from_bytes(start, "big")
    while low <= first:
        bits = (beyond - low).bit_length() - 1
        if low:
            bits = min(bits, (low & -low).bit_length() - 1)
        low += 1 << bits
    return low.to_bytes(KEY_SIZE, "big")


def sums_between(
    bounds: Sequence[bytes],
    after_ms: int,
    pieces: Iterable[tuple[bytes, bytes, Windows]],
    entries: Callable[[bytes, bytes], Iterable[IndexEntry]],
) -> list[Sum]:
    """The digest of each interval between neighbouring bounds.

    `pieces` are the ranges that have keys in them: start, end, windows. `entries` lists those between two keys.
    """
    found = [NOTHING] * (len(bounds) - 1)
    for start, end, windows in pieces:
        place = bisect_right(bounds, start) - 1
        if 0 <= place < len(found) and end <= bounds[place + 1]:
            found[place] = found[place].plus(total(windows, after_ms))
            continue
        for entry in entries(max(start, bounds[0]), min(end, bounds[-1])):
            if compared(window_of(entry), after_ms):
                place = bisect_right(bounds, entry.id[16:32]) - 1
                found[place] = found[place].plus(sum_of(entry))
    return found
