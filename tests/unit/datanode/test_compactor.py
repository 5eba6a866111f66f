"""The loop that gives space back, over real Stores on a fake disk."""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.blob import NEVER_MS, BlobState
from ambry.clustermap.model import Node, Partition
from ambry.errors import AmbryError
from ambry.format.record import Record
from datanode.compactor import Compactor
from datanode.config import CompactionSection, StoreSection
from datanode.store.segment import segment_name
from datanode.stores import Replica, Stores
from tests.support.fake_clock import SettableClock
from tests.support.fake_files import FakeFiles
from tests.support.gate import Gate
from tests.support.samples import (
    CLUSTER,
    DELETED,
    SEGMENT_SIZE,
    blob_id,
    content,
    put_record,
    read_all,
    update_record,
)

PARTITION = Partition(id=7, replicas=(Node(name="n", datacenter="dc1", datacenter_id=1, host="h", port=1),))
DAY_S = 86_400.0


class Bench:
    def __init__(self, root: Path) -> None:
        self.files = FakeFiles(root)
        self.root = root
        self.clock = SettableClock()
        self.damaged: list[int] = []
        config = StoreSection(segment_size_bytes=SEGMENT_SIZE, io_threads=2, gather_ms=0, reserve_bytes=0)
        self.stores = Stores(
            cluster=CLUSTER,
            data_dir=root / "data",
            config=config,
            files=self.files,
            clock=self.clock,
            random_source=random.Random(1),
        )
        self.compactor = Compactor(
            self.stores,
            config=CompactionSection(),
            segment_size_bytes=SEGMENT_SIZE,
            reserve_bytes=0,
            clock=self.clock,
            horizon=lambda _replica: 1 << 60,
            on_damage=lambda replica: self.damaged.append(replica.partition.id),
        )

    @property
    def replica(self) -> Replica:
        return self.stores[7]

    async def append(self, record: Record) -> None:
        done: asyncio.Future[AmbryError | None] = asyncio.get_running_loop().create_future()
        self.replica.committer.append(record, sync=True, done=done.set_result)
        assert await done is None

    async def fill(self) -> None:
        await self.stores.open_all([PARTITION])
        for number in range(1, 15):
            await self.append(put_record(blob_id(number), content(number, 14_000)))
        for number in range(1, 11, 2):
            await self.append(update_record(blob_id(number), DELETED))
        await self.stores.checkpoint(self.replica)
        self.clock.advance(8 * DAY_S)

    def check(self) -> None:
        for number in (*range(2, 11, 2), *range(11, 15)):
            assert read_all(self.replica.store, blob_id(number)) == content(number, 14_000)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    await made.fill()
    yield made
    await made.stores.close()


async def test_space_comes_back_and_then_there_is_no_more_to_do(bench: Bench) -> None:
    before, free = bench.replica.store.size_bytes(), bench.files.free
    for _ in range(10):
        if await bench.compactor.tick() > 0:
            break
    else:
        raise AssertionError("it never ends")
    assert bench.replica.store.size_bytes() <= before - 3 * 14_000
    assert bench.files.free > free
    bench.check()


async def test_nothing_goes_before_its_retention(bench: Bench) -> None:
    bench.clock.advance(-2 * DAY_S)
    assert await bench.compactor.tick() == CompactionSection().interval_s


async def test_damage_asks_for_a_scrub_and_changes_nothing(bench: Bench) -> None:
    numbers = bench.replica.store.segment_numbers()
    for number in numbers[:-1]:
        bench.files.flip(bench.root / "data" / "partition-00000007" / segment_name(number), 700)
    assert not await bench.compactor.compact(bench.replica)
    assert bench.damaged == [7]
    assert bench.replica.store.segment_numbers() == numbers


async def test_a_blob_that_comes_back_to_life_meanwhile_is_kept(bench: Bench) -> None:
    numbers = bench.replica.store.segment_numbers()
    with Gate(bench.files, "rename", name=".tmp") as gate:
        task = asyncio.create_task(bench.compactor.compact(bench.replica))
        await gate.arrived.wait()
        for number in range(1, 11, 2):
            await bench.append(update_record(blob_id(number), BlobState(1, False, NEVER_MS)))
    assert not await task
    assert bench.replica.store.segment_numbers() == numbers
    for number in range(1, 15):
        assert read_all(bench.replica.store, blob_id(number)) == content(number, 14_000)


@pytest.mark.parametrize("call", ["create", "pwritev", "fsync", "rename", "sync_directory", "unlink"])
async def test_a_disk_that_fails_loses_nothing(bench: Bench, call: str) -> None:
    bench.files.fail(call, errno.ENOSPC)
    with pytest.raises(OSError, match="No space"):
        await bench.compactor.compact(bench.replica)
    bench.files.mend()
    bench.check()
    assert await bench.compactor.tick() >= 0
    bench.check()


async def test_without_room_nothing_is_tried(bench: Bench) -> None:
    bench.files.free = 0
    assert not await bench.compactor.compact(bench.replica)
