"""Rows restart and index: opening and rebuilding replicas, what their index takes on disk, and what they take of memory.

Each function here is a step in a process of its own, so that memory and caches start clean.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator

from ambry.format.record import Record
from datanode.store.index_file import INDEX_NAME
from tests.bench.store_blobs import (
    BATCH_RECORDS,
    CHECKPOINT_RECORDS,
    STARTED_AT_MS,
    Payloads,
    natural_ids,
    open_one,
    partition_path,
)
from tests.bench.store_commit import index_bytes
from tests.bench.store_figures import Samples
from tests.bench.store_job import Job, Wrong
from tests.bench.store_machine import drop, files_below, read_through, rss_anon_mb, segments_below
from tests.bench.store_reads import SAMPLE_EVERY, SAMPLE_NAME, sampled_ids
from tests.support.samples import append, checkpoint, stop_cleanly

LOOKED_UP = 20_000


def fill_index(job: Job) -> Samples:
    """Put `blobs` of `size` bytes into new replicas in natural order, with the checkpoints that the product makes.

    Leaves them cleanly stopped, with a file of sampled ids beside them.
    """
    stores = {number: open_one(job.path, number) for number in range(1, job.partitions + 1)}
    pending: dict[int, list[Record]] = {number: [] for number in stores}
    payloads = Payloads(job.size)
    most = rss_anon_mb()
    with (job.path / SAMPLE_NAME).open("wb") as sample:
        for number, (partition, raw_id) in enumerate(natural_ids(job.blobs, partitions=job.partitions)):
            batch = pending[partition]
            batch.append(payloads.record(raw_id, number))
            if number % SAMPLE_EVERY == 0:
                sample.write(raw_id)
            if len(batch) < BATCH_RECORDS:
                continue
            store = stores[partition]
            append(store, *batch, sync=False)
            batch.clear()
            if store.recent_count >= CHECKPOINT_RECORDS:
                most = max(most, rss_anon_mb())
                checkpoint(store)
                most = max(most, rss_anon_mb())
    for partition, batch in pending.items():
        append(stores[partition], *batch, sync=False)
        stop_cleanly(stores[partition])
    return {"bytes": [index_bytes(job.path) / job.blobs], "writer": [most]}


def open_replicas(job: Job) -> Samples:
    """Open replicas, from memory or from the disk, and look some blobs up; then stop them cleanly."""
    if job.cold:
        drop(files_below(job.path))
    began = time.perf_counter()
    stores = {number: open_one(job.path, number) for number in range(1, job.partitions + 1)}
    seconds = time.perf_counter() - began
    if (job.path / SAMPLE_NAME).exists():
        for raw_id in sampled_ids(job.path)[:LOOKED_UP]:
            if stores[int.from_bytes(raw_id[12:16], "big")].lookup(raw_id) is None:
                raise Wrong("a blob that was put is not in the index after a restart")
    found = {
        "seconds": [seconds],
        "rss": [rss_anon_mb()],
        "replayed": [float(sum(store.opened.replayed for store in stores.values()))],
    }
    for store in stores.values():
        stop_cleanly(store)
    return found


def die(job: Job) -> Samples:
    """Append so many records behind the checkpoint and leave without another, as after a kill."""
    store = open_one(job.path)
    payloads = Payloads(job.size)
    for batch in _batches(job, payloads):
        append(store, *batch, sync=True)
    store.close()
    return {}


def _batches(job: Job, payloads: Payloads) -> Iterator[list[Record]]:
    batch: list[Record] = []
    # Behind those that are there, and behind those of earlier rounds.
    started_at_ms = STARTED_AT_MS + (1 + job.number) * 100_000_000
    made = natural_ids(job.blobs, seed=100 + job.number, started_at_ms=started_at_ms)
    for number, (_, raw_id) in enumerate(made):
        batch.append(payloads.record(raw_id, number))
        if len(batch) == BATCH_RECORDS:
            yield batch
            batch = []
    yield batch


def rebuild(job: Job) -> Samples:
    """Read a replica's segments through, then open it without its index, both from the disk.

    Not from the page cache: a replay drops it, to see what is really on the disk.
    """
    directory = partition_path(job.path)
    segments = segments_below(directory)
    drop(segments)
    began = time.perf_counter()
    size = read_through(segments)
    read_s = time.perf_counter() - began
    shutil.rmtree(directory / INDEX_NAME)
    drop(segments)
    began = time.perf_counter()
    store = open_one(job.path)
    rebuild_s = time.perf_counter() - began
    if not store.opened.rebuilt or store.opened.replayed < job.blobs:
        raise Wrong(f"a rebuild found {store.opened.replayed} records instead of {job.blobs}")
    stop_cleanly(store)
    return {"read": [size / 1e6 / read_s], "rebuild": [size / 1e6 / rebuild_s], "seconds": [rebuild_s]}
