"""Many columns under an L1 penalty, some of them at a time: to where no slope is steeper, and never more than are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("glum", reason="pip install 'ambry[photon]'")

from ambry.ml.extras import needed
from ambry.ml.photon import solving
from ambry.ml.photon.models import Task
from ambry.ml.photon.signs import least_by_signs
from ambry.ml.photon.solving import GlmProblem, solve
from ambry.ml.photon.some_columns import by_some_columns


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.3, 1.0, 10.0]))
def test_no_slope_is_steeper_than_the_penalty_where_it_ends(seed: int, l1: float) -> None:
    drawn = np.random.default_rng(seed)
    matrix = drawn.normal(size=(20, 80))
    hessian, gradient = matrix.T @ matrix, 3 * drawn.normal(size=80)
    penalty = np.where(drawn.random(80) < 0.95, l1, 0.0)
    asked: list[int] = []

    def slope(means: Any) -> Any:
        return gradient + hessian @ means + 0.1 * means

    def best(some: Any, begin: Any) -> Any:
        asked.append(len(some))
        whole = np.zeros(80)
        whole[some] = begin
        square = hessian[np.ix_(some, some)] + 0.1 * np.eye(len(some))
        return least_by_signs(square, slope(whole)[some], begin, penalty[some])

    found = by_some_columns(slope, best, np.zeros(80), penalty, 80)
    assert found is not None
    there = found != 0
    assert slope(found)[there] + (penalty * np.sign(found))[there] == pytest.approx(np.zeros(there.sum()), abs=1e-8)
    assert (np.abs(slope(found)[~there]) <= penalty[~there] + 1e-8).all()
    if max(asked) > 1:
        assert by_some_columns(slope, best, np.zeros(80), penalty, max(asked) - 1) is None


def test_columns_that_are_nearly_the_same_ask_for_no_coordinate_descent(monkeypatch: pytest.MonkeyPatch) -> None:
    """510 of them took coordinate descent more than a minute, of which seven are there in the end."""

    def others(module: str) -> Any:
        assert module != "glum"
        return needed(module)

    monkeypatch.setattr(solving, "needed", others)
    made = np.random.default_rng(1)
    told = made.normal(size=(200, 5))
    near = told[:, made.integers(0, 5, size=510)] + 1e-3 * made.normal(size=(200, 510))
    matrix = np.column_stack([near, np.ones(200)])
    response = (made.random(200) < 1 / (1 + np.exp(-told @ made.normal(size=5)))).astype(float)
    l1 = np.append(np.full(510, 0.1), 0.0)
    problem = GlmProblem(
        task=Task.LOGISTIC,
        matrix=needed("scipy.sparse").csr_matrix(matrix),
        response=response,
        weight=np.ones(200),
        offset=np.zeros(200),
        l1=l1,
        l2=np.zeros(511),
        column_name=str,
    )
    found = solve(problem)
    slope = matrix.T @ (1 / (1 + np.exp(-matrix @ found)) - response)
    there = found != 0
    assert 1 < there.sum() < 20
    assert (slope + l1 * np.sign(found))[there] == pytest.approx(np.zeros(there.sum()), abs=1e-8)
    assert (np.abs(slope[~there]) <= l1[~there] + 1e-8).all()
