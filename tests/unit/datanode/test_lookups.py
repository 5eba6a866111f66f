"""What is asked of an index for the event loop: gathered, on a disk thread, one job of a replica at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.errors import DeadlineExceeded, InternalError, Overloaded, ReplicaUnavailable
from datanode import lookups as lookups_module
from datanode.lookups import Wish
from datanode.replicas import Replica
from tests.support.lone_bench import LoneBench
from tests.support.samples import DELETED, blob_id, content, forget


class Jobs:
    """Look-ups of the index's file, by their keys; they wait while `go` is not set."""

    def __init__(self, bench: LoneBench) -> None:
        self.count = 0
        self.begun = threading.Event()
        self.go = threading.Event()
        self.go.set()
        bench.files.before_tables = self._before

    def _before(self, call: str, directory: Path) -> None:
        if call == "read_tables":
            self.count += 1
            self.begun.set()
            self.go.wait(60)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[LoneBench]:
    made = LoneBench(tmp_path)
    replica = await made.open()
    for number in range(20):
        await made.put(number)
    await made.checkpointer.checkpoint(replica)
    forget(replica.store)
    yield made
    await made.tear_down()


@pytest.fixture
def replica(bench: LoneBench) -> Replica:
    return bench.replicas[7]


@pytest.fixture
def jobs(bench: LoneBench) -> Jobs:
    return Jobs(bench)


def key(number: int) -> bytes:
    return blob_id(number)[16:32]


async def until_begun(jobs: Jobs) -> None:
    assert await asyncio.to_thread(jobs.begun.wait, 30)


def ask(replica: Replica, number: int, **named: float) -> asyncio.Future[Wish]:
    future: asyncio.Future[Wish] = asyncio.get_running_loop().create_future()
    replica.lookups.ask(Wish([key(number)], future.set_result, **named))  # type: ignore[arg-type]
    return future


async def test_what_comes_together_is_looked_up_together(replica: Replica, jobs: Jobs) -> None:
    found = await asyncio.gather(*(ask(replica, number) for number in range(20)))
    assert jobs.count == 1
    for number, wish in enumerate(found):
        entry = wish.found[key(number)]
        assert entry is not None
        assert entry.id == blob_id(number)
    assert replica.store.index.known(blob_id(3)) == found[3].found[key(3)], "it is remembered"


async def test_what_comes_while_one_job_waits_goes_as_the_next(replica: Replica, jobs: Jobs) -> None:
    jobs.go.clear()
    first = ask(replica, 0)
    await until_begun(jobs)
    later = [ask(replica, number) for number in range(1, 20)]
    await asyncio.sleep(0)
    assert jobs.count == 1
    jobs.go.set()
    await asyncio.gather(first, *later)
    assert jobs.count == 2


async def test_a_few_bytes_come_along_and_many_do_not(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    few, none, gone = await asyncio.gather(ask(replica, 1, end=1 << 40), ask(replica, 2), ask(replica, 99, end=1))
    assert few.payload is not None
    assert bytes(few.payload.data) == content(1, 500)
    assert none.payload is None
    assert (gone.payload, gone.found) == (None, {key(99): None})
    monkeypatch.setattr(lookups_module, "READ_BYTES_MAX", 1_200)
    asked = await asyncio.gather(*(ask(replica, number, end=500) for number in range(10, 15)))
    assert [wish.payload is not None for wish in asked] == [True, True, False, False, False]


@pytest.mark.parametrize("count", [1, 2])
async def test_a_lone_one_waits_for_the_disk_in_the_same_job_and_of_several_none(
    bench: LoneBench, replica: Replica, count: int
) -> None:
    bench.files.cache_cold = True
    asked = await asyncio.gather(*(ask(replica, number, end=500) for number in range(count)))
    assert [wish.payload is not None for wish in asked] == [count == 1] * count


async def test_what_cannot_be_read_is_said_beside_what_was_looked_up(bench: LoneBench, replica: Replica) -> None:
    bench.files.fail("pread_cached", 5, for_ever=True)
    wish = await ask(replica, 1, end=500)
    assert wish.failure is None
    assert isinstance(wish.unread, OSError)
    assert wish.found[key(1)] is not None


async def test_nobody_who_has_given_up_is_served(replica: Replica, jobs: Jobs) -> None:
    jobs.go.clear()
    first = ask(replica, 0)
    await until_begun(jobs)
    now = asyncio.get_running_loop().time()
    late = ask(replica, 1, deadline=now)
    dropped = Wish([key(2)], lambda _wish: pytest.fail("nobody waits for it"))
    replica.lookups.ask(dropped)
    dropped.drop()
    jobs.go.set()
    assert (await first).failure is None
    assert isinstance((await late).failure, DeadlineExceeded)
    assert jobs.count == 1


async def test_who_is_told_that_it_is_late_may_ask_again(replica: Replica, jobs: Jobs) -> None:
    jobs.go.clear()
    first = ask(replica, 0)
    await until_begun(jobs)
    loop = asyncio.get_running_loop()
    again: asyncio.Future[Wish] = loop.create_future()

    def ask_again(_late: Wish) -> None:
        replica.lookups.ask(Wish([key(1)], again.set_result))

    replica.lookups.ask(Wish([key(1)], ask_again, deadline=loop.time()))
    replica.lookups.look(loop.time())
    jobs.go.set()
    await first
    async with asyncio.timeout(30):
        assert (await again).failure is None


async def test_only_so_many_may_wait(replica: Replica, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookups_module, "WAITING_MAX", 3)
    jobs.go.clear()
    first = ask(replica, 0)
    await until_begun(jobs)
    waiting = [ask(replica, number) for number in range(3)]
    with pytest.raises(Overloaded):
        ask(replica, 4)
    jobs.go.set()
    await asyncio.gather(first, *waiting)


async def test_what_is_held_needs_no_look_up_where_memory_knows(replica: Replica, bench: LoneBench, jobs: Jobs) -> None:
    await bench.put(40)
    async with replica.lookups.hold([blob_id(40), blob_id(41)]) as here:
        entry = here.get(blob_id(40))
        assert entry is not None
        assert here.get(blob_id(41)) is None
    assert jobs.count == 0
    async with replica.lookups.hold([blob_id(2), blob_id(40)]) as here:
        await bench.put(2, delete=True)
        entry = here.get(blob_id(2))
        assert entry is not None
        assert entry.state == DELETED, "as it is now"
    assert replica.store.index.holds == {}


async def test_failures_reach_whoever_asked(bench: LoneBench, replica: Replica) -> None:
    def broken(_call: str, _directory: Path) -> None:
        raise KeyError("planted")

    bench.files.before_tables = broken
    assert isinstance((await ask(replica, 1)).failure, InternalError)
    with pytest.raises(InternalError):
        async with replica.lookups.hold([blob_id(1)]):
            pass
    bench.files.before_tables = lambda _call, _directory: None
    replica.store.index.close()
    assert isinstance((await ask(replica, 1)).failure, ReplicaUnavailable)


async def test_a_hold_that_is_cancelled_leaves_nothing(replica: Replica, jobs: Jobs) -> None:
    jobs.go.clear()

    async def hold() -> None:
        async with replica.lookups.hold([blob_id(1)]):
            pytest.fail("it never got what it asked for")

    task = asyncio.ensure_future(hold())
    await until_begun(jobs)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert replica.store.index.holds == {}
    jobs.go.set()


async def test_while_a_job_hangs_others_are_told_in_time_and_nobody_begins_to_wait(
    replica: Replica, jobs: Jobs
) -> None:
    """F13: what was asked of an index behind a hung disk waited for it, however long its caller did."""
    now = asyncio.get_running_loop().time()
    jobs.go.clear()
    first = ask(replica, 0, deadline=now + 1000)
    await until_begun(jobs)
    late, in_time = ask(replica, 1, deadline=now + 10), ask(replica, 2, deadline=now + 1000)
    replica.lookups.look(now + 20)
    assert isinstance((await late).failure, DeadlineExceeded)
    assert not in_time.done()
    with pytest.raises(ReplicaUnavailable, match="hangs"):
        ask(replica, 3)
    jobs.go.set()
    assert (await first).failure is None
    assert (await in_time).failure is None
    assert (await ask(replica, 3)).failure is None
    replica.lookups.look(now + 40)
    assert (await ask(replica, 4)).failure is None


async def test_work_of_the_node_itself_does_not_wait_for_a_job_that_hangs(replica: Replica, jobs: Jobs) -> None:
    now = asyncio.get_running_loop().time()
    jobs.go.clear()
    under_way, asked = ask(replica, 0), ask(replica, 1, deadline=now + 1000)
    await until_begun(jobs)
    waiting = ask(replica, 2)
    replica.lookups.look(now + 20)
    for own in (under_way, waiting):
        assert isinstance((await own).failure, ReplicaUnavailable)
    replica.lookups.look(now + 30)
    assert not asked.done()
    jobs.go.set()
    assert (await asked).failure is None
    assert (await ask(replica, 2)).failure is None
