"""What is measured, the text of proc(5), and the arguments."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import plan, proc
from tests.bench.child import BenchFailed
from tests.bench.plan import (
    AGAINST,
    AGAINST_QUICK,
    FULL,
    GUARDED,
    QUICK,
    Plan,
    large_points,
    paired_points,
    replicating_points,
    small_points,
)
from tests.bench.run import default_output, read_report


@pytest.mark.parametrize("chosen", [FULL, QUICK])
def test_every_plan_measures_every_watched_row(chosen: Plan) -> None:
    points = small_points(chosen, 1) + large_points(chosen, 1)
    assert {(p.operation, p.size, p.connections) for p in points if p.guarded} == GUARDED
    assert len({point.key for point in [*points, *replicating_points()]}) == len(points) + 1


@pytest.mark.parametrize("chosen", [FULL, QUICK])
def test_blobs_are_put_before_they_are_read(chosen: Plan) -> None:
    for points in (small_points(chosen, 1), large_points(chosen, 1)):
        put: set[int] = set()
        for point in points:
            assert point.operation != "get" or point.size in put
            put.add(point.size)


@pytest.mark.parametrize("chosen", [AGAINST, AGAINST_QUICK])
def test_two_commits_are_asked_for_the_watched_rows_too(chosen: Plan) -> None:
    points = paired_points(chosen)
    assert {(p.operation, p.size, p.connections) for p in points} >= GUARDED
    assert len({point.key for point in points}) == len(points)
    # A table of pairs has one number of rounds.
    assert chosen.small_rounds == chosen.large_rounds


@pytest.mark.parametrize("chosen", [FULL, QUICK])
def test_what_a_cluster_writes_is_bounded(chosen: Plan) -> None:
    rounds = chosen.large_rounds * 3
    written = sum(chosen.puts_max[size] * size * rounds for size, _ in chosen.large_connections)
    assert written < 12 << 30
    assert set(chosen.puts_max) == {plan.LARGE, plan.HUGE}


def test_the_cpu_of_a_process_with_an_awkward_name() -> None:
    text = "42 (a) b (c) S 1 42 42 0 -1 4194560 900 0 0 0 123 45 7 8 20 0 5 0 999 1000 200 18446744073709551615"
    assert proc.parse_cpu_ticks(text) == 168


def test_a_machine_is_busy_with_all_but_idling_and_waiting() -> None:
    assert proc.parse_busy_ticks("cpu  1 20 300 4000 50000 600000 7000000 80000000 900000000 0") == 87_600_321


def test_the_memory_of_a_process() -> None:
    assert proc.parse_memory("Name:\tx: y\nVmHWM:\t  5120 kB\nVmRSS:\t  4096 kB\nThreads:\t3\n") == (4096, 5120)


def test_the_file_is_named_for_the_time_in_utc() -> None:
    assert default_output(1_795_302_420_123) == Path("bench-20261121-230700.json")


def test_an_old_run_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    with pytest.raises(BenchFailed, match="--compare"):
        read_report(path)
    path.write_text('{"version": 1}')
    with pytest.raises(BenchFailed, match="--compare"):
        read_report(path)
