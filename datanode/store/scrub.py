"""Reading everything again: each segment, every record verified whole, and log and index held against each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ambry.errors import DataCorrupt, FormatUnknown
from ambry.format.record import refusal
from datanode.store.entry import IndexEntry
from datanode.store.index import Index
from datanode.store.log import Log
from datanode.store.pieces import Pieces
from datanode.store.record_reader import RecordReader
from datanode.store.retention import Retention
from datanode.store.scan import FoundRecord, SegmentScan
from datanode.store.segment import Segment
from datanode.store.stored_entries import ENTRY_BYTES, PAGE_ENTRIES, Entries
from datanode.store.trouble import is_shortage

ABSENT_MAX = 10_000


class FileRange(NamedTuple):
    """Bytes of a file, from `start` up to `end` and without it."""

    start: int
    end: int


@dataclass(slots=True)
class SegmentFindings:
    """What one segment holds. `gaps`: bytes that should be records and are none."""

    segment: int
    bytes: int = 0
    records: int = 0
    indexed: int = 0
    """Put records that the index points to."""
    unknown: int = 0
    """Records whose blob the index does not know at all, though it cannot have been forgotten."""
    frame_damaged: bool = False
    """Whether the header or the footer is not as it was."""
    refused: int = 0
    """Intact records that only a later release can read."""
    gaps: list[FileRange] = field(default_factory=list)


def scrub_segment(
    segment: Segment,
    lookup: Callable[[bytes], IndexEntry | None],
    retention: Retention,
) -> Pieces[SegmentFindings]:
    """Verify a segment up to where it is filled now. Blocking, in pieces.

    A place that the disk fails to read (EIO) counts as damaged up to the segment's end. Zeros behind the last record are none.
    Raises IndexCorrupt when the index cannot be asked, ReplicaUnavailable when the files are closed meanwhile, OSError where
    this process has no descriptors or memory left.
    """
    findings = SegmentFindings(segment.number)
    reached = 0
    end = segment.end
    try:
        findings.frame_damaged = not segment.frame_intact()
        for item in SegmentScan(segment.file, segment.header, size=min(end, segment.data_size())).run(0):
            reached = item.end
            if isinstance(item, FoundRecord):
                _take(findings, item, lookup(item.id), retention)
                yield item.header.record_size
            else:
                if not item.zeros or item.end < end or segment.footer is not None:
                    findings.gaps.append(FileRange(item.start, item.end))
                yield item.end - item.start
    except OSError as error:
        if is_shortage(error):
            raise
        findings.gaps.append(FileRange(reached, end))
    size = segment.file.size()
    if size < end:
        findings.gaps.append(FileRange(size, end))
    return findings


def _take(findings: SegmentFindings, found: FoundRecord, entry: IndexEntry | None, retention: Retention) -> None:
    header = found.header
    findings.records += 1
    findings.bytes += header.record_size
    findings.refused += bool(refusal(header))
    if entry is not None:
        findings.indexed += (entry.segment, entry.offset) == (findings.segment, found.offset)
    elif not header.unknown:
        # A compaction forgets what is long dead a moment before its record goes.
        findings.unknown += not retention.state_dead(header.state, header.written_at_ms)


class Survey(NamedTuple):
    """`present`: how many blobs' bytes the index has in each segment. `absent`: living blobs whose bytes are not here."""

    present: Counter[int]
    absent: list[IndexEntry]


class Scrub:
    """What a replica tells those who check it: its segments as far as they are published, and its index held against its log.

    Methods marked blocking run on a disk thread, with an `overlay` that the event loop's thread took just before.
    """

    def __init__(
        self,
        *,
        log: Log,
        index: Index,
        reader: RecordReader,
        published_end: Callable[[Segment], int],
    ) -> None:
        self._log = log
        self._index = index
        self._reader = reader
        self._published_end = published_end

    def segment_numbers(self) -> list[int]:
        """The segments in LSN order."""
        return [segment.number for segment in self._log.in_order()]

    def target(self, number: int) -> Segment | None:
        """A segment as far as it is published, to be read on another thread; None when it is gone."""
        segment = self._log.segments.get(number)
        return segment.view(self._published_end(segment)) if segment is not None and segment.on_disk else None

    def entries(self, overlay: Entries) -> Iterator[IndexEntry]:
        """The whole index, entry by entry. Blocking; it may be gone on with on another thread. Raises IndexCorrupt."""
        return self._index.stored(overlay)

    def entries_where(self, overlay: Entries, wanted: Callable[[IndexEntry], bool]) -> Pieces[list[IndexEntry]]:
        """All entries that `wanted` picks. Blocking, in pieces: it goes through the whole index. Raises IndexCorrupt."""
        found: list[IndexEntry] = []
        for number, entry in enumerate(self._index.stored(overlay), start=1):
            if wanted(entry):
                found.append(entry)
            if number % PAGE_ENTRIES == 0:
                yield PAGE_ENTRIES * ENTRY_BYTES
        return found

    def survey(self, overlay: Entries, now_ms: int) -> Pieces[Survey]:
        """What the index says there is. Blocking, as above."""
        present: Counter[int] = Counter()
        absent: list[IndexEntry] = []
        for number, entry in enumerate(self._index.stored(overlay), start=1):
            if number % PAGE_ENTRIES == 0:
                yield PAGE_ENTRIES * ENTRY_BYTES
            if entry.present:
                present[entry.segment] += 1
            elif not entry.state.deleted and not entry.state.expired(now_ms) and len(absent) < ABSENT_MAX:
                absent.append(entry)
        return Survey(present, absent)

    def unreadable(self, entries: Sequence[IndexEntry], *, whole: bool) -> Pieces[list[IndexEntry]]:
        """Those whose record, or only its head, cannot be read where the index has it now. Blocking, in pieces.

        Raises ReplicaUnavailable, and OSError where this process has no descriptors or memory left.
        """
        found: list[IndexEntry] = []
        for old in entries:
            entry = self._index.get(old.id)
            if entry is None or not entry.present:
                continue
            try:
                self._reader.read(entry, 0, entry.payload_size if whole else 0, cached_only=False)
            except FormatUnknown:
                continue  # intact, and not for us
            except (DataCorrupt, OSError) as error:
                if is_shortage(error):
                    raise
                found.append(entry)
            yield entry.size if whole else ENTRY_BYTES
        return found
