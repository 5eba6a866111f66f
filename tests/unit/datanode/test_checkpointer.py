"""When the index is made durable, and what a checkpoint that fails leaves."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.errors import AmbryError
from datanode.store.blob_store import StoreState
from datanode.store.known import UNKNOWN
from datanode.store.tables import Table
from tests.support.eventually import eventually
from tests.support.fake_tables import Stored
from tests.support.gate import Gate
from tests.support.lone_bench import LoneBench
from tests.support.samples import blob_id, content, put_record, read_all, rot_index


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[LoneBench]:
    made = LoneBench(tmp_path)
    yield made
    await made.tear_down()


async def test_a_checkpoint_is_made_when_many_wait_or_when_it_is_time(bench: LoneBench) -> None:
    replica = await bench.open()
    await bench.checkpointer.tick()
    assert replica.store.checkpoint.lsn == 0
    await bench.put(1)
    await bench.checkpointer.tick()
    assert replica.store.recent_count == 1, "too few and too early"
    bench.clock.advance(30)
    await bench.checkpointer.tick()
    assert replica.store.recent_count == 0
    for number in range(2, 12):
        await bench.put(number)
    await bench.checkpointer.tick()
    assert replica.store.recent_count == 0
    assert replica.store.checkpoint.lsn == replica.store.end_lsn


async def test_a_checkpoint_whose_caller_is_cancelled_still_ends(bench: LoneBench) -> None:
    """Stopping a node cancelled the checkpoint worker. The entries that were frozen for it left memory; when its disk job had
    not begun yet they never reached the index either, and the clean checkpoint after it said that they had: blobs that were
    acknowledged were not found any more."""
    replica = await bench.open(io_threads=1)
    for number in range(5):
        await bench.put(number)
    with Gate(bench.files, "free_bytes") as gate:
        busy = bench.parts.disk.submit(replica.store.free_bytes)  # the only disk thread is taken
        await gate.arrived.wait()
        due = asyncio.ensure_future(bench.checkpointer.checkpoint(replica))
        for _ in range(5):
            await asyncio.sleep(0)
        due.cancel()
        await asyncio.gather(due, return_exceptions=True)
        for number in range(5):
            assert replica.store.lookup(blob_id(number)) is not None
        closing = asyncio.ensure_future(bench.parts.close())
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
async def test_a_checkpoint_that_cannot_sync_fences(bench: LoneBench, call: str) -> None:
    replica = await bench.open()
    done: asyncio.Future[AmbryError | None] = asyncio.get_running_loop().create_future()
    replica.committer.append(put_record(blob_id(1), b"x"), sync=False, done=done.set_result)
    assert await done is None
    bench.files.fail(call, errno.EIO)
    await bench.checkpointer.checkpoint(replica)
    assert replica.store.state is StoreState.FENCED
    assert replica.store.checkpoint.lsn == 0
    bench.files.mend()
    bench.clock.advance(100)
    await bench.checkpointer.tick()
    assert replica.store.checkpoint.lsn == 0, "a fenced replica makes no checkpoints"
    await bench.parts.close()
    replica = await bench.open()
    assert not replica.store.checkpoint.clean


async def test_a_checkpoint_that_meets_a_rotten_entry_rebuilds_the_index(bench: LoneBench) -> None:
    """It used to fence the replica until somebody restarted the node, which then could not start."""
    before = await bench.open()
    await bench.put(1)
    await bench.put(2)
    await bench.checkpointer.checkpoint(before)
    await bench.put(1, delete=True)
    rot_index(before.store, blob_id(1))
    await bench.checkpointer.checkpoint(before)
    await eventually(lambda: bench.replicas.get(7) not in (None, before))
    after = bench.replicas[7]
    entry = after.store.lookup(blob_id(1))
    assert entry is not None
    assert entry.state.deleted
    assert read_all(after.store, blob_id(2)) == content(2, 500)


async def test_a_checkpoint_waits_for_room_on_a_full_disk_and_deletes_go_on(bench: LoneBench) -> None:
    """LMDB out of room once looked like a damaged index: every replica of a full disk was taken away to be rebuilt."""
    replica = await bench.open()
    await bench.put(1)
    bench.files.free = 0
    assert await bench.checkpointer.checkpoint(replica) is False
    await bench.put(1, delete=True)
    assert replica.store.state is StoreState.OPEN
    assert replica.store.recent_count == 1
    bench.files.free = 1 << 30
    assert await bench.checkpointer.checkpoint(replica) is True
    assert replica.store.recent_count == 0


async def test_a_burst_after_a_quiet_time_is_one_checkpoint(bench: LoneBench) -> None:
    """The first change after a quiet time had a checkpoint of its own within a second, and what followed it another one 30 s
    later: with few puts into many partitions every put cost two of them."""
    replica = await bench.open()
    bench.clock.advance(1_000)
    await bench.checkpointer.tick()
    await bench.put(1)
    for number in range(2, 6):
        bench.clock.advance(7)
        await bench.put(number)
        await bench.checkpointer.tick()
        assert replica.store.checkpoint.lsn == 0
    bench.clock.advance(2)
    await bench.checkpointer.tick()
    assert replica.store.recent_count == 0, "30 s after the first of them"


async def test_what_peers_were_followed_to_is_written_down_without_any_entry(bench: LoneBench) -> None:
    replica = await bench.open()
    await bench.checkpointer.tick()
    cursor = bench.parts.cursors.of(7)["silent"]
    cursor.follow(b"l" * 16)
    cursor.advance(200, 200, {})
    bench.clock.advance(30)
    await bench.checkpointer.tick()
    assert replica.store.checkpoint.tokens["silent"].lsn == 200


async def test_an_urgent_checkpoint_that_found_no_room_is_tried_again_later(bench: LoneBench) -> None:
    replica = await bench.open()
    await bench.put(1)
    bench.files.free = 0
    bench.checkpointer.soon(7)
    await bench.checkpointer.tick()
    bench.files.free = 1 << 30
    await bench.checkpointer.tick()
    assert replica.store.recent_count == 1, "not at every tick"
    bench.clock.advance(30)
    await bench.checkpointer.tick()
    assert replica.store.recent_count == 0


async def test_partitions_of_which_little_changed_have_their_turns_one_after_the_other(bench: LoneBench) -> None:
    """With few puts into 1,000 partitions nearly every put cost a checkpoint of its own: 0.6 % of a core at 10 a second."""
    replicas = [await bench.open(), bench.replicas[8]]
    bench.clock.advance(30)
    await bench.checkpointer.tick()
    await bench.put(1)
    await bench.put(2, partition=8)
    bench.clock.advance(30)
    waiting = []
    for _ in range(3):
        waiting.append([replica.store.recent_count for replica in replicas])
        await bench.checkpointer.tick()
    assert waiting == [[1, 1], [0, 1], [0, 0]]


async def test_a_partition_of_which_much_changed_does_not_wait_for_its_turn(
    bench: LoneBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    replicas = [await bench.open(), bench.replicas[8]]
    bench.clock.advance(30)
    await bench.checkpointer.tick()
    await bench.put(1)
    await bench.put(2, partition=8)
    monkeypatch.setattr("datanode.checkpointer.FEW_ENTRIES", 0)
    bench.clock.advance(30)
    await bench.checkpointer.tick()
    assert [replica.store.recent_count for replica in replicas] == [0, 0]


async def test_what_a_start_has_to_replay_is_bounded_in_bytes(
    bench: LoneBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a minute of large blobs was gigabytes of log to read and to verify before a replica served again."""
    replicas = [await bench.open(), bench.replicas[8]]
    bench.clock.advance(30)
    await bench.checkpointer.tick()
    monkeypatch.setattr("datanode.checkpointer.REPLAY_BYTES_MAX", 1_500)
    await bench.put(1)
    await bench.put(2, partition=8)
    await bench.put(3, partition=8)
    bench.clock.advance(5)
    await bench.checkpointer.tick()
    assert [replica.store.recent_count for replica in replicas] == [1, 0], (
        "the larger one first, and no more than needed"
    )


# --- an index on a disk that fails ---


@pytest.fixture
async def simulated(tmp_path: Path) -> AsyncIterator[LoneBench]:
    """Its index is kept by the fake, too, which can fail as no LMDB can be made to."""
    made = LoneBench(tmp_path, wholly_simulated=True)
    yield made
    await made.tear_down()


def stored(bench: LoneBench) -> Stored:
    return bench.files.stored_tables(bench.replicas[7].store.directory / "index")


async def test_a_checkpoint_that_finds_the_map_full_waits_and_loses_nothing(simulated: LoneBench) -> None:
    replica = await simulated.open()
    for number in range(150):
        await simulated.put(number)
    stored(simulated).bytes_max = 16 << 10
    assert await simulated.checkpointer.checkpoint(replica) is False
    assert (replica.store.state, replica.store.recent_count) == (StoreState.OPEN, 150)
    assert read_all(replica.store, blob_id(149)) == content(149, 500)
    stored(simulated).bytes_max = 1 << 20
    simulated.files.fail("grow_tables", errno.ENOMEM)
    assert await simulated.checkpointer.checkpoint(replica) is False, "no address space is no damage"
    assert await simulated.checkpointer.checkpoint(replica) is True
    assert replica.store.recent_count == 0


async def test_a_checkpoint_that_meets_an_unreadable_page_rebuilds_the_index(simulated: LoneBench) -> None:
    before = await simulated.open()
    for number in range(40):
        await simulated.put(number)
    await simulated.checkpointer.checkpoint(before)

    def unreadable() -> None:
        raise OSError(errno.EIO, "Input/output error")

    stored(simulated).on_page(Table.ENTRIES, blob_id(20)[16:32], unreadable)
    await simulated.put(20, delete=True)
    assert await simulated.checkpointer.checkpoint(before) is False
    await eventually(lambda: simulated.replicas.get(7) not in (None, before))
    after = simulated.replicas[7].store
    assert after.opened.rebuilt
    assert [number for number in range(40) if after.lookup(blob_id(number)) is None] == []
    assert (entry := after.lookup(blob_id(20))) and entry.state.deleted


async def test_a_checkpoint_that_waits_for_a_slow_page_keeps_nobody_from_the_rest(simulated: LoneBench) -> None:
    replica = await simulated.open()
    for number in range(40):
        await simulated.put(number)
    await simulated.checkpointer.checkpoint(replica)
    arrived, comes = threading.Event(), threading.Event()

    def slow() -> None:
        arrived.set()
        comes.wait(30)

    stored(simulated).on_page(Table.ENTRIES, blob_id(20)[16:32], slow)
    await simulated.put(20, delete=True)
    waiting = asyncio.ensure_future(simulated.checkpointer.checkpoint(replica))
    await eventually(arrived.is_set)
    await simulated.put(100)
    assert (entry := replica.store.index.known(blob_id(20))) is not UNKNOWN
    assert entry is not None
    assert entry.state.deleted, "what is being written is known meanwhile"
    comes.set()
    assert await waiting is True
    assert replica.store.recent_count == 1
