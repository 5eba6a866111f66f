"""Reading one segment again, every record verified whole, and holding it against the index."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ambry.errors import IndexCorrupt
from ambry.format.record import RecordKind
from datanode.store.entry import IndexEntry
from datanode.store.recovery import Found, SegmentScan
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
    """Put records whose blob the index does not know at all."""
    gaps: list[tuple[int, int]] = field(default_factory=list)


def scrub_segment(
    segment: Segment, lookup: Callable[[bytes], IndexEntry | None], pause: Callable[[int], None]
) -> Findings:
    """Verify a segment up to where it is filled now. Blocking; `pause` is called with every piece's size.

    A place that the disk fails to read (EIO) counts as damaged up to the segment's end. Zeros behind the last record are none.
    Raises IndexCorrupt when the index cannot be asked: that says nothing about the segment.
    """
    end = segment.end
    findings = Findings(segment.number)
    reached = 0
    try:
        for item in SegmentScan(segment.file, segment.header, size=min(end, segment.file.size())).run(0):
            if isinstance(item, Found):
                reached = item.end
                findings.records += 1
                findings.bytes += item.header.record_size
                entry = lookup(item.id)
                if entry is None and item.header.kind != RecordKind.UPDATE:
                    findings.unknown += 1
                if entry is not None and (entry.segment, entry.offset) == (segment.number, item.offset):
                    findings.indexed += 1
                pause(item.header.record_size)
            else:
                reached = item.end
                if not item.zeros or item.end < end:
                    findings.gaps.append((item.start, item.end))
                pause(item.end - item.start)
    except IndexCorrupt:
        raise
    except OSError:
        findings.gaps.append((reached, end))
    if segment.file.size() < end:
        findings.gaps.append((segment.file.size(), end))
    return findings
