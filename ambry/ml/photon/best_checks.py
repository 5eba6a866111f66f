"""Whether a model has best coefficients, wherever its rows lie: what is refused, with what to do.

Columns without a penalty that others tell are looked for before anything is solved, by the square of all of them, or, of more
than 2,000, by products with it. What a solver found is looked at behind it: whether it is an end, and no endless way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ambry.errors import InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.photon.models import Task
from ambry.ml.photon.newton import conjugate_step
from ambry.ml.photon.objective import GlmSums

CHECKED_COLUMNS_MAX = 2_000
ACCEPTED_STEP = 1e-6
"""Of the coefficient, or 1: how far each may still be from its best, the others as they are."""
ENDLESS_STEP = 1e-4
"""Of each coefficient, or 1: a step of Newton's at the end, of the columns without a penalty. Where endless coefficients are
best, it is of order 1 wherever a solver stops.
"""
DEPENDENT = 1e-12
"""Of the square of a column, what is left when those before it are taken out."""
TO_DO = "say an l2 penalty, or a larger one, and look at features, responses and offsets of very different sizes"
PASSES_MAX = 5
"""Of conjugate gradients, each of which leaves a thousandth of the gradient."""
FOUND_AGAIN = 1e-6
"""What is left of a vector whose entries are of order 1, all together."""


class CheckedProblem(Protocol):
    """What is said of a problem, wherever its rows lie."""

    @property
    def task(self) -> Task:
        """What is modelled."""
        ...

    @property
    def l1(self) -> Any:
        """Of each column."""
        ...

    @property
    def l2(self) -> Any:
        """Of each column."""
        ...

    @property
    def column_name(self) -> Callable[[int], str]:
        """How an error calls a column."""
        ...


def check_response(task: Task, free: int, lowest: float, highest: float) -> None:
    """Raises InvalidRequest for a response that only endless coefficients would give, where `free` have no penalty."""
    if task is Task.LINEAR or not free:
        return
    if lowest == highest and (task is Task.LOGISTIC or lowest == 0):
        raise InvalidRequest(
            f"the response is {lowest:g} in every row, which no finite coefficients give without a penalty on all of them; "
            "take rows with both responses, or leave the intercept out and say l2"
        )


def check_gram(gram: Any, free: Any, column_name: Callable[[int], str]) -> None:
    """Raises InvalidRequest for a column without a penalty that is 0, or is told by others.

    `gram` are the weighted products of the columns `free` with each other.
    """
    size = np.sqrt(np.diagonal(gram))
    _check_sizes(size, free, column_name)
    _, triangle, order = needed("scipy.linalg").qr(gram / np.outer(size, size), pivoting=True)
    left = np.abs(np.diagonal(triangle))
    if left[-1] <= DEPENDENT * len(free):
        name = column_name(int(free[order[-1]]))
        raise InvalidRequest(
            f"{name} is told by the other features without a penalty (they are collinear, or one varies by some millionths of "
            "its size, whose mean is to be taken off), so that no coefficients are best; leave one out, or say l2"
        )


def check_products(times: Callable[[Any], Any], square: Any, free: Any, column_name: Callable[[int], str]) -> None:
    """The same, of more columns than one has a square of: `times` gives the product of it with a vector, `square` is its
    diagonal.

    A drawn vector is looked for again by its products (conjugate gradients): what is told by others is never found.
    """
    size = np.sqrt(square)
    _check_sizes(size, free, column_name)

    def scaled(vector: Any) -> Any:
        return times(vector / size) / size

    left = np.random.default_rng(0).standard_normal(len(size))
    gradient = scaled(left)
    enough = DEPENDENT * float(np.linalg.norm(gradient))
    for _ in range(PASSES_MAX):
        left = left - conjugate_step(gradient, np.ones(len(size)), scaled)
        if float(np.linalg.norm(left)) <= FOUND_AGAIN:
            return
        gradient = scaled(left)
        if float(np.linalg.norm(gradient)) <= enough:
            break
    name = column_name(int(free[int(np.argmax(np.abs(left)))]))
    raise InvalidRequest(
        f"{name} is told by the other features without a penalty, or so nearly that no coefficients can be found "
        f"({len(free):,} features have none); leave one out, or say a small l2"
    )


def _check_sizes(size: Any, free: Any, column_name: Callable[[int], str]) -> None:
    if not (size > 0).all():
        name = column_name(int(free[int(np.argmin(size > 0))]))
        raise InvalidRequest(f"{name} is 0 in every row with a weight, and has no penalty; leave it out, or say l2")


def check_found(problem: CheckedProblem, sums: GlmSums, found: Any) -> None:
    """Raises InvalidRequest for what a solver could not end.

    `sums` are those of all rows at `found`, without penalties, with the hessian over `checked_columns`. Columns, and responses
    of linear models, are of the order of 1.
    """
    l1, l2, free = problem.l1, problem.l2, checked_columns(problem)
    with np.errstate(all="ignore"):
        gradient = sums.gradient + l2 * found
        away = np.where(found != 0, np.abs(gradient + l1 * np.sign(found)), np.maximum(np.abs(gradient) - l1, 0.0))
        bound = (sums.curvature + l2) * ACCEPTED_STEP * np.maximum(1.0, np.abs(found))
        wrong = away > bound
        # A column with nothing but zeros left of its curvature, first.
        worst = int(np.argmax(np.where(wrong, away / np.maximum(bound, np.finfo(float).tiny), 0.0)))
    if not np.isfinite(found).all() or not np.isfinite(away).all():
        raise InvalidRequest(f"the solver came to no end; {TO_DO}")
    if problem.task is not Task.LINEAR and len(free):
        _check_endless(sums.hessian, gradient[free], found[free], lambda column: problem.column_name(int(free[column])))
    if wrong.any():
        raise InvalidRequest(f"the solver came to no end at {problem.column_name(worst)}; {TO_DO}")


def free_columns(problem: CheckedProblem) -> Any:
    """Those without a penalty."""
    return np.flatnonzero((problem.l1 == 0) & (problem.l2 == 0))


def checked_columns(problem: CheckedProblem) -> Any:
    """Those without a penalty, if they are few enough for a square of them."""
    free = free_columns(problem)
    return free if len(free) <= CHECKED_COLUMNS_MAX else free[:0]


def no_end(problem: CheckedProblem) -> InvalidRequest:
    """What is raised where Newton's method comes to no end."""
    if problem.task is not Task.LINEAR and ((problem.l1 == 0) & (problem.l2 == 0)).any():
        return InvalidRequest(
            "the solver came to no end: the features may tell the responses of some rows without an error, which only endless "
            f"coefficients do; {TO_DO}"
        )
    return InvalidRequest(f"the solver came to no end; {TO_DO}")


def endless(column_name: str) -> InvalidRequest:
    """What is raised where rows are told apart."""
    return InvalidRequest(
        "the features tell the responses of some rows without an error, which only endless coefficients do "
        f"(first of all {column_name}); say an l2 penalty, or leave it out"
    )


def _check_endless(hessian: Any, gradient: Any, found: Any, column_name: Callable[[int], str]) -> None:
    """Raises InvalidRequest where a step of Newton's still leads far away: each one would."""
    size = np.sqrt(np.diagonal(hessian))
    if not (size > 0).all():
        raise endless(column_name(int(np.argmin(size))))
    try:
        step = np.linalg.solve(hessian / np.outer(size, size), gradient / size) / size
    except np.linalg.LinAlgError:
        step = np.full(len(size), np.inf)
    if not (far := np.abs(step) / np.maximum(1.0, np.abs(found))).max() <= ENDLESS_STEP:
        raise endless(column_name(int(np.argmax(far))))
