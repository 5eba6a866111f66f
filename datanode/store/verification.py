"""Whether every bit of a stopped node's replica is right: segments, records, what lies between them, the index.

Everything here blocks and reads; nothing is changed. Hold the replica's lock (inspection.py) meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from ambry.errors import AmbryError, IndexCorrupt
from ambry.format.record import RecordKind, refusal
from ambry.format.segment import FOOTER_SIZE
from ambry.ids import BlobId
from datanode.store.entry import Location
from datanode.store.index import Checkpoint, Index, LsnRange
from datanode.store.index_file import INDEX_NAME
from datanode.store.inspection import Inspection, missing_lsns
from datanode.store.scan import WINDOW, FoundRecord, Gap, SegmentScan
from datanode.store.segment import Segment, segment_name

Places = dict[bytes, set[Location]]
"""Where whole put records of each blob stand."""


class Problem(msgspec.Struct, frozen=True):
    """One thing that is not as it must be. `offset` is in bytes from the start of the file, -1 where there is none."""

    file: str
    offset: int
    what: str


def find_problems(replica: Inspection) -> Iterator[Problem]:
    """Everything that is wrong with a replica; nothing where all is well."""
    yield from _Verification(replica).run()


class _Verification:
    """One pass over a replica."""

    def __init__(self, replica: Inspection) -> None:
        self._replica = replica
        self._unknown: Places = {}
        """Where whole records of a later release stand, whose meaning is not known: of them the index may have some."""

    def run(self) -> Iterator[Problem]:
        """Everything that is wrong: segment headers, records, bytes between and behind them, the index against the log."""
        places: Places = {}
        for stray in self._replica.strays():
            name = str(stray.relative_to(self._replica.directory))
            yield Problem(name, -1, "not what the replica has under this name; the node's next start sets it aside")
        for number in self._replica.numbers():
            yield from self._verify_segment(number, places)
        try:
            index = self._replica.index()
        except IndexCorrupt as error:
            yield Problem(INDEX_NAME, -1, error.message)
            return
        if index is None:
            yield Problem(INDEX_NAME, -1, "there is no index; the node rebuilds it when it starts")
            return
        try:
            yield from self._verify_coverage(index.checkpoint)
            yield from self._verify_index(index, places)
        except IndexCorrupt as error:
            yield Problem(INDEX_NAME, -1, error.message)
        finally:
            index.close()

    def _verify_coverage(self, checkpoint: Checkpoint) -> Iterator[Problem]:
        """Segments that are gone, but for those that the node has missed already."""
        segments = list(self._replica.segments())
        for segment in segments:
            segment.close()
        for start, end in missing_lsns([LsnRange(segment.base_lsn, segment.header.end_lsn) for segment in segments]):
            if (start, end) not in checkpoint.holes:
                yield Problem(
                    str(self._replica.directory), -1, f"no segment covers LSN {start} to {end}: a file is missing"
                )
        if segments and (segments[-1].footer is not None or segments[-1].header.generation):
            end = segments[-1].header.end_lsn
            yield Problem(
                str(self._replica.directory), -1, f"the log went on behind LSN {end}: its last file is missing"
            )

    def _verify_segment(self, number: int, places: Places) -> Iterator[Problem]:
        name = segment_name(number)
        try:
            segment = Segment.open(self._replica.files, self._replica.directory, number)
        except AmbryError as error:
            yield Problem(name, 0, error.message)
            return
        except OSError as error:
            yield Problem(name, 0, f"cannot be read: {error.strerror or error}")
            return
        header = segment.header
        own = self._replica.identity
        names = own.incarnations
        if header.partition != own.partition or (names is not None and header.incarnation not in names):
            yield Problem(
                name, 0, "the segment is of another partition, or of no incarnation that this replica ever had"
            )
        if segment.footer_damaged:
            yield Problem(name, segment.file.size() - FOOTER_SIZE, "the segment footer is damaged")
        size = segment.data_size()
        reached = 0
        try:
            for item in SegmentScan(segment.file, header, size=size).run(0):
                yield from self._verify_item(segment, item, size, places)
                reached = item.end
            yield from self._verify_unused(segment)
        except OSError as error:
            yield Problem(name, reached, f"cannot be read from here on: {error.strerror or error}")
        finally:
            segment.close()

    @staticmethod
    def _verify_unused(segment: Segment) -> Iterator[Problem]:
        """What lies between the last record of a sealed segment and its footer was never written."""
        if segment.footer is None:
            return
        offset, end = segment.footer.end_offset, segment.file.size() - FOOTER_SIZE
        while offset < end:
            buffer = bytearray(min(WINDOW, end - offset))
            segment.file.pread(buffer, offset)
            if buffer.strip(b"\0"):
                place = offset + len(buffer) - len(buffer.lstrip(b"\0"))
                yield Problem(segment_name(segment.number), place, "there is something where nothing was ever written")
                return
            offset += len(buffer)

    def _verify_item(self, segment: Segment, item: FoundRecord | Gap, size: int, places: Places) -> Iterator[Problem]:
        name = segment_name(segment.number)
        if isinstance(item, Gap):
            if not item.zeros:
                yield Problem(name, item.start, f"{item.end - item.start} bytes are neither records nor zeros")
            elif item.end < size or segment.footer is not None:
                yield Problem(name, item.start, f"{item.end - item.start} zeros stand where records were")
            return
        if why := refusal(item.header):
            yield Problem(name, item.offset, f"intact, but refused: {why}")
        if item.header.unknown:
            self._unknown.setdefault(item.id, set()).add(Location(segment.number, item.offset))
        elif item.header.kind != RecordKind.UPDATE:
            places.setdefault(item.id, set()).add(Location(segment.number, item.offset))

    def _verify_index(self, index: Index, places: Places) -> Iterator[Problem]:
        if index.checkpoint.incarnation != self._replica.identity.incarnation_bytes:
            yield Problem(INDEX_NAME, -1, "the index is of another incarnation; the node rebuilds it when it starts")
            return
        known: set[bytes] = set()
        for entry in index.stored({}):
            known.add(entry.id)
            standing = places.get(entry.id, set()) | self._unknown.get(entry.id, set())
            if entry.present and entry.location not in standing:
                what = f"no whole record of blob {BlobId(entry.id)}, which the index has here"
                yield Problem(segment_name(entry.segment), entry.offset, what)
        for blob_id, found in places.items():
            covered = [place for place in found if self._covered(place, index)]
            if blob_id not in known and covered:
                first = min(covered, key=lambda place: (place.segment, place.offset))
                yield Problem(
                    INDEX_NAME,
                    -1,
                    f"no entry for blob {BlobId(blob_id)} in {segment_name(first.segment)} at {first.offset}",
                )

    @staticmethod
    def _covered(place: Location, index: Index) -> bool:
        """Whether the checkpoint covers a record; a later one is replayed when the node starts."""
        checkpoint = index.checkpoint
        before = place.segment < checkpoint.segment
        return before or (place.segment == checkpoint.segment and place.offset < checkpoint.offset)
