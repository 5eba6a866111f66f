"""The objective as sums: derivatives by differences, and the same of all rows as of their parts."""

from __future__ import annotations

import numpy as np
import pytest

from ambry.ml.extras import needed
from ambry.ml.photon.models import Task
from ambry.ml.photon.objective import GlmSums, sums_at


def drawn(task: Task) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    made = np.random.default_rng(4)
    matrix = made.normal(size=(40, 3)) * (made.random((40, 3)) < 0.7)
    response = made.integers(0, 2, size=40).astype(float)
    return matrix, response, made.random(40), made.normal(size=40), made.normal(size=3)


@pytest.mark.parametrize("task", list(Task))
def test_slopes_are_those_of_the_loss(task: Task) -> None:
    matrix, response, weight, offset, means = drawn(task)
    l2 = np.array([0.0, 1.0, 2.0])

    def at(point: np.ndarray) -> GlmSums:
        return sums_at(task, matrix, response, weight, offset, point).with_penalty(point, l2)

    here, step = at(means), 1e-5
    for place in range(3):
        moved = np.eye(3)[place] * step
        assert here.gradient[place] == pytest.approx(
            (at(means + moved).loss - at(means - moved).loss) / (2 * step), abs=1e-6
        )
        slope = (at(means + moved).gradient - at(means - moved).gradient) / (2 * step)
        assert here.hessian is not None and here.hessian[place] == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize("task", list(Task))
def test_parts_add_up_and_sparse_rows_are_the_same(task: Task) -> None:
    matrix, response, weight, offset, means = drawn(task)
    whole = sums_at(task, matrix, response, weight, offset, means)
    sparse = needed("scipy.sparse").csr_matrix(matrix)
    parts = [
        sums_at(task, sparse[rows], response[rows], weight[rows], offset[rows], means)
        for rows in (slice(0, 7), slice(7, 7), slice(7, 40))
    ]
    added = parts[0] + parts[1] + parts[2]
    assert added.loss == pytest.approx(whole.loss)
    assert added.gradient == pytest.approx(whole.gradient)
    assert added.hessian == pytest.approx(whole.hessian)
    assert added.curvature == pytest.approx(np.diagonal(whole.hessian))
    some = np.array([2, 0])
    for each in (matrix, sparse):
        told = sums_at(task, each, response, weight, offset, means, hessian=some)
        assert told.hessian == pytest.approx(whole.hessian[np.ix_(some, some)])
        assert told.curvature == pytest.approx(whole.curvature)
    assert sums_at(task, matrix, response, weight, offset, means, hessian=False).hessian is None
