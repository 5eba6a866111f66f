"""The tables of the storage bench, and its command line."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from tests.bench import store
from tests.bench.machine import Machine
from tests.bench.store_figures import FORMAT_VERSION, Report, RowRun, figures, held
from tests.bench.store_plan import FULL, QUICK, ROWS, specs
from tests.bench.store_report import number_text, show

MACHINE = Machine(
    cores=2, cpu="x", memory_mb=1, kernel="6", python="3.11", libraries={}, load_average=0.0, file_system="ext4"
)


def report_of(rows: dict[str, RowRun], failures: list[str] | None = None) -> Report:
    found = figures(specs(FULL), rows)
    return Report(
        version=FORMAT_VERSION,
        started_at="2026-11-21T23:07:00.123Z",
        quick=False,
        elapsed_s=1.0,
        machine=MACHINE,
        figures=found,
        held=held(found),
        rows=rows,
        failures=failures or [],
    )


def shown(report: Report) -> str:
    out = io.StringIO()
    show(Console(file=out, width=160), report)
    return out.getvalue()


def test_every_figure_shows_its_bar_and_whether_it_was_held() -> None:
    samples = {"cold": [900.0], "preads": [1000.0], "preads of both": [950.0], "cold 8": [1.0], "preads 8": [2.0]}
    samples |= {"preads of both at once": [1.0], "preads beside": [1.0], "whole": [1.0], "scattered": [1.0]}
    text = shown(report_of({"cold": RowRun(elapsed_s=1.0, others_cores=0.0, samples=samples)}))
    line = next(line for line in text.splitlines() if "preads of the blocks" in line and ">=" in line)
    assert [word in line for word in ("900", "1,000", "0.90", ">= 0.85 x", "held")] == [True] * 5
    assert "1 of 1 bars held" in text
    assert "NOISY" not in text


def test_a_bar_that_was_missed_stands_out() -> None:
    samples = {"reads": [39_000.0], "preadv": [80_000.0], "looked up": [41_000.0]}
    text = shown(report_of({"hot": RowRun(elapsed_s=1.0, others_cores=0.9, samples=samples)}))
    assert text.count("MISSED") == 1
    assert "1 of 2 bars held" in text
    assert "NOISY" in text


def test_the_churn_is_shown_over_time() -> None:
    end = {name: [2.0] for name in ("disk", "needed", "disk without", "came back", "dead", "rewritten", "put")}
    series = {"each day": [20.0, 400.0], "each live": [5.0, 80.0], "each disk": [6.0, 90.0]}
    series["each disk without"] = [7.0, 140.0]
    text = shown(report_of({"churn": RowRun(elapsed_s=1.0, others_cores=0.0, samples=end | series)}))
    line = next(line for line in text.splitlines() if line.split()[:1] == ["400"])
    assert line.split() == ["400", "80.0", "90.0", "1.12", "140", "1.75"]


def test_what_was_wrong_is_told() -> None:
    assert "FAILED: churn: blob 00 is lost" in shown(report_of({}, ["churn: blob 00 is lost"]))


def test_a_report_survives_its_file() -> None:
    samples = {"lookup": [3.0], "get": [1.5], "absent": [1.0]}
    report = report_of({"lookup": RowRun(elapsed_s=1.0, others_cores=0.0, samples=samples)})
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report
    assert report.held == {"look-up, 1,000,000 blobs, hot / LMDB's get alone": True}


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, ""), (123456.7, "123,457"), (99.94, "99.9"), (5.0, "5.00"), (0.5, "0.50"), (0.0042, "0.0042")],
)
def test_numbers_keep_the_digits_that_count(value: float | None, expected: str) -> None:
    assert number_text(value) == expected


def test_the_command_line_picks_rows_in_the_order_of_the_bench() -> None:
    assert store.arguments_of([]).only == list(ROWS)
    assert store.arguments_of(["--only", "churn, commit"]).only == ["commit", "churn"]


@pytest.mark.parametrize("words", ["", "fast", "commit,fast"])
def test_a_row_that_does_not_exist_is_refused(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        store.arguments_of(["--only", words])
    assert end.value.code == 2
    assert "there are commit, chunks" in capsys.readouterr().err


def test_sizes_follow_the_command_line() -> None:
    assert store.plan_of(store.arguments_of([])) == FULL
    assert store.plan_of(store.arguments_of(["--quick"])) == QUICK
    assert store.plan_of(store.arguments_of(["--big"])).big_blobs == 10_000_000
    assert store.default_output(1_795_302_420_000) == Path("bench-store-20261121-230700.json")
