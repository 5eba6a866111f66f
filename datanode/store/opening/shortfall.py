"""What an index covers of its log, and the log does not have: a part of the log is gone, or the index is of a later moment.

A checkpoint follows the sync of all that it tells of. So whatever was lost without a mistake, the log goes as far as its index.
Copied file by file while a node runs, it may not: the segments are copied first, the index a moment later, and in the copy
zeros stand where the index knows records, since segments are preallocated. Nobody would read there before somebody asks for
such a blob.
"""

from __future__ import annotations

import msgspec

from ambry.errors import DataCorrupt
from ambry.format import record as record_format
from ambry.format.record import HEADER_SIZE
from datanode.store.index import Checkpoint, Index
from datanode.store.log import Log
from datanode.store.segment import Segment

TAIL_SIZE = 64


class Shortfall(msgspec.Struct, frozen=True):
    """`what` is missing. `segment_gone`: the whole last segment, by its number; 0: it is there."""

    what: str
    segment_gone: int = 0


def shortfall(log: Log, index: Index) -> Shortfall | None:
    """None where the log goes as far as its index. Blocking. Raises IndexCorrupt, OSError."""
    checkpoint = index.checkpoint
    if not checkpoint.segment:
        return None
    segment = log.segments.get(checkpoint.segment)
    if segment is None or segment.file.size() < checkpoint.offset:
        what = f"segment {checkpoint.segment} from {checkpoint.offset} on, or before"
        return Shortfall(what, checkpoint.segment if segment is None else 0)
    lsn = index.last_lsn()
    last = next((each for each in log.in_order() if each.base_lsn <= lsn < each.header.end_lsn), None)
    # A compaction writes its files whole, and moves records.
    if last is None or last.header.generation or not _lacks(last, lsn - last.base_lsn, checkpoint):
        return None
    return Shortfall(f"segment {last.number} from {lsn - last.base_lsn} on, or before, where nothing was written yet")


def _lacks(segment: Segment, offset: int, checkpoint: Checkpoint) -> bool:
    """Whether the record at `offset` is not there, or not all of it: zeros, where it begins or where it ends.

    One that is there and damaged is damage like any other.
    """
    head = _read(segment, offset, HEADER_SIZE)
    if not any(head):
        return True
    try:
        header = record_format.decode_header(head, segment.salt)
        record_format.verify(_read(segment, offset, header.record_size), segment.salt)
    except DataCorrupt:
        if segment.number != checkpoint.segment:
            return False  # nothing tells where it ended
        size = min(TAIL_SIZE, max(0, checkpoint.offset - offset))
        return not any(_read(segment, checkpoint.offset - size, size))
    return False


def _read(segment: Segment, offset: int, size: int) -> bytearray:
    buffer = bytearray(size)
    return buffer[: segment.file.pread(buffer, offset)]
