"""Reading one segment again, every record verified whole, and holding it against the index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ambry.errors import IndexCorrupt, Unavailable
from datanode.store.compaction.plan import Retention
from datanode.store.entry import IndexEntry
from datanode.store.scan import Found, SegmentScan
from datanode.store.segment import Segment


@dataclass(slots=True)
class Findings:
    """What one segment holds. `gaps`: start and end of bytes that should be records and are none."""

    segment: int
    bytes: int = 0
    records: int = 0
    indexed: int = 0
    """Put records that the index points to."""
    unknown: int = 0
    """Records whose blob the index does not know at all, though it cannot have been forgotten."""
    frame_damaged: bool = False
    """Whether the header or the footer is not as it was."""
    gaps: list[tuple[int, int]] = field(default_factory=list)


def scrub_segment(
    segment: Segment,
    lookup: Callable[[bytes], IndexEntry | None],
    retention: Retention,
    pause: Callable[[int], None],
) -> Findings:
    """Verify a segment up to where it is filled now. Blocking; `pause` is called with every piece's size.

    A place that the disk fails to read (EIO) counts as damaged up to the segment's end. Zeros behind the last record are none.
    Raises IndexCorrupt when the index cannot be asked, and what `pause` raises.
    """
    findings = Findings(segment.number)
    reached = 0
    end = segment.end
    try:
        findings.frame_damaged = not segment.frame_intact()
        for item in SegmentScan(segment.file, segment.header, size=min(end, segment.data_size())).run(0):
            reached = item.end
            if isinstance(item, Found):
                _take(findings, item, lookup(item.id), retention)
                pause(item.header.record_size)
            else:
                if not item.zeros or item.end < end or segment.footer is not None:
                    findings.gaps.append((item.start, item.end))
                pause(item.end - item.start)
    except (IndexCorrupt, Unavailable):
        raise  # they are OSErrors too, and say nothing about the segment
    except OSError:
        findings.gaps.append((reached, end))
    size = segment.file.size()
    if size < end:
        findings.gaps.append((size, end))
    return findings


def _take(findings: Findings, found: Found, entry: IndexEntry | None, retention: Retention) -> None:
    header = found.header
    findings.records += 1
    findings.bytes += header.record_size
    if entry is not None:
        findings.indexed += (entry.segment, entry.offset) == (findings.segment, found.offset)
    else:
        # A compaction forgets what is long dead a moment before its record goes.
        findings.unknown += not retention.state_dead(header.state, header.written_at_ms)
