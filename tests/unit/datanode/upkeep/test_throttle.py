"""The bound on background work: how long it rests, on a clock that a test moves, and that no thread sleeps for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from ambry.errors import Overloaded, ReplicaUnavailable
from datanode import disk as disk_module
from datanode.disk import Disk
from datanode.store.pieces import Pieces
from datanode.upkeep.throttle import BURST_S, Throttle
from tests.support.eventually import eventually
from tests.support.fake_clock import SettableClock

RATE = 1_000


@pytest.fixture
def disk() -> Iterator[Disk]:
    made = Disk(threads=1, clock=SettableClock())
    yield made
    made.close()


def test_a_small_piece_needs_no_rest() -> None:
    assert Throttle(SettableClock(), RATE).rest_s(int(RATE * BURST_S) - 1) < BURST_S


def test_a_large_piece_rests_for_all_of_its_bytes() -> None:
    assert Throttle(SettableClock(), RATE).rest_s(3 * RATE) == pytest.approx(3.0)


def test_foreground_writes_make_it_slower() -> None:
    assert Throttle(SettableClock(), RATE, busy=lambda: True).rest_s(RATE) == pytest.approx(4.0)


def test_work_beside_a_busy_event_loop_rests_longer_than_it_worked() -> None:
    """A walk through the indexes at start took the interpreter from the loop: reads fell to 45 % for seconds."""
    clock = SettableClock()
    throttle = Throttle(clock, RATE, load=lambda: 1.0)
    rest_s = 0.0
    for _ in range(50):
        clock.advance(0.002)
        rest_s = throttle.rest_s(0)
    assert rest_s >= 10 * 0.002 * 50 - 0.1


def test_work_beside_an_idle_event_loop_goes_on_at_once() -> None:
    clock = SettableClock()
    throttle = Throttle(clock, RATE, load=lambda: 0.0)
    for _ in range(50):
        clock.advance(0.002)
        assert throttle.rest_s(0) == 0.0


async def test_all_pieces_are_done_at_the_rate_and_the_result_comes_back(disk: Disk) -> None:
    clock = SettableClock()

    def work() -> Pieces[str]:
        for _ in range(10):
            yield RATE
        return "done"

    assert await Throttle(clock, RATE).run(disk, work()) == "done"
    assert clock.monotonic() == pytest.approx(1_010.0)


async def test_the_threads_are_free_while_it_rests(disk: Disk) -> None:
    """Throttled work slept on a disk thread: with two of them, a scrub and a compaction left none for anybody else."""
    resting, others_had_their_turn = asyncio.Event(), asyncio.Event()

    class Clock(SettableClock):
        async def pause(self, seconds: float) -> None:
            resting.set()
            await others_had_their_turn.wait()

    def work() -> Pieces[int]:
        first = threading.get_ident()
        yield 10 * RATE
        return first

    running = asyncio.ensure_future(Throttle(Clock(), RATE).run(disk, work()))
    await resting.wait()
    own = await disk.submit(threading.get_ident)
    others_had_their_turn.set()
    assert await running == own


async def test_what_the_work_raises_comes_out(disk: Disk) -> None:
    def work() -> Pieces[None]:
        yield 1
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await Throttle(SettableClock(), RATE).run(disk, work())


@pytest.mark.parametrize("how", ["stopped", "cancelled"])
async def test_work_that_is_ended_early_is_closed(disk: Disk, how: str) -> None:
    begun: list[bool] = []
    closed: list[bool] = []
    throttle = Throttle(SettableClock(), RATE)

    def work() -> Pieces[None]:
        try:
            begun.append(True)
            while True:
                yield 10 * RATE
        finally:
            closed.append(True)

    running = asyncio.ensure_future(throttle.run(disk, work()))
    await eventually(lambda: begun)
    if how == "stopped":
        throttle.stop()
    else:
        running.cancel()
    with pytest.raises((ReplicaUnavailable, asyncio.CancelledError)):
        await running
    assert closed == [True]


async def test_work_that_the_disk_takes_no_more_of_is_closed_on_its_thread(
    disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The garbage collector closed it on the event loop, an open output and all, while the disk hung."""
    closed: list[int] = []

    class Clock(SettableClock):
        async def pause(self, seconds: float) -> None:
            monkeypatch.setattr(disk_module, "QUEUE_MAX", 0)

    def work() -> Pieces[None]:
        try:
            while True:
                yield 10 * RATE
        finally:
            closed.append(threading.get_ident())

    with pytest.raises(Overloaded):
        await Throttle(Clock(), RATE).run(disk, work())
    await eventually(lambda: closed)
    assert closed != [threading.get_ident()]
