"""Group commit of one replica: what arrives while a batch is being written gathers, and goes together as the next one.

One vectored write and one fdatasync serve a whole batch. Replicas commit beside each other on their disk's threads; everything
but the I/O itself happens on the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from ambry.errors import AmbryError, InsufficientStorage, Overloaded, ReplicaFenced, ReplicaUnavailable
from ambry.format.record import Record, RecordKind
from datanode import metrics
from datanode.disk import Disk
from datanode.store.blob_store import BlobStore, StoreState
from datanode.store.files import is_full
from datanode.store.log import Placement

Done = Callable[[AmbryError | None], None]
"""Called once on the event loop: None when the append is as durable as it asked to be."""


class Append(msgspec.Struct):
    """One record on its way into a log, and its bytes; `record` None waits for everything published so far to be synced."""

    record: Record | None
    size: int
    sync: bool
    done: Done


def _may_use_reserve(append: Append) -> bool:
    return append.record is None or append.record.kind == RecordKind.UPDATE


class Committer:
    """Group commit of one replica. At most one batch is in flight."""

    def __init__(
        self,
        store: BlobStore,
        disk: Disk,
        *,
        batch_bytes_max: int,
        batch_records_max: int,
        gather_ms: int,
        reserve_bytes: int,
    ) -> None:
        self.store = store
        self._disk = disk
        self._batch_bytes_max = batch_bytes_max
        self._batch_records_max = batch_records_max
        self._gather_s = gather_ms / 1000
        self._reserve_bytes = reserve_bytes
        self._expected = 0
        """How many writers there are, as far as one can tell: those of the last batch, and who came meanwhile."""
        self._gathering: asyncio.TimerHandle | None = None
        self._pending: list[Append] = []
        self._busy = False
        self._scheduled = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def idle(self) -> bool:
        return not self._busy and not self._pending

    async def wait_idle(self) -> None:
        """Until no append is waiting or in flight."""
        await self._idle.wait()

    def append(self, record: Record, *, sync: bool, done: Done) -> None:
        """Append a record; `done` is called when it is durable (`sync`) or in the page cache. Borrows the buffers."""
        disk = self._disk
        size = record.size
        if not disk.admit(size):
            done(Overloaded(f"the write queue of this disk is full ({disk.pending_bytes} bytes); retry shortly"))
            return
        self._enqueue(Append(record, size, sync, done))

    def barrier(self, done: Done) -> None:
        """Call `done` when everything published so far is synced."""
        if not self.store.unsynced and not self._busy:
            done(self._refusal())
            return
        self._enqueue(Append(None, 0, True, done))

    def _enqueue(self, append: Append) -> None:
        self._pending.append(append)
        self._idle.clear()
        if self._busy:
            return
        if not self._scheduled:
            self._schedule()
        elif self._gathering is not None and len(self._pending) >= self._expected:
            # All are there who are known of: nobody else is worth waiting for.
            self._gathering.cancel()
            self._gathering = None
            asyncio.get_running_loop().call_soon(self._start)

    def _schedule(self) -> None:
        """Begin a batch: on the loop's next turn, or a little later while several writers are about.

        Waiting makes fewer and larger batches, which costs every put less; a lone writer never waits (the idea of
        PostgreSQL's commit_delay and commit_siblings), and nobody does once all are there who are known of.
        """
        self._scheduled = True
        loop = asyncio.get_running_loop()
        if self._gather_s and len(self._pending) < self._expected:
            self._gathering = loop.call_later(self._gather_s, self._start)
        else:
            loop.call_soon(self._start)

    def _refusal(self) -> AmbryError | None:
        store = self.store
        if store.state is StoreState.FENCED:
            return ReplicaFenced(f"partition {store.partition} is fenced: {store.fence_reason}")
        return None if store.state is StoreState.OPEN else ReplicaUnavailable(f"partition {store.partition} is closed")

    def _take_batch(self) -> list[Append]:
        size = 0
        for count, append in enumerate(self._pending):
            size += append.size
            if count and (size > self._batch_bytes_max or count >= self._batch_records_max):
                batch, self._pending = self._pending[:count], self._pending[count:]
                return batch
        batch, self._pending = self._pending, []
        return batch

    def _start(self) -> None:
        self._scheduled = False
        self._gathering = None
        if not self._pending:
            self._idle.set()
            return
        batch = self._take_batch()
        refusal = self._refusal()
        if refusal is not None:
            self._end(batch, refusal)
            return
        sync = any(append.sync for append in batch)
        records = [append.record for append in batch if append.record is not None]
        placement = self.store.place(records, sync=sync)
        unsynced = self.store.begin_sync() if sync else {}
        self._busy = True
        future = self._disk.submit(self._write, placement, unsynced)
        future.add_done_callback(lambda done: self._finish(batch, placement, unsynced, done))

    def _write(self, placement: Placement, unsynced: dict[int, int]) -> AmbryError | None:
        """On a disk thread: the batch's I/O. Returns the error of a batch that left no trace; raises OSError otherwise."""
        if placement.created:
            try:
                self._check_room(placement)
                self.store.create_segments(placement)
            except InsufficientStorage as full:
                return full
            except OSError as error:
                if is_full(error):
                    return InsufficientStorage(
                        f"the disk of partition {self.store.partition} is full; nothing was stored"
                    )
                raise
        self.store.write(placement, unsynced)
        return None

    def _check_room(self, placement: Placement) -> None:
        """Keep a reserve for deletes: they alone may open a segment when the disk is nearly full."""
        if all(record.kind == RecordKind.UPDATE for record in placement.records):
            return
        needed = sum(segment.header.capacity_bytes for segment in placement.created)
        free = self.store.free_bytes()
        if free < needed + self._reserve_bytes:
            raise InsufficientStorage(
                f"the disk of partition {self.store.partition} has {free} bytes left, which are kept for deletes; "
                "free space or add nodes"
            )

    def _finish(
        self,
        batch: list[Append],
        placement: Placement,
        unsynced: dict[int, int],
        future: asyncio.Future[AmbryError | None],
    ) -> None:
        self._busy = False
        store = self.store
        failure: AmbryError | None
        try:
            failure = future.result()
            if failure is not None:
                store.abandon(placement)
            elif store.state is not StoreState.OPEN:
                failure = (
                    self._refusal()
                )  # fenced by somebody else meanwhile: whether it happened is told by the next start
            else:
                store.publish(placement, unsynced)
                metrics.BATCH_RECORDS.observe(len(batch))
        except Exception as error:
            # Never retried: what reached the disk is unknown (see the fsync findings cited in docs/storage.md).
            store.fence(f"write, sync or publication failed: {error}")
            failure = self._refusal()
        if isinstance(failure, InsufficientStorage):
            # Deletes that came in one batch with puts try again without them: the reserve is theirs.
            deletes = [append for append in batch if _may_use_reserve(append)]
            if len(deletes) < len(batch):
                self._pending[:0] = deletes
                batch = [append for append in batch if not _may_use_reserve(append)]
        self._end(batch, failure)

    def _end(self, batch: list[Append], failure: AmbryError | None) -> None:
        writers = len(batch) + len(self._pending)
        self._expected = writers if writers > 1 else 0
        if self._pending:
            self._schedule()
        else:
            self._idle.set()
        for append in batch:
            self._disk.release(append.size)
            append.done(failure)
