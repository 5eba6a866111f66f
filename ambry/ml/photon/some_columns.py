"""The least under an L1 penalty of many columns, of which few are there in the end: looked for among some of them at a time.

What is there, and those whose slope is steepest beside their penalty, are one problem of few columns; at its end others begin,
until none does. Coordinate descent asks every column, and of those that tell nearly the same, some ten thousand times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

BEGIN_TOGETHER = 50
BEGINNINGS_MAX = 100
STEEPER = 1e-9
"""Of the penalty: by how much a slope is steeper, where a column begins."""


def by_some_columns(
    slope: Callable[[Any], Any], best: Callable[[Any, Any], Any | None], start: Any, l1: Any, columns_max: int
) -> Any | None:
    """The best coefficients. None where more than `columns_max` are there with those that begin, or `best` knows none.

    `slope` is that of all without l1. `best` are the coefficients of some columns, the others being 0, from those where it
    begins; they are no worse than these.
    """
    found, seen = start, set[bytes]()
    penalised = l1 > 0
    for _ in range(BEGINNINGS_MAX):
        here = np.abs(slope(found))
        if not np.isfinite(here).all():
            return None
        steep = np.where(penalised & (found == 0), here - (1 + STEEPER) * l1, -np.inf)
        begin = np.argsort(-steep / np.where(penalised, l1, 1.0), kind="stable")[:BEGIN_TOGETHER]
        begin = begin[steep[begin] > 0]
        some = np.sort(np.append(np.flatnonzero((found != 0) | ~penalised), begin))
        if seen and (not len(begin) or some.tobytes() in seen):
            return found
        if len(some) > columns_max:
            return None
        seen.add(some.tobytes())
        ended = best(some, found[some])
        if ended is None:
            return None
        found = np.zeros(len(start))
        found[some] = ended
    return None
