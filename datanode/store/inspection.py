"""Looking at the replica of a stopped node: what is in it. Whether every bit of it is right, verification.py says.

Everything here blocks and reads; nothing is changed. The directory is locked meanwhile, so a running node is never looked at
behind its back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from ambry.errors import DataCorrupt, FormatUnknown, StoreMismatch
from ambry.format.record import RecordKind, refusal
from ambry.format.segment import HEADER_SIZE
from ambry.ids import BlobId
from datanode.store.files import Files, read_whole
from datanode.store.index import Index, LsnRange
from datanode.store.index_file import FILE_NAMES, INDEX_NAME
from datanode.store.opening import identity as identity_file
from datanode.store.opening.identity import Identity
from datanode.store.opening.replay import QUARANTINE_NAME
from datanode.store.opening.strays import LOCK_NAME, find_strays
from datanode.store.scan import FoundRecord, SegmentScan
from datanode.store.segment import Segment, segment_number


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
    refused: str = ""
    """Why this release cannot read it, though it is intact."""


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
    missing_lsns: list[LsnRange]
    """Ranges that no segment covers: they were in files that are gone or cannot be read."""
    checkpoint_lsn: int
    checkpoint_clean: bool
    serving: bool
    entries: int
    tokens: dict[str, int]
    quarantined: list[str]
    refused: list[str] = []
    """Segments of a later release, each with what this one does not know of it."""


class Inspection:
    """One locked replica directory."""

    def __init__(self, files: Files, directory: Path) -> None:
        self.files = files
        self.directory = directory
        self.identity = self._identity()

    def _identity(self) -> Identity:
        path = self.directory / identity_file.FILE_NAME
        if not self.files.exists(path):
            raise _no_replica(self.files, self.directory)
        try:
            identity = identity_file.decode(read_whole(self.files, path))
        except msgspec.DecodeError as cause:
            raise DataCorrupt(f"{path} cannot be read: {cause}") from cause
        if identity.sealed() != identity:
            raise DataCorrupt(f"{path} fails its checksum")
        return identity

    # --- the log ---

    def segments(self) -> Iterator[Segment]:
        """The readable segments in LSN order; close them."""
        found: list[Segment] = []
        for number in self.numbers():
            with suppress(DataCorrupt, FormatUnknown):
                found.append(Segment.open(self.files, self.directory, number))
        yield from sorted(found, key=lambda segment: segment.base_lsn)

    def refused(self) -> list[str]:
        """Which segments only a later release can read, and why."""
        found: list[str] = []
        for number in self.numbers():
            try:
                Segment.open(self.files, self.directory, number).close()
            except FormatUnknown as error:
                found.append(error.message)
            except DataCorrupt:
                continue
        return found

    def numbers(self) -> list[int]:
        """Those of all segment files, readable or not. What has the name of one and is no file is a stray."""
        names = self.files.list_directory(self.directory)
        numbers = {name: number for name in names if (number := segment_number(name)) is not None}
        return [number for name, number in numbers.items() if self.files.is_regular_file(self.directory / name)]

    def strays(self) -> list[Path]:
        """What stands under a name of the replica and is not what it must be: the next start sets it aside."""
        return find_strays(self.files, self.directory)

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
        index = self.index()
        checkpoint = index.checkpoint if index is not None else None
        entries = index.stored_count() if index is not None else 0
        if index is not None:
            index.close()
        quarantine = self.directory / QUARANTINE_NAME
        return Overview(
            directory=str(self.directory),
            cluster=self.identity.cluster,
            partition=self.identity.partition,
            incarnation=self.identity.incarnation,
            segments=lines,
            missing_lsns=missing_lsns([LsnRange(line.base_lsn, line.end_lsn) for line in lines]),
            checkpoint_lsn=checkpoint.lsn if checkpoint else 0,
            checkpoint_clean=checkpoint.clean if checkpoint else False,
            serving=checkpoint.serving if checkpoint else False,
            entries=entries,
            tokens={name: token.lsn for name, token in checkpoint.tokens.items()} if checkpoint else {},
            quarantined=self.files.list_directory(quarantine) if self.files.exists(quarantine) else [],
            refused=self.refused(),
        )

    def expect_caught_up(self) -> None:
        """Raises StoreMismatch unless the replica had caught up with its peers at its last checkpoint. Raises IndexCorrupt."""
        index = self.index()
        serving = index is not None and index.checkpoint.serving
        if index is not None:
            index.close()
        if not serving:
            raise StoreMismatch(
                f"{self.directory} has not caught up with its peers, as far as is known: what was set aside may be the "
                "only copy; start the node, wait until the partition is serving, stop it, and try again"
            )

    def index(self) -> Index | None:
        """The index; close it. None where there is none. Raises IndexCorrupt."""
        path = self.directory / INDEX_NAME / FILE_NAMES[0]
        if not self.files.is_regular_file(path):
            return None
        return Index(self.files, path.parent, self.identity.partition)


def _no_replica(files: Files, directory: Path) -> StoreMismatch:
    inside = sorted(name for name in files.list_directory(directory) if name.startswith("partition-"))
    hint = f"; it holds some, name one of them: {directory / inside[0]}" if inside else ""
    return StoreMismatch(f"{directory} is no replica: it has no {identity_file.FILE_NAME}{hint}")


def _line(segment: Segment, found: FoundRecord) -> RecordLine:
    header = found.header
    kinds = {int(kind): kind.name.lower() for kind in RecordKind}
    return RecordLine(
        segment=segment.number,
        offset=found.offset,
        lsn=header.lsn,
        kind=kinds.get(header.kind, f"kind {header.kind}"),
        id=str(BlobId(found.id)),
        size=header.record_size,
        payload_size=header.payload_size,
        life_version=header.state.life_version,
        deleted=header.state.deleted,
        expires_at_ms=header.state.expires_at_ms,
        written_at_ms=header.written_at_ms,
        refused=refusal(header),
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


def missing_lsns(ranges: Sequence[LsnRange]) -> list[LsnRange]:
    """What lies between these ranges of LSNs, which ascend, and in front of them."""
    missing: list[LsnRange] = []
    covered = 0
    for base_lsn, end_lsn in ranges:
        if base_lsn > covered:
            missing.append(LsnRange(covered, base_lsn))
        covered = max(covered, end_lsn)
    return missing


@contextmanager
def locked(files: Files, directory: Path) -> Iterator[None]:
    """Hold a replica's lock. Raises StoreMismatch while a node runs on it."""
    if not files.exists(directory / identity_file.FILE_NAME):
        raise _no_replica(files, directory)
    if files.is_directory(directory / LOCK_NAME):
        raise StoreMismatch(
            f"{directory / LOCK_NAME} is a directory; `rebuild-index`, or the node's next start, sets it aside"
        )
    try:
        lock = files.lock(directory / LOCK_NAME)
    except BlockingIOError as cause:
        raise StoreMismatch(f"{directory} is in use by a running node; stop it first") from cause
    try:
        yield
    finally:
        lock.release()
