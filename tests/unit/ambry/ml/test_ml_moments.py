"""Moments of pieces are those of all rows at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.ml.moments import RunningMoments


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 9), min_size=1, max_size=6))
def test_pieces_add_up_to_the_whole(seed: int, sizes: list[int]) -> None:
    chance = np.random.default_rng(seed)
    matrix = chance.normal(1e6, 1, (sum(sizes), 3))
    there = chance.random(matrix.shape) < 0.7
    found, begin = RunningMoments(3), 0
    for size in sizes:
        rows = slice(begin, begin + size)
        found.add(np.where(there, matrix, 0.0)[rows], there[rows])
        begin += size
    for column in range(3):
        values = matrix[there[:, column], column]
        assert found.count[column] == len(values)
        assert found.mean[column] == pytest.approx(values.mean() if len(values) else 0.0, rel=1e-12)
        assert found.variance[column] == pytest.approx(
            values.var(ddof=1) if len(values) > 1 else 0.0, rel=1e-6, abs=1e-9
        )


def test_what_is_beyond_a_float_is_infinite_and_no_warning() -> None:
    found = RunningMoments(1)
    found.add(np.array([[1e308], [-1e308], [1e308]]), np.ones((3, 1), bool))
    assert not np.isfinite(found.variance[0])
