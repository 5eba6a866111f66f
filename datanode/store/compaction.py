"""Giving the space of dead blobs back: which segments are worth rewriting, what is kept, and the rewriting itself.

A few neighbouring segments are read, every record verified, and what is still needed is written, in the same order and with the
same LSNs, into one new segment of a higher generation. The steps, and what a crash leaves at each:

    1  copy into a file under another name; sync it      a leftover that the next start removes
    2  rename it, sync the directory                     both are there: the higher generation counts (format/segment.py)
    3  point the index to the new places, checkpoint     the same
    4  delete the old files, sync the directory          the new file alone, or some old ones that the next start deletes

What is kept is decided from the index when a record is copied, and what was left out is checked once more on the event loop
before the index is switched: a blob that was undeleted in between stops the compaction, and nothing is lost.

Invariants: a record that the index points to is copied or its blob is dead past retention. A tombstone goes only when every
peer has seen it and its own retention is over. Only segments that the last checkpoint covers whole are compacted, and nothing
goes because of a record that the last checkpoint does not cover: a power cut may still take that one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ambry.blob import BlobState
from ambry.checksum import Buffer
from ambry.errors import DataCorrupt
from ambry.format import record as record_format
from ambry.format import segment as segment_format
from ambry.format.record import Record, RecordKind
from ambry.format.segment import HEADER_SIZE
from ambry.ids import ID_SIZE
from datanode.store.entry import IndexEntry
from datanode.store.files import Files
from datanode.store.recovery import Found, Gap, SegmentScan
from datanode.store.segment import Segment, segment_name

WRITE_BYTES = 1 << 20
UPDATE_BYTES = Record(kind=RecordKind.UPDATE, id=bytes(ID_SIZE), state=BlobState(), written_at_ms=0).size


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What may go. Times are wall clock, in milliseconds; `horizon_lsn`: every peer has seen all before it."""

    now_ms: int
    deleted_ms: int
    tombstone_ms: int
    horizon_lsn: int

    def bytes_dead(self, entry: IndexEntry) -> bool:
        """Whether nobody can ever read this blob's bytes again."""
        if entry.state.deleted:
            return entry.changed_at_ms + self.deleted_ms <= self.now_ms
        # A state that came before its bytes has no expiry yet: it is new, not long expired.
        return max(entry.state.expires_at_ms, entry.changed_at_ms) + self.deleted_ms <= self.now_ms

    def entry_dead(self, entry: IndexEntry) -> bool:
        """Whether the blob may be forgotten altogether, given that its bytes are dead.

        An expired blob needs no tombstone: no replica fetches it any more. A repaired one keeps it, since an older put record
        may still be in the log and would bring it back when the index is rebuilt.
        """
        if not entry.state.deleted:
            return True
        old = entry.changed_at_ms + max(self.deleted_ms, self.tombstone_ms) <= self.now_ms
        return old and entry.lsn < self.horizon_lsn and not entry.repaired


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One segment as the planner sees it. Bytes; `live_bytes` is what a copy of it would keep at most."""

    number: int
    used_bytes: int
    live_bytes: int

    @property
    def dead_bytes(self) -> int:
        return max(0, self.used_bytes - self.live_bytes)


def plan(usages: Sequence[Usage], *, free_bytes: int, output_bytes_max: int, dead_share_min: float) -> list[int]:
    """The neighbouring segments to rewrite into one, by number; empty when none is worth it or there is no room.

    `usages` are in LSN order. Benefit is what comes back, cost is what must be copied; the run with the best ratio wins among
    those whose live bytes fit one segment and whose dead share is at least `dead_share_min`.
    """
    best: list[int] = []
    best_score = 0.0
    for start in range(len(usages)):
        live = used = 0
        for end in range(start, len(usages)):
            live += usages[end].live_bytes
            used += usages[end].used_bytes
            if live > output_bytes_max:
                break
            dead = used - live
            if used <= 0 or dead / used < dead_share_min or live > free_bytes:
                continue
            score = dead / (live + HEADER_SIZE) * min(1.0, dead / output_bytes_max + 0.5)
            if score > best_score:
                best, best_score = [usage.number for usage in usages[start : end + 1]], score
    return best


@dataclass(slots=True)
class Copied:
    """What one compaction did: the new segment, where kept puts went, and what was left out."""

    output: Segment
    inputs: list[Segment]
    moved: list[tuple[bytes, int, int, int]] = field(default_factory=list)
    """Blob id, old segment, old offset, new offset."""
    dropped: list[tuple[bytes, int, int]] = field(default_factory=list)
    """Blob id, segment, offset of put records of dead blobs."""
    forgotten: list[tuple[bytes, int]] = field(default_factory=list)
    """Blob id and LSN of tombstones that were left out."""
    bytes_written: int = 0


class DamagedInput(DataCorrupt):
    """An input holds bytes that are no record: it must be repaired before it is compacted away."""

    code = 64_001


class Copier:
    """Steps 1 and 2, on a disk thread. `lookup` reads the index; `pause` is called with every piece's size.

    `durable_lsn`: the last checkpoint's. Records from there on may not be synced yet.
    """

    def __init__(
        self,
        files: Files,
        directory: Path,
        *,
        lookup: Callable[[bytes], IndexEntry | None],
        durable_lsn: int,
        retention: Retention,
        pause: Callable[[int], None],
    ) -> None:
        self._durable_lsn = durable_lsn
        self._files = files
        self._directory = directory
        self._lookup = lookup
        self._retention = retention
        self._pause = pause

    def run(self, inputs: Sequence[Segment], output: Segment) -> Copied:
        """Write `output`, durable and under its name on return. Blocking.

        Raises OSError or DamagedInput, leaving the log as it was.
        """
        copied = Copied(output, list(inputs))
        path = self._directory / segment_name(output.number)
        temporary = path.with_name(path.name + ".tmp")
        if self._files.exists(temporary):
            self._files.unlink(temporary)
        at = temporary
        file = self._files.create(temporary)
        try:
            file.pwritev([segment_format.encode(output.header)], 0)
            for segment in inputs:
                self._copy(segment, output, file.pwritev, copied)
            file.fsync()
            self._files.rename(temporary, path)
            at = path
            # fsync the directory too: the new name must be durable before the old files go.
            self._files.sync_directory(self._directory)
        except BaseException:
            file.close()
            if self._files.exists(at):
                self._files.unlink(at)
            raise
        output.adopt_file(file)
        return copied

    def _copy(
        self, segment: Segment, output: Segment, pwritev: Callable[[Sequence[Buffer], int], None], copied: Copied
    ) -> None:
        pending: list[Buffer] = []
        pending_bytes = 0
        start = output.end
        for item in SegmentScan(segment.file, segment.header, size=segment.end).run(HEADER_SIZE):
            if isinstance(item, Gap):
                if not item.zeros:
                    raise DamagedInput(f"segment {segment.number} is damaged from {item.start} to {item.end}")
                continue
            self._pause(item.header.record_size)
            image = self._image(segment, item, output.end, copied)
            if image is None:
                continue
            pending.append(image)
            pending_bytes += len(image)
            output.end += len(image)
            if pending_bytes >= WRITE_BYTES:
                pwritev(pending, start)
                start, pending, pending_bytes = output.end, [], 0
        if pending:
            pwritev(pending, start)
        copied.bytes_written = output.end

    def _image(self, segment: Segment, found: Found, new_offset: int, copied: Copied) -> Buffer | None:
        """What the new segment gets for this record, verified; None for nothing."""
        entry = self._lookup(found.id)
        retention = self._retention
        lsn = found.header.lsn
        if entry is None:
            return None
        here = (entry.segment, entry.offset) == (segment.number, found.offset)
        if entry.lsn >= self._durable_lsn:
            # What makes this record needless may not outlast a power cut: keep it this time.
            if here:
                copied.moved.append((found.id, segment.number, found.offset, new_offset))
            return self._read(segment, found)
        if found.header.kind == RecordKind.UPDATE:
            if entry.lsn != lsn:
                return None  # a later record carries at least this state
            if not entry.present and retention.bytes_dead(entry) and retention.entry_dead(entry):
                # Only when its bytes went before: a put record still in the log would come back without its tombstone.
                copied.forgotten.append((found.id, lsn))
                return None
            return self._read(segment, found)
        if not here:
            return None  # a repaired copy stands elsewhere
        if not retention.bytes_dead(entry):
            copied.moved.append((found.id, segment.number, found.offset, new_offset))
            return self._read(segment, found)
        copied.dropped.append((found.id, segment.number, found.offset))
        if entry.lsn == lsn and entry.state.deleted:
            # This put came under a tombstone and its record carries it now: keep that much of it.
            tombstone = Record(
                kind=RecordKind.UPDATE, id=found.id, state=entry.state, written_at_ms=entry.changed_at_ms
            )
            return record_format.encode(tombstone, lsn)
        return None

    def _read(self, segment: Segment, found: Found) -> Buffer:
        image = bytearray(found.header.record_size)
        try:
            if segment.file.pread(image, found.offset) == len(image) and record_format.decode(image).id == found.id:
                return image
        except DataCorrupt as cause:
            raise DamagedInput(f"segment {segment.number} changed under its reader at {found.offset}") from cause
        raise DamagedInput(f"segment {segment.number} changed under its reader at {found.offset}")


def usages(segments: Iterable[Segment], entries: Iterable[IndexEntry], retention: Retention) -> list[Usage]:
    """How much of each segment is needed. `segments` in LSN order. Blocking: it goes through all entries.

    The index does not say whether a blob's latest change is an update record of its own, but where that would stand: it is
    counted there unless it is known to be none. Counting too much puts a compaction off; counting too little would repeat one
    that gives nothing back for ever.
    """
    segments = list(segments)
    bases = [segment.base_lsn for segment in segments]
    live: dict[int, int] = {}
    for entry in entries:
        dead = retention.bytes_dead(entry)
        if entry.present and not dead:
            live[entry.segment] = live.get(entry.segment, 0) + entry.size
        if dead and not entry.present and retention.entry_dead(entry):
            continue
        position = bisect_right(bases, entry.lsn) - 1
        if position >= 0 and entry.lsn < segments[position].header.end_lsn:
            changed_in = segments[position]
            put_in_place = changed_in.number == entry.segment and entry.lsn == changed_in.base_lsn + entry.offset
            if dead or changed_in.header.generation or not put_in_place:
                live[changed_in.number] = live.get(changed_in.number, 0) + UPDATE_BYTES
    return [
        Usage(
            number=segment.number,
            used_bytes=segment.end - HEADER_SIZE,
            live_bytes=min(live.get(segment.number, 0), segment.end - HEADER_SIZE),
        )
        for segment in segments
    ]
