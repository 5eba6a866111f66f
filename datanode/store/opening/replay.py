"""Taking the log behind the checkpoint into the index: every whole record, every gap, the torn tail.

What is read must be what is on the disk. A process that died of a failed sync leaves pages in the page cache that never got
there and count as clean (the fsync findings cited in docs/storage.md). So each segment is synced, which reports a
failure that nobody heard of yet, then its cached pages are dropped, and then it is read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ambry.errors import FormatUnknown
from ambry.format import record as record_format
from ambry.service.logs import get_logger
from datanode.store.blob_store import BlobStore
from datanode.store.files import Files
from datanode.store.opening.progress import Progress
from datanode.store.scan import FoundRecord, Gap, SegmentScan
from datanode.store.segment import Segment, segment_name
from datanode.store.writing import write_atomically

log = get_logger()

QUARANTINE_NAME = "quarantine"
QUARANTINE_BYTES_MAX = 16 << 20


@dataclass(slots=True)
class ReplayFindings:
    """What opening a replica found. `lost`: acknowledged records may be gone, even from before the checkpoint."""

    replayed: int = 0
    cut_bytes: int = 0
    gaps: int = 0
    rebuilt: bool = False
    lost: bool = False
    damaged: set[int] = field(default_factory=set)
    """Numbers of segments with damaged bytes."""


def require_meaning(segment: Segment, found: FoundRecord) -> None:
    """Raises FormatUnknown, with the place, where a record of a later release may mean anything.

    It may be the end of a blob, so without it no index can be trusted, and the replica waits for a release that knows it.
    """
    try:
        record_format.require_meaning(found.header)
    except FormatUnknown as cause:
        raise FormatUnknown(f"{segment_name(segment.number)} at {found.offset}: {cause.message}") from cause


class Replay:
    """Replays segments into a store, one after the other."""

    def __init__(
        self,
        files: Files,
        directory: Path,
        store: BlobStore,
        findings: ReplayFindings,
        progress: Progress,
        *,
        before_cut: Callable[[str], None] = lambda _what: None,
    ) -> None:
        """`before_cut` is told what goes, before the next opening cannot see any more that there was something."""
        self._files = files
        self._directory = directory
        self._store = store
        self._findings = findings
        self._progress = progress
        self._before_cut = before_cut

    def run(self, segment: Segment, start: int, *, last: bool) -> None:
        """Replay one segment from offset `start` on; `last`: nothing was appended behind it. Blocking.

        Raises OSError, and FormatUnknown before anything of the segment is cut.
        """
        segment.file.fdatasync()
        segment.file.drop_cache()
        size = segment.data_size()
        if last and segment.file.size() < segment.header.capacity_bytes:
            # Its end was cut off: by an earlier recovery, or by damage that may have taken acknowledged records.
            self._findings.gaps += 1
        segment.end = max(segment.end, start)
        tail: Gap | None = None
        reached = start
        for item in SegmentScan(segment.file, segment.header, size=size).run(start):
            self._progress.replayed(item.end - reached)
            reached = item.end
            if isinstance(item, FoundRecord):
                self._take(segment, item)
            elif item.end < size or segment.footer is not None:
                self._note_gap(segment, item)
            else:
                tail = item
        if tail is not None and not tail.zeros:
            self._cut(segment, tail, last=last)
        if segment.footer is not None:
            segment.end = segment.footer.end_offset

    def _take(self, segment: Segment, found: FoundRecord) -> None:
        header = found.header
        require_meaning(segment, found)
        self._store.apply(
            kind=header.kind,
            blob_id=found.id,
            state=header.state,
            lsn=header.lsn,
            segment=segment.number,
            offset=found.offset,
            size=header.record_size,
            payload_size=header.payload_size,
            written_at_ms=header.written_at_ms,
        )
        segment.end = found.end
        self._findings.replayed += 1

    def _note_gap(self, segment: Segment, gap: Gap) -> None:
        log.error(
            "damaged bytes between records",
            partition=self._store.partition,
            segment=segment.number,
            offset=gap.start,
            bytes=gap.end - gap.start,
        )
        self._findings.gaps += 1
        self._findings.lost = True
        self._findings.damaged.add(segment.number)

    def _cut(self, segment: Segment, tail: Gap, *, last: bool) -> None:
        """Keep the bytes behind the last whole record in a quarantine file, then cut them off."""
        size = min(tail.end - tail.start, QUARANTINE_BYTES_MAX)
        buffer = bytearray(size)
        kept = bytes(memoryview(buffer)[: segment.file.pread(buffer, tail.start)]).rstrip(b"\0")
        directory = self._directory / QUARANTINE_NAME
        self._files.make_directory(directory)
        # Its own name must outlast a power cut as well.
        self._files.sync_directory(self._directory)
        path = directory / f"{segment_name(segment.number)}.{tail.start}"
        write_atomically(self._files, path, kept)
        self._before_cut(f"{segment_name(segment.number)} from {tail.start} on")
        segment.file.truncate(tail.start)
        segment.file.fsync()
        self._findings.cut_bytes += len(kept)
        self._findings.gaps += 1
        # A torn tail is only normal where the last appends went.
        self._findings.lost = self._findings.lost or not last
        log.warning(
            "torn tail cut",
            partition=self._store.partition,
            segment=segment.number,
            offset=tail.start,
            bytes=len(kept),
            quarantine=str(path),
        )
