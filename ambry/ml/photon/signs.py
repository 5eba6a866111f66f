"""A step of Newton's where there is an L1 penalty: the least of a square and of the sizes of coefficients, by their signs.

Where signs are fixed, the penalty is a slope and the least is that of a linear system. A coefficient that would change its sign
ends at 0; one at 0 begins where its slope is steeper than the penalty (feature-sign search, Lee et al., NIPS 2006). Unlike
coordinate descent it comes to the end where columns tell nearly the same, in as many steps as signs change.
"""

from __future__ import annotations

from typing import Any

import numpy as np

RIDGE = 1e-14
"""Of the square of a column: what makes those that are told by others have a step, which leads to where one of them ends."""
STEEPER = 1e-12
"""Of the penalty: by how much a slope is steeper, where a coefficient begins."""
TURNS = 20
"""For each column: changes of signs, beyond which rounding alone makes them."""


def least_by_signs(hessian: Any, gradient: Any, found: Any, l1: Any) -> Any:
    """Where the square that has this gradient at `found`, and l1 times the sizes of coefficients, are least together.

    Coefficients that end at 0 are exactly 0. Raises LinAlgError where there is no such place.
    """
    means, slope, sign = found.copy(), gradient.copy(), np.sign(found)
    free = l1 == 0
    active = free | (sign != 0)
    ridge = RIDGE * np.diagonal(hessian)
    one_alone = False
    for _ in range(TURNS * (len(means) + 1)):
        rows = np.flatnonzero(active)
        here = means[rows]
        square = hessian[np.ix_(rows, rows)] + np.diag(ridge[rows])
        step = -np.linalg.solve(square, slope[rows] + l1[rows] * sign[rows])
        begins = (here == 0) & ~free[rows]
        against = begins & (step * sign[rows] <= 0)
        if against.any():
            active[rows[against]] = False
            sign[rows[against]] = 0.0
            if one_alone:
                break
            # Several begin at once, and some of them only beside each other.
            one_alone = bool(against.sum() == begins.sum())
            continue
        ends = ~free[rows] & ~begins & ((here + step) * sign[rows] <= 0)
        share = np.where(ends, -here / np.where(ends, step, 1.0), 1.0)
        size = float(share.min(initial=1.0))
        ended = ends & (share <= size)
        means[rows] += size * step
        means[rows[ended]] = 0.0
        slope += hessian[:, rows] @ (means[rows] - here)
        if ended.any():
            active[rows[ended]] = False
            sign[rows[ended]] = 0.0
            continue
        over = np.where(active, -np.inf, np.abs(slope) - (1 + STEEPER) * l1)
        steep = over > 0
        if not steep.any():
            break
        if one_alone:
            steep = np.arange(len(over)) == np.argmax(np.where(steep, over / l1, 0.0))
        sign[steep] = -np.sign(slope[steep])
        active |= steep
    return means
