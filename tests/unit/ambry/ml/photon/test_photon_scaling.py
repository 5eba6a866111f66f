"""Moments of columns: as numpy has them, and the same of all rows as of their parts."""

from __future__ import annotations

import numpy as np
import pytest

from ambry.ml.extras import needed
from ambry.ml.photon.scaling import ColumnMoments


def moments(rows: np.ndarray) -> ColumnMoments:
    return ColumnMoments.of(needed("scipy.sparse").csr_matrix(rows))


def test_parts_add_up_to_what_numpy_says() -> None:
    made = np.random.default_rng(5)
    rows = made.normal(size=(60, 4)) * (made.random((60, 4)) < 0.5)
    rows[:, 1] = 1e9 + made.normal(size=60)
    rows[:, 2] = 0.0
    rows[:, 3] *= 1e-120
    whole = moments(rows)
    added = moments(rows[:0]) + moments(rows[:9]) + moments(rows[9:9]) + moments(rows[9:]) + moments(rows[:0])
    for found in (whole, added):
        assert found.rows == 60
        assert found.largest == pytest.approx(np.abs(rows).max(axis=0))
        assert found.deviation == pytest.approx(rows.std(axis=0, ddof=1), rel=1e-6)
        expected = np.sqrt((rows**2).mean(axis=0))
        assert found.root_mean_square[:2] == pytest.approx(expected[:2])
        # The square of a number is out of range, and its size is not.
        assert found.root_mean_square[3] == pytest.approx(
            1e-120 * np.sqrt(((rows[:, 3] * 1e120) ** 2).mean()), rel=1e-9
        )
        assert found.root_mean_square[2] == 1.0


def test_a_column_that_is_the_same_everywhere_does_not_deviate() -> None:
    assert moments(np.full((7, 1), 0.1)).deviation.tolist() == [0.0]
