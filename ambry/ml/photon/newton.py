"""Newton's method with halved steps: for the few rows of an entity, and for the sums that a cluster makes of many.

Steps are those of the hessian, or, of more columns than one has a square of, by conjugate gradients. Columns are of order 1,
and so are responses of linear models (solving.py): what is small here is so by the size of what is looked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ambry.ml.photon.objective import GlmSums, weighted_square
from ambry.ml.photon.signs import least_by_signs

STEPS_MAX = 200
GAIN_MIN = 1e-15
"""Of the objective: what a step gains beyond which it has no further digit. The coefficients have all of theirs then."""
NEAR_MIN = 1e-10
"""Of the objective: what a small step gains, which is near enough to the end that the next gains the square of it. Where scores
are the difference of large terms, the loss has no such digits, and says nothing of whether the step is one down.
"""
STEP_MAX = 1e-5
"""Of each coefficient, or 1: the last step is smaller. Where endless coefficients are best, steps are of order 1, however large
the coefficient of another column is.
"""
ENDLESS_STEPS = 50
"""Steps that gain nothing and are not smaller yet, after which there is no end."""
SIZE_MIN = 1e-18
"""Of a step."""
PRODUCTS_MAX = 2_000
RESIDUAL_MAX = 1e-3
"""Of the gradient, what conjugate gradients leave of it: so much nearer each step comes, and the last is small already."""

NewtonStep = Callable[[Any, GlmSums], Any]
"""The step from some coefficients, with sums and penalties there: the hessian's inverse times the gradient."""


def by_newton(
    at: Callable[[Any], GlmSums],
    start: Any,
    l2: Any,
    weight: float,
    step_at: NewtonStep | None = None,
    *,
    l1: Any | None = None,
) -> tuple[Any, GlmSums] | None:
    """The best coefficients from `start` on, or None where there are none; and the sums where the last step began.

    `at` gives sums over all rows, whose weights are `weight` together, without penalties; with the hessian unless `step_at`
    gives steps. With `l1` the objective may be flat between columns that tell the same: what is no worse than any is found.
    """
    found, sums = start, at(start)
    if not len(found):
        return found, sums
    endless = 0
    with np.errstate(all="ignore"):
        for _ in range(STEPS_MAX):
            sums_there = sums
            here = sums.with_penalty(found, l2)
            loss = here.loss + _size(l1, found)
            try:
                end = _end_of_step(here, found, step_at, l1)
            except np.linalg.LinAlgError:
                return None
            step = found - end
            gain = float(here.gradient @ step) + _size(l1, found) - _size(l1, end)
            if not np.isfinite(gain) or (gain < 0 and l1 is None):
                return None
            small = bool((np.abs(step) <= STEP_MAX * np.maximum(1.0, np.abs(found))).all())
            if gain <= GAIN_MIN * (weight + abs(loss)):
                if small:
                    return end, sums
                endless += 1
                if endless > ENDLESS_STEPS:
                    return None if l1 is None else (found, sums)
            size = 1.0
            while True:
                next = end if size == 1 else found - size * step
                sums = at(next)
                left = sums.with_penalty(next, l2).loss + _size(l1, next)
                if size <= SIZE_MIN or left <= loss - 1e-4 * size * gain + 1e-14 * abs(loss):
                    break
                if size == 1 and small and gain <= NEAR_MIN * (weight + abs(loss)):
                    return end, sums_there
                size /= 2
            found = next
            if size <= SIZE_MIN:
                return (found, sums) if small or l1 is not None else None
    return None


def _end_of_step(here: GlmSums, found: Any, step_at: NewtonStep | None, l1: Any | None) -> Any:
    """Raises LinAlgError."""
    if l1 is not None:
        return least_by_signs(here.hessian, here.gradient, found, l1)
    return found - (np.linalg.solve(here.hessian, here.gradient) if step_at is None else step_at(found, here))


def _size(l1: Any | None, means: Any) -> float:
    return 0.0 if l1 is None else float(l1 @ np.abs(means))


def working_start(matrix: Any, response: Any, weight: Any, offset: Any, l2: Any) -> Any | None:
    """Where to begin a Poisson model whose rows say a score far from 0: at the logarithms of responses that are drawn to their
    mean, by least squares. None where there is no such place. `matrix` is dense or CSR of scipy.
    """
    with np.errstate(all="ignore"):
        mean = (response + float(weight @ response) / float(weight.sum())) / 2
        curve = weight * mean
        square = weighted_square(matrix, curve)
        try:
            found = np.linalg.solve(square + np.diag(l2), matrix.T @ (curve * (np.log(mean) - offset)))
        except np.linalg.LinAlgError:
            return None
    return found if np.isfinite(found).all() else None


def conjugate_step(gradient: Any, curvature: Any, times: Callable[[Any], Any]) -> Any:
    """The inverse of a hessian times a gradient, of the hessian's diagonal and its products with vectors.

    By conjugate gradients, preconditioned by the diagonal: an entity with few rows counts as much as what all rows tell.
    """
    inverse = 1 / np.where(curvature > 0, curvature, 1.0)
    step, left = np.zeros(len(gradient)), gradient.copy()
    conditioned = inverse * left
    direction = conditioned
    product = float(left @ conditioned)
    enough = RESIDUAL_MAX**2 * product
    for _ in range(min(PRODUCTS_MAX, 4 * len(gradient))):
        if not product > enough:
            break
        turned = times(direction)
        along = float(direction @ turned)
        if not along > 0:
            break
        share = product / along
        step += share * direction
        left -= share * turned
        conditioned = inverse * left
        before, product = product, float(left @ conditioned)
        direction = conditioned + (product / before) * direction
    return step
