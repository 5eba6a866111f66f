"""Percentiles, rates, ratios, bars and the comparison of two runs."""

from __future__ import annotations

import math

import msgspec
import pytest

from tests.bench import figures
from tests.bench.figures import Point, Probes, Report, Row, bars, compare, percentile, row, side, size_text
from tests.bench.load import Result
from tests.bench.machine import Machine

PUT = Point(operation="put disk", size=4096, connections=32, guarded=True)
GET = Point(operation="get", size=4096, connections=32, guarded=True)
LARGE_GET = Point(operation="get", size=4 << 20, connections=4, guarded=True)
LARGE_PUT = Point(operation="put disk", size=4 << 20, connections=4)


def result(operations: int, elapsed_s: float = 1.0, **fields: object) -> Result:
    values: dict[str, object] = {
        "operations": operations,
        "elapsed_s": elapsed_s,
        "latencies_us": [1000] * operations,
        "cpu_s": {},
        "machine_busy_s": 0.0,
        "verified": 0,
    }
    return msgspec.convert(values | fields, Result)


def report_of(*rows: Row) -> Report:
    return Report(
        version=1,
        started_at="2026-11-21T23:07:00.123Z",
        quick=True,
        elapsed_s=1.0,
        machine=Machine(
            cores=2, cpu="x", memory_mb=1, kernel="6", python="3.11", libraries={}, load_average=0.0, file_system="ext4"
        ),
        probes=Probes(fdatasync_per_s=[1.0], disk_mb_per_s=[1.0], loopback_mb_per_s=[1.0]),
        rows=list(rows),
        memory=[],
        failures=[],
    )


@pytest.mark.parametrize(
    ("share", "expected"), [(0.0, 1), (0.01, 1), (0.5, 50), (0.501, 51), (0.99, 99), (0.999, 100), (1.0, 100)]
)
def test_percentiles_are_values_that_occurred(share: float, expected: int) -> None:
    assert percentile(range(1, 101), share) == expected


def test_percentile_of_one_value_and_of_none() -> None:
    assert percentile([7.0], 0.01) == percentile([7.0], 0.99) == 7.0
    assert math.isnan(percentile([], 0.5))


def test_rounds_are_put_together_by_their_sums() -> None:
    slow = result(2, 2.0, latencies_us=[9000, 8000], cpu_s={"f": 0.5, "n": 0.25, "load": 0.5}, machine_busy_s=1.25)
    fast = result(6, 1.0, latencies_us=[1000] * 6, cpu_s={"f": 0.5, "n": 0.25, "load": 0.5}, machine_busy_s=2.75)
    both = side([slow, fast], 500_000)
    assert both.rate == pytest.approx(8 / 3)
    assert both.mb_per_s == pytest.approx(4 / 3)
    assert (both.p50_ms, both.p99_ms, both.max_ms) == (1.0, 9.0, 9.0)
    assert both.cpu_s == {"f": 1.0, "n": 0.5, "load": 1.0}
    # 1.5 s of servers and 1 s of load in 8 operations.
    assert both.cpu_s_per_1000 == pytest.approx(187.5)
    assert both.load_cpu_s_per_1000 == pytest.approx(125.0)
    # 4 s busy, 2.5 of them ours, in 3 s.
    assert both.others_cores == pytest.approx(0.5)


def test_a_ratio_is_the_median_of_the_rounds_so_one_noisy_round_does_not_show() -> None:
    ours = [result(100), result(100), result(10)]
    bare = [result(400), result(400), result(400)]
    found = row(PUT, ours, bare, [50.0, 70.0, 10.0])
    assert found.round_ratios == [0.25, 0.25, 0.025]
    assert found.ratio == 0.25
    assert found.fdatasync_ratio == pytest.approx(70 / 50)
    assert row(GET, ours, bare).fdatasync_ratio is None


def test_a_point_without_operations_has_no_ratio_rather_than_an_error() -> None:
    found = row(PUT, [result(0)], [result(0)])
    assert math.isnan(found.ratio)
    assert math.isnan(found.cluster.cpu_s_per_1000)


def test_rows_are_named_for_people() -> None:
    assert PUT.key == "1dc/put disk/4KiB/32"
    assert LARGE_GET.key == "1dc/get/4MiB/4"
    assert [size_text(size) for size in (1, 1024, 1025, 64 << 20)] == ["1B", "1KiB", "1025B", "64MiB"]


def test_bars_are_held_missed_or_not_measured() -> None:
    report = report_of(row(PUT, [result(2000)], [result(8000)]), row(GET, [result(4499)], [result(9000)]))
    put, get, large = bars(report)
    assert (put.held, put.reached, put.bare) == (True, 2000, 8000)
    assert (get.held, get.reached) == (False, 4499)
    assert (large.held, large.reached) == (False, None)


def test_the_bar_of_large_blobs_is_in_megabytes() -> None:
    report = report_of(row(LARGE_GET, [result(120)], [result(500)]))
    assert bars(report)[2].reached == pytest.approx(120 * 4.194304)
    assert bars(report)[2].held


@pytest.mark.parametrize(("new", "fell"), [(100, False), (75, False), (74, True), (300, False)])
def test_a_watched_ratio_may_fall_by_a_quarter_and_no_more(new: int, fell: bool) -> None:
    before = report_of(row(PUT, [result(100)], [result(400)]))
    now = report_of(row(PUT, [result(new)], [result(400)]))
    (found,) = compare(before, now)
    assert found.guarded
    assert found.change == pytest.approx(new / 100, abs=0.001)
    assert found.fell is fell


def test_a_slower_machine_is_not_a_fall() -> None:
    before = report_of(row(PUT, [result(4000)], [result(40_000)]))
    now = report_of(row(PUT, [result(1000)], [result(10_000)]))
    (found,) = compare(before, now)
    assert (found.change, found.rate_change, found.fell) == (1.0, 0.25, False)


def test_rows_that_are_not_watched_never_fall_and_rows_of_one_run_are_left_out() -> None:
    before = report_of(row(LARGE_PUT, [result(100)], [result(400)]), row(GET, [result(1)], [result(1)]))
    now = report_of(row(LARGE_PUT, [result(1)], [result(400)]), row(PUT, [result(1)], [result(1)]))
    assert [(item.key, item.fell) for item in compare(before, now)] == [("1dc/put disk/4MiB/4", False)]


def test_a_watched_row_that_measured_nothing_fell_even_after_a_file() -> None:
    before = report_of(row(PUT, [result(100)], [result(400)]))
    now = report_of(row(PUT, [result(0)], [result(0)]))
    stored = msgspec.json.encode(now)
    with pytest.raises(msgspec.ValidationError):
        # JSON knows no NaN: such a run cannot serve as an old one.
        msgspec.json.decode(stored, type=Report)
    assert compare(before, now)[0].fell


def test_a_report_survives_its_file() -> None:
    report = report_of(row(PUT, [result(3)], [result(9)], [5.0]))
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


def test_others_on_the_machine_are_told_by_the_worst_side() -> None:
    calm = report_of(row(PUT, [result(100)], [result(400)]))
    noisy = report_of(row(PUT, [result(100)], [result(400, machine_busy_s=1.5)]))
    assert compare(calm, noisy)[0].others_cores == 1.5


def test_cores_are_cpu_over_time() -> None:
    assert figures.cores_used({"f": 3.0}, 2.0) == {"f": 1.5}
