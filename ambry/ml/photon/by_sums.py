"""One penalised generalised linear model of rows that nobody holds: they are seen as sums, which others make of their share.

The objective, checks and accuracy are those of solving.py. Up to 500 columns by Newton's method; more, and wherever there is an
L1 penalty, by L-BFGS with bounds, on what is positive and what is negative of each coefficient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ambry.errors import InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.photon.models import Task
from ambry.ml.photon.newton import by_newton
from ambry.ml.photon.objective import GlmSums
from ambry.ml.photon.solving import (
    CHECKED_COLUMNS_MAX,
    IRLS_COLUMNS_MAX,
    LBFGS_GRADIENT_MAX,
    LBFGS_ITERATIONS_MAX,
    TO_DO,
    check_found,
    check_gram,
    check_response,
)


class SumsOfRows(Protocol):
    """What rows say, wherever they lie."""

    def __call__(self, task: Task, means: Any, *, hessian: bool) -> GlmSums:
        """Over all rows. The task is that of the problem, or LINEAR, whose hessian is the weighted products of columns."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SummedProblem:
    """What is known of the rows, penalties, and how an error calls a column."""

    task: Task
    sums: SumsOfRows
    weight: float
    """Of all rows."""
    lowest: float
    highest: float
    """Of the responses of rows with a weight."""
    l1: Any
    l2: Any
    column_name: Callable[[int], str]
    start: Any | None = None


def solve_by_sums(problem: SummedProblem, *, check: bool = True) -> Any:
    """The best coefficients. Raises InvalidRequest as solve does; without `check`, columns have been looked at before."""
    columns = len(problem.l2)
    free = np.flatnonzero((problem.l1 == 0) & (problem.l2 == 0))
    check_response(problem.task, len(free), problem.lowest, problem.highest)
    if check and 0 < len(free) <= CHECKED_COLUMNS_MAX:
        gram = problem.sums(Task.LINEAR, np.zeros(columns), hessian=True).hessian
        check_gram(gram[np.ix_(free, free)], free, problem.column_name)
    start = np.zeros(columns) if problem.start is None else problem.start
    if columns <= IRLS_COLUMNS_MAX and not (problem.l1 > 0).any():
        ended = by_newton(lambda means: problem.sums(problem.task, means, hessian=True), start, problem.l2)
        if ended is None:
            raise InvalidRequest(f"the model has no best coefficients; {TO_DO}")
        found, sums = ended
    else:
        found = _by_lbfgs(problem, start)
        sums = problem.sums(problem.task, found, hessian=False)
    check_found(
        problem.task,
        sums,
        found,
        l1=problem.l1,
        l2=problem.l2,
        weight=problem.weight,
        largest=max(abs(problem.lowest), abs(problem.highest)),
    )
    return found


def _by_lbfgs(problem: SummedProblem, start: Any) -> Any:
    """A coefficient with an L1 penalty is the difference of two that are not negative, so that the penalty has a slope."""
    under = np.flatnonzero(problem.l1 > 0)
    per_weight = 1.0 / problem.weight

    def means_of(point: Any) -> Any:
        means = point[: len(start)].copy()
        means[under] -= point[len(start) :]
        return means

    def objective(point: Any) -> tuple[float, Any]:
        means = means_of(point)
        sums = problem.sums(problem.task, means, hessian=False).with_penalty(means, problem.l2)
        slope = np.concatenate([sums.gradient, -sums.gradient[under]])
        slope[under] += problem.l1[under]
        slope[len(start) :] += problem.l1[under]
        sizes = point[under] + point[len(start) :]
        return per_weight * (sums.loss + float(problem.l1[under] @ sizes)), per_weight * slope

    first = np.concatenate([start, np.maximum(-start[under], 0.0)])
    first[under] = np.maximum(start[under], 0.0)
    bounds: list[tuple[float | None, None]] = [(None, None)] * len(start) + [(0.0, None)] * len(under)
    for place in under.tolist():
        bounds[place] = (0.0, None)
    found = needed("scipy.optimize").minimize(
        objective,
        first,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={
            "maxiter": LBFGS_ITERATIONS_MAX,
            "maxfun": 2 * LBFGS_ITERATIONS_MAX,
            "ftol": 0.0,
            "gtol": LBFGS_GRADIENT_MAX,
        },
    )
    return means_of(found.x)
