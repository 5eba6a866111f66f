"""Newton's method with halved steps: for the few rows of an entity, and for the sums that a cluster makes of many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ambry.ml.photon.objective import GlmSums

STEPS_MAX = 200
GAIN_MIN = 1e-15
"""Of the objective: what a step gains beyond which it has no further digit. The coefficients have all of theirs then."""
SIZE_MIN = 1e-10
"""Of a step."""


def by_newton(at: Callable[[Any], GlmSums], start: Any, l2: Any) -> tuple[Any, GlmSums] | None:
    """The best coefficients from `start` on, or None where there are none; and the sums where the last step began.

    `at` gives sums over all rows, with the hessian and without penalties.
    """
    found, sums = start, at(start)
    if not len(found):
        return found, sums
    with np.errstate(all="ignore"):
        for _ in range(STEPS_MAX):
            here = sums.with_penalty(found, l2)
            try:
                step = np.linalg.solve(here.hessian, here.gradient)
            except np.linalg.LinAlgError:
                return None
            gain = float(here.gradient @ step)
            if not np.isfinite(gain) or gain < 0:
                return None
            if gain <= GAIN_MIN * (1.0 + abs(here.loss)):
                return found - step, sums
            size = 1.0
            while True:
                next = found - size * step
                sums = at(next)
                loss = sums.with_penalty(next, l2).loss
                if size <= SIZE_MIN or loss <= here.loss - 1e-4 * size * gain + 1e-14 * abs(here.loss):
                    break
                size /= 2
            found = next
            if size <= SIZE_MIN:
                return found, sums
    return None
