"""Models from sums of parts alone: the same as solving.py finds with all rows in hand, and refused for the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("glum", reason="pip install 'ambry[photon]'")

from ambry.errors import InvalidRequest
from ambry.ml.photon import by_sums
from ambry.ml.photon.by_sums import SummedProblem, solve_by_sums
from ambry.ml.photon.effects import Design, FixedEffect, design_of
from ambry.ml.photon.examples import Examples, examples_of
from ambry.ml.photon.models import Task
from ambry.ml.photon.objective import GlmSums, sums_at
from ambry.ml.photon.solving import GlmProblem, solve


def in_parts(design: Design, rows: Examples) -> Any:
    def sums(task: Task, means: Any, *, hessian: Any) -> GlmSums:
        total = None
        for part in np.array_split(np.arange(len(rows)), 4):
            told = (rows.response[part], rows.weight[part], rows.offset[part])
            each = sums_at(task, design.matrix[part], *told, means, hessian=hessian)
            total = each if total is None else total + each
        assert total is not None
        return total

    return sums


def both(rows: Examples, task: Task, effect: FixedEffect) -> tuple[Any, Any]:
    """By sums, and with all rows."""
    design = design_of(effect, rows)
    told: dict[str, Any] = {
        "task": task,
        "l1": design.l1,
        "l2": design.l2,
        "column_name": lambda column: f"column {column}",
    }
    bounds: dict[str, Any] = {"lowest": float(rows.response.min()), "highest": float(rows.response.max())}
    problem = SummedProblem(**told, **bounds, sums=in_parts(design, rows), weight=float(rows.weight.sum()))
    whole = GlmProblem(**told, matrix=design.matrix, response=rows.response, weight=rows.weight, offset=rows.offset)
    return solve_by_sums(problem), solve(whole)


@pytest.mark.parametrize(("l1", "l2"), [(0.0, 0.0), (0.0, 5.0), (20.0, 0.0), (10.0, 5.0)])
def test_sums_are_all_that_is_needed(rows: Examples, task: Task, l1: float, l2: float) -> None:
    found, expected = both(rows, task, FixedEffect(l1=l1, l2=l2))
    assert found == pytest.approx(expected, abs=1e-9)


def test_columns_that_are_nearly_the_same_have_their_own_coefficients_under_l1() -> None:
    """With an L1 penalty they were found by turns, one column after the other, which stood still far off: 22 % of them, told as
    the best.
    """
    made = np.random.default_rng(9)
    matrix = made.normal(size=(20, 3))
    matrix[:, 1] = matrix[:, 0] + 1e-3 * matrix[:, 1]
    best, l1 = np.array([2.0, -3.0, 0.5]), 1e-4
    # Residuals whose products with the columns are the slope of the penalty there, so that these are the best.
    away = matrix @ np.linalg.solve(matrix.T @ matrix, l1 * np.sign(best))
    told = [{(name, ""): value for name, value in zip("abc", row, strict=True)} for row in matrix.tolist()]
    rows = examples_of(told, matrix @ best + away)
    effect = FixedEffect(l1=l1, intercept=False)
    scale = design_of(effect, rows).scale
    for found in both(rows, Task.LINEAR, effect):
        assert found / scale == pytest.approx(best, abs=1e-8)


def test_counts_of_few_rows_under_l1_come_to_an_end() -> None:
    """Refused before (the solver came to no end), after some ten thousand turns of coordinate descent."""
    made = np.random.default_rng(4)
    matrix = made.normal(size=(20, 4))
    matrix[:, 3] = 1e3 + 1e-2 * matrix[:, 3]
    response = made.poisson(np.exp(matrix[:, 0])).astype(float)
    told = [{(name, ""): value for name, value in zip("abcd", row, strict=True)} for row in matrix.tolist()]
    rows, effect = examples_of(told, response), FixedEffect(l1=1e-4)
    found, whole = both(rows, Task.POISSON, effect)
    assert found == pytest.approx(whole, rel=1e-4)
    scaled = design_of(effect, rows)
    sums = in_parts(scaled, rows)(Task.POISSON, found, hessian=True)
    there = found != 0
    slope = sums.gradient[there] + scaled.l1[there] * np.sign(found[there])
    assert np.linalg.solve(sums.hessian[np.ix_(there, there)], slope) == pytest.approx(np.zeros(there.sum()), abs=1e-4)


def test_l1_takes_columns_out_altogether(rows: Examples, task: Task) -> None:
    found, _ = both(rows, task, FixedEffect(l1=1e7))
    assert found[:2].tolist() == [0.0, 0.0] and found[2] != 0


def test_many_columns_are_found_without_their_square(
    rows: Examples, task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = both(rows, task, FixedEffect(l2=3.0))
    monkeypatch.setattr(by_sums, "IRLS_COLUMNS_MAX", 1)
    found, _ = both(rows, task, FixedEffect(l2=3.0))
    assert found == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("size", [1e-9, 1e9])
@pytest.mark.parametrize(("l1", "l2"), [(0.0, 0.0), (0.0, 5.0), (20.0, 0.0)])
def test_the_unit_of_responses_is_no_matter(size: float, l1: float, l2: float, monkeypatch: pytest.MonkeyPatch) -> None:
    made = np.random.default_rng(8)
    told = [{("a", ""): a, ("b", ""): b} for a, b in made.normal(size=(80, 2)).tolist()]
    response = 3 + made.normal(size=80)
    if l2:
        monkeypatch.setattr(by_sums, "IRLS_COLUMNS_MAX", 1)
    found, _ = both(examples_of(told, size * response), Task.LINEAR, FixedEffect(l1=l1 * size, l2=l2))
    _, expected = both(examples_of(told, response), Task.LINEAR, FixedEffect(l1=l1, l2=l2))
    assert found / size == pytest.approx(expected, abs=2e-7)


def test_rare_responses_are_as_exact_as_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 1 in 2,000: the slope of the mean loss is small there everywhere."""
    made = np.random.default_rng(9)
    told = [{("a", ""): a} for a in made.normal(size=20_000).tolist()]
    rows = examples_of(told, (made.random(20_000) < 5e-4).astype(float))
    _, expected = both(rows, Task.LOGISTIC, FixedEffect(l2=0.1))
    monkeypatch.setattr(by_sums, "IRLS_COLUMNS_MAX", 1)
    found, _ = both(rows, Task.LOGISTIC, FixedEffect(l2=0.1))
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("columns_max", [1, 500])
def test_a_level_with_one_response_alone_is_refused(columns_max: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_sums, "IRLS_COLUMNS_MAX", columns_max)
    told = [{("rare", ""): 1.0} if place < 10 else {} for place in range(100)]
    rows = examples_of(told, [1.0] * 10 + [0.0, 1.0] * 45)
    design = design_of(FixedEffect(), rows)
    problem = SummedProblem(
        task=Task.LOGISTIC,
        sums=in_parts(design, rows),
        weight=100.0,
        lowest=0.0,
        highest=1.0,
        l1=design.l1,
        l2=design.l2,
        column_name=str,
    )
    with pytest.raises(InvalidRequest, match="only endless coefficients do"):
        solve_by_sums(problem)


def test_what_has_no_best_coefficients_is_refused(two: Examples) -> None:
    with pytest.raises(InvalidRequest, match=r"column [01] is told by the other features"):
        both(two, Task.LINEAR, FixedEffect())
    apart = examples_of([{("a", ""): float(place)} for place in range(-5, 5)], [0.0] * 5 + [1.0] * 5)
    with pytest.raises(InvalidRequest, match="say an l2 penalty"):
        both(apart, Task.LOGISTIC, FixedEffect())
    same = examples_of([{("a", ""): float(place)} for place in range(9)], [1.0] * 9)
    with pytest.raises(InvalidRequest, match="the response is 1 in every row"):
        both(same, Task.LOGISTIC, FixedEffect(l2=1.0))
