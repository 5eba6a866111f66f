"""Reading records of a replica: where a blob is, its bytes, and the proof that they are the right ones.

Every byte that is returned was verified, and the record's own id with it: a right checksum on the wrong record is no answer.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ambry.buffers import Allocate, fresh
from ambry.checksum import BLOCK_SIZE, CHECK_SIZE, Buffer, blocks_intact
from ambry.errors import DataCorrupt, InvariantBroken
from ambry.format import record as record_format
from ambry.format.record import Head
from datanode.store.entry import IndexEntry
from datanode.store.files import File
from datanode.store.index import Index
from datanode.store.known import UNKNOWN
from datanode.store.log import Log
from datanode.store.segment import Segment


class Payload(msgspec.Struct, frozen=True):
    """What a read returns: the verified head, and the blocks that cover the asked-for range.

    `data` starts at byte `start` of the payload (a multiple of 64 KiB); `checks` covers exactly `data`.
    """

    head: Head
    start: int
    checks: Buffer
    data: Buffer


class Located(msgspec.Struct, frozen=True):
    """As Payload, with blocks that were not read: `size` bytes at `offset` of `file`."""

    head: Head
    start: int
    checks: Buffer
    file: File
    offset: int
    size: int


def _checks_of(head: Head, start: int, stop: int) -> Buffer:
    """The checks of the blocks from payload byte `start` to `stop`."""
    return head.checks[start // BLOCK_SIZE * CHECK_SIZE : -(-stop // BLOCK_SIZE) * CHECK_SIZE]


class RecordReader:
    """Reads from a log what its index points to."""

    def __init__(self, log: Log, index: Index) -> None:
        self._log = log
        self._index = index

    def read(
        self, entry: IndexEntry, first: int, end: int, *, cached_only: bool, allocate: Allocate = fresh
    ) -> Payload | None:
        """Read and verify the blocks that cover payload bytes `first` to `end` (exclusive), and the record's head.

        With `cached_only` None when the page cache does not hold them all; else blocking. `first == end` reads the head
        alone. Raises DataCorrupt when anything fails its checksum or the record is another blob's; FormatUnknown for an intact
        record that only a later release can read; OSError. The bytes come into memory of `allocate`.
        """
        place = self._place(entry, cached_only)
        if place is None:
            return None
        segment, entry = place
        head_size = entry.size - entry.payload_size
        start = stop = 0
        if end > first:
            start = first // BLOCK_SIZE * BLOCK_SIZE
            stop = min(entry.payload_size, -(-end // BLOCK_SIZE) * BLOCK_SIZE)
        if start == 0:
            raw = self._pread(segment, entry.offset, head_size + stop, cached_only, allocate)
            if raw is None:
                return None
            data = raw[head_size:]
        else:
            if not cached_only:
                # So the disk brings both places at once (docs/decisions/0012-checks-stay-in-the-head.md).
                segment.file.will_need(entry.offset, head_size)
            blocks = self._pread(segment, entry.offset + head_size + start, stop - start, cached_only, allocate)
            raw = None if blocks is None else self._pread(segment, entry.offset, head_size, cached_only)
            if blocks is None or raw is None:
                return None
            data = blocks
        head = self._verified_head(raw, segment, entry)
        checks = _checks_of(head, start, stop)
        if not blocks_intact(data, checks):
            raise DataCorrupt(self._where(entry, "a block of the payload fails its checksum"))
        record_format.require_readable(head.header)
        return Payload(head, start, checks, data)

    def locate(self, entry: IndexEntry, first: int, end: int) -> Located | None:
        """Where the blocks stand that cover payload bytes `first` to `end`, `first` < `end`; nothing but the head is read.

        None when the page cache does not hold all of it. Raises as `read`, of the head.
        """
        place = self._place(entry, cached_only=True)
        if place is None:
            return None
        segment, entry = place
        head_size = entry.size - entry.payload_size
        start = first // BLOCK_SIZE * BLOCK_SIZE
        stop = min(entry.payload_size, -(-end // BLOCK_SIZE) * BLOCK_SIZE)
        stands_at = entry.offset + head_size + start
        if not segment.file.is_cached(stands_at, stop - start):
            return None
        raw = self._pread(segment, entry.offset, head_size, cached_only=True)
        if raw is None:
            return None
        head = self._verified_head(raw, segment, entry)
        record_format.require_readable(head.header)
        checks = _checks_of(head, start, stop)
        return Located(head, start, checks, segment.file, stands_at, stop - start)

    def read_run(self, run: Sequence[IndexEntry], allocate: Allocate = fresh) -> memoryview | None:
        """The bytes of records that are neighbours (datanode/store/neighbours.py) and all between them, not verified.

        None where the page cache does not hold them all, or a compaction moved them: then each is to be read for itself.
        Raises OSError.
        """
        first, last = run[0], run[-1]
        segment = self._log.segments.get(first.segment)
        if segment is None:
            return None
        return self._pread(segment, first.offset, last.offset + last.size - first.offset, True, allocate)

    def whole(self, entry: IndexEntry, image: memoryview) -> Head:
        """The head of a record that `read_run` brought, just now; all of it is verified, with its payload.

        Raises DataCorrupt, FormatUnknown.
        """
        head = self._verified_head(image, self._log.segments[entry.segment], entry)
        start = entry.size - entry.payload_size
        if not blocks_intact(image[start : start + entry.payload_size], head.checks):
            raise DataCorrupt(self._where(entry, "a block of the payload fails its checksum"))
        record_format.require_readable(head.header)
        return head

    def appended_at(self, entry: IndexEntry) -> int | None:
        """The LSN of the put record that an entry points to; None where there is none, or a compaction moved it."""
        segment = self._log.segments.get(entry.segment)
        return None if segment is None or segment.header.generation else segment.base_lsn + entry.offset

    def may_be_put_since(self, entry: IndexEntry, lsn: int) -> bool:
        """Whether the put record that an entry points to has an LSN from `lsn` on, as far as its segment tells."""
        segment = self._log.segments.get(entry.segment)
        return segment is not None and segment.end_lsn > lsn

    def read_image(self, entry: IndexEntry) -> Buffer:
        """The whole record, verified, as it travels between nodes: whether its receiver can read it is not asked here.

        Blocking. Raises DataCorrupt, OSError.
        """
        place = self._place(entry, cached_only=False)
        if place is None:
            raise InvariantBroken("a waiting look-up returned nothing")
        segment, entry = place
        raw = self._pread(segment, entry.offset, entry.size, cached_only=False)
        if raw is None or record_format.verify(raw, segment.salt).id != entry.id:
            raise DataCorrupt(self._where(entry, "the record is another blob's"))
        record_format.restamp(raw)
        return raw

    def _place(self, entry: IndexEntry, cached_only: bool) -> tuple[Segment, IndexEntry] | None:
        """The segment that an entry points to; where a compaction moved the record since, the place that it has now.

        With `cached_only` None where only the index's file tells.
        """
        segment = self._log.segments.get(entry.segment)
        if segment is None:
            current = self._index.known(entry.id) if cached_only else self._index.get(entry.id)
            if current is UNKNOWN:
                return None
            if current is not None and current.present:
                entry = current
                segment = self._log.segments.get(entry.segment)
        if segment is None:
            raise DataCorrupt(self._where(entry, "the segment is missing"))
        return segment, entry

    def _pread(
        self, segment: Segment, offset: int, size: int, cached_only: bool, allocate: Allocate = fresh
    ) -> memoryview | None:
        buffer = allocate(size)
        if cached_only:
            return buffer if segment.file.pread_cached(buffer, offset) == size else None
        if segment.file.pread(buffer, offset) != size:
            raise DataCorrupt(
                f"partition {self._log.partition}, segment {segment.number}: {size} bytes at {offset} are gone"
            )
        return buffer

    def _verified_head(self, raw: Buffer, segment: Segment, entry: IndexEntry) -> Head:
        head = record_format.decode_head(raw, segment.salt)
        header = head.header
        if head.id != entry.id or header.payload_size != entry.payload_size or header.record_size != entry.size:
            raise DataCorrupt(self._where(entry, "the record is another blob's"))
        return head

    def _where(self, entry: IndexEntry, what: str) -> str:
        return (
            f"partition {self._log.partition}, segment {entry.segment}, offset {entry.offset}: {what} "
            f"(blob {entry.id.hex()}); it is read elsewhere and repaired"
        )
