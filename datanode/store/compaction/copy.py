"""The copy of a compaction: what is still needed of some segments, verified, in one new file. Runs on a disk thread.

Damaged bytes are not copied, and end the compaction while the index still points into them: they are repaired first. Where
they are repaired, or held nothing that is still needed, one thing may be lost with them: the latest change of a blob. The
index knows it, and a record of that state takes its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from ambry.checksum import Buffer
from ambry.errors import DataCorrupt
from ambry.format import record as record_format
from ambry.format import segment as segment_format
from ambry.format.record import Record, RecordKind
from ambry.format.segment import HEADER_SIZE
from datanode.store.compaction.plan import Keep, kept, kept_of_lost
from datanode.store.entry import IndexEntry, Location
from datanode.store.files import File, Files
from datanode.store.index import LsnRange
from datanode.store.pieces import Pieces
from datanode.store.retention import Retention
from datanode.store.scan import FoundRecord, Gap, SegmentScan
from datanode.store.segment import UNFINISHED_SUFFIX, Segment
from datanode.store.stored_entries import ENTRY_BYTES, PAGE_ENTRIES
from datanode.store.trouble import is_shortage
from datanode.store.writing import write_all

WRITE_BYTES = 1 << 20
SYNC_BYTES = 8 << 20
"""One sync of a whole segment would hold up those of foreground writes."""


class DamagedInput(DataCorrupt):
    """An input holds damaged bytes that the index still points to, or cannot be read: it must be repaired first."""

    code = 64_001

    def __init__(self, segment: int, what: str) -> None:
        super().__init__(f"segment {segment} {what}")
        self.segment = segment


class Moved(msgspec.Struct, frozen=True, gc=False):
    """A put record that was kept: where it stood, and its offset in the new segment."""

    id: bytes
    old: Location
    offset: int


class Dropped(msgspec.Struct, frozen=True, gc=False):
    """The put record of a dead blob, left out."""

    id: bytes
    old: Location


class Forgotten(msgspec.Struct, frozen=True, gc=False):
    """A tombstone that was left out, and the LSN of that change."""

    id: bytes
    lsn: int


@dataclass(slots=True)
class Copied:
    """What one compaction did: the new segment, where kept puts went, and what was left out."""

    output: Segment
    inputs: list[Segment]
    moved: list[Moved] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    forgotten: list[Forgotten] = field(default_factory=list)
    bytes_written: int = 0
    uncounted_bytes: int = 0
    """Of what was kept, records that the index does not count as needed."""


@contextmanager
def _reading(segment: Segment) -> Iterator[None]:
    """What goes wrong in reading an input is damage to be repaired, unless this process is at a limit of its own."""
    try:
        yield
    except (DataCorrupt, OSError) as cause:
        if is_shortage(cause):
            raise
        raise DamagedInput(segment.number, f"cannot be read: {cause}") from cause


def unfinished_path(directory: Path, number: int) -> Path:
    """Where the new file stands until it counts."""
    return directory / f"{number:08d}{UNFINISHED_SUFFIX}"


class _Output:
    """The new file: buffers what is added, syncs now and then."""

    def __init__(self, segment: Segment, file: File) -> None:
        self._segment = segment
        self._file = file
        self._pending: list[Buffer] = [segment_format.encode(segment.header)]
        self._start = 0
        self._unsynced = 0

    def add(self, image: Buffer) -> None:
        segment = self._segment
        self._pending.append(image)
        segment.end += len(image)
        if segment.end - self._start >= WRITE_BYTES:
            self.flush()
        if self._unsynced >= SYNC_BYTES:
            self._file.fdatasync()
            self._unsynced = 0

    def flush(self) -> None:
        if self._pending:
            write_all(self._file, self._pending, self._start)
            self._unsynced += self._segment.end - self._start
            self._start, self._pending = self._segment.end, []


class Copier:
    """Step 1 (plan.py beside this file). `lookup` reads the index as it is now, `stored` what its last checkpoint holds.

    `durable_lsn` is the last checkpoint's: records from there on may not be synced.
    """

    def __init__(
        self,
        files: Files,
        directory: Path,
        *,
        lookup: Callable[[bytes], IndexEntry | None],
        stored: Callable[[], Iterable[IndexEntry]],
        durable_lsn: int,
        retention: Retention,
    ) -> None:
        self._files = files
        self._directory = directory
        self._lookup = lookup
        self._stored = stored
        self._durable_lsn = durable_lsn
        self._retention = retention

    def run(self, inputs: Sequence[Segment], output: Segment) -> Pieces[Copied]:
        """Write `output` under its unfinished name, durable on return. Blocking, in pieces; closed early it leaves no file.

        Raises OSError when it cannot be written and DamagedInput when an input cannot be read, leaving the log as it was.
        """
        copied = Copied(output, list(inputs))
        path = unfinished_path(self._directory, output.number)
        if self._files.exists(path):
            self._files.unlink(path)
        file = self._files.create(path)
        try:
            out = _Output(output, file)
            for segment in inputs:
                yield from self._copy(segment, out, copied)
            out.flush()
            output.adopt_file(file)
            output.seal()
            file.fsync()
        except BaseException:
            file.close()
            self._files.unlink(path)
            raise
        copied.bytes_written = file.size()
        return copied

    def _copy(self, segment: Segment, out: _Output, copied: Copied) -> Pieces[None]:
        damage: list[Gap] = []
        lsn = segment.base_lsn - 1
        end = self._end_of(segment)
        for item in self._scan(segment, end):
            if isinstance(item, Gap):
                if not item.zeros or item.end < end or segment.footer is not None:
                    damage.append(item)
                continue
            if damage:
                yield from self._replace(segment, damage, LsnRange(lsn + 1, item.header.lsn), out, copied)
                damage = []
            lsn = item.header.lsn
            image = self._image(segment, item, copied)
            if image is not None:
                out.add(image)
            yield item.header.record_size
        if damage:
            yield from self._replace(segment, damage, LsnRange(lsn + 1, segment.header.end_lsn), out, copied)

    @staticmethod
    def _end_of(segment: Segment) -> int:
        with _reading(segment):
            return min(segment.end, segment.data_size())

    @staticmethod
    def _scan(segment: Segment, end: int) -> Iterable[FoundRecord | Gap]:
        with _reading(segment):
            yield from SegmentScan(segment.file, segment.header, size=end).run(HEADER_SIZE)

    def _replace(
        self, segment: Segment, damage: Sequence[Gap], between: LsnRange, out: _Output, copied: Copied
    ) -> Pieces[None]:
        """Let records of the states that only the index knows take the place of damaged bytes; their LSNs lie in `between`."""
        lost: list[IndexEntry] = []
        for number, stored in enumerate(self._stored(), start=1):
            if number % PAGE_ENTRIES == 0:
                yield PAGE_ENTRIES * ENTRY_BYTES
            entry = self._lookup(stored.id)
            if entry is None:
                continue
            if entry.segment == segment.number and any(
                gap.start < entry.offset + entry.size and entry.offset < gap.end for gap in damage
            ):
                if not self._retention.bytes_dead(entry):
                    what = f"is damaged at {entry.offset}, where blob {entry.id.hex()} stands"
                    raise DamagedInput(segment.number, what)
                copied.dropped.append(Dropped(entry.id, entry.location))  # nobody repairs it any more
            if between.start <= entry.lsn < between.end:
                lost.append(entry)
        for entry in sorted(lost, key=lambda entry: entry.lsn):
            match kept_of_lost(entry, self._retention):
                case Keep.FORGET:
                    copied.forgotten.append(Forgotten(entry.id, entry.lsn))
                case Keep.STATE:
                    out.add(self._state_record(entry, copied.output))

    @staticmethod
    def _state_record(entry: IndexEntry, output: Segment) -> Buffer:
        record = Record(kind=RecordKind.UPDATE, id=entry.id, state=entry.state, written_at_ms=entry.changed_at_ms)
        return record_format.encode(record, entry.lsn, output.salt)

    def _image(self, segment: Segment, found: FoundRecord, copied: Copied) -> Buffer | None:
        """What the new segment gets for this record, verified; None for nothing."""
        entry = self._lookup(found.id)
        header, at = found.header, Location(segment.number, found.offset)
        if header.unknown:
            # What it means only a later release knows: it stays as it is, wherever the index points to.
            here = entry is not None and entry.location == at
            if here:
                copied.moved.append(Moved(found.id, at, copied.output.end))
            if entry is None or not here or self._retention.bytes_dead(entry):
                copied.uncounted_bytes += header.record_size
            return self._read(segment, found, copied.output)
        keep = kept(
            header.kind,
            header.lsn,
            at,
            entry,
            written_at_ms=header.written_at_ms,
            durable_lsn=self._durable_lsn,
            retention=self._retention,
        )
        match keep:
            case Keep.MOVE:
                copied.moved.append(Moved(found.id, at, copied.output.end))
                return self._read(segment, found, copied.output)
            case Keep.COPY:
                if entry is not None and header.lsn < entry.lsn < self._durable_lsn:
                    copied.uncounted_bytes += header.record_size
                return self._read(segment, found, copied.output)
            case Keep.FORGET:
                copied.forgotten.append(Forgotten(found.id, header.lsn))
            case Keep.DROP:
                copied.dropped.append(Dropped(found.id, at))
            case Keep.STATE if entry is not None:
                copied.dropped.append(Dropped(found.id, at))
                return self._state_record(entry, copied.output)
        return None

    @staticmethod
    def _read(segment: Segment, found: FoundRecord, output: Segment) -> Buffer:
        """The record as it shall stand in `output`, whose salt is another where the replica took a new incarnation since."""
        image = bytearray(found.header.record_size)
        with _reading(segment):
            whole = segment.file.pread(image, found.offset) == len(image)
            if whole and record_format.verify(image, segment.salt).id == found.id:
                if output.salt != segment.salt:
                    record_format.restamp(image, output.salt)
                return image
        raise DamagedInput(segment.number, f"changed under its reader at {found.offset}")
