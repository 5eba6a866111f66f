"""What peers may copy of a replica's log: segments that take no more appends, which of their records count, and their bytes.

A record counts while the index points to it: what was deleted, replaced or forgotten is told to nobody. What is being copied is
pinned: no compaction begins with it. A pin ends PIN_S after the last look at its segment, and there are PINS_MAX at most.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import NamedTuple

import msgspec

from ambry.blob import BlobState
from ambry.clock import Clock
from ambry.errors import DataCorrupt
from ambry.format.record import RecordKind
from datanode.store.entry import IndexEntry
from datanode.store.index import Index
from datanode.store.log import Log
from datanode.store.scan import FoundRecord, SegmentScan
from datanode.store.segment import Segment

PIN_S = 30.0
PINS_MAX = 32


class SealedSegment(NamedTuple):
    """One that takes no more appends. `size`: offset behind its last record."""

    number: int
    generation: int
    end_lsn: int
    size: int
    salt: int


class StandingRecord(msgspec.Struct, frozen=True, gc=False):
    """A record that the index points to, and what the index says of its blob."""

    id: bytes
    offset: int
    size: int
    state: BlobState
    changed_at_ms: int


class Look(NamedTuple):
    """What stands in a part of a segment; the next begins at `next_offset`, 0 at its end."""

    records: list[StandingRecord]
    next_offset: int


class Copies:
    """The giving side of one replica. `target` gives a segment as far as it is published, None where there is none."""

    def __init__(self, log: Log, index: Index, *, clock: Clock, target: Callable[[int], Segment | None]) -> None:
        self._log = log
        self._index = index
        self._clock = clock
        self._target = target
        self._pins: dict[int, float] = {}
        """By segment number, until when; the one looked at last is the last."""

    def segments(self, since_lsn: int) -> list[SealedSegment]:
        """Those that hold anything behind an LSN, in LSN order: all but the last one, which takes appends or did until now."""
        found = []
        for segment in self._log.in_order()[:-1]:
            view = self._target(segment.number)
            if view is not None and segment.header.end_lsn > since_lsn:
                header = segment.header
                found.append(SealedSegment(segment.number, header.generation, header.end_lsn, view.end, segment.salt))
        return found

    def pin(self, number: int, generation: int) -> Segment | None:
        """A segment to read on a disk thread, which no compaction begins with for a while; None where it is gone."""
        segment = self._target(number)
        if segment is None or segment.header.generation != generation:
            return None
        self._pins.pop(number, None)
        self._pins[number] = self._clock.monotonic() + PIN_S
        if len(self._pins) > PINS_MAX:
            del self._pins[next(iter(self._pins))]
        return segment

    def pinned(self) -> set[int]:
        """The numbers of the segments that are being copied."""
        now = self._clock.monotonic()
        self._pins = {number: until for number, until in self._pins.items() if until > now}
        return set(self._pins)

    def look(self, segment: Segment, offset: int, limit: int, damaged: Container[bytes]) -> Look:
        """Which records count, of the next `limit` from an offset on. Blocking. Raises OSError, AmbryError.

        Where no record begins at the offset, which is a multiple of 8, it begins with the next one. The payloads are not
        verified: whoever takes them does.
        """
        size = min(segment.end, segment.data_size())
        found: list[FoundRecord] = []
        next_offset = 0
        scan = SegmentScan(segment.file, segment.header, size=size, payloads=False)
        for scanned, item in enumerate(scan.run(offset), start=1):
            if isinstance(item, FoundRecord) and item.header.kind != RecordKind.UPDATE and not item.header.unknown:
                found.append(item)
            if scanned >= limit and item.end < size:
                next_offset = item.end
                break
        records = [
            StandingRecord(item.id, item.offset, entry.size, entry.state, entry.changed_at_ms)
            for item, entry in zip(found, self._index.find_all([item.id[16:32] for item in found]), strict=True)
            if entry is not None and self._counts(entry, segment, item) and entry.id not in damaged
        ]
        return Look(records, next_offset)

    @staticmethod
    def _counts(entry: IndexEntry, segment: Segment, found: FoundRecord) -> bool:
        here = entry.id == found.id and entry.segment == segment.number and entry.offset == found.offset
        return here and not entry.state.deleted

    @staticmethod
    def read(segment: Segment, offset: int, size: int) -> bytearray:
        """Bytes of a segment as they stand there, unverified. Blocking. Raises OSError, AmbryError."""
        buffer = bytearray(size)
        count = segment.file.pread(buffer, offset)
        if count != size:
            raise DataCorrupt(f"segment {segment.number}: {size} bytes at {offset} are gone, {count} are there")
        return buffer
