"""Row background: what foreground reads and writes wait for while a replica is compacted and another one scrubbed.

Partition 1 is scrubbed and partition 2 is compacted (half of it is deleted and past its retention), each at its default rate,
and neither is in the page cache before. The foreground writes to all three and reads what partition 3 holds, from the cache.
The load is moderate: it leaves the processor mostly idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial

from ambry.clock import SystemClock
from ambry.errors import AmbryError, ReplicaUnavailable
from ambry.format.record import Record
from datanode.parts import Parts
from datanode.store.record_reader import Payload
from tests.bench.figures import percentile
from tests.bench.store_arrivals import MESSAGE, WRITE, arriving, parse
from tests.bench.store_blobs import (
    STARTED_AT_MS,
    Payloads,
    delete_record,
    fill,
    natural_ids,
    open_node,
    open_one,
    partition_path,
    records,
)
from tests.bench.store_commit import checkpoints
from tests.bench.store_figures import Samples, joined
from tests.bench.store_job import Job, Wrong, on_loop
from tests.bench.store_machine import drop, segments_below
from tests.support.samples import stop_cleanly

SCRUBBED, COMPACTED, READ_FROM = 1, 2, 3
BACKGROUND_SIZE = 32 << 10
FOREGROUND_SIZE = 16 << 10
FOREGROUND_BLOBS = 10_000
SCRUBBED_BLOBS = 4_000
# Virtual machines may stand still for a while.
END_TIMEOUT_S = 300.0


def background(job: Job) -> Samples:
    """Windows without background work and with it, in turn."""
    return on_loop(_background(job, _build(job)))


def _build(job: Job) -> list[bytes]:
    """Returns the ids of what the foreground reads."""
    ids: dict[int, list[bytes]] = {}
    for number, blobs, size in (
        (SCRUBBED, SCRUBBED_BLOBS, BACKGROUND_SIZE),
        (COMPACTED, job.plan.background_blobs, BACKGROUND_SIZE),
        (READ_FROM, FOREGROUND_BLOBS, FOREGROUND_SIZE),
    ):
        store = open_one(job.path, number)
        # Partition ids are part of blob ids: make ids of all three, and use this one's.
        made = (record for partition, record in records(3 * blobs, size, partitions=3) if partition == number)
        ids[number] = fill(store, made)
        if number == COMPACTED:
            # The times of the records lie long ago, so what is deleted is past its retention.
            fill(store, [delete_record(raw_id, at_ms=STARTED_AT_MS) for raw_id in ids[number][::2]])
        stop_cleanly(store)
    return ids[READ_FROM]


async def _background(job: Job, ids: list[bytes]) -> Samples:
    plan = job.plan
    parts = await open_node(job.path, 3)
    worker = checkpoints(parts)
    found: list[Samples] = []
    for number in range(plan.background_rounds):
        taken: Samples = {}
        for name in ("", " busy"):
            drop(
                segments_below(partition_path(job.path, SCRUBBED)) + segments_below(partition_path(job.path, COMPACTED))
            )
            foreground = Foreground(parts, ids, seed=2 * number + bool(name))
            async with _housekeeping(parts) if name else contextlib.nullcontext():
                await foreground.run(plan.background_window_s)
            taken |= foreground.samples(name)
            for replica in parts.replicas.all():
                await parts.checkpointer.checkpoint(replica)
        found.append(taken)
    await worker.stop()
    await parts.close()
    return joined(found[1:] or found)


@contextlib.asynccontextmanager
async def _housekeeping(parts: Parts) -> AsyncIterator[None]:
    """Compaction and scrub from start to end of the block. Raises Wrong when there was too little to do."""
    ending = asyncio.Event()

    async def compact() -> None:
        while not ending.is_set():
            # Not tick(): it would wait behind the scrub of the other replica.
            if not await parts.compactor.compact(parts.replicas[COMPACTED]):
                return

    compaction = asyncio.create_task(compact())
    scrubbing = asyncio.create_task(parts.scrubber.scrub(parts.replicas[SCRUBBED]))
    try:
        yield
        if compaction.done() or scrubbing.done():
            raise Wrong("the background work ended before the window did: it needs more data")
    finally:
        ending.set()
        parts.scrubber.stop()
        with contextlib.suppress(ReplicaUnavailable):
            await scrubbing
        await compaction
        if damaged := parts.healer.describe():
            raise Wrong(f"what was put is damaged: {damaged}")


class Foreground:
    """The requests of one window, and how long each took."""

    def __init__(self, parts: Parts, ids: list[bytes], *, seed: int) -> None:
        self._parts = parts
        self._ids = ids
        self._seed = seed
        self._chance = random.Random(seed)
        self._rest = b""
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._failure: AmbryError | None = None
        self._wanted: list[tuple[int, Record]] = []
        self._writes_ms: list[float] = []
        self._reads_ms: list[float] = []

    async def run(self, seconds: float) -> None:
        """Serve what arrives for so many seconds. Raises AmbryError."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        made = self._records(int(seconds * 2000))
        with arriving(self._seed, seconds) as socket_:
            socket_.setblocking(False)
            loop.add_reader(socket_, self._serve, socket_, made, ended)
            try:
                await asyncio.wait_for(ended.wait(), seconds + END_TIMEOUT_S)
            finally:
                loop.remove_reader(socket_)
        await self._idle.wait()
        if self._failure is not None:
            raise self._failure

    def _records(self, count: int) -> Iterator[tuple[int, Record]]:
        """Made before the clock runs."""
        payloads = Payloads(FOREGROUND_SIZE)
        ids = natural_ids(count, partitions=3, seed=self._seed, started_at_ms=SystemClock().wall_ms())
        return iter([(partition, payloads.record(raw_id, number)) for number, (partition, raw_id) in enumerate(ids)])

    def _serve(self, arriving: socket.socket, made: Iterator[tuple[int, Record]], ended: asyncio.Event) -> None:
        data = arriving.recv(MESSAGE.size * 1000)
        if not data:
            ended.set()
            return
        messages, self._rest = parse(self._rest + data)
        for sent_at, kind in messages:
            if kind == WRITE:
                partition, record = next(made)
                self._begin()
                done = partial(self._written, sent_at)
                self._parts.replicas[partition].committer.append(record, sync=True, done=done)
            else:
                self._read(sent_at)

    def _written(self, sent_at: int, error: AmbryError | None) -> None:
        self._end()
        self._failure = self._failure or error
        self._writes_ms.append((time.monotonic_ns() - sent_at) / 1e6)

    def _read(self, sent_at: int) -> None:
        store = self._parts.replicas[READ_FROM].store
        entry = store.lookup(self._chance.choice(self._ids))
        if entry is None:
            raise Wrong("a blob that was put is not in the index")
        if store.read(entry, 0, entry.payload_size, cached_only=True) is not None:
            self._note_read(sent_at)
            return
        # The kernel may refuse to read even what it has cached without waiting: then a disk thread reads, as in the product.
        self._begin()
        future = self._parts.disk.submit(store.read, entry, 0, entry.payload_size, cached_only=False)
        future.add_done_callback(lambda done: self._read_waiting(sent_at, done))

    def _read_waiting(self, sent_at: int, done: asyncio.Future[Payload | None]) -> None:
        self._end()
        done.result()
        self._note_read(sent_at)

    def _note_read(self, sent_at: int) -> None:
        self._reads_ms.append((time.monotonic_ns() - sent_at) / 1e6)

    def _begin(self) -> None:
        self._under_way += 1
        self._idle.clear()

    def _end(self) -> None:
        self._under_way -= 1
        if not self._under_way:
            self._idle.set()

    def samples(self, suffix: str) -> Samples:
        found: Samples = {}
        for name, values in (("write", self._writes_ms), ("read", self._reads_ms)):
            ordered = sorted(values)
            for share in (50, 99):
                found[f"{name} p{share}{suffix}"] = [percentile(ordered, share / 100)]
        return found
