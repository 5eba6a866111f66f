"""Whose turn it is, in a loop that goes round all replicas."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from datanode.upkeep.schedule import Schedule
from tests.support.eventually import eventually
from tests.support.lone_bench import LoneBench


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[LoneBench]:
    made = LoneBench(tmp_path)
    await made.open()
    yield made
    await made.tear_down()


def due(schedule: Schedule) -> list[int]:
    """All whose turn it is, in order."""
    found = []
    while (replica := schedule.due()) is not None:
        found.append(replica.partition.id)
    return found


async def test_the_one_that_is_due_the_longest_comes_first_and_once(bench: LoneBench) -> None:
    schedule = Schedule(bench.replicas, clock=bench.clock)
    schedule.put(bench.replicas[7], in_s=20.0)
    schedule.put(bench.replicas[8], in_s=10.0)
    bench.clock.advance(9.9)
    assert due(schedule) == []
    bench.clock.advance(20.0)
    assert due(schedule) == [8, 7]
    assert due(schedule) == []


async def test_a_new_turn_takes_the_place_of_the_old_one(bench: LoneBench) -> None:
    schedule = Schedule(bench.replicas, clock=bench.clock)
    schedule.put(bench.replicas[7], in_s=10.0)
    schedule.put(bench.replicas[7], in_s=50.0)
    bench.clock.advance(20.0)
    assert due(schedule) == []
    bench.clock.advance(30.0)
    assert due(schedule) == [7]


async def test_what_was_due_long_ago_is_due_now(bench: LoneBench) -> None:
    schedule = Schedule(bench.replicas, clock=bench.clock)
    schedule.put(bench.replicas[7], in_s=-1_000.0)
    schedule.put(bench.replicas[8], in_s=0.0)
    assert due(schedule) == [7, 8], "and not before what was put first"


async def test_a_replica_that_is_not_open_any_more_has_no_turn(bench: LoneBench) -> None:
    schedule = Schedule(bench.replicas, clock=bench.clock)
    schedule.put(bench.replicas[7], in_s=0.0)
    closed = bench.replicas.pop(7)
    assert due(schedule) == []
    bench.replicas[7] = closed
    assert due(schedule) == [], "it is put again when it is opened"


async def test_a_replica_that_was_reopened_in_the_middle_of_its_turn_keeps_the_next_one(bench: LoneBench) -> None:
    """The round over the old one ended, and said when the next was due: the new one was not swept or scrubbed any more."""
    schedule = Schedule(bench.replicas, clock=bench.clock)
    old = bench.replicas[7]
    bench.replicas.rebuild(old.store, "a test")
    await eventually(lambda: 7 in bench.replicas)
    schedule.put(bench.replicas[7], in_s=10.0)
    schedule.put(old, in_s=10.0)
    bench.clock.advance(20.0)
    assert due(schedule) == [7]
