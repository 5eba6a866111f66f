"""One partition replica: its log, its index, its reads.

Every method runs on the event loop's thread and does not wait for a disk, but those marked blocking, which run on a disk
thread. Puts and updates come by batches (datanode/store/batch.py), one at a time: `begin`, the batch's own steps, and then
`publish` or `give_up`. datanode/committer.py drives them.

Invariants: what is not published is not visible; what is published was synced, but for records of class `memory`; after a
failed write or sync the replica is fenced and publishes nothing more. A read verifies every byte it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec

from ambry.clock import Clock
from ambry.errors import (
    AmbryError,
    InternalError,
    InvariantBroken,
    Overloaded,
    ReplicaFenced,
    ReplicaUnavailable,
)
from ambry.format.record import Record, RecordKind
from ambry.format.segment import HEADER_SIZE
from ambry.service.logs import get_logger
from datanode import metrics
from datanode.store.age import LogAge
from datanode.store.batch import Batch, BatchShape
from datanode.store.compaction.switch import Compaction
from datanode.store.copies import Copies
from datanode.store.digests import Digests
from datanode.store.files import Files, Lock
from datanode.store.index import Checkpoint, FindToken, Frozen, Index, LsnRange
from datanode.store.lineage import Lineage, Seen
from datanode.store.log import Log, Unsynced
from datanode.store.opening.identity import IdentityFile
from datanode.store.record_reader import RecordReader
from datanode.store.scrub import Scrub
from datanode.store.segment import Segment
from datanode.store.stored_entries import Entries
from datanode.store.trouble import is_shortage

log = get_logger()

SEAL_AT = 0.90
UNSEAL_BELOW = 0.85


class StoreState(StrEnum):
    OPEN = "open"
    CLOSING = "closing"
    """It takes no more appends; what was on its way is still published."""
    FENCED = "fenced"
    CLOSED = "closed"


class Opened(msgspec.Struct, frozen=True):
    """What opening a replica found; see datanode/store/opening/steps.py."""

    replayed: int = 0
    cut_bytes: int = 0
    gaps: int = 0
    rebuilt: bool = False
    serving: bool = False


class PendingCheckpoint(msgspec.Struct, frozen=True):
    """A checkpoint on its way: the entries and what they say of themselves, and what is synced first."""

    frozen: Frozen
    checkpoint: Checkpoint
    unsynced: list[Unsynced]


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
        identity: IdentityFile,
        opened: Opened,
    ) -> None:
        self.partition = partition
        self.incarnation = incarnation
        self.identity = identity
        self.directory = directory
        self.opened = opened
        self.state = StoreState.OPEN
        self.fence_reason = ""
        self.serving = opened.serving
        """Whether this replica has lost nothing that it acknowledged, as far as its own directory tells."""
        self.vouched = self.unsuspected = False
        """Whether peers were asked since it was opened, and know nothing of its log that it does not know: once it lacks
        nothing, and at all."""
        self.put_back = ""
        """Why it may lack deletes that it once knew (lineage.py); it gives nothing of its log out until that is mended."""
        self.sealed = False
        """Whether the partition is too full for puts; see `reseal`."""
        self.holes: list[LsnRange] = []
        """LSNs that no segment covers: they were in files that are gone."""
        self.unreadable: list[int] = []
        """Numbers of segments whose header cannot be read."""
        self.set_aside: list[str] = []
        """Files that the opening found and moved away, below the directory: they do not belong to this log."""
        self.damaged: set[bytes] = set()
        """Blob ids whose record here failed its checksum; a good copy may replace it."""
        self.compaction = Compaction(
            files, directory, clock=clock, log=log, index=index, note_purged=identity.note_purged
        )
        reader = RecordReader(log, index)
        self.read, self.read_image, self.locate = reader.read, reader.read_image, reader.locate
        self.read_run, self.whole = reader.read_run, reader.whole
        self.appended_at, self.may_be_put_since = reader.appended_at, reader.may_be_put_since
        self.scrub = Scrub(log=log, index=index, reader=reader, published_end=self._published_end)
        self.copies = Copies(log, index, clock=clock, target=self.scrub.target)
        self.digests = Digests(index)
        self.index = index
        self.lookup = index.get
        self.changes_since = index.changes_since
        self.past = index.past
        self.bytes_from = log.bytes_from
        self.apply = index.apply
        self.watchers: Collection[Callable[[], None]] = ()
        """Called after everything that was published; who put them here adds and removes them."""
        checkpoint = index.checkpoint
        self.age = LogAge(clock, open_s=checkpoint.open_s, marks=checkpoint.marks)
        self.rounds = dict(checkpoint.rounds)
        """By what goes round all replicas: how long this one had been open when the last round over it ended, seconds."""
        self.right_ms = checkpoint.right_ms
        """The latest wall time that is known to be right; the next checkpoint keeps it."""
        self.end_lsn = max((segment.end_lsn for segment in log.segments.values()), default=0)
        """LSN behind the last published record: what a peer that saw everything has as its token."""
        self._clock = clock
        self._lock = lock
        self._log = log

    @property
    def lineage(self) -> Lineage:
        """The past of its log."""
        return self.identity.lineage

    @property
    def authority(self) -> bool:
        """Whether this replica may say that a blob does not exist."""
        return self.serving and self.vouched

    @property
    def token(self) -> FindToken:
        """What a peer that saw everything has."""
        return FindToken(self.incarnation, self.end_lsn, self.lineage.epoch_bytes)

    def judge(self, token: FindToken) -> Seen:
        """What a peer's token says of this log."""
        return self.lineage.judge(self.incarnation, token, self.end_lsn)

    @property
    def recent_count(self) -> int:
        """Index entries that wait for the next checkpoint."""
        return self.index.recent_count

    @property
    def checkpoint(self) -> Checkpoint:
        """The last durable checkpoint."""
        return self.index.checkpoint

    @property
    def unsynced(self) -> bool:
        """Whether published records of class `memory` wait for a sync."""
        return bool(self._log.unsynced)

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
        return self._log.free_bytes()

    def fence(self, reason: str) -> None:
        """Stop acknowledging for good, and tell; reads go on, verified as always. Nothing where it stopped already."""
        if self.state is StoreState.OPEN:
            self.state = StoreState.FENCED
            self.fence_reason = reason
            self.serving = False
            metrics.FENCED.inc()
            log.error("replica fenced", partition=self.partition, error=reason)

    def refusal(self) -> ReplicaUnavailable:
        """What one that is not open answers to a write."""
        if self.state in (StoreState.CLOSING, StoreState.CLOSED):
            return ReplicaUnavailable(f"partition {self.partition} is closed; it may be open again shortly")
        return ReplicaFenced(f"partition {self.partition} is fenced: {self.fence_reason}")

    # --- the write path ---

    def begin(self, records: Sequence[Record], *, sync: bool, shape: BatchShape = Batch) -> Batch:
        """A batch of these records, without places yet. Raises ReplicaUnavailable when the replica is not open."""
        if self.state is not StoreState.OPEN:
            raise self.refusal()
        return shape(self._log, self.index, records, sync=sync, now_ms=self._clock.wall_ms())

    def publish(self, batch: Batch) -> None:
        """Make a written batch visible to readers and peers.

        Raises ReplicaUnavailable where the replica was fenced or closed meanwhile: `give_up` then.
        """
        if self.state not in (StoreState.OPEN, StoreState.CLOSING):
            raise self.refusal()
        log, index = self._log, self.index
        if batch.created or log.unsynced or not batch.sync:  # else there is nothing to note
            log.note_written(batch.written, created=batch.created, synced=batch.sync)
            log.mark_synced(batch.earlier)
        for record, place in zip(batch.records, batch.places, strict=True):
            index.apply(
                kind=record.kind,
                blob_id=record.id,
                state=record.state,
                lsn=place.lsn,
                segment=place.segment.number,
                offset=place.offset,
                size=place.size,
                payload_size=len(record.payload),
                written_at_ms=record.written_at_ms,
                held=batch.held,
            )
            if record.kind != RecordKind.UPDATE:
                self.damaged.discard(record.id)
            self.end_lsn = place.lsn + place.size
        self.index.holds.pop(batch.held, None)
        for notice in self.watchers:
            notice()

    def give_up(self, batch: Batch, error: BaseException) -> AmbryError:
        """End a batch that `error` stopped, and say what its callers are told.

        Where nothing was written it never was, and the replica goes on; a disk that fails to open a segment fences it all the
        same. From the first write on what is on the disk is unknown: only the next opening tells.
        """
        batch.held.let_go()
        if not batch.begun:
            batch.abandon()
            if isinstance(error, AmbryError):
                return error
            if is_shortage(error):
                return Overloaded(f"no descriptors or memory left for partition {self.partition}: {error!r}")
            if not isinstance(error, OSError):
                log.error("batch failed before its first write", partition=self.partition, exc_info=error)
                return InternalError(f"{type(error).__name__} in partition {self.partition}; nothing was stored")
        # Never retried: what reached the disk is unknown (see the fsync findings cited in docs/storage.md).
        self.fence(f"write, sync or publication failed: {error!r}")
        return self.refusal()

    def _published_end(self, segment: Segment) -> int:
        """How far a segment is published. A batch on its way may have places at the end of any segment."""
        if segment.header.generation:
            return segment.end
        return min(segment.end, max(HEADER_SIZE, self.end_lsn - segment.base_lsn))

    def overlay(self) -> Entries:
        """The index entries that only memory holds: what a walk over the index needs from the event loop's thread."""
        return self.index.overlay()

    # --- checkpoints ---

    def begin_checkpoint(self, *, clean: bool, tokens: dict[str, FindToken]) -> PendingCheckpoint:
        """Freeze what is published now; hand the result to `write_checkpoint`, then to `end_checkpoint`.

        `tokens` must cover only what is published here. No batch may be in flight when `clean`.
        """
        if self.state is StoreState.CLOSED:
            raise InvariantBroken(f"checkpoint of the closed partition {self.partition}")
        last = self._log.last_before(self.end_lsn)
        checkpoint = Checkpoint(
            incarnation=self.incarnation,
            segment=last.number if last else 0,
            offset=0 if last is None else self._published_end(last),
            lsn=self.end_lsn,
            clean=clean and self.state in (StoreState.OPEN, StoreState.CLOSING),
            serving=self.serving,
            tokens=tokens,
            resume=last is not None and last is self._log.active,
            holes=self.holes,
            right_ms=self.right_ms,
            open_s=self.age.open_s,
            marks=self.age.mark(self.end_lsn),
            rounds=dict(self.rounds),
            epoch=self.lineage.epoch,
            compacted=self._log.compacted(),
        )
        return PendingCheckpoint(self.index.freeze(), checkpoint, list(self._log.unsynced.values()))

    def write_checkpoint(self, pending: PendingCheckpoint) -> None:
        """Sync the log, then write the index. Blocking.

        Raises Overloaded, InsufficientStorage: `put_off_checkpoint` then. Raises OSError or IndexCorrupt: `fence` then.
        """
        self._log.sync([item.segment for item in pending.unsynced])
        self.index.write(pending.frozen, pending.checkpoint)

    def end_checkpoint(self, pending: PendingCheckpoint) -> None:
        self._log.mark_synced(pending.unsynced)
        self.index.finish(pending.checkpoint)

    def put_off_checkpoint(self) -> None:
        """End a checkpoint of which `write_checkpoint` wrote nothing: the next one does."""
        self.index.thaw()

    def leave(self) -> None:
        """Take no more appends: `close` follows when those on their way are over. Nothing for one that is not open."""
        if self.state is StoreState.OPEN:
            self.state = StoreState.CLOSING

    def close(self) -> None:
        """Release files and lock. Blocking, briefly. No checkpoint: the caller makes one for a clean stop."""
        if self.state is not StoreState.CLOSED:
            self.state = StoreState.CLOSED
            self.serving = False
            self.identity.close()
            self.index.close()
            self._log.close()
            self._lock.release()
