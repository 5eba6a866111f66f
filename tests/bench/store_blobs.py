"""Blobs as the product makes them, and replicas full of them, quickly and the same in every run."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from itertools import islice
from pathlib import Path

from ambry.blob import NEVER_MS, BlobState
from ambry.checksum import Buffer, block_checks, digest
from ambry.clock import Clock, SystemClock
from ambry.format.record import Record, RecordKind
from ambry.ids import BlobId, IdKind, uuid7
from datanode.config import StoreSection
from datanode.parts import Parts
from datanode.store.blob_store import BlobStore
from datanode.store.entry import IndexEntry
from datanode.store.files import OsFiles
from datanode.store.opening.steps import open_store
from tests.support.fake_clock import SettableClock
from tests.support.node_parts import lone_map, lone_node
from tests.support.samples import append, checkpoint

CLUSTER = "bench"
FRONTENDS = 3
STARTED_AT_MS = 1_750_000_000_000
PUT_INTERVAL_MS = 1.0
"""Between two puts into a node."""
DELAY_MS = 3.0
"""On the way from a frontend into the log, on average; a few take much longer."""
ALIVE = BlobState(0, False, NEVER_MS)
# What the frontend stores with a blob of no special properties has about this size.
PROPERTIES = bytes(40)
BATCH_RECORDS = 400
CHECKPOINT_RECORDS = StoreSection().checkpoint_records


def natural_ids(
    count: int, *, partitions: int = 1, seed: int = 1, started_at_ms: int = STARTED_AT_MS
) -> Iterator[tuple[int, bytes]]:
    """Partition (from 1) and id of `count` blobs in the order in which a node appends them.

    Each of three frontends makes ids by its own clock and source, and each put takes its own time to the log. So ids arrive
    nearly in the order of their times, not quite.
    """
    chance = random.Random(seed)
    sources = [random.Random(seed * 1000 + number) for number in range(FRONTENDS)]
    clock = SettableClock()
    under_way: list[tuple[float, int, bytes]] = []
    for number in range(count):
        made_at = number * PUT_INTERVAL_MS
        clock.wall = started_at_ms + int(made_at)
        while under_way and under_way[0][0] <= made_at:
            yield heappop(under_way)[1:]
        partition = 1 + int(chance.random() * partitions)
        uuid = uuid7(clock.wall_ms(), sources[number % FRONTENDS])
        raw = BlobId.make(kind=IdKind.SIMPLE, datacenter=1, account=2, container=3, partition=partition, uuid=uuid).raw
        heappush(under_way, (made_at + chance.expovariate(1 / DELAY_MS), partition, raw))
    while under_way:
        yield heappop(under_way)[1:]


class Payloads:
    """Payloads of one size, with their checksums: a few that differ, used in turn. They do not compress."""

    def __init__(self, size: int, *, kinds: int = 8) -> None:
        made = [random.Random(size + number).randbytes(size) for number in range(kinds)]
        self._kinds = [(payload, digest(payload), block_checks(payload)) for payload in made]

    def record(self, raw_id: bytes, number: int, *, written_at_ms: int = STARTED_AT_MS) -> Record:
        payload, whole, checks = self._kinds[number % len(self._kinds)]
        return Record(
            kind=RecordKind.BLOB,
            id=raw_id,
            state=ALIVE,
            written_at_ms=written_at_ms,
            properties=PROPERTIES,
            digest=whole,
            checks=checks,
            payload=payload,
        )

    def buffer(self, number: int) -> Buffer:
        return self._kinds[number % len(self._kinds)][0]


def records(count: int, size: int, *, partitions: int = 1, seed: int = 1) -> Iterator[tuple[int, Record]]:
    """Partition and record of `count` blobs of one size, in natural order."""
    payloads = Payloads(size)
    for number, (partition, raw_id) in enumerate(natural_ids(count, partitions=partitions, seed=seed)):
        yield partition, payloads.record(raw_id, number)


def delete_record(raw_id: bytes, *, at_ms: int) -> Record:
    return Record(kind=RecordKind.UPDATE, id=raw_id, state=BlobState(0, True, NEVER_MS), written_at_ms=at_ms)


def partition_path(directory: Path, number: int = 1) -> Path:
    """Where a data node keeps a partition."""
    return directory / f"partition-{number:08d}"


def open_one(directory: Path, number: int = 1) -> BlobStore:
    """Open or create one replica as the server does, on the files of this machine."""
    return open_store(
        OsFiles(),
        partition_path(directory, number),
        cluster=CLUSTER,
        partition=number,
        segment_size_bytes=StoreSection().segment_size_bytes,
        clock=SystemClock(),
        random_source=random.Random(number),
    )


def fill(store: BlobStore, wanted: Iterable[Record]) -> list[bytes]:
    """Append in batches, not synced, with a checkpoint where the product makes one, and at the end. Returns the ids."""
    source = iter(wanted)
    ids: list[bytes] = []
    while batch := list(islice(source, BATCH_RECORDS)):
        append(store, *batch, sync=False)
        ids += [record.id for record in batch]
        if store.recent_count >= CHECKPOINT_RECORDS:
            checkpoint(store)
    checkpoint(store)
    return ids


def entries_of(store: BlobStore, ids: Iterable[bytes]) -> list[IndexEntry]:
    """Raises LookupError for a blob that is not there."""
    found = []
    for raw_id in ids:
        entry = store.lookup(raw_id)
        if entry is None or not entry.present:
            raise LookupError(f"blob {raw_id.hex()} is not there")
        found.append(entry)
    return found


async def open_node(
    directory: Path, partitions: int, *, store: StoreSection | None = None, clock: Clock | None = None
) -> Parts:
    """The parts of a node with so many partitions, from 1 on, open; nothing runs by itself."""
    parts = lone_node(
        OsFiles(),
        directory,
        clock=clock or SystemClock(),
        cluster_map=lone_map(range(1, partitions + 1), cluster=CLUSTER),
        store=store or StoreSection(),
    )
    await parts.open_replicas()
    return parts
