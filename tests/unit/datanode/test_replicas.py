"""All replicas of a node: opening, checkpoints, rebuilding, closing."""

from __future__ import annotations

import asyncio
import errno
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import lmdb
import pytest

from ambry.clustermap.model import Node, Partition
from ambry.errors import AmbryError, PartitionUnknown, ReplicaUnavailable
from datanode.config import StoreSection
from datanode.replicas import Replica, Stores
from datanode.store.blob_store import StoreState
from datanode.store.index import MAP_SIZE
from tests.support.eventually import eventually
from tests.support.fake_clock import SettableClock
from tests.support.fake_files import FakeFiles
from tests.support.gate import Gate
from tests.support.samples import CLUSTER, DELETED, SEGMENT_SIZE, blob_id, content, put_record, read_all, update_record

NODE = Node(name="n", datacenter="dc1", datacenter_id=1, host="h", port=1)
PARTITIONS = [Partition(id=number, replicas=(NODE,)) for number in (7, 8)]


class Bench:
    def __init__(self, root: Path) -> None:
        self.files = FakeFiles(root)
        self.root = root
        self.clock = SettableClock()
        self.opened: list[int] = []
        self.tokens: dict[str, tuple[bytes, int]] = {}
        self.stores = self.make()

    def make(self, *, io_threads: int = 2) -> Stores:
        self.stores = Stores(
            cluster=CLUSTER,
            data_dir=self.root / "data",
            config=StoreSection(
                segment_size_bytes=SEGMENT_SIZE,
                io_threads=io_threads,
                gather_ms=0,
                reserve_bytes=0,
                checkpoint_records=10,
            ),
            files=self.files,
            clock=self.clock,
            random_source=random.Random(1),
        )
        self.stores.on_open = lambda replica: self.opened.append(replica.partition.id)
        self.stores.tokens_of = lambda _partition: self.tokens
        return self.stores

    async def open(self, *, io_threads: int = 2) -> Replica:
        await self.make(io_threads=io_threads).open_all(PARTITIONS)
        return self.stores[7]

    async def put(self, number: int, *, delete: bool = False) -> None:
        replica = self.stores[7]
        done: asyncio.Future[AmbryError | None] = asyncio.get_running_loop().create_future()
        record = (
            update_record(blob_id(number), DELETED) if delete else put_record(blob_id(number), content(number, 500))
        )
        replica.committer.append(record, sync=True, done=done.set_result)
        error = await done
        if error is not None:
            raise error


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    yield made
    for replica in made.stores.all():
        replica.store.close()
    made.stores.disk.close()


async def test_every_partition_is_opened_and_found(bench: Bench) -> None:
    await bench.open()
    assert sorted(bench.opened) == [7, 8]
    assert [replica.partition.id for replica in bench.stores.all()] == [7, 8]
    assert bench.stores[8].store.partition == 8
    assert bench.stores.get(9) is None
    with pytest.raises(PartitionUnknown):
        bench.stores[9]


async def test_a_replica_that_cannot_be_opened_says_which(bench: Bench) -> None:
    await bench.open()
    await bench.stores.close()
    bench.files.flip(bench.root / "data" / "partition-00000008" / "identity.json", 5)
    await bench.open()
    assert len(bench.stores.unready()) == 1
    assert "partition-00000008" in bench.stores.unready()[0]
    with pytest.raises(ReplicaUnavailable, match="cannot be opened"):
        bench.stores[8]
    await bench.put(1)
    bench.files.flip(bench.root / "data" / "partition-00000008" / "identity.json", 5)
    await bench.stores.reopen(8)
    assert bench.stores[8].store.state is StoreState.OPEN
    assert bench.stores.unready() == []


async def test_a_clean_close_needs_no_replay(bench: Bench) -> None:
    await bench.open()
    for number in range(5):
        await bench.put(number)
    bench.tokens = {"peer": (b"p" * 16, 77)}
    await bench.stores.close()
    assert bench.stores.all() == []
    replica = await bench.open()
    assert replica.store.opened.replayed == 0
    assert replica.store.checkpoint.tokens == bench.tokens
    for number in range(5):
        assert read_all(replica.store, blob_id(number)) == content(number, 500)


async def test_what_is_in_flight_while_closing_is_written_to_its_end(bench: Bench) -> None:
    """The files were closed under the disk thread that wrote to them: its descriptor's number may be another file's by then."""
    replica = await bench.open()
    loop = asyncio.get_running_loop()
    closed_under_it: list[str] = []

    def slowly(call: str, path: Path) -> None:
        if call == "pwritev" and path.suffix == ".segment":
            time.sleep(0.05)  # long enough for a close that does not wait; nothing depends on it when all is well
            closed_under_it.append(str(replica.store.state))

    bench.files.before = slowly
    started = asyncio.Event()
    submit = bench.stores.disk.submit

    def noted(*arguments: Any) -> Any:
        loop.call_soon(started.set)
        return submit(*arguments)

    bench.stores.disk.submit = noted  # type: ignore[method-assign, assignment]
    put = asyncio.ensure_future(bench.put(1))
    await started.wait()
    await bench.stores.close()
    await asyncio.gather(put, return_exceptions=True)
    assert closed_under_it == ["open"]
    bench.files.before = lambda _call, _path: None
    replica = await bench.open()
    assert read_all(replica.store, blob_id(1)) == content(1, 500)


async def test_a_checkpoint_is_made_when_many_wait_or_when_it_is_time(bench: Bench) -> None:
    replica = await bench.open()
    await bench.stores.checkpoint_due()
    assert replica.store.checkpoint.lsn == 0
    await bench.put(1)
    await bench.stores.checkpoint_due()
    assert replica.store.recent_count == 1, "too few and too early"
    bench.clock.advance(30)
    await bench.stores.checkpoint_due()
    assert replica.store.recent_count == 0
    for number in range(2, 12):
        await bench.put(number)
    await bench.stores.checkpoint_due()
    assert replica.store.recent_count == 0
    assert replica.store.checkpoint.lsn == replica.store.end_lsn


async def test_a_checkpoint_whose_caller_is_cancelled_still_ends(bench: Bench) -> None:
    """Stopping a node cancelled the checkpoint worker. The entries that were frozen for it left memory; when its disk job had
    not begun yet they never reached the index either, and the clean checkpoint after it said that they had: blobs that were
    acknowledged were not found any more."""
    replica = await bench.open(io_threads=1)
    for number in range(5):
        await bench.put(number)
    with Gate(bench.files, "free_bytes") as gate:
        busy = bench.stores.disk.submit(replica.store.free_bytes)  # the only disk thread is taken
        await gate.arrived.wait()
        due = asyncio.ensure_future(bench.stores.checkpoint(replica))
        for _ in range(5):
            await asyncio.sleep(0)
        due.cancel()
        await asyncio.gather(due, return_exceptions=True)
        for number in range(5):
            assert replica.store.lookup(blob_id(number)) is not None
        closing = asyncio.ensure_future(bench.stores.close())
        for _ in range(5):
            await asyncio.sleep(0)
        gate.open()
        await busy
        await closing
    assert replica.store.fence_reason == ""
    replica = await bench.open()
    assert replica.store.opened.replayed == 0
    for number in range(5):
        assert read_all(replica.store, blob_id(number)) == content(number, 500)


@pytest.mark.parametrize("call", ["fdatasync"])
async def test_a_checkpoint_that_cannot_sync_fences(bench: Bench, call: str) -> None:
    replica = await bench.open()
    done: asyncio.Future[AmbryError | None] = asyncio.get_running_loop().create_future()
    replica.committer.append(put_record(blob_id(1), b"x"), sync=False, done=done.set_result)
    assert await done is None
    bench.files.fail(call, errno.EIO)
    await bench.stores.checkpoint(replica)
    assert replica.store.state is StoreState.FENCED
    assert replica.store.checkpoint.lsn == 0
    bench.files.mend()
    bench.clock.advance(100)
    await bench.stores.checkpoint_due()
    assert replica.store.checkpoint.lsn == 0, "a fenced replica makes no checkpoints"
    await bench.stores.close()
    replica = await bench.open()
    assert not replica.store.checkpoint.clean


async def rebuilt(bench: Bench, before: Replica) -> Replica:
    await eventually(lambda: bench.stores.get(7) not in (None, before))
    return bench.stores[7]


async def test_a_rebuild_keeps_everything_and_is_said_meanwhile(bench: Bench) -> None:
    before = await bench.open()
    for number in range(5):
        await bench.put(number)
    bench.stores.rebuild(before.store, "test")
    bench.stores.rebuild(before.store, "again")
    with pytest.raises(ReplicaUnavailable, match="being reopened"):
        bench.stores[7]
    assert bench.stores.unready() == ["partition 7 is being reopened"]
    after = await rebuilt(bench, before)
    bench.stores.rebuild(before.store, "by somebody who still has the old one")
    assert bench.stores[7] is after
    assert bench.stores.unready() == []
    assert bench.opened.count(7) == 2
    assert before.store.state is StoreState.CLOSED
    assert after.store.opened.rebuilt
    for number in range(5):
        assert read_all(after.store, blob_id(number)) == content(number, 500)


async def test_a_rebuild_that_fails_leaves_the_partition_unavailable(bench: Bench) -> None:
    before = await bench.open()
    await bench.put(1)
    bench.files.flip(bench.root / "data" / "partition-00000007" / "identity.json", 5)
    bench.stores.rebuild(before.store, "test")
    await eventually(lambda: not bench.stores._tasks)
    with pytest.raises(ReplicaUnavailable):
        bench.stores[7]
    assert bench.stores[8].store.state is StoreState.OPEN


async def test_a_checkpoint_that_meets_a_rotten_entry_rebuilds_the_index(bench: Bench) -> None:
    """It used to fence the replica until somebody restarted the node, which then could not start."""
    before = await bench.open()
    await bench.put(1)
    await bench.put(2)
    await bench.stores.checkpoint(before)
    await bench.put(1, delete=True)
    env = before.store._index._env  # LMDB may be opened once per process, so the damage goes in through the same door
    with env.begin(write=True) as txn:
        txn.put(blob_id(1)[16:32], b"rotten" * 9, db=before.store._index._entries)
    await bench.stores.checkpoint(before)
    after = await rebuilt(bench, before)
    entry = after.store.lookup(blob_id(1))
    assert entry is not None
    assert entry.state.deleted
    assert read_all(after.store, blob_id(2)) == content(2, 500)


async def test_a_clean_stop_with_a_rotten_entry_is_mended_at_the_next_start(bench: Bench) -> None:
    replica = await bench.open()
    await bench.put(1)
    await bench.put(2)
    await bench.stores.close()
    env = lmdb.open(str(bench.root / "data" / "partition-00000007" / "index"), map_size=MAP_SIZE, max_dbs=3)
    with env.begin(write=True) as txn:
        txn.put(blob_id(1)[16:32], b"rotten" * 9, db=env.open_db(b"entries", txn=txn))
    env.close()
    replica = await bench.open()
    done: asyncio.Future[AmbryError | None] = asyncio.get_running_loop().create_future()
    replica.committer.append(update_record(blob_id(2), DELETED), sync=True, done=done.set_result)
    assert await done is None
    assert read_all(replica.store, blob_id(2)) == content(2, 500)


async def test_a_checkpoint_waits_for_room_on_a_full_disk_and_deletes_go_on(bench: Bench) -> None:
    """LMDB out of room once looked like a damaged index: every replica of a full disk was taken away to be rebuilt."""
    replica = await bench.open()
    await bench.put(1)
    bench.files.free = 0
    assert await bench.stores.checkpoint(replica) is False
    await bench.put(1, delete=True)
    assert replica.store.state is StoreState.OPEN
    assert replica.store.recent_count == 1
    bench.files.free = 1 << 30
    assert await bench.stores.checkpoint(replica) is True
    assert replica.store.recent_count == 0
