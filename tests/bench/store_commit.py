"""Rows commit, chunks and amplification: what the write path does, through the Committers of a node.

Writers are callbacks: each appends its next record when the one before is acknowledged, as a connection does, without a task.
Records are made before the clock runs, since that is the frontend's work.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ambry.checksum import Buffer
from ambry.clock import SystemClock
from ambry.errors import AmbryError
from ambry.format.record import Record
from ambry.format.segment import HEADER_SIZE
from ambry.ids import ID_SIZE
from ambry.service.worker import Worker
from datanode.committer import Committer
from datanode.config import StoreSection
from datanode.parts import Parts
from tests.bench.store_blobs import Payloads, natural_ids, open_node
from tests.bench.store_figures import Samples, joined
from tests.bench.store_job import Job, on_loop
from tests.bench.store_machine import appends_per_s, blocks_mb, files_below, segments_below, written_mb
from tests.bench.store_plan import BLOB_SIZE, CHUNK_SIZE, WRITERS

SMALL = 4 << 10
PARTITIONS = (1, 8)
CHUNKS_PER_SYNC = (1, 4)
# So many fit a segment of 64 MiB, since each brings its head.
CHUNKS_OF_SEGMENT = 15


class Writers:
    """A number of writers over some committers; the records of a committer are shared by its writers."""

    def __init__(self, committers: Sequence[Committer], work: Sequence[Sequence[Record]], *, sync: bool) -> None:
        self._committers = committers
        self._work = [iter(part) for part in work]
        self._sync = sync
        self._open = 0
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, writers: int) -> float:
        """Append everything; returns the seconds it took. Raises AmbryError."""
        began = time.perf_counter()
        self._open = writers
        for number in range(writers):
            self._next(number % len(self._committers))
        await self._ended
        return time.perf_counter() - began

    def _next(self, where: int) -> None:
        record = next(self._work[where], None)
        if record is not None:
            self._committers[where].append(record, sync=self._sync, done=partial(self._done, where))
            return
        self._open -= 1
        if not self._open and not self._ended.done():
            self._ended.set_result(None)

    def _done(self, where: int, error: AmbryError | None) -> None:
        if error is None:
            self._next(where)
        elif not self._ended.done():
            self._ended.set_exception(error)


class Node:
    """Some partitions of a data node, with the loop that writes their checkpoints."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._made = 0
        self._checkpoints = checkpoints(parts)

    @classmethod
    async def start(cls, directory: Path, partitions: int) -> Node:
        directory.mkdir()
        return cls(await open_node(directory, partitions))

    async def write(self, count: int, payloads: Payloads, *, writers: int, sync: bool) -> float:
        """Append so many new blobs; returns the seconds."""
        committers = [replica.committer for replica in self.parts.replicas.all()]
        work = self._records(count, payloads, len(committers))
        return await Writers(committers, work, sync=sync).run(writers)

    def _records(self, count: int, payloads: Payloads, partitions: int) -> list[list[Record]]:
        self._made += 1
        work: list[list[Record]] = [[] for _ in range(partitions)]
        # Later rounds make later ids.
        made = natural_ids(count, partitions=partitions, seed=self._made, started_at_ms=self._made * 100_000_000)
        for number, (partition, raw_id) in enumerate(made):
            work[partition - 1].append(payloads.record(raw_id, number))
        return work

    async def settle(self) -> None:
        """Outside the clock: what was not synced is, so that it does not burden what comes next."""
        for replica in self.parts.replicas.all():
            await self.parts.checkpointer.checkpoint(replica)

    async def stop(self) -> None:
        await self._checkpoints.stop()
        await self.parts.close()


def checkpoints(parts: Parts) -> Worker:
    """The worker that writes checkpoints when they are due, started."""
    worker = Worker("checkpoint", parts.checkpointer.tick, clock=SystemClock(), random_source=random.Random(1))
    worker.start()
    return worker


def commit(job: Job) -> Samples:
    """Durable appends of 4 KiB, the same not synced, and fdatasyncs of a single writer, in turn."""
    return on_loop(_commit(job))


async def _commit(job: Job) -> Samples:
    plan = job.plan
    payloads = Payloads(SMALL)
    nodes = {count: await Node.start(job.path / f"node-{count}", count) for count in PARTITIONS}
    found: list[Samples] = []
    for _ in range(plan.commit_rounds):
        taken: Samples = {"fdatasync": [appends_per_s(job.path, plan.commit_appends // 8)]}
        for partitions, node in nodes.items():
            for name, sync in (("synced", True), ("memory", False)):
                seconds = await node.write(plan.commit_appends, payloads, writers=WRITERS, sync=sync)
                taken[f"{name} {partitions}"] = [plan.commit_appends / seconds]
                await node.settle()
        found.append(taken)
    for node in nodes.values():
        await node.stop()
    # The first round meets cold files and code.
    return joined(found[1:] or found)


def chunks(job: Job) -> Samples:
    """Chunks of 4 MiB, and raw writes of the same bytes into a preallocated file."""
    return on_loop(_chunks(job))


async def _chunks(job: Job) -> Samples:
    plan = job.plan
    payloads = Payloads(CHUNK_SIZE)
    node = await Node.start(job.path / "node", 1)
    megabytes = CHUNKS_OF_SEGMENT * CHUNK_SIZE / 1e6
    found: list[Samples] = []
    for number in range(plan.chunk_rounds):
        taken: Samples = {}
        for count in CHUNKS_PER_SYNC:
            path = job.path / f"raw-{number}-{count}.probe"
            # Each goes first in every other round: the disk of a virtual machine may be slow where nothing was written before,
            # and whoever comes second finds more of it ready.
            for ours in (True, False) if number % 2 else (False, True):
                if ours:
                    seconds = await node.write(CHUNKS_OF_SEGMENT, payloads, writers=count, sync=True)
                    taken[f"chunks {count}"] = [megabytes / seconds]
                else:
                    taken[f"raw {count}"] = [megabytes / _raw_write(path, payloads, per_sync=count)]
        found.append(taken)
    await node.stop()
    return joined(found[1:] or found)


def _raw_write(path: Path, payloads: Payloads, *, per_sync: int) -> float:
    """Seconds to fill a file of the size of a segment with chunks, one after the other, with an fdatasync after each few.

    The same sizes at the same offsets as in a segment: where pages are cut makes a difference of its own.
    """
    head = bytes(payloads.record(bytes(ID_SIZE), 0).size - CHUNK_SIZE)
    # The file stays for now: giving its blocks back would be work in the time of what comes next.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, StoreSection().segment_size_bytes)
        os.fsync(descriptor)
        began = time.perf_counter()
        for first in range(0, CHUNKS_OF_SEGMENT, per_sync):
            several: list[Buffer] = []
            for number in range(first, min(first + per_sync, CHUNKS_OF_SEGMENT)):
                several += [head, payloads.buffer(number)]
            os.pwritev(descriptor, several, HEADER_SIZE + first * (len(head) + CHUNK_SIZE))
            os.fdatasync(descriptor)
        return time.perf_counter() - began
    finally:
        os.close(descriptor)


def amplification(job: Job) -> Samples:
    """How many bytes 50 KB blobs take in the files, and how many go to the disk for them."""
    return on_loop(_amplification(job))


async def _amplification(job: Job) -> Samples:
    count = job.plan.amplified_blobs
    payloads = Payloads(BLOB_SIZE)
    payload_mb = count * BLOB_SIZE / 1e6
    found: Samples = {"payload": [payload_mb]}
    for name, writers, blobs in (("", WRITERS, count), (" 1", 1, count // 4)):
        directory = job.path / f"node{name.strip()}"
        before = written_mb()
        node = await Node.start(directory, 1)
        await node.write(blobs, payloads, writers=writers, sync=True)
        store = node.parts.replicas.all()[0].store
        used = store.size_bytes()
        await node.stop()
        # In terms of all the blobs, so that one baseline serves both.
        found[f"written{name}"] = [(written_mb() - before) * count / blobs]
        if not name:
            found["used"] = [(used + index_bytes(directory)) / 1e6]
            found["blocks"] = [blocks_mb(directory)]
    node = await Node.start(job.path / "chunks", 1)
    await node.write(2 * CHUNKS_OF_SEGMENT, Payloads(CHUNK_SIZE), writers=4, sync=True)
    await node.stop()
    found["blocks of chunks"] = [sum(path.stat().st_blocks for path in segments_below(job.path / "chunks")) * 512 / 1e6]
    found["payload of chunks"] = [2 * CHUNKS_OF_SEGMENT * CHUNK_SIZE / 1e6]
    return found


def index_bytes(directory: Path) -> int:
    """What the index files of all replicas below a directory hold."""
    return sum(path.stat().st_size for path in files_below(directory) if path.name == "data.mdb")
