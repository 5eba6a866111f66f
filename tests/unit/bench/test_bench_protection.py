"""Which rows there are of what protection costs, and what their rounds say."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from tests.bench import protection
from tests.bench.load import Job, Result

KEYED = protection.Served(name="f1", port=1, watch={"f1": 11, "n1": 21})
UNGUARDED = protection.Served(name="f2", port=2, watch={"f2": 12, "n1": 21})
TLS = protection.Served(name="f3", port=3, watch={"f3": 13, "n1": 21}, tls=True)
BARE = protection.Served(name="bare", port=4, watch={"bare": 14}, tls=True)
KEY = {"Authorization": "Bearer key"}
MIB = 1 << 20


def rows() -> list[protection.Case]:
    return protection.cases(KEYED, UNGUARDED, TLS, BARE, authorization=KEY, seconds=1.0)


def result(operations: int, *, frontend_cpu_s: float, name: str = "f1") -> Result:
    values = {
        "operations": operations,
        "elapsed_s": 1.0,
        "latencies_us": [1000] * operations,
        "cpu_s": {name: frontend_cpu_s, "n1": 0.5, "load": 0.1},
        "machine_busy_s": frontend_cpu_s + 0.6,
        "verified": 0,
    }
    return msgspec.convert(values, Result)


def test_the_two_sides_of_a_row_differ_in_what_is_to_be_paid_for_alone() -> None:
    for case in rows():
        ours, beside = case.ours, case.beside
        for name in (
            "verb",
            "size",
            "connections",
            "window_s",
            "warmup_s",
            "whole",
            "requests",
            "part_size",
            "part_step",
        ):
            assert getattr(ours, name) == getattr(beside, name), (case.name, name)
        # Another server with the same blobs, or the same one with others; the bare one has a blob of its own.
        assert (ours.port != beside.port) != (ours.blobs != beside.blobs) or beside.port == BARE.port, case.name
        assert case.frontends[0] in ours.watch and case.frontends[1] in beside.watch
        assert ours.headers.get("Authorization") == "Bearer key"


def test_what_is_read_was_put_in_the_same_round() -> None:
    there: set[tuple[str, int]] = set()
    for case in rows():
        for job in (case.ours, case.beside):
            if job.verb == "POST":
                there.add((job.blobs, job.size))
            elif job.port != BARE.port:
                assert (job.blobs, job.size) in there, case.name


def case_of(name: str = "64 MiB GET, 4, encrypted / plain") -> protection.Case:
    return next(case for case in rows() if case.name == name)


def test_a_ratio_is_the_median_of_the_rounds_and_cpu_is_that_of_the_frontend() -> None:
    ours = [result(8, frontend_cpu_s=0.6), result(9, frontend_cpu_s=0.6), result(2, frontend_cpu_s=0.9)]
    beside = [result(10, frontend_cpu_s=0.5), result(10, frontend_cpu_s=0.5), result(10, frontend_cpu_s=0.5)]
    found = protection.cost(case_of(), ours, beside)
    assert found.round_rate_ratios == [0.8, 0.9, 0.2]
    assert found.rate_ratio == pytest.approx(0.8) and found.held
    # 75 ms of the frontend for each here, 50 there.
    assert found.cpu_ratio == pytest.approx(1.5)
    assert found.all_cpu_ratio == pytest.approx((1.1 / 8) / (1.0 / 10))
    assert found.cpu_s_per_gib == pytest.approx((2.1 / 19 * 16, 1.5 / 30 * 16))


def test_a_range_counts_what_was_asked_for() -> None:
    case = case_of("64 KiB of 4 MiB, 16, encrypted / plain")
    found = protection.cost(case, [result(160, frontend_cpu_s=0.1)], [result(160, frontend_cpu_s=0.1)])
    assert found.ours.mb_per_s == pytest.approx(160 * 65536 / 1e6)
    assert found.cpu_s_per_gib == pytest.approx((10.24, 10.24))


@pytest.mark.parametrize(("operations", "word"), [(8, "held"), (7, "MISSED")])
def test_a_row_says_whether_its_bar_is_held(operations: int, word: str) -> None:
    out = Console(record=True, width=240, file=io.StringIO())
    found = protection.cost(case_of(), [result(operations, frontend_cpu_s=0.5)], [result(10, frontend_cpu_s=0.5)])
    protection.show(out, [found])
    [row] = [line for line in out.export_text().splitlines() if "64 MiB GET" in line]
    assert word in row


def test_a_job_is_as_the_load_generator_reads_it() -> None:
    for case in rows():
        for job in (case.ours, case.beside):
            assert msgspec.json.decode(msgspec.json.encode(job), type=Job) == job
