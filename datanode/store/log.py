"""The log of one replica: placing records, writing them, syncing them.

Three steps, so that decisions and I/O stay apart. `place` (event loop) gives each record of a batch its segment, offset and
LSN. `write` (a disk thread) does the I/O and is the only blocking step. `abandon` (event loop) takes a placement back whose
segments could not be created. One batch at a time is between `place` and its end.

Invariant: an LSN is never given to two records that anybody could have seen. After an unclean stop `active` is None, so the
next record opens a segment whose base lies beyond the capacity of all before it.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ambry.checksum import Buffer
from ambry.format import record as record_format
from ambry.format.record import Record
from ambry.format.segment import FOOTER_SIZE, HEADER_SIZE, SegmentHeader
from datanode.store.files import Files
from datanode.store.segment import Segment

_PADDING = [bytes(size) for size in range(record_format.ALIGNMENT)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one record goes."""

    segment: Segment
    offset: int
    lsn: int
    size: int


@dataclass(slots=True, kw_only=True)
class Placement:
    """A batch with its places, ready to be written. `before` is what `abandon` goes back to.

    `created` are the segments that it opens, `sealed` those that it fills up.
    """

    records: Sequence[Record]
    places: list[Place]
    sync: bool
    before: tuple[Segment | None, int]
    created: list[Segment] = field(default_factory=list)
    sealed: list[Segment] = field(default_factory=list)

    def touched(self) -> list[Segment]:
        """The segments that it writes to, each once, in order."""
        return list(dict.fromkeys([*self.sealed, *(place.segment for place in self.places)]))


class Log:
    """All segments of a replica by number, and the one that takes appends."""

    def __init__(
        self, files: Files, directory: Path, *, partition: int, incarnation: bytes, segment_size_bytes: int
    ) -> None:
        self._files = files
        self._directory = directory
        self._partition = partition
        self._incarnation = incarnation
        self._segment_size_bytes = segment_size_bytes
        self.segments: dict[int, Segment] = {}
        self.active: Segment | None = None
        self._next_number = 1
        self._next_base_lsn = 0
        self._unsynced: dict[int, int] = {}  # segment number -> a counter that grows with every un-synced batch
        self._batches = 0
        self._guard = threading.Lock()
        self._failed = False
        """Whether a write or sync failed: what is on the disk is not known any more."""

    def adopt(self, segment: Segment) -> None:
        """Take in a segment found on disk at start; it gets no appends unless it is made `active`."""
        self.segments[segment.number] = segment
        self._next_number = max(self._next_number, segment.number + 1)
        self._next_base_lsn = max(self._next_base_lsn, segment.header.end_lsn)

    def skip(self, number: int, lsns: int, *, beyond: int = 0) -> None:
        """Leave room for a segment that cannot be read: neither its number nor its LSNs are given again.

        `beyond` is an LSN that is known to have been given.
        """
        self._next_number = max(self._next_number, number + 1)
        self._next_base_lsn = max(self._next_base_lsn, beyond) + lsns

    def in_order(self) -> list[Segment]:
        """The segments in the order of the LSNs that they cover."""
        return sorted(self.segments.values(), key=lambda segment: segment.base_lsn)

    def holes(self) -> list[tuple[int, int]]:
        """Ranges of LSNs that no segment covers, though segments cover later ones: every range was covered once."""
        found: list[tuple[int, int]] = []
        covered = 0
        for segment in self.in_order():
            if segment.base_lsn > covered:
                found.append((covered, segment.base_lsn))
            covered = max(covered, segment.header.end_lsn)
        return found

    @property
    def unsynced(self) -> bool:
        """Whether bytes were written and not synced yet."""
        return bool(self._unsynced)

    def size_bytes(self) -> int:
        """Bytes of segment files, as far as they are filled."""
        return sum(segment.end for segment in self.segments.values())

    def place(self, records: Sequence[Record], *, sync: bool, now_ms: int) -> Placement:
        """Give every record its place, opening new segments (not on disk yet) where one is full."""
        active = self.active
        placement = Placement(records=records, places=[], sync=sync, before=(active, active.end if active else 0))
        for record in records:
            size = record.size
            if active is None or active.room < size:
                if active is not None:
                    placement.sealed.append(active)
                active = self._plan_segment(size, now_ms)
                placement.created.append(active)
            placement.places.append(Place(segment=active, offset=active.end, lsn=active.end_lsn, size=size))
            active.end += size
        self.active = active
        return placement

    def _plan_segment(self, record_size: int, now_ms: int) -> Segment:
        capacity = max(self._segment_size_bytes, HEADER_SIZE + record_size + FOOTER_SIZE)
        header = SegmentHeader(
            partition=self._partition,
            incarnation=self._incarnation,
            base_lsn=self._next_base_lsn,
            end_lsn=self._next_base_lsn + capacity,
            capacity_bytes=capacity,
            created_at_ms=now_ms,
        )
        segment = Segment(self._next_number, header, None)
        self._next_number += 1
        self._next_base_lsn += capacity
        return segment

    def start_segment(self, now_ms: int) -> None:
        """Open a new, empty segment for what comes next. Blocking. Raises OSError."""
        segment = self._plan_segment(0, now_ms)
        segment.create(self._files, self._directory)
        self.segments[segment.number] = segment
        self.active = segment

    def create_segments(self, placement: Placement) -> None:
        """Put the new segments of a placement on disk. Blocking. Raises OSError with nothing of the batch written."""
        for segment in placement.created:
            segment.create(self._files, self._directory)

    def write(self, placement: Placement) -> None:
        """Write a batch, and sync it where the placement says so: then it is durable on return. Blocking.

        Raises OSError; afterwards nothing may be acknowledged and no sync retried, since what reached the disk is unknown.
        """
        try:
            self._write(placement)
        except OSError:
            self._failed = True
            raise
        if placement.sync:
            self._sync(placement.touched())

    def _write(self, placement: Placement) -> None:
        start = 0
        for index, place in enumerate(placement.places):
            following = placement.places[index + 1] if index + 1 < len(placement.places) else None
            if following is None or following.segment is not place.segment:
                self._write_run(placement, start, index + 1)
                start = index + 1
        for segment in placement.sealed:
            segment.seal()

    def _sync(self, segments: Iterable[Segment]) -> None:
        """Sync segments, unless a write or sync of this log failed before.

        A batch and a checkpoint may sync the same segment on two threads. The failure is reported to one of them, and the
        other's sync then succeeds without the bytes that were dropped: so they go one after the other, and the first failure
        is the last.
        """
        with self._guard:
            if self._failed:
                raise OSError(errno.EIO, "an earlier write or sync of this log failed")
            try:
                for segment in segments:
                    segment.file.fdatasync()
            except OSError:
                self._failed = True
                raise

    def _write_run(self, placement: Placement, start: int, end: int) -> None:
        buffers: list[Buffer] = []
        for record, place in zip(placement.records[start:end], placement.places[start:end], strict=True):
            head = record_format.encode_head(record, place.lsn, place.segment.salt)
            buffers.append(head)
            if len(record.payload):
                buffers.append(record.payload)
            padding = place.size - len(head) - len(record.payload)
            if padding:
                buffers.append(_PADDING[padding])
        first = placement.places[start]
        first.segment.file.pwritev(buffers, first.offset)

    def finish(self, placement: Placement) -> None:
        """Take a written batch into the books."""
        for segment in placement.created:
            self.segments[segment.number] = segment
        self._batches += 1
        for segment in placement.touched():
            if placement.sync:
                self._unsynced.pop(segment.number, None)
            else:
                self._unsynced[segment.number] = self._batches

    def abandon(self, placement: Placement) -> None:
        """Take back a placement whose segments could not be created; what did get created stays empty and unused.

        Numbers and LSNs of the others are given again: nobody has seen them, and a hole would look like a lost segment.
        """
        self.active, end = placement.before
        if self.active is not None:
            self.active.end = end
        for segment in reversed(placement.created):
            if segment.on_disk:
                segment.end = HEADER_SIZE
                self.segments[segment.number] = segment
            elif segment.header.end_lsn == self._next_base_lsn:
                self._next_base_lsn = segment.base_lsn
                if self._next_number == segment.number + 1:  # a compaction may have taken the next one
                    self._next_number = segment.number

    def unsynced_segments(self) -> dict[int, int]:
        """The segments with bytes that were not synced yet; hand it to `sync` and then to `mark_synced`."""
        return dict(self._unsynced)

    def sync(self, unsynced: dict[int, int]) -> None:
        """Sync segments. Blocking. Raises OSError; the sync must not be repeated then."""
        self._sync([self.segments[number] for number in unsynced])

    def mark_synced(self, unsynced: dict[int, int]) -> None:
        """Note that `sync` returned; a segment that got more un-synced bytes in the meantime stays listed."""
        for number, batch in unsynced.items():
            if self._unsynced.get(number) == batch:
                del self._unsynced[number]

    # --- compaction ---

    def plan_compacted(self, inputs: Sequence[Segment], now_ms: int) -> Segment:
        """A segment, not on disk yet, that will hold what is still needed of `inputs`, which are neighbours in LSN order."""
        first, last = inputs[0].header, inputs[-1].header
        header = SegmentHeader(
            partition=self._partition,
            incarnation=self._incarnation,
            base_lsn=first.base_lsn,
            end_lsn=last.end_lsn,
            capacity_bytes=0,
            created_at_ms=now_ms,
            generation=1 + max(segment.header.generation for segment in inputs),
        )
        segment = Segment(self._next_number, header, None)
        self._next_number += 1
        return segment

    def retire(self, numbers: Sequence[int]) -> list[Segment]:
        """Take segments out that nothing points to any more; the caller deletes them."""
        for number in numbers:
            self._unsynced.pop(number, None)
        return [self.segments.pop(number) for number in numbers]

    def close(self) -> None:
        for segment in self.segments.values():
            segment.close()
