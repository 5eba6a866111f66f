"""Group commit of one replica: what arrives while a batch is being written gathers, and goes together as the next one.

One vectored write and one fdatasync serve a whole batch. Replicas commit beside each other on their disk's threads, and share
one bound on what waits for them; everything but the I/O itself happens on the event loop's thread.

Invariants: every append is answered once, whatever is raised on the way of its batch (datanode/store/batch.py) or by the answer
of another; its bytes count as waiting until then. At most one batch is in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from ambry.errors import (
    AmbryError,
    DeadlineExceeded,
    InsufficientStorage,
    InternalError,
    Overloaded,
    ReplicaUnavailable,
)
from ambry.format.record import Record, RecordKind
from ambry.service.logs import get_logger
from datanode import metrics
from datanode.config import StoreSection
from datanode.disk import HANGS_AFTER_S, Disk
from datanode.lookups import Lookups, Wish
from datanode.store.batch import Batch
from datanode.store.blob_store import BlobStore, StoreState
from datanode.store.images import Image, ImageBatch
from datanode.write_queue import APPEND_OVERHEAD_BYTES, NEVER, Append, Done, Prepare, WriteQueue

log = get_logger()


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("it waited to be written for longer than its caller; nothing was written")


def _told(_failure: AmbryError | None) -> None:
    """Who waited was told already that nobody knows."""


def _may_use_reserve(append: Append) -> bool:
    return not append.images and (append.record is None or append.record.kind == RecordKind.UPDATE)


class Committer:
    """Gathers appends into batches, and answers them."""

    def __init__(
        self,
        store: BlobStore,
        disk: Disk,
        lookups: Lookups,
        writes: WriteQueue,
        config: StoreSection,
    ) -> None:
        self.store = store
        self._disk = disk
        self._lookups = lookups
        self._writes = writes
        self._batch_bytes_max = config.batch_bytes_max
        self._batch_records_max = config.batch_records_max
        self._gather_s = config.gather_ms / 1000
        self._reserve_bytes = config.reserve_bytes
        self._expected = 0
        """How many writers there are, as far as one can tell: those of the last batch, and who came meanwhile."""
        self._gathering: asyncio.TimerHandle | None = None
        self._pending: list[Append] = []
        self._copies: list[Append] = []
        """Images, which take turns with what is pending."""
        self._copies_next = False
        self._busy = False
        self._begun_at = 0.0
        """When the batch on its way began, on the event loop's clock."""
        self.hangs = False
        """Whether a batch hangs on its disk; only read it."""
        self._under_way: list[Append] = []
        self._scheduled = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def idle(self) -> bool:
        return not self._busy and not self._pending and not self._copies

    async def wait_idle(self) -> None:
        """Until no append is waiting or in flight."""
        await self._idle.wait()

    def append(
        self, record: Record, *, sync: bool, done: Done, deadline: float = NEVER, prepare: Prepare | None = None
    ) -> None:
        """Append a record; `done` is called when it is durable (`sync`) or in the page cache. Borrows the buffers.

        One that still waits at its `deadline`, on the event loop's clock, is not written: `done` has DeadlineExceeded then.
        Where the index must be asked first, which takes a disk thread, `prepare` may put another record of the same blob, no
        larger, in its place.
        """
        if self.hangs or self.store.state is not StoreState.OPEN:
            done(self._refusal_at_once())
            return
        size = len(record.payload) + len(record.metadata) + APPEND_OVERHEAD_BYTES
        if not self._writes.admit(size):
            waiting = self._writes.pending_bytes
            done(Overloaded(f"the write queue of this disk is full ({waiting} bytes); retry shortly"))
            return
        self._enqueue(Append(record, size, sync, done, deadline, prepare=prepare))

    def append_images(self, images: Sequence[Image], done: Done) -> None:
        """Append records that were copied from a peer; `done` is called when they are durable, or were here or deleted already.

        It takes turns with what others append. Who calls it bounds the bytes that wait; they do not count as foreground work.
        """
        self._copies.append(Append(None, 0, True, done, images=images))
        self._idle.clear()
        if not self._busy and not self._scheduled:
            self._schedule()

    def barrier(self, done: Done, *, deadline: float = NEVER) -> None:
        """Call `done` when everything published so far is synced, or as `append` does."""
        if not self.store.unsynced and not self._busy:
            done(None if self.store.state is StoreState.OPEN else self.store.refusal())
        elif self.hangs:
            done(self._refusal_at_once())
        else:
            self._enqueue(Append(None, 0, True, done, deadline))

    def look(self, now: float) -> None:
        """While a disk thread is held up: give up what waited for longer than its caller, and take no more once the disk hangs.

        `now` is of the event loop's clock. What the batch on its way holds stays: what becomes of it only the disk knows.
        """
        self.hangs = self._busy and now - self._begun_at > HANGS_AFTER_S
        late = [append for append in self._pending if append.deadline <= now]
        if late:
            self._pending = [append for append in self._pending if append.deadline > now]
            self._tell(late, _late())
        if self.hangs:
            self._free_own_work()

    def _free_own_work(self) -> None:
        """Let what has no deadline, work of this node that would wait for ever and keep other replicas from theirs, go on."""
        own = [append for append in self._pending if append.deadline == NEVER] + self._copies
        self._pending, self._copies = [append for append in self._pending if append.deadline < NEVER], []
        self._tell(own, self._refusal_at_once())
        refusal = ReplicaUnavailable(f"the disk of partition {self.store.partition} hangs; it may be written later")
        for append in self._under_way:
            if append.deadline == NEVER:
                done, append.done = append.done, _told
                done(refusal)

    def _refusal_at_once(self) -> AmbryError:
        if self.store.state is not StoreState.OPEN:
            return self.store.refusal()
        return ReplicaUnavailable(f"the disk of partition {self.store.partition} hangs; nothing was written")

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

    def _take(self) -> list[Append]:
        """What goes together as the next batch."""
        if self._copies and (self._copies_next or not self._pending):
            self._copies_next = False
            return self._take_copies()
        self._copies_next = True
        size = 0
        for count, append in enumerate(self._pending):
            size += append.size
            if count and (size > self._batch_bytes_max or count >= self._batch_records_max):
                taken, self._pending = self._pending[:count], self._pending[count:]
                return taken
        taken, self._pending = self._pending, []
        return taken

    def _take_copies(self) -> list[Append]:
        size = 0
        for count, append in enumerate(self._copies):
            size += sum(image.length for image in append.images)
            if count and size > self._batch_bytes_max:
                taken, self._copies = self._copies[:count], self._copies[count:]
                return taken
        taken, self._copies = self._copies, []
        return taken

    def _start(self) -> None:
        self._scheduled = False
        self._gathering = None
        if not self._pending and not self._copies:
            self._idle.set()
            return
        appends = self._take()
        loop = asyncio.get_running_loop()
        now = loop.time()
        late = [append for append in appends if append.deadline <= now]
        if late:
            # The disk hung, or the whole process was stopped: nobody waits for them any more.
            appends = [append for append in appends if append.deadline > now]
            if not appends:
                self._answer(late, _late())
                return
            loop.call_soon(self._tell, late, _late())
        self._write(appends)

    def _write(self, appends: list[Append], batch: Batch | None = None) -> None:
        """Begin a batch, or go on with one of which all is known by now: place it, and write it on a disk thread."""
        if batch is None:
            try:
                if appends[0].images:
                    images = [image for append in appends for image in append.images]
                    batch = self.store.begin(images, sync=True, shape=ImageBatch)
                else:
                    records = [append.record for append in appends if append.record is not None]
                    batch = self.store.begin(records, sync=any(append.sync for append in appends))
            except ReplicaUnavailable as unavailable:
                self._answer(appends, unavailable)
                return
            self._busy = True
            self._under_way = appends
            self._begun_at = asyncio.get_running_loop().time()
        if batch.held.unknown:
            self._look_up(appends, batch)
            return
        if any(append.prepare is not None for append in appends):
            appends = self._prepared(appends, batch)
        try:
            batch.place()
            writing = self._disk.submit(batch.write, reserve_bytes=self._reserve_bytes)
        except Exception as error:
            self._fail(appends, batch, error)
            return
        writing.add_done_callback(partial(self._finish, appends, batch))

    def _look_up(self, appends: list[Append], batch: Batch) -> None:
        """Ask the index's file for what memory does not know, once for the whole batch."""
        try:
            self._lookups.ask(Wish(batch.held.unknown, partial(self._looked_up, appends, batch)))
        except AmbryError as error:
            self._fail(appends, batch, error)

    def _looked_up(self, appends: list[Append], batch: Batch, wish: Wish) -> None:
        if wish.failure is not None:
            self._fail(appends, batch, wish.failure)
            return
        batch.learn(wish.found)
        if self.store.state in (StoreState.FENCED, StoreState.CLOSED):
            self._fail(appends, batch, self.store.refusal())
            return
        self._write(appends, batch)

    def _fail(self, appends: list[Append], batch: Batch, error: BaseException) -> None:
        """A batch ends before its first write."""
        self._busy = False
        self._answer(appends, self.store.give_up(batch, error))

    def _prepared(self, appends: list[Append], batch: Batch) -> list[Append]:
        """Let those that ask for it say what they append; returns those that go on."""
        staying: list[Append] = []
        records: list[Record] = []
        for append in appends:
            record = append.record
            try:
                if record is not None and append.prepare is not None:
                    record = append.prepare(batch.held.get(record.id))
            except Exception as error:
                asyncio.get_running_loop().call_soon(self._tell, [append], self._refusal(error))
                continue
            staying.append(append)
            if record is not None:
                records.append(record)
        batch.records = records
        return staying

    def _refusal(self, error: Exception) -> AmbryError:
        if isinstance(error, AmbryError):
            return error
        log.error("an append could not be prepared", partition=self.store.partition, exc_info=error)
        return InternalError(f"{type(error).__name__} in partition {self.store.partition}; nothing was stored")

    def _finish(self, appends: list[Append], batch: Batch, writing: asyncio.Future[None]) -> None:
        self._busy = False
        failure: AmbryError | None = None
        try:
            writing.result()
            self.store.publish(batch)
            metrics.BATCH_RECORDS.observe(len(batch.records))
        except (Exception, asyncio.CancelledError) as error:
            failure = self.store.give_up(batch, error)
        if isinstance(failure, InsufficientStorage):
            # Deletes that came in one batch with puts try again without them: the reserve is theirs.
            deletes = [append for append in appends if _may_use_reserve(append)]
            if len(deletes) < len(appends):
                self._pending[:0] = deletes
                appends = [append for append in appends if not _may_use_reserve(append)]
        self._answer(appends, failure)

    def _answer(self, appends: list[Append], failure: AmbryError | None) -> None:
        """Tell everybody of a batch what became of it, and go on with what came meanwhile."""
        self.hangs, self._under_way = False, []
        writers = len(appends) + len(self._pending)
        self._expected = writers if writers > 1 else 0
        if self._pending or self._copies:
            self._schedule()
        else:
            self._idle.set()
        self._tell(appends, failure)

    def _tell(self, appends: list[Append], failure: AmbryError | None) -> None:
        for append in appends:
            self._writes.release(append.size)
            try:
                append.done(failure)
            except Exception:
                log.exception("an answer failed", partition=self.store.partition)
