"""Group commit: what is acknowledged, when, and what happens when the disk fails."""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.errors import DeadlineExceeded, InsufficientStorage, Overloaded, ReplicaFenced, ReplicaUnavailable
from datanode.store.blob_store import StoreState
from tests.support.commit_bench import RESERVE, CommitBench
from tests.support.gate import Gate
from tests.support.samples import (
    DELETED,
    SEGMENT_SIZE,
    append,
    blob_id,
    content,
    open_replica,
    put_record,
    read_all,
    update_record,
)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[CommitBench]:
    made = CommitBench(tmp_path)
    yield made
    made.disk.close()


async def test_an_acknowledgement_comes_after_the_sync(bench: CommitBench) -> None:
    with Gate(bench.files, "fdatasync") as gate:
        done = bench.submit(1)
        await gate.arrived.wait()
        assert not bench.durable(1)
        assert bench.acks == []
        assert bench.store.lookup(blob_id(1)) is None, "what may yet be lost is not shown to anybody"
        gate.open()
        assert await done is None
    assert bench.durable(1)
    assert read_all(bench.store, blob_id(1)) == content(1, 1000)


async def test_what_arrives_during_a_batch_goes_together_as_the_next(bench: CommitBench) -> None:
    with Gate(bench.files, "fdatasync") as gate:
        first = bench.submit(1)
        await gate.arrived.wait()
        bench.data_calls()
        others = [bench.submit(number) for number in range(2, 30)]
        gate.open()
        assert await first is None
        assert await asyncio.gather(*others) == [None] * 28
    assert bench.data_calls() == ["fdatasync", "pwritev", "fdatasync"]
    assert [number for number, _ in bench.acks] == list(range(1, 30))


@pytest.mark.parametrize("others", [0, 3])
async def test_what_nobody_waits_for_any_more_is_not_written(bench: CommitBench, others: int) -> None:
    """A node whose disk hung, or that was stopped, wrote puts whose callers had given up long before."""
    now = asyncio.get_running_loop().time()
    with Gate(bench.files, "fdatasync") as gate:
        first = bench.submit(1, deadline=now + 60)
        await gate.arrived.wait()
        late = [bench.submit(number, deadline=now) for number in (2, 3)]
        in_time = [bench.submit(number, deadline=now + 60) for number in range(4, 4 + others)]
        gate.open()
        assert await first is None
        for outcome in await asyncio.gather(*late):
            assert isinstance(outcome, DeadlineExceeded)
        assert await asyncio.gather(*in_time) == [None] * others
    await bench.committer.wait_idle()
    assert bench.writes.pending_bytes == 0
    assert [bench.store.lookup(blob_id(number)) is None for number in range(1, 4 + others)] == [
        False,
        True,
        True,
        *[False] * others,
    ]
    assert await bench.submit(9) is None


async def test_what_arrives_in_one_turn_of_the_loop_goes_together(bench: CommitBench) -> None:
    assert await asyncio.gather(*(bench.submit(number) for number in range(10))) == [None] * 10
    assert bench.data_calls() == ["pwritev", "fdatasync"]


@pytest.mark.parametrize("gather_ms", [0, 2])
async def test_many_writers_are_all_acknowledged_once(tmp_path: Path, gather_ms: int) -> None:
    bench = CommitBench(tmp_path, gather_ms=gather_ms)

    async def writer(first: int) -> None:
        for number in range(first, first + 20):
            assert await bench.submit(number) is None
            assert bench.durable(number)

    await asyncio.gather(*(writer(100 * number) for number in range(1, 6)))
    assert len(bench.acks) == len({number for number, _ in bench.acks}) == 100
    assert bench.committer.idle
    assert bench.writes.pending_bytes == 0
    bench.disk.close()


@pytest.mark.parametrize(("limit", "value"), [("batch_records_max", 3), ("batch_bytes_max", 3500)])
async def test_a_batch_has_bounds(tmp_path: Path, limit: str, value: int) -> None:
    bench = CommitBench(tmp_path, **{limit: value})
    assert await asyncio.gather(*(bench.submit(number) for number in range(7))) == [None] * 7
    assert bench.data_calls() == ["pwritev", "fdatasync"] * 3
    bench.disk.close()


async def test_a_record_larger_than_a_batch_goes_alone(tmp_path: Path) -> None:
    bench = CommitBench(tmp_path, batch_bytes_max=100)
    assert [await done for done in (bench.submit(1), bench.submit(2))] == [None, None]
    bench.disk.close()


async def test_class_memory_is_acknowledged_without_a_sync(bench: CommitBench) -> None:
    assert await bench.submit(1, sync=False) is None
    assert bench.data_calls() == ["pwritev"]
    assert not bench.durable(1)
    assert bench.store.unsynced


async def test_a_synced_put_after_one_of_class_memory_makes_both_durable(bench: CommitBench) -> None:
    assert await bench.submit(1, sync=False) is None
    assert await bench.submit(2) is None
    assert bench.durable(1)
    assert not bench.store.unsynced


async def test_a_synced_put_covers_what_lies_unsynced_in_an_older_segment(bench: CommitBench) -> None:
    assert await bench.submit(1, sync=False) is None
    assert await bench.submit(2, put_record(blob_id(2), content(2, SEGMENT_SIZE - 500))) is None
    assert bench.store.segment_count() == 2
    assert bench.durable(1)


async def test_a_barrier_waits_until_everything_is_synced(bench: CommitBench) -> None:
    assert await bench.submit(1, sync=False) is None
    with Gate(bench.files, "fdatasync") as gate:
        barrier = bench.barrier()
        await gate.arrived.wait()
        assert not barrier.done()
        gate.open()
        assert await barrier is None
    assert bench.durable(1)
    bench.data_calls()
    assert await bench.barrier() is None
    assert bench.data_calls() == [], "nothing to sync"


async def test_a_barrier_waits_for_a_batch_on_its_way(bench: CommitBench) -> None:
    with Gate(bench.files, "pwritev", name=".segment") as gate:
        put = bench.submit(1, sync=False)
        await gate.arrived.wait()
        barrier = bench.barrier()
        assert not barrier.done()
        gate.open()
        assert await put is None
        assert await barrier is None
    assert bench.durable(1)


# --- failures ---


@pytest.mark.parametrize("call", ["pwritev", "fdatasync"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
async def test_a_failed_write_or_sync_fences_for_good(bench: CommitBench, call: str, number: int) -> None:
    assert await bench.submit(1) is None
    with Gate(bench.files, "pwritev") as gate:
        second = bench.submit(2)
        await gate.arrived.wait()
        third = bench.submit(3)
        bench.files.fail(call, number)
        gate.open()
        assert isinstance(await second, ReplicaFenced)
        assert isinstance(await third, ReplicaFenced)
    assert bench.store.state is StoreState.FENCED
    bench.data_calls()
    bench.files.mend()
    assert isinstance(await bench.submit(4), ReplicaFenced)
    assert isinstance(await bench.barrier(), ReplicaFenced)
    assert bench.data_calls() == [], "a failed sync is never repeated: it would lie"
    assert read_all(bench.store, blob_id(1)) == content(1, 1000)
    for lost in (2, 3, 4):
        assert bench.store.lookup(blob_id(lost)) is None
    assert bench.committer.idle
    assert bench.writes.pending_bytes == 0


async def test_a_failed_barrier_fences_too(bench: CommitBench) -> None:
    assert await bench.submit(1, sync=False) is None
    bench.files.fail("fdatasync", errno.EIO)
    assert isinstance(await bench.barrier(), ReplicaFenced)
    assert bench.store.state is StoreState.FENCED


async def test_a_publication_that_fails_fences_and_answers(bench: CommitBench) -> None:
    """A corrupt index entry met while publishing used to leave every caller, and the replica's shutdown, waiting for ever."""

    def broken() -> None:
        raise RuntimeError("a listener broke")

    bench.store.watchers = [broken]
    assert isinstance(await bench.submit(1), ReplicaFenced)
    assert bench.store.state is StoreState.FENCED
    await asyncio.wait_for(bench.committer.wait_idle(), 60)


@pytest.mark.parametrize("call", ["allocate", "pwritev", "fsync", "rename", "sync_directory"])
async def test_a_disk_full_at_a_new_segment_is_said_and_passes(bench: CommitBench, call: str) -> None:
    assert await bench.submit(1) is None
    end = bench.store.end_lsn
    bench.files.fail(call, errno.ENOSPC, for_ever=True, name="" if call == "sync_directory" else ".tmp")
    large = put_record(blob_id(2), content(2, SEGMENT_SIZE - 1000))
    for _ in range(3):
        assert isinstance(await bench.submit(2, large), InsufficientStorage)
    assert bench.store.state is StoreState.OPEN
    assert bench.store.end_lsn == end
    assert await bench.submit(3) is None, "what fits into the open segment goes on"
    bench.files.mend()
    assert await bench.submit(2, large) is None
    assert read_all(bench.store, blob_id(2)) == content(2, SEGMENT_SIZE - 1000)
    assert read_all(bench.store, blob_id(1)) == content(1, 1000)
    bench.store.close()
    bench.store = open_replica(bench.files, bench.store.directory)
    for number in (1, 3):
        assert read_all(bench.store, blob_id(number)) == content(number, 1000)


async def test_a_new_segment_that_fails_otherwise_fences(bench: CommitBench) -> None:
    bench.files.fail("fsync", errno.EIO, name=".tmp")
    assert isinstance(await bench.submit(1), ReplicaFenced)


async def test_the_reserve_is_for_deletes(bench: CommitBench) -> None:
    assert await bench.submit(1, put_record(blob_id(1), content(1, SEGMENT_SIZE - 300))) is None
    bench.files.free = RESERVE + SEGMENT_SIZE - 1
    assert isinstance(await bench.submit(2), InsufficientStorage)
    assert await bench.submit(1, update_record(blob_id(1), DELETED)) is None


async def test_puts_do_not_fill_up_the_segment_that_a_delete_took_from_the_reserve(bench: CommitBench) -> None:
    """Small puts were taken for as long as they fitted; then the reserve was gone, and deletes were refused with 507."""
    assert await bench.submit(1, put_record(blob_id(1), content(1, SEGMENT_SIZE - 300))) is None
    bench.files.free = RESERVE
    assert await bench.submit(1, update_record(blob_id(1), DELETED)) is None
    end = bench.store.end_lsn
    for _ in range(3):
        assert isinstance(await bench.submit(2), InsufficientStorage)
    assert bench.store.end_lsn == end
    assert await bench.submit(3, update_record(blob_id(3), DELETED)) is None
    bench.files.free = RESERVE + SEGMENT_SIZE
    assert await bench.submit(2) is None


async def test_deletes_succeed_when_puts_in_the_same_batch_find_the_disk_full(bench: CommitBench) -> None:
    """They used to fail together with the puts that happened to arrive in the same turn."""
    assert await bench.submit(1, put_record(blob_id(1), content(1, SEGMENT_SIZE - 300))) is None
    bench.files.free = RESERVE
    put, delete, barrier = bench.submit(2), bench.submit(1, update_record(blob_id(1), DELETED)), bench.barrier()
    assert isinstance(await put, InsufficientStorage)
    assert await delete is None
    assert await barrier is None
    entry = bench.store.lookup(blob_id(1))
    assert entry is not None
    assert entry.state.deleted
    assert bench.writes.pending_bytes == 0
    assert bench.committer.idle


async def test_a_full_queue_refuses_and_forgets_nothing(tmp_path: Path) -> None:
    bench = CommitBench(tmp_path, pending_bytes_max=2500)
    with Gate(bench.files, "fdatasync") as gate:
        first = bench.submit(1)
        await gate.arrived.wait()
        second = bench.submit(2)
        refused = bench.submit(3)
        assert isinstance(await refused, Overloaded)
        gate.open()
        assert [await first, await second] == [None, None]
    assert bench.writes.pending_bytes == 0
    huge = bench.submit(4, put_record(blob_id(4), content(4, 5000)))
    assert await huge is None, "one alone is always taken"
    bench.disk.close()


async def test_a_closed_replica_is_unavailable(bench: CommitBench) -> None:
    bench.store.close()
    assert type(await bench.submit(1)) is ReplicaUnavailable


async def test_waiting_for_idle_covers_the_batch_in_flight(bench: CommitBench) -> None:
    with Gate(bench.files, "fdatasync") as gate:
        bench.submit(1)
        await gate.arrived.wait()
        bench.submit(2)
        waiting = asyncio.ensure_future(bench.committer.wait_idle())
        await asyncio.sleep(0)
        assert not waiting.done()
        gate.open()
        await waiting
    assert [number for number, _ in bench.acks] == [1, 2]


async def test_nothing_acknowledged_is_lost_wherever_the_power_goes(tmp_path: Path) -> None:
    for seed in range(25):
        root = tmp_path / str(seed)
        root.mkdir()
        bench = CommitBench(root)
        source = random.Random(seed)
        puts = [bench.submit(number) for number in range(source.randint(1, 150))]
        for _ in range(source.randint(0, 6)):
            await asyncio.wait(puts, return_when=asyncio.FIRST_COMPLETED)
            more = [bench.submit(1000 + len(puts) + number) for number in range(source.randint(0, 30))]
            puts += more
        bench.files.crash(source)
        sure = [number for number, error in bench.acks if error is None]
        await asyncio.gather(*puts)
        bench.store.close()
        store = open_replica(bench.files, root / "r")
        for number in sure:
            assert read_all(store, blob_id(number)) == content(number, 1000)
        append(store, put_record(blob_id(9999), b"x"))
        store.close()
        bench.disk.close()


async def test_nobody_waits_for_more_writers_than_there_are(tmp_path: Path) -> None:
    """The wait for company used to last its full time even when everybody was there: five minutes here."""
    bench = CommitBench(tmp_path, gather_ms=300_000)

    async def writer(first: int) -> None:
        for number in range(first, first + 5):
            assert await bench.submit(number) is None

    async with asyncio.timeout(60):
        await asyncio.gather(*(writer(100 * number) for number in range(1, 9)))
