"""One partition replica: its log, its index, its reads.

Every method runs on the event loop's thread and does not wait for a disk, but those marked blocking, which run on a disk
thread. A put or update goes `place` -> `write` (blocking) -> `publish`, one batch at a time (datanode/committer.py drives it).

Invariants: what is not published is not visible; what is published was synced, but for records of class `memory`; after a
failed write or sync the replica is fenced and publishes nothing more. A read verifies every byte it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec

from ambry.blob import BlobState, join
from ambry.checksum import BLOCK_SIZE, CHECK_SIZE, Buffer, blocks_intact
from ambry.clock import Clock
from ambry.errors import DataCorrupt, InvariantBroken, ReplicaFenced
from ambry.format import record as record_format
from ambry.format.record import Head, Record, RecordKind
from ambry.format.segment import HEADER_SIZE
from ambry.service.logs import get_logger
from datanode import metrics
from datanode.store.auditing import Auditing
from datanode.store.compaction.switch import Compacting
from datanode.store.entry import IndexEntry
from datanode.store.files import Files, Lock
from datanode.store.index import Checkpoint, Entries, Frozen, Index
from datanode.store.log import Log, Placement
from datanode.store.segment import Segment

log = get_logger()

SEAL_AT = 0.90
UNSEAL_BELOW = 0.85


class StoreState(StrEnum):
    OPEN = "open"
    FENCED = "fenced"
    CLOSED = "closed"


class Payload(msgspec.Struct, frozen=True):
    """What a read returns: the verified head, and the blocks that cover the asked-for range.

    `data` starts at byte `start` of the payload (a multiple of 64 KiB); `checks` covers exactly `data`.
    """

    head: Head
    start: int
    checks: Buffer
    data: Buffer


class Opened(msgspec.Struct, frozen=True):
    """What opening a replica found; see datanode/store/opening/steps.py."""

    replayed: int = 0
    cut_bytes: int = 0
    gaps: int = 0
    rebuilt: bool = False
    serving: bool = False


class BlobStore:
    """An open replica. `open_store` in datanode/store/opening/steps.py makes one."""

    def __init__(
        self,
        *,
        partition: int,
        incarnation: bytes,
        directory: Path,
        files: Files,
        clock: Clock,
        lock: Lock,
        log: Log,
        index: Index,
        opened: Opened,
        on_publish: Callable[[BlobStore], None],
    ) -> None:
        self.partition = partition
        self.incarnation = incarnation
        self.directory = directory
        self.opened = opened
        self.state = StoreState.OPEN
        self.fence_reason = ""
        self.serving = opened.serving
        """Whether this replica has the authority to say that a blob does not exist."""
        self.sealed = False
        """Whether the partition is too full for puts; see `reseal`."""
        self.holes: list[tuple[int, int]] = []
        """LSNs that no segment covers: they were in files that are gone."""
        self.unreadable: list[int] = []
        """Numbers of segments whose header cannot be read."""
        self.damaged: set[bytes] = set()
        """Blob ids whose record here failed its checksum; a good copy may replace it."""
        self.compacting = Compacting(files, directory, clock=clock, log=log, index=index)
        self.auditing = Auditing(log=log, index=index, read=self.read, published_end=self._published_end)
        self.on_publish = on_publish
        self.published_lsn = max((segment.end_lsn for segment in log.segments.values()), default=0)
        self._files = files
        self._clock = clock
        self._lock = lock
        self._log = log
        self._index = index

    # --- state of the replica ---

    @property
    def end_lsn(self) -> int:
        """LSN behind the last published record: what a peer that saw everything has as its token."""
        return self.published_lsn

    @property
    def recent_count(self) -> int:
        """Index entries that wait for the next checkpoint."""
        return self._index.recent_count

    @property
    def checkpoint(self) -> Checkpoint:
        """The last durable checkpoint."""
        return self._index.checkpoint

    @property
    def unsynced(self) -> bool:
        """Whether published records of class `memory` wait for a sync."""
        return self._log.unsynced

    def segment_count(self) -> int:
        return len(self._log.segments)

    def size_bytes(self) -> int:
        return self._log.size_bytes()

    def reseal(self, capacity_bytes: int) -> bool:
        """Seal at 90 % of the capacity, unseal below 85 %. Returns whether that changed anything."""
        share = self.size_bytes() / capacity_bytes
        sealed = share >= SEAL_AT or (self.sealed and share >= UNSEAL_BELOW)
        changed, self.sealed = sealed != self.sealed, sealed
        return changed

    def free_bytes(self) -> int:
        """Room on the disk. Blocking, briefly. Raises OSError."""
        return self._files.free_bytes(self.directory)

    def fence(self, reason: str) -> None:
        """Stop acknowledging for good, and tell; reads go on, verified as always. Nothing where it stopped already."""
        if self.state is StoreState.OPEN:
            self.state = StoreState.FENCED
            self.fence_reason = reason
            self.serving = False
            metrics.FENCED.inc()
            log.error("replica fenced", partition=self.partition, error=reason)

    # --- the write path ---

    def place(self, records: Sequence[Record], *, sync: bool) -> Placement:
        """Decide where a batch goes. Raises ReplicaFenced."""
        if self.state is not StoreState.OPEN:
            raise ReplicaFenced(f"partition {self.partition} is {self.state}: {self.fence_reason}")
        return self._log.place(self._with_whole_states(records), sync=sync, now_ms=self._clock.wall_ms())

    def _with_whole_states(self, records: Sequence[Record]) -> list[Record]:
        """Let every record carry the join of all that is known of its blob.

        So the latest record of a blob alone tells its state, and compaction may drop the earlier ones.
        """
        whole: list[Record] = []
        batch: dict[bytes, BlobState] = {}
        for record in records:
            known = batch.get(record.id)
            if known is None:
                entry = self._index.get(record.id)
                known = entry.state if entry is not None else None
            state = record.state if known is None else join(known, record.state)
            batch[record.id] = state
            whole.append(record if state == record.state else msgspec.structs.replace(record, state=state))
        return whole

    def create_segments(self, placement: Placement) -> None:
        """Blocking. Raises OSError with nothing of the batch on disk: `abandon` it."""
        self._log.create_segments(placement)

    def begin_sync(self) -> dict[int, int]:
        """What a batch that syncs must sync besides its own segments, so that its acknowledgement covers all before it."""
        return self._log.unsynced_segments()

    def write(self, placement: Placement, unsynced: dict[int, int]) -> None:
        """Write a batch; durable on return where it syncs. Blocking. Raises OSError: `fence` then."""
        self._log.write(placement)
        if unsynced:
            self._log.sync(unsynced)

    def abandon(self, placement: Placement) -> None:
        self._log.abandon(placement)

    def publish(self, placement: Placement, unsynced: dict[int, int]) -> None:
        """Make a written batch visible to readers and peers."""
        self._log.finish(placement)
        self._log.mark_synced(unsynced)
        for record, place in zip(placement.records, placement.places, strict=True):
            self.apply(
                kind=record.kind,
                blob_id=record.id,
                state=record.state,
                lsn=place.lsn,
                segment=place.segment.number,
                offset=place.offset,
                size=place.size,
                payload_size=len(record.payload),
                written_at_ms=record.written_at_ms,
            )
            self.published_lsn = place.lsn + place.size
        self.on_publish(self)

    def apply(
        self,
        *,
        kind: int,
        blob_id: bytes,
        state: BlobState,
        lsn: int,
        segment: int,
        offset: int,
        size: int,
        payload_size: int,
        written_at_ms: int,
    ) -> None:
        """Take one record into the index. Replay at start and `publish` share this, so they cannot differ."""
        current = self._index.get(blob_id)
        joined = state if current is None else join(current.state, state)
        changed_at_ms = written_at_ms if current is None else max(current.changed_at_ms, written_at_ms)
        if kind != RecordKind.UPDATE:
            # The latest put record of a blob is the one to read: a repair appends a good copy.
            repaired = current is not None and (current.present or current.repaired)
            entry = IndexEntry(blob_id, lsn, segment, offset, size, payload_size, joined, changed_at_ms, repaired)
            self.damaged.discard(blob_id)
        elif current is None:
            entry = IndexEntry(blob_id, lsn, 0, 0, 0, 0, joined, changed_at_ms)
        else:
            entry = msgspec.structs.replace(current, lsn=lsn, state=joined, changed_at_ms=changed_at_ms)
        self._index.set(entry)

    # --- reading ---

    def lookup(self, blob_id: bytes) -> IndexEntry | None:
        """The entry of a blob, deleted ones included. Raises IndexCorrupt."""
        return self._index.get(blob_id)

    def changes_since(self, lsn: int, limit: int) -> list[IndexEntry]:
        """Blobs whose latest change has an LSN of at least `lsn`, in order, at most `limit`. Raises IndexCorrupt."""
        return self._index.changes_since(lsn, limit)

    def read(self, entry: IndexEntry, first: int, end: int, *, cached_only: bool) -> Payload | None:
        """Read and verify the blocks that cover payload bytes `first` to `end` (exclusive), and the record's head.

        With `cached_only` None when the page cache does not hold them all; else blocking. `first == end` reads the head
        alone. Raises DataCorrupt when anything fails its checksum or the record is another blob's, OSError.
        """
        segment, entry = self._place(entry)
        head_size = entry.size - entry.payload_size
        start = first // BLOCK_SIZE * BLOCK_SIZE
        stop = min(entry.payload_size, -(-end // BLOCK_SIZE) * BLOCK_SIZE) if end > first else start
        if stop - start == entry.payload_size:
            raw = self._pread(segment, entry.offset, entry.size, cached_only)
            if raw is None:
                return None
            head = self._verified_head(raw, segment, entry)
            offset = head.header.payload_start
            data = memoryview(raw)[offset : offset + entry.payload_size]
        else:
            raw = self._pread(segment, entry.offset, head_size, cached_only)
            if raw is None:
                return None
            head = self._verified_head(raw, segment, entry)
            blocks = self._pread(segment, entry.offset + head.header.payload_start + start, stop - start, cached_only)
            if blocks is None:
                return None
            data = memoryview(blocks)
        checks = head.checks[start // BLOCK_SIZE * CHECK_SIZE : -(-stop // BLOCK_SIZE) * CHECK_SIZE]
        if not blocks_intact(data, checks):
            raise DataCorrupt(self._where(entry, "a block of the payload fails its checksum"))
        return Payload(head, start, checks, data)

    def read_image(self, entry: IndexEntry) -> Buffer:
        """The whole record, verified, as it travels between nodes. Blocking. Raises DataCorrupt, OSError."""
        segment, entry = self._place(entry)
        raw = self._pread(segment, entry.offset, entry.size, cached_only=False)
        if raw is None or record_format.decode(raw, segment.salt).id != entry.id:
            raise DataCorrupt(self._where(entry, "the record is another blob's"))
        record_format.restamp(raw)
        return raw

    def _place(self, entry: IndexEntry) -> tuple[Segment, IndexEntry]:
        """The segment that an entry points to; where a compaction moved the record since, the place that it has now."""
        segment = self._log.segments.get(entry.segment)
        if segment is None:
            current = self._index.get(entry.id)
            if current is not None and current.present:
                entry = current
                segment = self._log.segments.get(entry.segment)
        if segment is None:
            raise DataCorrupt(self._where(entry, "the segment is missing"))
        return segment, entry

    def _published_end(self, segment: Segment) -> int:
        """How far a segment is published. A batch on its way may have places at the end of any segment."""
        if segment.header.generation:
            return segment.end
        return min(segment.end, max(HEADER_SIZE, self.published_lsn - segment.base_lsn))

    def _pread(self, segment: Segment, offset: int, size: int, cached_only: bool) -> bytearray | None:
        buffer = bytearray(size)
        if cached_only:
            return buffer if not size or segment.file.pread_cached(buffer, offset) == size else None
        if segment.file.pread(buffer, offset) != size:
            raise DataCorrupt(
                f"partition {self.partition}, segment {segment.number}: {size} bytes at {offset} are gone"
            )
        return buffer

    def _verified_head(self, raw: Buffer, segment: Segment, entry: IndexEntry) -> Head:
        head = record_format.decode_head(raw, segment.salt)
        if head.id != entry.id or head.header.payload_size != entry.payload_size:
            raise DataCorrupt(self._where(entry, "the record is another blob's"))
        return head

    def _where(self, entry: IndexEntry, what: str) -> str:
        return (
            f"partition {self.partition}, segment {entry.segment}, offset {entry.offset}: {what} "
            f"(blob {entry.id.hex()}); it is read elsewhere and repaired"
        )

    def overlay(self) -> Entries:
        """The index entries that only memory holds: what a walk over the index needs from the event loop's thread."""
        return self._index.overlay()

    # --- checkpoints ---

    def begin_checkpoint(
        self, *, clean: bool, tokens: dict[str, tuple[bytes, int]]
    ) -> tuple[Frozen, Checkpoint, dict[int, int]]:
        """Freeze what is published now; hand the result to `write_checkpoint`, then to `end_checkpoint`.

        `tokens` must cover only what is published here. No batch may be in flight when `clean`.
        """
        if self.state is StoreState.CLOSED:
            raise InvariantBroken(f"checkpoint of the closed partition {self.partition}")
        last = max(
            (segment for segment in self._log.segments.values() if segment.base_lsn <= self.published_lsn),
            key=lambda segment: segment.base_lsn,
            default=None,
        )
        checkpoint = Checkpoint(
            incarnation=self.incarnation,
            segment=last.number if last else 0,
            offset=0 if last is None else self._published_end(last),
            lsn=self.published_lsn,
            clean=clean and self.state is StoreState.OPEN,
            serving=self.serving,
            tokens=tokens,
            resume=last is not None and last is self._log.active,
            holes=self.holes,
        )
        return self._index.freeze(), checkpoint, self._log.unsynced_segments()

    def write_checkpoint(self, frozen: Frozen, checkpoint: Checkpoint, unsynced: dict[int, int]) -> None:
        """Sync the log, then write the index. Blocking. Raises OSError or IndexCorrupt: `fence` then."""
        self._log.sync(unsynced)
        self._index.write(frozen, checkpoint)

    def end_checkpoint(self, checkpoint: Checkpoint, unsynced: dict[int, int]) -> None:
        self._log.mark_synced(unsynced)
        self._index.finish(checkpoint)

    def close(self) -> None:
        """Release files and lock. Blocking, briefly. No checkpoint: the caller makes one for a clean stop."""
        if self.state is not StoreState.CLOSED:
            self.state = StoreState.CLOSED
            self.serving = False
            self._index.close()
            self._log.close()
            self._lock.release()
