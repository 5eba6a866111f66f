"""The log of one replica: its segments, the one that takes appends, and what of it is not synced yet.

Records come in by batches (datanode/store/batch.py). Methods run on the event loop's thread, but those marked blocking.

Invariant: an LSN is never given to two records that anybody could have seen. After an unclean stop `active` is None, so the
next record opens a segment whose base lies beyond the capacity of all before it.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ambry.checksum import Buffer
from ambry.errors import InvariantBroken
from ambry.format.segment import FOOTER_SIZE, HEADER_SIZE, SegmentHeader
from datanode.store.files import IOV_MAX, File, Files
from datanode.store.index import LsnRange
from datanode.store.segment import Segment
from datanode.store.writing import WRITE_BYTES, write_all


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsynced:
    """A segment with bytes that were written and not synced; `write` counts the writes to the log, and is the last of them."""

    segment: Segment
    write: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is written at once: the bytes of records that follow each other in one segment, from `offset` on."""

    segment: Segment
    offset: int
    buffers: list[Buffer]


class Log:
    """All segments of a replica by number, and the one that takes appends."""

    def __init__(
        self, files: Files, directory: Path, *, partition: int, incarnation: bytes, segment_size_bytes: int
    ) -> None:
        self._files = files
        self._directory = directory
        self.partition = partition
        self._incarnation = incarnation
        self._segment_size_bytes = segment_size_bytes
        self.segments: dict[int, Segment] = {}
        self.active: Segment | None = None
        self._next_number = 1
        self._next_base_lsn = 0
        self.unsynced: dict[int, Unsynced] = {}
        """By segment number, what was written and not synced yet: sync the segments, and then hand it to `mark_synced`."""
        self._writes = 0
        self._guard = threading.Lock()
        self.in_reserve = True
        """Whether the room of the segment in use may be of what the disk keeps for deletes; looked at before the next put."""
        self.failed = False
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

    def last_before(self, lsn: int) -> Segment | None:
        """The last segment that begins at an LSN or before it."""
        early = (segment for segment in self.segments.values() if segment.base_lsn <= lsn)
        return max(early, key=lambda segment: segment.base_lsn, default=None)

    def compacted(self) -> list[int]:
        """Numbers of the segments that compactions made."""
        return [number for number, segment in self.segments.items() if segment.header.generation]

    def holes(self) -> list[LsnRange]:
        """Ranges of LSNs that no segment covers, though segments cover later ones: every range was covered once."""
        found: list[LsnRange] = []
        covered = 0
        for segment in self.in_order():
            if segment.base_lsn > covered:
                found.append(LsnRange(covered, segment.base_lsn))
            covered = max(covered, segment.header.end_lsn)
        return found

    def size_bytes(self) -> int:
        """Bytes of segment files, as far as they are filled."""
        return sum(segment.end for segment in self.segments.values())

    def bytes_from(self, lsn: int) -> int:
        """Bytes of the records from `lsn` on, about: what was compacted keeps its LSNs."""
        return sum(
            segment.end_lsn - max(lsn, segment.base_lsn)
            for segment in self.segments.values()
            if segment.end_lsn > lsn and segment.header.generation == 0
        )

    def free_bytes(self) -> int:
        """Room on the disk. Blocking, briefly. Raises OSError."""
        return self._files.free_bytes(self._directory)

    # --- appends ---

    def plan_segment(self, record_size: int, now_ms: int) -> Segment:
        """The segment, not on disk yet, that follows all others, with room for a record of `record_size` bytes at least."""
        capacity = max(self._segment_size_bytes, HEADER_SIZE + record_size + FOOTER_SIZE)
        header = SegmentHeader(
            partition=self.partition,
            incarnation=self._incarnation,
            base_lsn=self._next_base_lsn,
            end_lsn=self._next_base_lsn + capacity,
            capacity_bytes=capacity,
            created_at_ms=now_ms,
        )
        segment = Segment(self._next_number, header)
        self._next_number += 1
        self._next_base_lsn += capacity
        return segment

    def create(self, segment: Segment) -> None:
        """Put a planned segment on disk. Blocking. Raises OSError and leaves nothing behind."""
        segment.create(self._files, self._directory)

    def start_segment(self, now_ms: int) -> None:
        """Open a new, empty segment for what comes next. Blocking. Raises OSError."""
        segment = self.plan_segment(0, now_ms)
        self.create(segment)
        self.segments[segment.number] = segment
        self.active = segment

    def give_back(self, active: Segment | None, planned: Sequence[Segment]) -> None:
        """Go back to `active`: nothing was written since. What got created of `planned` stays empty and unused.

        Numbers and LSNs of the others are given again: nobody has seen them, and a hole would look like a lost segment.
        """
        self.active = active
        for segment in reversed(planned):
            if segment.on_disk:
                segment.end = HEADER_SIZE
                self.segments[segment.number] = segment
            elif segment.header.end_lsn == self._next_base_lsn:
                self._next_base_lsn = segment.base_lsn
                if self._next_number == segment.number + 1:  # a compaction may have taken the next one
                    self._next_number = segment.number

    # --- writing and syncing ---

    def write(self, runs: Sequence[Run], *, sealed: Sequence[Segment], sync: Collection[Segment]) -> None:
        """Write runs, then the footers of `sealed`, then sync. Blocking; durable on return is what stands in `sync`.

        Raises OSError; never repeat it then. Where `failed` is not set all the same, nothing was written.
        """
        held: list[File] = []
        begun = False
        try:
            for segment in dict.fromkeys([*(run.segment for run in runs), *sealed]):
                # Before the first byte: a lack of descriptors in the midst would leave unknown what is on the disk.
                segment.file.hold()
                held.append(segment.file)
            begun = True
            for run in runs:
                file, buffers = run.segment.file, run.buffers
                size = sum(map(len, buffers))
                small = size <= WRITE_BYTES and len(buffers) <= IOV_MAX
                if not small or file.pwritev(buffers, run.offset) < size:
                    write_all(file, buffers, run.offset)
            for segment in sealed:
                segment.seal()
            if not sync:
                return
            # A batch and a checkpoint may sync the same segment on two threads. The failure is reported to one of them, and the
            # other's sync then succeeds without the bytes that were dropped: so they go one after the other, and the first
            # failure is the last.
            with self._guard:
                if self.failed:
                    raise OSError(errno.EIO, "an earlier write or sync of this log failed")
                try:
                    for segment in sync:
                        segment.file.fdatasync()
                except BaseException:
                    self.failed = True
                    raise
        except BaseException:
            self.failed |= begun
            raise
        finally:
            for file in held:
                file.release()

    def sync(self, segments: Collection[Segment]) -> None:
        """As `write`, of nothing: what was written before becomes durable."""
        self.write((), sealed=(), sync=segments)

    def note_written(self, written: Iterable[Segment], *, created: Iterable[Segment], synced: bool) -> None:
        """A write to these segments is over, and everything in them is synced or is not; those that it `created` count now."""
        self._writes += 1
        for segment in created:
            self.segments[segment.number] = segment
        for segment in written:
            if synced:
                self.unsynced.pop(segment.number, None)
            else:
                self.unsynced[segment.number] = Unsynced(segment=segment, write=self._writes)

    def mark_synced(self, unsynced: Iterable[Unsynced]) -> None:
        """Note that `sync` returned; a segment that got more un-synced bytes in the meantime stays listed."""
        for item in unsynced:
            if self.unsynced.get(item.segment.number) == item:
                del self.unsynced[item.segment.number]

    # --- compaction ---

    def plan_compacted(self, inputs: Sequence[Segment], now_ms: int) -> Segment:
        """A segment, not on disk yet, that will hold what is still needed of `inputs`, which follow each other in the log."""
        first, last = inputs[0].header, inputs[-1].header
        if any(one.header.end_lsn != other.base_lsn for one, other in pairwise(inputs)):
            # It would cover what is missing, and hide from the next opening that anything is.
            numbers = [segment.number for segment in inputs]
            raise InvariantBroken(f"partition {self.partition}: segments {numbers} do not follow each other")
        header = SegmentHeader(
            partition=self.partition,
            incarnation=self._incarnation,
            base_lsn=first.base_lsn,
            end_lsn=last.end_lsn,
            capacity_bytes=0,
            created_at_ms=now_ms,
            generation=1 + max(segment.header.generation for segment in inputs),
        )
        segment = Segment(self._next_number, header)
        self._next_number += 1
        return segment

    def retire(self, numbers: Sequence[int]) -> list[Segment]:
        """Take segments out that nothing points to any more; the caller deletes them."""
        for number in numbers:
            self.unsynced.pop(number, None)
        return [self.segments.pop(number) for number in numbers]

    def close(self) -> None:
        for segment in self.segments.values():
            segment.close()
