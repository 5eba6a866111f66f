"""Two commits side by side, and how a commit is fetched and a bench's process fails."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from tests.bench import against, pairs
from tests.bench.child import BenchFailed, Child
from tests.bench.figures import Point
from tests.bench.load import Result

PUT = Point(operation="put disk", size=4096, connections=32, guarded=True)


def result(operations: int, *, cpu_s: float, latency_us: int = 1000) -> Result:
    values = {
        "operations": operations,
        "elapsed_s": 1.0,
        "latencies_us": [latency_us] * operations,
        "cpu_s": {"frontend": cpu_s, "load": 0.1},
        "machine_busy_s": cpu_s + 0.1,
        "verified": 0,
    }
    return msgspec.convert(values, Result)


def test_each_round_is_a_pair_so_a_noisy_minute_does_not_show() -> None:
    new = [result(300, cpu_s=0.3), result(30, cpu_s=0.03), result(290, cpu_s=0.29)]
    old = [result(200, cpu_s=0.4), result(20, cpu_s=0.04), result(10, cpu_s=0.01)]
    found = pairs.pair(PUT, new, old)
    assert found.round_rate_ratios == [1.5, 1.5, 29.0]
    assert found.rate_ratio == 1.5
    # 1 ms of the servers each here, 2 ms there.
    assert found.cpu_ratio == pytest.approx(0.5)
    assert found.key == PUT.key


def test_latencies_are_compared_round_by_round_too() -> None:
    new = [result(10, cpu_s=0.1, latency_us=500), result(10, cpu_s=0.1, latency_us=5000)]
    old = [result(10, cpu_s=0.1, latency_us=1000), result(10, cpu_s=0.1, latency_us=10_000)]
    found = pairs.pair(PUT, new, old)
    assert (found.p50_ratio, found.p99_ratio) == (0.5, 0.5)


def test_rounds_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        pairs.pair(PUT, [result(1, cpu_s=0.1)], [])


def test_a_row_in_which_others_used_the_machine_says_so() -> None:
    quiet, noisy = result(10, cpu_s=0.1), msgspec.structs.replace(result(10, cpu_s=0.1), machine_busy_s=1.0)
    out = Console(record=True, width=160, file=io.StringIO())
    pairs.show(out, [pairs.pair(PUT, [quiet], [quiet]), pairs.pair(PUT, [quiet], [noisy])], against="abc1234")
    rows = [line for line in out.export_text().splitlines() if PUT.key in line]
    assert ["NOISY" in row for row in rows] == [False, True]


def test_a_commit_that_does_not_exist_is_said_with_git_s_words(tmp_path: Path) -> None:
    with pytest.raises(BenchFailed, match="no-such-revision"):
        against.checkout("no-such-revision", tmp_path / "old")


def test_a_process_that_ends_is_said_by_its_name() -> None:
    child = Child("the old commit", [sys.executable, "-c", "raise SystemExit(3)"])
    try:
        with pytest.raises(BenchFailed, match="the old commit ended with exit code 3"):
            child.ask(b"", 30.0)
    finally:
        child.stop()
