from __future__ import annotations

import asyncio
import random

from ambry.service.worker import BACKOFF_MAX_S, BACKOFF_MIN_S, Worker, WorkerRegistry
from tests.support.eventually import eventually
from tests.support.fake_clock import SettableClock


def make(tick: object) -> Worker:
    return Worker("w", tick, clock=SettableClock(), random_source=random.Random(1))  # type: ignore[arg-type]


async def reached(worker: Worker, waits: list[float], count: int) -> None:
    """Run a worker whose waits are recorded, not waited for, until it made `count` ticks."""

    async def instant(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(0)

    worker._wait = instant  # type: ignore[method-assign]
    worker.start()
    await eventually(lambda: worker.ticks >= count)
    await worker.stop()


async def test_a_failing_tick_backs_off_grows_and_goes_on() -> None:
    async def tick() -> float:
        raise ValueError("no luck")

    worker, waits = make(tick), list[float]()
    await reached(worker, waits, 12)
    assert worker.errors >= 12
    assert worker.last_error == "ValueError: no luck"
    ceilings = [min(BACKOFF_MAX_S, BACKOFF_MIN_S * 2**attempt) for attempt in range(len(waits))]
    for wait, ceiling in zip(waits, ceilings, strict=True):
        assert 0.5 * ceiling <= wait <= 1.5 * ceiling
    assert len(set(waits)) == len(waits), "no jitter"
    assert worker.state == "stopped"


async def test_a_tick_that_works_again_clears_the_backoff() -> None:
    outcomes = iter([False, False, False, True, False, True])

    async def tick() -> float:
        if not next(outcomes, True):
            raise OSError("away")
        return 3.0

    worker, waits = make(tick), list[float]()
    await reached(worker, waits, 6)
    assert waits[3] == 3.0
    assert waits[4] <= 1.5 * BACKOFF_MIN_S
    assert worker.errors == 4


async def test_stop_cancels_a_tick_that_hangs() -> None:
    cancelled = asyncio.Event()
    started = asyncio.Event()

    async def tick() -> float:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return 0.0

    worker = make(tick)
    worker.start()
    await started.wait()
    await worker.stop()
    assert cancelled.is_set()
    await worker.stop()  # a second stop is harmless


async def test_a_busy_worker_lets_others_run() -> None:
    async def tick() -> float:
        return 0.0

    worker = make(tick)
    worker.start()
    for _ in range(50):
        await asyncio.sleep(0)
    assert worker.ticks > 10
    await worker.stop()


async def test_the_registry_shows_and_stops_all() -> None:
    async def tick() -> float:
        return 3_600.0

    registry = WorkerRegistry(clock=SettableClock(), random_source=random.Random(1))
    registry.add("b", tick)
    registry.add("a", tick, progress=lambda: {"partition": 7})
    assert [item["name"] for item in registry.describe()] == ["a", "b"]
    assert set(registry.describe()[0]) == {
        "name",
        "state",
        "ticks",
        "errors",
        "last_error",
        "paused",
        "seconds_since_tick",
        "progress",
    }
    assert [item["progress"] for item in registry.describe()] == [{"partition": 7}, {}]
    await registry.stop_all()
    assert [item["state"] for item in registry.describe()] == ["stopped", "stopped"]


async def test_a_worker_that_begins_later_waits_once_and_not_as_long_as_its_neighbour() -> None:
    async def tick() -> float:
        return 3.0

    firsts = []
    for seed in range(20):
        worker = Worker("w", tick, clock=SettableClock(), random_source=random.Random(seed), start_after_s=60.0)
        waits = list[float]()
        await reached(worker, waits, 2)
        assert waits[1] == 3.0
        firsts.append(waits[0])
    assert min(firsts) >= 30.0
    assert max(firsts) <= 90.0
    assert len(set(firsts)) == len(firsts), "no jitter"


async def test_a_worker_that_does_less_than_it_should_says_why() -> None:
    async def tick() -> float:
        return 3_600.0

    registry = WorkerRegistry(clock=SettableClock(), random_source=random.Random(1))
    registry.add("a", tick, paused=lambda: "clocks disagree")
    registry.add("b", tick)
    assert [item["paused"] for item in registry.describe()] == ["clocks disagree", ""]
    await registry.stop_all()
