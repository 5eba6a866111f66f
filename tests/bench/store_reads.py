"""Rows cold, hot and lookup: what a read of the store costs, beside the system call or the LMDB call under it."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lmdb

from ambry.checksum import BLOCK_SIZE
from ambry.ids import ID_SIZE, BlobId, IdKind
from datanode.config import StoreSection
from datanode.store.blob_store import BlobStore
from datanode.store.entry import IndexEntry
from datanode.store.index_file import INDEX_NAME
from datanode.store.segment import segment_number
from tests.bench.store_blobs import entries_of, fill, open_one, partition_path, records
from tests.bench.store_figures import Samples, joined
from tests.bench.store_job import Job, Wrong
from tests.bench.store_machine import drop, read_through, segments_below
from tests.bench.store_plan import CHUNK_SIZE
from tests.support.samples import stop_cleanly

THREADS = StoreSection().io_threads
SMALL = 4 << 10
BLOCKS_OF_EACH = 8
SAMPLE_NAME = "sample.ids"
SAMPLE_EVERY = 10
BESIDE_SIZE = 24
"""A check and a tag."""
WHOLE_READS = 64

Place = tuple[IndexEntry, int]
"""A record and the number of one of its blocks."""


def cold(job: Job) -> Samples:
    """Random blocks of large records that are not in the page cache, by as many threads as a disk has."""
    store = open_one(job.path)
    ids = fill(store, (record for _, record in records(job.plan.cold_records, CHUNK_SIZE)))
    entries = entries_of(store, ids)
    raw = RawFiles(job.path)
    segments = segments_below(job.path)
    chance = random.Random(4)

    def read(place: Place) -> None:
        entry, block = place
        payload = store.read(entry, block * BLOCK_SIZE, (block + 1) * BLOCK_SIZE, cached_only=False)
        if payload is None or len(payload.data) != BLOCK_SIZE:
            raise Wrong("a read of 64 KiB returned something else")

    found: list[Samples] = []
    with ThreadPoolExecutor(THREADS) as threads:
        for _ in range(job.plan.cold_rounds):
            once = _places(entries, chance, blocks=1)
            several = _places(entries, chance, blocks=BLOCKS_OF_EACH)
            taken: Samples = {}
            for name, work, places in (
                ("preads", raw.block, once),
                ("cold", read, once),
                ("preads of both", raw.head_and_block, once),
                ("preads of both at once", raw.head_and_block_at_once, once),
                ("preads beside", raw.block_with_check, once),
                ("preads 8", raw.block, several),
                ("cold 8", read, several),
            ):
                drop(segments)
                taken[name] = [len(places) / _spread(threads, work, places)]
            read_through(segments)
            for name, gather in (("whole", raw.whole), ("scattered", raw.scattered)):
                began = time.thread_time()
                for entry in entries[:WHOLE_READS]:
                    gather(entry)
                taken[name] = [WHOLE_READS * CHUNK_SIZE / 1e6 / (time.thread_time() - began)]
            found.append(taken)
    raw.close()
    stop_cleanly(store)
    return joined(found[1:] or found)


def _places(entries: Sequence[IndexEntry], chance: random.Random, *, blocks: int) -> list[Place]:
    """So many blocks of every record, in random order; the kernel's readahead brings little of use."""
    found = [(entry, block) for entry in entries for block in chance.sample(range(CHUNK_SIZE // BLOCK_SIZE), blocks)]
    chance.shuffle(found)
    return found


def _spread(threads: ThreadPoolExecutor, work: Callable[[Place], None], places: Sequence[Place]) -> float:
    """Seconds until all places were read, by all threads at once."""
    barrier = threading.Barrier(THREADS + 1)

    def part(first: int) -> None:
        barrier.wait()
        for place in places[first::THREADS]:
            work(place)

    futures = [threads.submit(part, first) for first in range(THREADS)]
    barrier.wait()
    began = time.perf_counter()
    for future in futures:
        future.result()
    return time.perf_counter() - began


class RawFiles:
    """The segment files of a replica, read without the store."""

    def __init__(self, directory: Path) -> None:
        self._files = {
            segment_number(path.name) or 0: os.open(path, os.O_RDONLY)
            for path in segments_below(partition_path(directory))
        }

    def block(self, place: Place) -> None:
        entry, block = place
        os.pread(self._files[entry.segment], BLOCK_SIZE, entry.offset + payload_start(entry) + block * BLOCK_SIZE)

    def head_and_block(self, place: Place) -> None:
        entry, _ = place
        os.pread(self._files[entry.segment], payload_start(entry), entry.offset)
        self.block(place)

    def head_and_block_at_once(self, place: Place) -> None:
        """The disk is told of the head, and brings it while the block is read."""
        entry, _ = place
        file, size = self._files[entry.segment], payload_start(entry)
        os.posix_fadvise(file, entry.offset, size, os.POSIX_FADV_WILLNEED)
        self.block(place)
        os.pread(file, size, entry.offset)

    def block_with_check(self, place: Place) -> None:
        """What a block would cost with its check, and room for a tag, behind it."""
        entry, block = place
        offset = entry.offset + block * (BLOCK_SIZE + BESIDE_SIZE)
        os.pread(self._files[entry.segment], BLOCK_SIZE + BESIDE_SIZE, offset)

    def whole(self, entry: IndexEntry) -> None:
        """A chunk into one buffer."""
        os.preadv(self._files[entry.segment], [bytearray(CHUNK_SIZE)], entry.offset + payload_start(entry))

    def scattered(self, entry: IndexEntry) -> None:
        """A chunk into one buffer, and what would stand between its blocks into another."""
        blocks = CHUNK_SIZE // BLOCK_SIZE
        data = memoryview(bytearray(CHUNK_SIZE))
        beside = memoryview(bytearray(blocks * BESIDE_SIZE))
        views: list[memoryview] = []
        for block in range(blocks):
            views.append(data[block * BLOCK_SIZE : (block + 1) * BLOCK_SIZE])
            views.append(beside[block * BESIDE_SIZE : (block + 1) * BESIDE_SIZE])
        os.preadv(self._files[entry.segment], views, entry.offset)

    def cached(self, entry: IndexEntry, size: int) -> int:
        """Read the first bytes of a payload as the store reads what is cached. Returns how many."""
        buffer = bytearray(size)
        file, offset = self._files[entry.segment], entry.offset + payload_start(entry)
        with contextlib.suppress(BlockingIOError):
            if (count := os.preadv(file, [buffer], offset, os.RWF_NOWAIT)) == size:
                return count
        return os.preadv(file, [buffer], offset)

    def close(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)


def payload_start(entry: IndexEntry) -> int:
    """Bytes of the record before its payload."""
    return entry.size - entry.payload_size


def hot(job: Job) -> Samples:
    """4 KiB blobs from the page cache in one thread, per second of processor time."""
    plan = job.plan
    store = open_one(job.path)
    ids = fill(store, (record for _, record in records(plan.hot_blobs, SMALL)))
    stop_cleanly(store)
    # From LMDB, as after a checkpoint.
    store = open_one(job.path)
    entries = entries_of(store, ids)
    raw = RawFiles(job.path)
    chance = random.Random(5)

    def preadv(entry: IndexEntry) -> None:
        if raw.cached(entry, SMALL) != SMALL:
            raise Wrong("a raw read of 4 KiB was short")

    def read(entry: IndexEntry) -> None:
        payload = store.read(entry, 0, SMALL, cached_only=True)
        if payload is None:
            # A kernel short of nothing may still take single pages away: a data node reads them on a disk thread then.
            payload = store.read(entry, 0, SMALL, cached_only=False)
        if payload is None or len(payload.data) != SMALL:
            raise Wrong("a read of 4 KiB returned something else")

    def look_up_and_read(entry: IndexEntry) -> None:
        found = store.lookup(entry.id)
        if found is None:
            raise Wrong("a blob that was put is not in the index")
        read(found)

    found: list[Samples] = []
    for _ in range(plan.hot_rounds):
        drawn = chance.choices(entries, k=plan.hot_reads)
        read_through(segments_below(job.path))
        taken: Samples = {}
        for name, work in (("preadv", preadv), ("reads", read), ("looked up", look_up_and_read)):
            taken[name] = [len(drawn) / _cpu_s(work, drawn)]
        found.append(taken)
    raw.close()
    stop_cleanly(store)
    return joined(found[1:] or found)


def _cpu_s(work: Callable[[IndexEntry], None], drawn: Sequence[IndexEntry]) -> float:
    """Processor time of this thread: others on the machine do not count."""
    began = time.thread_time()
    for entry in drawn:
        work(entry)
    return time.thread_time() - began


def lookup(job: Job) -> Samples:
    """Look-ups by id in the replica that `fill` left, beside LMDB's own get of the same keys."""
    plan = job.plan
    ids = sampled_ids(job.path)
    absent = [_absent(raw_id) for raw_id in ids]
    chance = random.Random(6)
    found: list[Samples] = []
    for _ in range(plan.lookup_rounds):
        wanted = chance.choices(ids, k=plan.lookups)
        taken: Samples = {"get": [_raw_gets_us(partition_path(job.path) / INDEX_NAME, wanted)]}
        store = open_one(job.path)
        taken["lookup"] = [_lookups_us(store, wanted, there=True)]
        taken["absent"] = [_lookups_us(store, chance.choices(absent, k=plan.lookups), there=False)]
        stop_cleanly(store)
        found.append(taken)
    return joined(found[1:] or found)


def _lookups_us(store: BlobStore, wanted: Sequence[bytes], *, there: bool) -> float:
    for raw_id in wanted:
        # The first time round maps the pages.
        if (store.lookup(raw_id) is not None) != there:
            raise Wrong("the index is wrong about a blob")
    began = time.thread_time()
    for raw_id in wanted:
        store.lookup(raw_id)
    return (time.thread_time() - began) / len(wanted) * 1e6


def _raw_gets_us(directory: Path, wanted: Sequence[bytes]) -> float:
    # The same environment must not be open twice in one process, so the store is closed meanwhile.
    environment = lmdb.open(str(directory), max_dbs=3, readonly=True, lock=False, readahead=False)
    try:
        entries = environment.open_db(b"entries")
        seconds = 0.0
        for _ in range(2):
            began = time.thread_time()
            for raw_id in wanted:
                with environment.begin() as txn:
                    txn.get(raw_id[16:32], db=entries)
            seconds = time.thread_time() - began
        return seconds / len(wanted) * 1e6
    finally:
        environment.close()


def _absent(raw_id: bytes) -> bytes:
    """An id of the same time that nobody made."""
    known = BlobId(raw_id)
    return BlobId.make(
        kind=IdKind.SIMPLE,
        datacenter=known.datacenter,
        account=known.account,
        container=known.container,
        partition=known.partition,
        uuid=known.key[:8] + bytes(8),
    ).raw


def sampled_ids(directory: Path) -> list[bytes]:
    """One id in ten of those that `fill` put."""
    data = (directory / SAMPLE_NAME).read_bytes()
    return [data[start : start + ID_SIZE] for start in range(0, len(data), ID_SIZE)]
