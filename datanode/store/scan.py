"""Reading a segment back at start: every whole record, and every range that is none.

The scan goes record by record and verifies each one whole, payload included: a crash may have kept any part of the last
un-synced batch. Where no whole record starts it looks for the next one at each multiple of 8: a record is believed when its
checksums match, its LSN is one that may stand there, and it fits. So a damaged record in the middle hides only
itself, and a torn or zero-filled tail is simply where nothing follows any more. An intact record that a later release wrote
is found like any other; its header says that it is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ambry.errors import DataCorrupt
from ambry.format import record as record_format
from ambry.format.record import ALIGNMENT, HEADER_SIZE, MAGIC, Head, Header
from ambry.format.segment import HEADER_SIZE as SEGMENT_HEADER_SIZE
from ambry.format.segment import SegmentHeader
from datanode.store.files import File

WINDOW = 1 << 20
HEAD_WINDOW = 16 << 10
"""What is read at once of large records whose payloads nobody wants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundRecord:
    """A whole record at `offset` of the segment file."""

    offset: int
    header: Header
    id: bytes

    @property
    def end(self) -> int:
        return self.offset + self.header.record_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Bytes that are no record. `zeros`: nothing was ever written there, as far as one can tell."""

    start: int
    end: int
    zeros: bool


class _Window:
    """A moving window over the file, so that small records do not cost a read each."""

    def __init__(self, file: File, size: int) -> None:
        self._file = file
        self._size = size
        self._start = 0
        self._data = memoryview(b"")
        self.ahead = WINDOW
        """What is read at once at least."""

    def at(self, offset: int, size: int) -> memoryview:
        """`size` bytes from `offset`, fewer at the end of the file."""
        begin = offset - self._start
        end = begin + size
        if begin >= 0 and end <= len(self._data):
            return self._data[begin:end]
        end = min(offset + size, self._size)
        if offset < self._start or end > self._start + len(self._data):
            buffer = bytearray(min(max(size, self.ahead), self._size - offset))
            count = self._file.pread(buffer, offset)
            self._start, self._data = offset, memoryview(buffer)[:count].toreadonly()
        begin = offset - self._start
        return self._data[begin : begin + end - offset]

    def next_data(self, offset: int) -> int:
        """Where the next bytes are that may be other than zero, a multiple of 8, or the end."""
        return min(self._size, max(offset, self._file.next_data(offset) & -ALIGNMENT))


class SegmentScan:
    """The records of one segment, from an offset on. `size`: where to stop; see Segment.data_size.

    Without `payloads` the heads alone are read and verified: whoever takes a payload from such a place verifies it then.
    """

    def __init__(self, file: File, header: SegmentHeader, *, size: int, payloads: bool = True) -> None:
        self._window = _Window(file, size)
        self._header = header
        self._salt = header.salt
        self._size = size
        self._payloads = payloads
        self._lsn = header.base_lsn

    def run(self, start: int) -> Iterator[FoundRecord | Gap]:
        """Every record and gap from `start` (a multiple of 8) to the end, in order. Raises OSError."""
        offset = max(start, SEGMENT_HEADER_SIZE)
        while offset < self._size:
            found = self._record_at(offset)
            if found is not None:
                self._lsn = found.header.lsn
                yield found
                offset = found.end
            else:
                gap = self._gap_from(offset)
                yield gap
                offset = gap.end

    def _record_at(self, offset: int) -> FoundRecord | None:
        """The record that starts at `offset`, if a whole one does."""
        start = self._window.at(offset, HEADER_SIZE)
        if start[:4] != MAGIC or len(start) < HEADER_SIZE:
            return None
        # First the LSN, which costs nothing: a payload may hold the images of records.
        if not self._lsn_fits(record_format.peek_lsn(start), offset):
            return None
        try:
            header = record_format.decode_header(start, self._salt)
            if offset + header.record_size > self._size:
                return None
            head = self._head_at(offset, header)
        except DataCorrupt:
            return None
        return FoundRecord(offset=offset, header=header, id=head.id)

    def _head_at(self, offset: int, header: Header) -> Head:
        """Raises DataCorrupt."""
        if not self._payloads:
            # Between large ones a window would hold bytes that are passed over.
            self._window.ahead = WINDOW if header.record_size < WINDOW else HEAD_WINDOW
            return record_format.head_of(self._window.at(offset, header.payload_start), header)
        image = self._window.at(offset, header.record_size)
        head = record_format.head_of(image, header)
        record_format.verify_payload(image, head)
        return head

    def _lsn_fits(self, lsn: int, offset: int) -> bool:
        header = self._header
        if header.generation == 0:
            return lsn == header.base_lsn + offset
        return self._lsn <= lsn < header.end_lsn

    def _gap_from(self, start: int) -> Gap:
        """The gap that begins at `start` and ends at the next record or the end of the file."""
        zeros = True
        offset = start
        while (offset := self._window.next_data(offset)) < self._size:
            data = bytes(self._window.at(offset, WINDOW))
            if not data:
                zeros = False  # the file ends before its time
                break
            position = data.find(MAGIC)
            while position != -1:
                place = offset + position
                if place % ALIGNMENT == 0 and place > start and self._record_at(place) is not None:
                    return Gap(start=start, end=place, zeros=zeros and not data[:position].strip(b"\0"))
                position = data.find(MAGIC, position + 1)
            zeros = zeros and not data.strip(b"\0")
            offset += len(data)
        return Gap(start=start, end=self._size, zeros=zeros)
