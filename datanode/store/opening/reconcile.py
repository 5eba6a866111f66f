"""Bringing an index in line with the segments that there are: some may be gone, some replaced by an interrupted compaction.

Two of them walk through the whole index and block. Each can be repeated: a crash in between leaves what it found.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from ambry.blob import NEVER_MS
from ambry.errors import IndexCorrupt
from ambry.format.record import RecordKind
from datanode.store.compaction.switch import Compaction
from datanode.store.entry import IndexEntry, Location
from datanode.store.index import Index, LsnRange
from datanode.store.log import Log
from datanode.store.opening.replay import require_meaning
from datanode.store.scan import FoundRecord, SegmentScan
from datanode.store.segment import Segment


@dataclass(slots=True)
class _Compacted:
    """What the compacted segments hold: where puts stand now, which blobs have any record, and which LSNs that is all of."""

    puts: dict[bytes, Location] = field(default_factory=dict)
    kept: set[bytes] = field(default_factory=set)
    whole: list[LsnRange] = field(default_factory=list)


def require_compactions(log: Log, known: Container[int], pending: Container[int]) -> None:
    """Refuse an index of before a compaction whose old files are gone: it points to these, and would miss what is here.

    `known` are the numbers of its segments that a compaction made, `pending` those that replace what is still there.
    Raises IndexCorrupt: the log is whole, and tells all.
    """
    unknown = [number for number in log.compacted() if number not in known and number not in pending]
    if unknown:
        raise IndexCorrupt(
            f"the index of partition {log.partition} is older than the compaction into segments {unknown}"
        )


def relocate(replaced: Container[int], into: Iterable[Segment], index: Index, compaction: Compaction) -> None:
    """Point what the index still has in replaced segments to those `into` which they were compacted. Reads only these.

    What was left out of them is forgotten, as the compaction would have, where it knew the latest change: else it may have come
    back to life since, and its state is kept. Raises IndexCorrupt, OSError; FormatUnknown where a record of a later release may
    mean anything.
    """
    found = _read_compacted(into)
    for entry in list(index.stored(index.overlay())):
        if entry.segment in replaced:
            place = found.puts.get(entry.id)
            if place is None and _expired_there(entry, found):
                index.remove(entry.id)
            elif place is None:
                compaction.forget_bytes(entry)
            else:
                index.move(msgspec.structs.replace(entry, segment=place.segment, offset=place.offset))
        elif _is_leftover(entry, found):
            index.remove(entry.id)


def _read_compacted(segments: Iterable[Segment]) -> _Compacted:
    compacted = _Compacted()
    for segment in segments:
        items = list(SegmentScan(segment.file, segment.header, size=segment.data_size()).run(0))
        records = [item for item in items if isinstance(item, FoundRecord)]
        if len(records) == len(items):
            compacted.whole.append(LsnRange(segment.base_lsn, segment.header.end_lsn))
        for record in records:
            require_meaning(segment, record)
            compacted.kept.add(record.id)
            if record.header.kind != RecordKind.UPDATE:
                compacted.puts[record.id] = Location(segment.number, record.offset)
    return compacted


def _expired_there(entry: IndexEntry, compacted: _Compacted) -> bool:
    """Whether a compaction that knew all of this blob left it out, though it is not deleted: then it had expired long ago."""
    if entry.state.deleted or entry.state.expires_at_ms == NEVER_MS:
        return False
    return any(lsns.start <= entry.lsn < lsns.end for lsns in compacted.whole)


def _is_leftover(entry: IndexEntry, compacted: _Compacted) -> bool:
    """Whether a compaction left out the record of this tombstone, though the index does not know that yet."""
    if entry.present or not entry.state.deleted or entry.id in compacted.kept:
        return False
    return any(lsns.start <= entry.lsn < lsns.end for lsns in compacted.whole)


def forget_missing(log: Log, index: Index, compaction: Compaction) -> None:
    """What the index has in segments that are gone is not here: peers have it. Raises IndexCorrupt."""
    segments: Mapping[int, Segment] = log.segments
    gone = [entry for entry in index.stored(index.overlay()) if entry.present and entry.segment not in segments]
    for entry in gone:
        compaction.forget_bytes(entry)
