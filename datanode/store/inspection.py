"""Looking at the replica of a stopped node: what is in it, and whether every bit of it is right.

Everything here blocks and reads; nothing is changed. The directory is locked meanwhile, so a running node is never looked at
behind its back.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ambry.errors import AmbryError, DataCorrupt, FormatUnknown, IndexCorrupt, StoreMismatch
from ambry.format.record import RecordKind
from ambry.format.segment import FOOTER_SIZE, HEADER_SIZE
from ambry.ids import BlobId
from datanode.store.files import Files, read_whole
from datanode.store.index import FILE_NAMES, Checkpoint, Index
from datanode.store.opening import identity as identity_file
from datanode.store.opening.identity import Identity
from datanode.store.opening.replay import QUARANTINE_NAME
from datanode.store.opening.steps import INDEX_NAME, LOCK_NAME
from datanode.store.scan import WINDOW, FoundRecord, Gap, SegmentScan
from datanode.store.segment import Segment, segment_name, segment_number


class Problem(msgspec.Struct, frozen=True):
    """One thing that is not as it must be. `offset` is in bytes from the start of the file, -1 where there is none."""

    file: str
    offset: int
    what: str


class RecordLine(msgspec.Struct, frozen=True):
    """One record as `dump` shows it."""

    segment: int
    offset: int
    lsn: int
    kind: str
    id: str
    size: int
    payload_size: int
    life_version: int
    deleted: bool
    expires_at_ms: int
    written_at_ms: int


class SegmentLine(msgspec.Struct, frozen=True):
    """One segment as `inspect` shows it."""

    number: int
    generation: int
    sealed: bool
    base_lsn: int
    end_lsn: int
    file_bytes: int
    records: int
    used_bytes: int
    gaps: int


class Overview(msgspec.Struct, frozen=True):
    """What `inspect` shows."""

    directory: str
    cluster: str
    partition: int
    incarnation: str
    segments: list[SegmentLine]
    missing_lsns: list[tuple[int, int]]
    """Ranges that no segment covers: they were in files that are gone or cannot be read."""
    checkpoint_lsn: int
    checkpoint_clean: bool
    serving: bool
    entries: int
    tokens: dict[str, int]
    quarantined: list[str]


class Inspection:
    """One locked replica directory."""

    def __init__(self, files: Files, directory: Path) -> None:
        self._files = files
        self._directory = directory
        self.identity = self._identity()

    def _identity(self) -> Identity:
        path = self._directory / identity_file.FILE_NAME
        if not self._files.exists(path):
            raise StoreMismatch(f"{self._directory} is no replica: it has no {identity_file.FILE_NAME}")
        try:
            identity = msgspec.json.decode(read_whole(self._files, path), type=Identity)
        except msgspec.DecodeError as cause:
            raise DataCorrupt(f"{path} cannot be read: {cause}") from cause
        if identity.sealed() != identity:
            raise DataCorrupt(f"{path} fails its checksum")
        return identity

    # --- the log ---

    def segments(self) -> Iterator[Segment]:
        """The readable segments in LSN order; close them."""
        found: list[Segment] = []
        for number in self._numbers():
            try:
                found.append(Segment.open(self._files, self._directory, number))
            except (DataCorrupt, FormatUnknown):
                continue
        yield from sorted(found, key=lambda segment: segment.base_lsn)

    def _numbers(self) -> list[int]:
        numbers = (segment_number(name) for name in self._files.list_directory(self._directory))
        return [number for number in numbers if number is not None]

    def records(self) -> Iterator[RecordLine]:
        """Every whole record of the log."""
        for segment in self.segments():
            for item in SegmentScan(segment.file, segment.header, size=segment.data_size()).run(0):
                if isinstance(item, FoundRecord):
                    yield _line(segment, item)
            segment.close()

    def overview(self) -> Overview:
        """A summary. Reads the whole log."""
        lines: list[SegmentLine] = []
        for segment in self.segments():
            lines.append(_summary(segment))
            segment.close()
        index = self._index()
        checkpoint = index.checkpoint if index is not None else None
        entries = index.stored_count() if index is not None else 0
        if index is not None:
            index.close()
        quarantine = self._directory / QUARANTINE_NAME
        return Overview(
            directory=str(self._directory),
            cluster=self.identity.cluster,
            partition=self.identity.partition,
            incarnation=self.identity.incarnation,
            segments=lines,
            missing_lsns=_missing([(line.base_lsn, line.end_lsn) for line in lines]),
            checkpoint_lsn=checkpoint.lsn if checkpoint else 0,
            checkpoint_clean=checkpoint.clean if checkpoint else False,
            serving=checkpoint.serving if checkpoint else False,
            entries=entries,
            tokens={name: lsn for name, (_, lsn) in checkpoint.tokens.items()} if checkpoint else {},
            quarantined=self._files.list_directory(quarantine) if self._files.exists(quarantine) else [],
        )

    def _index(self) -> Index | None:
        path = self._directory / INDEX_NAME / FILE_NAMES[0]
        if not self._files.exists(path):
            return None
        return Index(path.parent, self.identity.partition)

    # --- verification ---

    def verify(self) -> Iterator[Problem]:
        """Everything that is wrong: segment headers, records, bytes between and behind them, the index against the log."""
        places: dict[bytes, set[tuple[int, int]]] = {}
        for number in self._numbers():
            yield from self._verify_segment(number, places)
        try:
            index = self._index()
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
        segments = list(self.segments())
        for segment in segments:
            segment.close()
        for start, end in _missing([(segment.base_lsn, segment.header.end_lsn) for segment in segments]):
            if (start, end) not in checkpoint.holes:
                yield Problem(str(self._directory), -1, f"no segment covers LSN {start} to {end}: a file is missing")
        if segments and (segments[-1].footer is not None or segments[-1].header.generation):
            end = segments[-1].header.end_lsn
            yield Problem(str(self._directory), -1, f"the log went on behind LSN {end}: its last file is missing")

    def _verify_segment(self, number: int, places: dict[bytes, set[tuple[int, int]]]) -> Iterator[Problem]:
        name = segment_name(number)
        try:
            segment = Segment.open(self._files, self._directory, number)
        except AmbryError as error:
            yield Problem(name, 0, error.message)
            return
        except OSError as error:
            yield Problem(name, 0, f"cannot be read: {error.strerror or error}")
            return
        header = segment.header
        if (header.partition, header.incarnation.hex()) != (self.identity.partition, self.identity.incarnation):
            yield Problem(name, 0, "the segment is of another partition or incarnation")
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

    @staticmethod
    def _verify_item(
        segment: Segment, item: FoundRecord | Gap, size: int, places: dict[bytes, set[tuple[int, int]]]
    ) -> Iterator[Problem]:
        name = segment_name(segment.number)
        if isinstance(item, Gap):
            if not item.zeros:
                yield Problem(name, item.start, f"{item.end - item.start} bytes are neither records nor zeros")
            elif item.end < size or segment.footer is not None:
                yield Problem(name, item.start, f"{item.end - item.start} zeros stand where records were")
            return
        if item.header.kind != RecordKind.UPDATE:
            places.setdefault(item.id, set()).add((segment.number, item.offset))
        padding = bytearray(item.header.record_size - item.header.payload_start - item.header.payload_size)
        start = item.end - len(padding)
        segment.file.pread(padding, start)
        if padding.strip(b"\0"):
            yield Problem(name, start, "the padding behind a record is not zero")

    def _verify_index(self, index: Index, places: dict[bytes, set[tuple[int, int]]]) -> Iterator[Problem]:
        if index.checkpoint.incarnation != self.identity.incarnation_bytes:
            yield Problem(INDEX_NAME, -1, "the index is of another incarnation; the node rebuilds it when it starts")
            return
        known: set[bytes] = set()
        for entry in index.stored({}):
            known.add(entry.id)
            if entry.present and (entry.segment, entry.offset) not in places.get(entry.id, set()):
                what = f"no whole record of blob {BlobId(entry.id)}, which the index has here"
                yield Problem(segment_name(entry.segment), entry.offset, what)
        for blob_id, found in places.items():
            covered = [place for place in found if self._covered(place, index)]
            if blob_id not in known and covered:
                number, offset = min(covered)
                yield Problem(
                    INDEX_NAME, -1, f"no entry for blob {BlobId(blob_id)} in {segment_name(number)} at {offset}"
                )

    @staticmethod
    def _covered(place: tuple[int, int], index: Index) -> bool:
        """Whether the checkpoint covers a record; a later one is replayed when the node starts."""
        number, offset = place
        checkpoint = index.checkpoint
        return number < checkpoint.segment or (number == checkpoint.segment and offset < checkpoint.offset)


def _line(segment: Segment, found: FoundRecord) -> RecordLine:
    header = found.header
    return RecordLine(
        segment=segment.number,
        offset=found.offset,
        lsn=header.lsn,
        kind=RecordKind(header.kind).name.lower(),
        id=str(BlobId(found.id)),
        size=header.record_size,
        payload_size=header.payload_size,
        life_version=header.state.life_version,
        deleted=header.state.deleted,
        expires_at_ms=header.state.expires_at_ms,
        written_at_ms=header.written_at_ms,
    )


def _summary(segment: Segment) -> SegmentLine:
    records = gaps = 0
    used = HEADER_SIZE
    for item in SegmentScan(segment.file, segment.header, size=segment.data_size()).run(0):
        if isinstance(item, FoundRecord):
            records += 1
            used = item.end
        elif not item.zeros:
            gaps += 1
    header = segment.header
    return SegmentLine(
        number=segment.number,
        generation=header.generation,
        sealed=segment.footer is not None,
        base_lsn=header.base_lsn,
        end_lsn=header.end_lsn,
        file_bytes=segment.file.size(),
        records=records,
        used_bytes=used,
        gaps=gaps,
    )


def _missing(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """What lies between these ranges of LSNs, which ascend, and in front of them."""
    missing: list[tuple[int, int]] = []
    covered = 0
    for base_lsn, end_lsn in ranges:
        if base_lsn > covered:
            missing.append((covered, base_lsn))
        covered = max(covered, end_lsn)
    return missing


@contextmanager
def locked(files: Files, directory: Path) -> Iterator[None]:
    """Hold a replica's lock. Raises StoreMismatch while a node runs on it."""
    if not files.exists(directory / identity_file.FILE_NAME):
        raise StoreMismatch(f"{directory} is no replica: it has no {identity_file.FILE_NAME}")
    try:
        lock = files.lock(directory / LOCK_NAME)
    except BlockingIOError as cause:
        raise StoreMismatch(f"{directory} is in use by a running node; stop it first") from cause
    try:
        yield
    finally:
        lock.release()
