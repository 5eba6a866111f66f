"""One penalised generalised linear model of rows that nobody holds: they are seen as sums, which others make of their share.

The objective, checks and accuracy are those of solving.py. Up to 500 columns by Newton's method; more by L-BFGS, with bounds on
what is positive and what is negative of each coefficient where there is an L1 penalty.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from ambry.ml.extras import needed
from ambry.ml.photon.best_checks import (
    check_found,
    check_gram,
    check_products,
    check_response,
    checked_columns,
    free_columns,
    no_end,
)
from ambry.ml.photon.models import Task
from ambry.ml.photon.newton import by_newton
from ambry.ml.photon.objective import GlmSums
from ambry.ml.photon.solving import (
    IRLS_COLUMNS_MAX,
    LBFGS_GRADIENT_MAX,
    LBFGS_ITERATIONS_MAX,
    from_start,
    power_of_two,
)

TIGHTER_MAX = 3
"""Times that L-BFGS goes on, by a smaller bound."""
LITTLE = 0.01
"""Of the curvature that the bound is for: where a column has less, the bound is for that."""


class SumsOfRows(Protocol):
    """What rows say, wherever they lie."""

    def __call__(self, task: Task, means: Any, *, hessian: Any) -> GlmSums:
        """Over all rows. The task is that of the problem, or LINEAR, whose hessian is the weighted products of columns; over
        which of them it is, objective.sums_at says.
        """
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
    check_response(problem.task, len(free_columns(problem)), problem.lowest, problem.highest)
    if check:
        _check_free_columns(problem)
    unit = _unit(problem)
    scaled = _in_units(problem, unit)
    return unit * from_start(lambda start: _solved(scaled, start), scaled.start)


def _check_free_columns(problem: SummedProblem) -> None:
    """Raises InvalidRequest as check_gram and check_products do."""
    free, nothing = free_columns(problem), np.zeros(len(problem.l2))
    some = checked_columns(problem)
    if not len(free):
        return
    told = problem.sums(Task.LINEAR, nothing, hessian=some)
    if len(some):
        check_gram(told.hessian, some, problem.column_name)
        return

    def times(vector: Any) -> Any:
        means = nothing.copy()
        means[free] = vector
        return (problem.sums(Task.LINEAR, means, hessian=False).gradient - told.gradient)[free]

    check_products(times, told.curvature[free], free, problem.column_name)


def _unit(problem: SummedProblem) -> float:
    """What responses of a linear model are of the order of, less their offsets; others have 1."""
    if problem.task is not Task.LINEAR:
        return 1.0
    nothing = problem.sums(problem.task, np.zeros(len(problem.l2)), hessian=False).loss
    largest = max(abs(problem.lowest), abs(problem.highest))
    return power_of_two(math.sqrt(2 * nothing / problem.weight) if 1e-300 < nothing < math.inf else largest)


def _in_units(problem: SummedProblem, unit: float) -> SummedProblem:
    if unit == 1:
        return problem

    def sums(task: Task, means: Any, *, hessian: Any) -> GlmSums:
        return problem.sums(task, unit * means, hessian=hessian).in_units(unit)

    return replace(
        problem,
        sums=sums,
        l1=problem.l1 / unit,
        start=None if problem.start is None else problem.start / unit,
    )


def _solved(problem: SummedProblem, start: Any | None) -> Any:
    """Raises InvalidRequest."""
    columns = len(problem.l2)
    begin = np.zeros(columns) if start is None else start
    if columns <= IRLS_COLUMNS_MAX:
        any_l1 = bool((problem.l1 > 0).any())
        ended = by_newton(
            lambda means: problem.sums(problem.task, means, hessian=True),
            begin,
            problem.l2,
            problem.weight,
            l1=problem.l1 if any_l1 else None,
        )
        if ended is None:
            raise no_end(problem)
        if any_l1:
            check_found(problem, problem.sums(problem.task, ended[0], hessian=checked_columns(problem)), ended[0])
        return ended[0]
    found, gradient_max = begin, LBFGS_GRADIENT_MAX
    for _ in range(TIGHTER_MAX):
        found = _by_lbfgs(problem, found, gradient_max)
        sums = problem.sums(problem.task, found, hessian=checked_columns(problem))
        least = float((sums.curvature + problem.l2).min()) / problem.weight
        if not 0 < least < LITTLE * gradient_max / LBFGS_GRADIENT_MAX:
            break
        # By its bound, a column that tells little may be far off yet.
        gradient_max = LBFGS_GRADIENT_MAX * least
    check_found(problem, sums, found)
    return found


def _by_lbfgs(problem: SummedProblem, start: Any, gradient_max: float) -> Any:
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
            "gtol": gradient_max,
        },
    )
    return means_of(found.x)
