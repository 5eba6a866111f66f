"""Every row of the storage bench, very small: it runs, it gives every figure of the list, and it leaves nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.bench import store_rows
from tests.bench.store_child import STEPS, run
from tests.bench.store_figures import Samples, figures
from tests.bench.store_job import Job, Wrong
from tests.bench.store_plan import ROWS, Plan, specs
from tests.bench.store_rows import Rows

TINY = Plan(
    commit_rounds=2,
    commit_appends=200,
    chunk_rounds=2,
    amplified_blobs=40,
    cold_rounds=2,
    cold_records=4,
    hot_rounds=2,
    hot_blobs=50,
    hot_reads=50,
    index_blobs=2_000,
    lookup_rounds=2,
    lookups=100,
    background_rounds=1,
    background_window_s=0.3,
    background_blobs=7_000,
    churn_days=60,
    churn_puts_per_day=8,
    restart_rounds=1,
    tail_records=100,
    rebuild_blobs=20,
    big_blobs=2_000,
    big_partitions=2,
)


class InThisProcess:
    """A child that is none: the step runs here."""

    @classmethod
    def module(cls, name: str) -> InThisProcess:
        assert name == "tests.bench.store_child"
        return cls()

    def ask(self, line: bytes, timeout_s: float) -> bytes:
        return msgspec.json.encode(run(msgspec.json.decode(line, type=Job)))

    def stop(self) -> None:
        pass


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rows:
    monkeypatch.setattr(store_rows, "Child", InThisProcess)
    return Rows(tmp_path, TINY, lambda _text: None)


@pytest.mark.parametrize("name", ROWS)
def test_a_row_gives_its_figures_and_leaves_only_what_rows_share(name: str, rows: Rows, tmp_path: Path) -> None:
    ran = rows.run(name)
    assert rows.failures == []
    assert ran is not None
    found = figures([spec for spec in specs(TINY) if spec.row == name], {name: ran})
    assert found
    assert all(item.value > 0 for item in found if item.spec.ours not in ("came back", "rewritten"))
    assert [path.name for path in tmp_path.iterdir() if path.name != "many"] == []


def test_what_is_wrong_ends_the_row_and_not_the_run(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    def step(job: Job) -> Samples:
        raise Wrong("a blob is lost")

    monkeypatch.setitem(STEPS, "churn", step)
    assert rows.run("churn") is None
    assert rows.failures == ["churn: a blob is lost"]


def test_compaction_gives_space_back(rows: Rows, tmp_path: Path) -> None:
    step: Callable[[Job], Samples] = STEPS["churn"]
    ends = {}
    for number in (0, 1):
        directory = tmp_path / str(number)
        directory.mkdir()
        plan = msgspec.structs.replace(TINY, churn_days=150)
        found = step(Job(step="churn", directory=str(directory), plan=plan, number=number))
        assert found["day"] == [20.0, 40.0, 60.0, 80.0, 100.0, 120.0, 140.0, 150.0]
        ends[number] = found["disk"][-1]
    assert ends[1] < 0.95 * ends[0]
