"""A square and the sizes of coefficients, least together: by what holds there, also where columns tell the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.ml.photon.signs import least_by_signs


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.sampled_from([1e-3, 0.3, 1.0, 10.0]))
def test_no_slope_is_steeper_than_the_penalty_where_it_ends(seed: int, columns: int, l1: float) -> None:
    drawn = np.random.default_rng(seed)
    matrix = drawn.normal(size=(columns + 5, columns))
    hessian, gradient, start = matrix.T @ matrix, 3 * drawn.normal(size=columns), drawn.normal(size=columns)
    start[drawn.random(columns) < 0.5] = 0.0
    penalty = np.where(drawn.random(columns) < 0.8, l1, 0.0)
    found = least_by_signs(hessian, gradient, start, penalty)
    slope = gradient + hessian @ (found - start)
    there = found != 0
    assert slope[there] + penalty[there] * np.sign(found[there]) == pytest.approx(np.zeros(there.sum()), abs=1e-9)
    assert (np.abs(slope[~there]) <= penalty[~there] + 1e-9).all()


def test_of_columns_that_are_the_same_what_there_is_of_both_is_told() -> None:
    one = np.ones((2, 2))
    found = least_by_signs(one, np.array([-3.0, -3.0]), np.zeros(2), np.ones(2))
    assert found.sum() == pytest.approx(2.0) and (found >= 0).all()
    # From different signs, whose sizes cost more than the sum does.
    found = least_by_signs(one, np.array([-3.0, -3.0]), np.array([5.0, -5.0]), np.ones(2))
    assert np.abs(found).sum() == pytest.approx(2.0) and found.sum() == pytest.approx(2.0)


def test_a_large_penalty_leaves_exactly_nothing() -> None:
    found = least_by_signs(np.eye(2), np.array([1.0, -2.0]), np.array([4.0, -4.0]), np.full(2, 9.0))
    assert found.tolist() == [0.0, 0.0]
