"""The sizes of a run of the storage bench, and its list of figures."""

from __future__ import annotations

import msgspec
import pytest

from tests.bench.store_plan import BIG_BLOBS, FULL, QUICK, ROWS, Plan, specs


@pytest.mark.parametrize("plan", [FULL, QUICK, msgspec.structs.replace(FULL, big_blobs=BIG_BLOBS)])
def test_every_row_has_figures_and_every_title_stands_for_one(plan: Plan) -> None:
    found = specs(plan)
    assert sorted({spec.row for spec in found}) == sorted(ROWS)
    titles = [(spec.row, spec.title) for spec in found]
    assert len(set(titles)) == len(titles)
    barred = [spec.title for spec in found if spec.bar is not None]
    assert len(set(barred)) == len(barred), "the report keeps the verdicts by title"


def test_every_row_has_a_bar() -> None:
    assert {spec.row for spec in specs(FULL) if spec.bar is not None} == set(ROWS)


def test_a_quick_run_is_nowhere_larger() -> None:
    for name in Plan.__struct_fields__:
        assert getattr(QUICK, name) <= getattr(FULL, name), name


def test_the_large_index_is_measured_only_when_asked_for() -> None:
    big = [spec for spec in specs(msgspec.structs.replace(FULL, big_blobs=BIG_BLOBS)) if spec.ours.startswith("big ")]
    assert len(big) == 3
    assert not [spec for spec in specs(FULL) if spec.ours.startswith("big ")]
