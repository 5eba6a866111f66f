"""Newton's method on sums: to the best coefficients from wherever it begins, or to none."""

from __future__ import annotations

import numpy as np
import pytest

from ambry.ml.photon.models import Task
from ambry.ml.photon.newton import by_newton
from ambry.ml.photon.objective import GlmSums, sums_at

ROWS = np.array([[1.0, 0.5], [1.0, -1.0], [1.0, 2.0], [1.0, 0.0]])
RESPONSE, WEIGHT, OFFSET = np.array([1.0, 0.0, 1.0, 1.0]), np.array([1.0, 2.0, 1.0, 0.5]), np.zeros(4)


@pytest.mark.parametrize("task", list(Task))
@pytest.mark.parametrize("start", [0.0, 3.0])
def test_the_gradient_is_nothing_where_it_ends(task: Task, start: float) -> None:
    l2 = np.array([0.1, 0.2])
    asked: list[object] = []

    def at(means: np.ndarray) -> GlmSums:
        asked.append(means)
        return sums_at(task, ROWS, RESPONSE, WEIGHT, OFFSET, means)

    ended = by_newton(at, np.full(2, start), l2, WEIGHT.sum())
    assert ended is not None
    found, sums = ended
    assert at(found).with_penalty(found, l2).gradient == pytest.approx([0.0, 0.0], abs=1e-12)
    assert sums.with_penalty(found, l2).gradient == pytest.approx([0.0, 0.0], abs=1e-6)
    # A linear model is found by its first step: the rows are asked there, and where it began.
    if task is Task.LINEAR:
        assert len(asked) == 3


def test_what_no_rows_tell_has_no_end() -> None:
    def at(means: np.ndarray) -> GlmSums:
        return sums_at(Task.LINEAR, np.zeros((2, 1)), np.ones(2), np.ones(2), np.zeros(2), means)

    assert by_newton(at, np.zeros(1), np.zeros(1), 2.0) is None


def test_no_columns_are_found_at_once() -> None:
    ended = by_newton(
        lambda means: sums_at(Task.LINEAR, np.zeros((2, 0)), np.ones(2), np.ones(2), np.zeros(2), means),
        np.zeros(0),
        np.zeros(0),
        2.0,
    )
    assert ended is not None and len(ended[0]) == 0
