"""Group commit on a disk that hangs (F13): what waits is told in time, what is on its way becomes of itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.errors import AmbryError, DeadlineExceeded, ReplicaUnavailable
from datanode.disk import HANGS_AFTER_S
from tests.support.commit_bench import CommitBench
from tests.support.gate import Gate
from tests.support.samples import blob_id


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[CommitBench]:
    made = CommitBench(tmp_path)
    assert await made.submit(0) is None
    yield made
    made.disk.close()
    made.store.close()


async def test_what_waits_behind_a_batch_that_hangs_is_given_up_in_its_time(bench: CommitBench) -> None:
    """It was answered when the batch came back, which may be never, and its bytes filled the queue of the whole disk."""
    now = asyncio.get_running_loop().time()
    with Gate(bench.files, "fdatasync") as gate:
        written = bench.submit(1, deadline=now + 2)
        await gate.arrived.wait()
        held = bench.writes.pending_bytes
        late, in_time = bench.submit(2, deadline=now + 3), bench.submit(3, deadline=now + 60)
        bench.committer.look(now + 4)
        assert isinstance(await late, DeadlineExceeded)
        assert not written.done(), "whether it is written nobody knows"
        assert not in_time.done()
        assert bench.writes.pending_bytes == 2 * held
        gate.open()
        assert await written is None
        assert await in_time is None
    assert bench.durable(1)
    assert bench.durable(3)
    assert bench.store.lookup(blob_id(2)) is None
    assert bench.writes.pending_bytes == 0


async def test_nothing_new_is_taken_while_a_batch_hangs_and_all_again_afterwards(bench: CommitBench) -> None:
    now = asyncio.get_running_loop().time()
    with Gate(bench.files, "fdatasync") as gate:
        written = bench.submit(1, deadline=now + 1000)
        await gate.arrived.wait()
        bench.committer.look(now + HANGS_AFTER_S)
        taken = bench.submit(2, deadline=now + 1000)
        bench.committer.look(now + HANGS_AFTER_S + 10)
        assert isinstance(await bench.submit(3), ReplicaUnavailable)
        assert isinstance(await bench.barrier(), ReplicaUnavailable)
        gate.open()
        assert await written is None
        assert await taken is None
    assert await bench.submit(4) is None
    assert [number for number, error in bench.acks if error is None] == [0, 1, 2, 4]
    assert bench.store.lookup(blob_id(3)) is None


async def test_a_replica_that_waits_for_nothing_takes_all_whatever_hangs_beside_it(bench: CommitBench) -> None:
    bench.committer.look(asyncio.get_running_loop().time() + 1000)
    assert await bench.submit(1) is None
    assert await bench.barrier() is None


async def test_work_of_the_node_itself_does_not_wait_for_a_disk_that_hangs(bench: CommitBench) -> None:
    """It has no deadline: replication of all partitions stood still behind one that was not written."""
    now = asyncio.get_running_loop().time()
    with Gate(bench.files, "fdatasync") as gate:
        own, asked = bench.submit(1), bench.submit(2, deadline=now + 1000)
        await gate.arrived.wait()
        held = bench.writes.pending_bytes
        waiting, waits_for_sync = bench.submit(3), bench.barrier()
        asked_later = bench.submit(4, deadline=now + 1000)
        images: asyncio.Future[AmbryError | None] = asyncio.get_running_loop().create_future()
        bench.committer.append_images([], images.set_result)
        bench.committer.look(now + HANGS_AFTER_S)
        assert not own.done(), "it does not hang yet"
        bench.committer.look(now + HANGS_AFTER_S + 10)
        for outcome, words in (
            (own, "may be written later"),
            (waiting, "nothing was written"),
            (waits_for_sync, "nothing was written"),
            (images, "nothing was written"),
        ):
            refusal = await outcome
            assert isinstance(refusal, ReplicaUnavailable)
            assert words in refusal.message
        bench.committer.look(now + HANGS_AFTER_S + 20)
        assert not asked.done()
        assert not asked_later.done()
        assert bench.writes.pending_bytes == held * 3 // 2
        gate.open()
        assert await asked is None
        assert await asked_later is None
    await bench.committer.wait_idle()
    assert bench.writes.pending_bytes == 0
    assert [number for number, error in bench.acks if error is None] == [0, 2, 4]
    assert bench.store.lookup(blob_id(1)) is not None, "it was written after all, and nobody was told twice"
    assert bench.store.lookup(blob_id(3)) is None
