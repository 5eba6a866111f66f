"""A thread that gathers what waits for it, and an event loop that never waits for a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from ambry.errors import MetadataUnavailable, Overloaded
from frontend import metrics
from frontend.metadata import lane as lane_module
from frontend.metadata.lane import Lane, LaneBounds, LaneJob
from tests.support.captured_log import capture_log, said

BOUNDS = LaneBounds(timeout_s=20.0, waiting=4, waiting_bytes=100)


class Gate:
    """Work that stops where the test says, and what was done in each turn."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.turns: list[list[str]] = []
        self.ended = False

    def run(self, jobs: Sequence[LaneJob[str]]) -> None:
        self.turns.append([job.what for job in jobs])
        self.entered.set()
        self.open.wait()
        for job in jobs:
            if job.what == "fails":
                job.error = ValueError("as asked")
            elif job.what == "breaks":
                raise KeyError("a bug")
            else:
                job.result = job.what.upper()

    def end(self) -> None:
        self.ended = True


def lane_of(gate: Gate, bounds: LaneBounds = BOUNDS) -> Lane[str]:
    return Lane("test", gate.run, "the file", bounds, at_end=gate.end)


async def patiently(lane: Lane[str], what: str) -> object:
    """As often as it takes: a busy machine may be late too."""
    while True:
        try:
            return await lane.submit(what)
        except MetadataUnavailable:
            await asyncio.sleep(0.01)


async def entered(gate: Gate) -> None:
    await asyncio.get_running_loop().run_in_executor(None, gate.entered.wait)


async def test_what_comes_meanwhile_is_done_in_one_turn() -> None:
    gate = Gate()
    lane = lane_of(gate)
    first = lane.submit("a")
    await entered(gate)
    rest = [lane.submit(what) for what in ("b", "c", "d")]
    gate.open.set()
    assert await asyncio.gather(first, *rest) == ["A", "B", "C", "D"]
    assert gate.turns == [["a"], ["b", "c", "d"]]
    await lane.close()
    assert gate.ended


async def test_each_job_has_its_own_outcome_and_a_bug_is_everybodys() -> None:
    gate = Gate()
    gate.open.set()
    lane = lane_of(gate)
    outcomes = await asyncio.gather(lane.submit("a"), lane.submit("fails"), return_exceptions=True)
    assert outcomes[0] == "A" and isinstance(outcomes[1], ValueError)
    with pytest.raises(KeyError):
        await lane.submit("breaks")
    assert await lane.submit("b") == "B"
    await lane.close()


async def test_a_thread_that_does_not_return_holds_nobody_back_for_longer_than_told() -> None:
    gate = Gate()
    lane = lane_of(gate, LaneBounds(timeout_s=0.05, waiting=4, waiting_bytes=100))
    with pytest.raises(MetadataUnavailable, match=r"did not answer within 0\.05 s"):
        await lane.submit("a")
    assert lane.held
    with pytest.raises(MetadataUnavailable, match="retry later"):
        lane.submit("b")
    gate.open.set()
    while lane.held:  # noqa: ASYNC110  nobody tells
        await asyncio.sleep(0.001)
    assert await patiently(lane, "c") == "C"
    assert gate.turns[:2] == [["a"], ["c"]]
    await lane.close()


async def test_what_nobody_waits_for_is_not_begun() -> None:
    gate = Gate()
    lane = lane_of(gate)
    first = lane.submit("a")
    await entered(gate)
    second, third = lane.submit("b"), lane.submit("c")
    second.cancel()
    first.cancel()
    gate.open.set()
    assert await third == "C"
    assert gate.turns == [["a"], ["c"]]
    await lane.close()


async def test_what_waits_is_bounded_in_number_and_in_bytes() -> None:
    gate = Gate()
    lane = lane_of(gate)
    jobs = [lane.submit("a", 60)]
    with pytest.raises(Overloaded):
        lane.submit("b", 60)
    jobs += [lane.submit("c") for _ in range(3)]
    with pytest.raises(Overloaded):
        lane.submit("d")
    gate.open.set()
    await asyncio.gather(*jobs)
    assert await lane.submit("e", 1_000) == "E", "one alone may be as large as it is"
    await lane.close()


async def test_closing_lets_what_waits_be_done_first() -> None:
    gate = Gate()
    lane = lane_of(gate)
    jobs = [lane.submit("a"), lane.submit("b")]
    gate.open.set()
    await lane.close()
    assert await asyncio.gather(*jobs) == ["A", "B"]
    with pytest.raises(MetadataUnavailable, match="closed"):
        lane.submit("c")


async def test_closing_does_not_wait_for_ever() -> None:
    gate = Gate()
    lane = lane_of(gate, LaneBounds(timeout_s=0.05, waiting=4, waiting_bytes=100))
    job = lane.submit("a")
    await lane.close()
    job.cancel()
    gate.open.set()


async def test_a_bug_behind_a_turn_ends_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise KeyError("a bug")

    events = capture_log(monkeypatch, lane_module)
    gate = Gate()
    gate.open.set()
    lane = Lane("test", gate.run, "the file", BOUNDS, behind=fail)
    assert await lane.submit("a") == "A"
    assert await lane.submit("b") == "B"
    await lane.close()
    assert said(events, "a bug behind a turn of the metadata; its thread goes on")


async def test_failures_of_the_store_are_counted_and_its_refusals_are_not() -> None:
    def count(name: str) -> float:
        value: float = metrics.METADATA_FAILED.labels(name)._value.get()
        return value

    before = count("Overloaded"), count("ValueError")
    gate = Gate()
    lane = lane_of(gate)
    jobs = [lane.submit("a", 60)]
    with pytest.raises(Overloaded):
        lane.submit("b", 60)
    jobs.append(lane.submit("fails"))
    assert lane.waiting == 2
    gate.open.set()
    await asyncio.gather(*jobs, return_exceptions=True)
    await lane.close()
    assert (count("Overloaded") - before[0], count("ValueError") - before[1]) == (1, 0)


async def test_a_lane_that_was_never_used_has_no_thread() -> None:
    before = threading.active_count()
    lane = lane_of(Gate())
    assert threading.active_count() == before
    await lane.close()
