"""Opening a replica: lock, identity, index, replay, cut.

    1  lock the directory: a second process is refused
    2  read the identity: another cluster's or partition's directory is refused
    3  open the index; one that is missing, damaged or of another incarnation is deleted, and everything is replayed
    4  open the segments; a damaged header hides its segment and costs the replica its authority; where a compaction was
       interrupted the higher generation counts, the index is pointed to it, and the old files are deleted after step 6
    5  replay the log from the checkpoint on; the bytes behind the last whole record go to a quarantine file and are cut
    6  write a checkpoint that says "not cleanly stopped" before the first append

A crash at any of these steps leaves what the step found: each can be repeated. After an unclean stop appends go on in a new
segment, so no LSN is given twice (datanode/store/log.py).

Authority: a replica that may have lost something it acknowledged (new, rebuilt, a gap in its log, a cut tail) must not say
"not found" until it has caught up with its peers; `Opened.serving` says so. Where the loss may lie before the checkpoint its
tokens are forgotten too, so that catching up starts from the beginning. Tokens of the checkpoint never cover what came into
the log after it, so a cut tail needs no more than going on from them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ambry.clock import Clock
from ambry.errors import DataCorrupt, IndexCorrupt, StoreMismatch
from ambry.format.record import RecordKind
from ambry.logs import get_logger
from datanode.store import identity as identity_file
from datanode.store.blob_store import BlobStore, Opened
from datanode.store.files import Files, Lock, write_atomically
from datanode.store.index import FILE_NAMES, Checkpoint, Index
from datanode.store.log import Log
from datanode.store.recovery import Found, Gap, SegmentScan
from datanode.store.segment import UNFINISHED_SUFFIX, Segment, segment_name, segment_number

log = get_logger()

LOCK_NAME = "lock"
INDEX_NAME = "index"
QUARANTINE_NAME = "quarantine"
QUARANTINE_BYTES_MAX = 16 << 20
PROGRESS_RECORDS = 200_000
LOST_SEGMENT_LSNS = 1 << 32
"""LSNs skipped for a segment whose header cannot be read: more than any segment's capacity."""


@dataclass(slots=True)
class _Findings:
    replayed: int = 0
    cut_bytes: int = 0
    gaps: int = 0
    rebuilt: bool = False
    lost: bool = False


def open_store(
    files: Files,
    directory: Path,
    *,
    cluster: str,
    partition: int,
    segment_size_bytes: int,
    clock: Clock,
    random_source: random.Random,
    rebuild: bool = False,
) -> BlobStore:
    """Open or create the replica in `directory`; `rebuild` distrusts the index. Blocking.

    Raises StoreMismatch (another process, cluster or partition), DataCorrupt (the identity), FormatUnknown, OSError.
    """
    files.make_directory(directory)
    # The replica's own name must outlast a power cut as well.
    files.sync_directory(directory.parent)
    lock = _lock(files, directory)

    def opening() -> _Opening:
        return _Opening(files, directory, clock, lock, cluster, partition, segment_size_bytes, random_source)

    try:
        try:
            return opening().run(rebuild=rebuild)
        except IndexCorrupt as error:
            if rebuild:
                raise
            log.warning("index damaged, rebuilding from the log", partition=partition, error=str(error))
            return opening().run(rebuild=True)
    except BaseException:
        lock.release()
        raise


def _lock(files: Files, directory: Path) -> Lock:
    try:
        return files.lock(directory / LOCK_NAME)
    except BlockingIOError as cause:
        raise StoreMismatch(f"{directory} is in use by another process; stop it first") from cause


class _Opening:
    """The steps of one opening, in the order of the module's list."""

    def __init__(
        self,
        files: Files,
        directory: Path,
        clock: Clock,
        lock: Lock,
        cluster: str,
        partition: int,
        segment_size_bytes: int,
        random_source: random.Random,
    ) -> None:
        self._files = files
        self._directory = directory
        self._clock = clock
        self._lock = lock
        self._partition = partition
        self._findings = _Findings()
        self._replaced: dict[int, Segment] = {}
        self._identity, self._new = identity_file.load_or_create(
            files, directory, cluster=cluster, partition=partition, random_source=random_source
        )
        self._log = Log(
            files,
            directory,
            partition=partition,
            incarnation=self._identity.incarnation_bytes,
            segment_size_bytes=segment_size_bytes,
        )

    def run(self, *, rebuild: bool) -> BlobStore:
        index = self._open_index(distrust=rebuild)
        try:
            self._open_segments()
            self._set_replaced_aside()
            index = self._checked_against_log(index)
            store = self._store(index)
            checkpoint = index.checkpoint
            self._relocate(store, index)
            self._replay(store, checkpoint)
            self._finish(store, checkpoint)
            self._delete_replaced(store)
            return store
        except BaseException:
            self._log.close()
            index.close()
            raise

    def _open_index(self, *, distrust: bool) -> Index:
        directory = self._directory / INDEX_NAME
        if distrust or not self._files.exists(directory / FILE_NAMES[0]):
            self._findings.rebuilt = not self._new
            return self._fresh_index()
        try:
            index = Index(directory, self._partition)
        except IndexCorrupt as error:
            log.warning("index damaged, rebuilding from the log", partition=self._partition, error=str(error))
            self._findings.rebuilt = True
            return self._fresh_index()
        if index.checkpoint.incarnation != self._identity.incarnation_bytes:
            log.warning("index of another incarnation, rebuilding from the log", partition=self._partition)
            index.close()
            self._findings.rebuilt = True
            return self._fresh_index()
        return index

    def _fresh_index(self) -> Index:
        directory = self._directory / INDEX_NAME
        for name in FILE_NAMES:
            if self._files.exists(directory / name):
                self._files.unlink(directory / name)
        self._files.make_directory(directory)
        self._files.sync_directory(self._directory)
        return Index(directory, self._partition)

    def _open_segments(self) -> None:
        for name in self._files.list_directory(self._directory):
            number = segment_number(name)
            if number is None:
                if name.endswith(UNFINISHED_SUFFIX):
                    self._files.unlink(self._directory / name)  # a crash while it was created: nothing was ever in it
                continue
            try:
                segment = Segment.open(self._files, self._directory, number)
            except DataCorrupt as error:
                log.error("segment header damaged", partition=self._partition, segment=number, error=str(error))
                self._findings.lost = True
                self._log.skip(number, LOST_SEGMENT_LSNS)
                continue
            if segment.header.partition != self._partition:
                segment.close()
                raise StoreMismatch(f"{name} in {self._directory} is of partition {segment.header.partition}")
            self._log.adopt(segment)

    def _set_replaced_aside(self) -> None:
        """Where files cover the same LSNs an interrupted compaction left both: only the highest generation counts."""
        winner: Segment | None = None
        for segment in self._log.in_order():
            if winner is None or segment.base_lsn >= winner.header.end_lsn:
                winner = segment
                continue
            loser, winner = sorted((winner, segment), key=lambda either: (either.header.generation, either.number))
            self._replaced[loser.number] = self._log.retire([loser.number])[0]
            log.warning("compaction was interrupted", partition=self._partition, kept=winner.number, left=loser.number)

    def _relocate(self, store: BlobStore, index: Index) -> None:
        """Point what the index still has in replaced segments to the ones that replace them."""
        if not self._replaced or not index.checkpoint.segment:
            return
        found: dict[bytes, tuple[Segment, Found]] = {}
        for segment in self._log.in_order():
            if segment.header.generation:
                size = segment.file.size()
                for item in SegmentScan(segment.file, segment.header, size=size).run(0):
                    if isinstance(item, Found) and item.header.kind != RecordKind.UPDATE:
                        found[item.id] = (segment, item)
        for entry in list(index.stored(index.overlay())):
            if entry.segment not in self._replaced:
                continue
            place = found.get(entry.id)
            if place is None:
                store.compacting.forget_bytes(entry)
            else:
                index.move(msgspec.structs.replace(entry, segment=place[0].number, offset=place[1].offset))

    def _delete_replaced(self, store: BlobStore) -> None:
        if self._replaced:
            for segment in self._replaced.values():
                segment.close()
            store.compacting.delete_files(list(self._replaced.values()))

    def _checked_against_log(self, index: Index) -> Index:
        """Refuse an index that covers more log than there is: part of the log is gone."""
        checkpoint = index.checkpoint
        if not checkpoint.segment:
            return index
        segment = self._log.segments.get(checkpoint.segment)
        if segment is not None and segment.file.size() >= checkpoint.offset:
            return index
        log.error(
            "log shorter than its index, rebuilding",
            partition=self._partition,
            segment=checkpoint.segment,
            expected_bytes=checkpoint.offset,
        )
        self._findings.lost = True
        if segment is None:
            # Peers may have seen its LSNs. Only the base of a new segment keeps them from being given again.
            self._log.skip(checkpoint.segment, LOST_SEGMENT_LSNS, beyond=checkpoint.lsn)
            self._log.start_segment(self._clock.wall_ms())
        index.close()
        return self._fresh_index()

    def _store(self, index: Index) -> BlobStore:
        return BlobStore(
            partition=self._partition,
            incarnation=self._identity.incarnation_bytes,
            directory=self._directory,
            files=self._files,
            clock=self._clock,
            lock=self._lock,
            log=self._log,
            index=index,
            opened=Opened(),
        )

    def _replay(self, store: BlobStore, checkpoint: Checkpoint) -> None:
        segments = self._log.in_order()
        covered = self._log.segments.get(checkpoint.segment)
        for segment in segments:
            if covered is not None and segment.base_lsn < covered.base_lsn:
                segment.end = segment.file.size()
            elif checkpoint.clean and segment is covered:
                segment.end = checkpoint.offset
            else:
                start = checkpoint.offset if segment is covered else 0
                self._replay_segment(store, segment, start, last=segment is segments[-1])
                store.published_lsn = segment.header.end_lsn if segment.header.generation else segment.end_lsn
                self._save_progress(store, checkpoint)

    def _save_progress(self, store: BlobStore, checkpoint: Checkpoint) -> None:
        """Bound what a long replay holds in memory, and what a crash during it repeats; tell that it goes on."""
        if store.recent_count < PROGRESS_RECORDS:
            return
        log.info("replaying", partition=self._partition, records=self._findings.replayed, lsn=store.published_lsn)
        unsynced = dict.fromkeys(self._log.segments, 0)
        frozen, progress, _ = store.begin_checkpoint(
            clean=False, tokens={} if self._findings.lost else checkpoint.tokens
        )
        store.write_checkpoint(frozen, progress, unsynced)
        store.end_checkpoint(progress, {})

    def _replay_segment(self, store: BlobStore, segment: Segment, start: int, *, last: bool) -> None:
        size = segment.file.size()
        if last and size < segment.header.capacity_bytes:
            # Its end was cut off: by an earlier recovery, or by damage that may have taken acknowledged records.
            self._findings.gaps += 1
        segment.end = max(segment.end, start)
        tail: Gap | None = None
        for item in SegmentScan(segment.file, segment.header, size=size).run(start):
            if isinstance(item, Found):
                header = item.header
                store.apply(
                    kind=header.kind,
                    blob_id=item.id,
                    state=header.state,
                    lsn=header.lsn,
                    segment=segment.number,
                    offset=item.offset,
                    size=header.record_size,
                    payload_size=header.payload_size,
                    written_at_ms=header.written_at_ms,
                )
                segment.end = item.end
                self._findings.replayed += 1
            elif item.end < size:
                self._note_gap(segment, item)
            else:
                tail = item
        if tail is not None and not tail.zeros:
            self._cut(segment, tail, last=last)

    def _note_gap(self, segment: Segment, gap: Gap) -> None:
        log.error(
            "damaged bytes between records",
            partition=self._partition,
            segment=segment.number,
            offset=gap.start,
            bytes=gap.end - gap.start,
        )
        self._findings.gaps += 1
        self._findings.lost = True

    def _cut(self, segment: Segment, tail: Gap, *, last: bool) -> None:
        """Keep the bytes behind the last whole record in a quarantine file, then cut them off."""
        size = min(tail.end - tail.start, QUARANTINE_BYTES_MAX)
        buffer = bytearray(size)
        kept = bytes(memoryview(buffer)[: segment.file.pread(buffer, tail.start)]).rstrip(b"\0")
        directory = self._directory / QUARANTINE_NAME
        self._files.make_directory(directory)
        path = directory / f"{segment_name(segment.number)}.{tail.start}"
        if not self._files.exists(path):
            write_atomically(self._files, path, kept)
        segment.file.truncate(tail.start)
        segment.file.fsync()
        self._findings.cut_bytes += len(kept)
        self._findings.gaps += 1
        # A torn tail is only normal where the last appends went.
        self._findings.lost = self._findings.lost or not last
        log.warning(
            "torn tail cut",
            partition=self._partition,
            segment=segment.number,
            offset=tail.start,
            bytes=len(kept),
            quarantine=str(path),
        )

    def _finish(self, store: BlobStore, checkpoint: Checkpoint) -> None:
        findings = self._findings
        resume = checkpoint.clean and checkpoint.resume
        segments = self._log.in_order()
        if resume and segments and checkpoint.segment == segments[-1].number:
            self._log.active = segments[-1]
        # In a compacted segment offsets are no LSNs; what follows it in the log begins at its end_lsn at the earliest.
        ends = [segment.header.end_lsn if segment.header.generation else segment.end_lsn for segment in segments]
        store.published_lsn = max(ends, default=checkpoint.lsn)
        store.serving = checkpoint.serving and not (findings.lost or findings.gaps or findings.rebuilt)
        store.opened = Opened(findings.replayed, findings.cut_bytes, findings.gaps, findings.rebuilt, store.serving)
        tokens = {} if findings.lost else checkpoint.tokens
        # Everything replayed was read back from the files, but may never have been synced: sync before the index says so.
        unsynced = {segment.number: 0 for segment in segments}
        frozen, fresh, _ = store.begin_checkpoint(clean=False, tokens=tokens)
        store.write_checkpoint(frozen, fresh, {} if checkpoint.clean else unsynced)
        store.end_checkpoint(fresh, {})
        log.info(
            "replica open",
            partition=self._partition,
            incarnation=self._identity.incarnation,
            end_lsn=store.published_lsn,
            replayed=findings.replayed,
            cut_bytes=findings.cut_bytes,
            gaps=findings.gaps,
            rebuilt=findings.rebuilt,
            serving=store.serving,
        )
