"""The asyncio bridge to the blocking store: one disk's threads, and group commit for each replica on it.

Appends that arrive while a batch is being written gather and go together as the next batch: one vectored write and one
fdatasync for all of them. Different replicas commit in parallel on the disk's threads. Everything but the I/O itself happens
on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import msgspec

from ambry.clock import Clock
from ambry.errors import AmbryError, InsufficientStorage, Overloaded, ReplicaFenced, ReplicaUnavailable
from ambry.format.record import Record, RecordKind
from ambry.service.logs import get_logger
from datanode import metrics
from datanode.store.blob_store import BlobStore, StoreState
from datanode.store.log import Placement

log = get_logger()

P = ParamSpec("P")
T = TypeVar("T")

Done = Callable[[AmbryError | None], None]
"""Called once on the event loop: None when the append is as durable as it asked to be."""

BUSY_S = 0.1
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Append(msgspec.Struct):
    """One record on its way into a log, and its bytes; `record` None waits for everything published so far to be synced."""

    record: Record | None
    size: int
    sync: bool
    done: Done


def fence(store: BlobStore, reason: str) -> None:
    """Stop a replica's acknowledgements, and tell."""
    if store.state is StoreState.OPEN:
        store.fence(reason)
        metrics.FENCED.inc()
        log.error("replica fenced", partition=store.partition, error=reason)


def is_full(error: OSError) -> bool:
    """Whether the disk has no room: nothing is wrong with it otherwise."""
    return error.errno in _FULL


def _may_use_reserve(append: Append) -> bool:
    return append.record is None or append.record.kind == RecordKind.UPDATE


class Disk:
    """The threads of one disk, and the bound on what waits for them."""

    def __init__(self, *, threads: int, pending_bytes_max: int, clock: Clock) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="disk")
        self._clock = clock
        self._busy_until = clock.monotonic()
        self.pending_bytes = 0
        self.pending_bytes_max = pending_bytes_max

    def admit(self, size: int) -> bool:
        """Take in an append of so many bytes; False when too much waits already."""
        if self.pending_bytes + size > self.pending_bytes_max and self.pending_bytes:
            return False
        self.pending_bytes += size
        self._busy_until = self._clock.monotonic() + BUSY_S
        return True

    def busy(self) -> bool:
        """Whether foreground work used this disk a moment ago: then background work holds back."""
        return self.pending_bytes > 0 or self._clock.monotonic() < self._busy_until

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        """Run blocking `function` on a disk thread."""
        call = function if not (args or kwargs) else lambda: function(*args, **kwargs)
        return asyncio.get_running_loop().run_in_executor(self._executor, call)

    def close(self) -> None:
        self._executor.shutdown(wait=True)


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
            fence(store, f"write, sync or publication failed: {error}")
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
            self._disk.pending_bytes -= append.size
            append.done(failure)
