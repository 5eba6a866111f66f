"""One penalised generalised linear model, by glum: the one solver of fixed effects, and of whole models at once.

Up to 500 columns by iteratively reweighted least squares, by coordinate descent where there is an L1 penalty; more by L-BFGS,
which keeps no square of the columns. What has no best coefficients is refused with what to do about it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np

from ambry.errors import InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.photon.models import Task
from ambry.ml.photon.objective import GlmSums, sums_at

IRLS_COLUMNS_MAX = 500
CHECKED_COLUMNS_MAX = 2_000
GRADIENT_MAX = 1e-11
"""At the end, of the mean loss by a coefficient of a feature of order 1."""
LBFGS_GRADIENT_MAX = 1e-9
ACCEPTED_GRADIENT = 1e-5
ITERATIONS_MAX = 300
LBFGS_ITERATIONS_MAX = 10_000
DEPENDENT = 1e-12
"""Of the square of a column, what is left when those before it are taken out."""

_FAMILIES = {Task.LINEAR: "normal", Task.LOGISTIC: "binomial", Task.POISSON: "poisson"}


@dataclass(frozen=True, slots=True, kw_only=True)
class GlmProblem:
    """Rows, penalties, and how an error calls a column."""

    task: Task
    matrix: Any
    """CSR of scipy, or a list of them that lie beside each other."""
    response: Any
    weight: Any
    offset: Any
    l1: Any
    l2: Any
    column_name: Callable[[int], str]
    start: Any | None = None

    @property
    def free(self) -> Any:
        """Columns without a penalty."""
        return np.flatnonzero((self.l1 == 0) & (self.l2 == 0))


def solve(problem: GlmProblem) -> Any:
    """The best coefficients. Raises InvalidRequest where there are none: columns that others tell, a response that is the same
    in all rows, rows that are told apart without an error.
    """
    blocks = problem.matrix if isinstance(problem.matrix, list) else [problem.matrix]
    columns = sum(block.shape[1] for block in blocks)
    told = problem.response[problem.weight > 0]
    check_response(problem.task, len(problem.free), told.min(), told.max())
    _check_free_columns(problem, blocks)
    any_l1 = bool((problem.l1 > 0).any())
    by_lbfgs = columns > IRLS_COLUMNS_MAX and not any_l1
    # The mean of losses, and penalties by the same.
    per_weight = 1.0 / float(problem.weight.sum())
    glum = needed("glum")
    model = glum.GeneralizedLinearRegressor(
        family=_FAMILIES[problem.task],
        alpha=2 * per_weight if any_l1 else per_weight,
        l1_ratio=0.5 if any_l1 else 0.0,
        P1=problem.l1 if any_l1 else None,
        P2=problem.l2,
        fit_intercept=False,
        solver="irls-cd" if any_l1 else "lbfgs" if by_lbfgs else "irls-ls",
        max_iter=LBFGS_ITERATIONS_MAX if by_lbfgs else ITERATIONS_MAX,
        gradient_tol=LBFGS_GRADIENT_MAX if by_lbfgs else GRADIENT_MAX,
        start_params=problem.start,
        check_input=False,
        copy_X=False,
    )
    try:
        with _one_thread(), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            model.fit(_tabmat(blocks), problem.response, sample_weight=problem.weight, offset=problem.offset)
        found = np.asarray(model.coef_, dtype=np.float64)
    except (np.linalg.LinAlgError, ValueError, FloatingPointError) as error:
        raise InvalidRequest(f"the model has no best coefficients ({_short(error)}); {TO_DO}") from error
    matrix = _side_by_side(blocks)
    if not by_lbfgs and not any_l1:
        found = _polished(problem, matrix, found)
    check_found(
        problem.task,
        _sums(problem, matrix, found, hessian=False),
        found,
        l1=problem.l1,
        l2=problem.l2,
        weight=float(problem.weight.sum()),
        largest=float(np.abs(problem.response).max(initial=0.0)),
    )
    return found


TO_DO = "say an l2 penalty, and look at features of very different sizes"


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
    if not (size > 0).all():
        name = column_name(int(free[int(np.argmin(size > 0))]))
        raise InvalidRequest(f"{name} is 0 in every row with a weight, and has no penalty; leave it out, or say l2")
    _, triangle, order = needed("scipy.linalg").qr(gram / np.outer(size, size), pivoting=True)
    left = np.abs(np.diagonal(triangle))
    if left[-1] <= DEPENDENT * len(free):
        name = column_name(int(free[order[-1]]))
        raise InvalidRequest(
            f"{name} is told by the other features without a penalty (they are collinear), so that no coefficients are best; "
            "leave one out, or say l2"
        )


def check_found(task: Task, sums: GlmSums, found: Any, *, l1: Any, l2: Any, weight: float, largest: float) -> None:
    """Raises InvalidRequest for what a solver could not end.

    `sums` are those of all rows at `found`, without penalties; `weight` that of all, `largest` the size of their responses.
    """
    with np.errstate(all="ignore"):
        gradient = sums.with_penalty(found, l2).gradient
        away = np.where(found != 0, np.abs(gradient + l1 * np.sign(found)), np.abs(gradient) - l1)
        worst = float(away.max(initial=0.0)) / weight
    if task is Task.LOGISTIC and ((l1 == 0) & (l2 == 0)).any() and sums.furthest < 1e-7:
        raise InvalidRequest(
            "the features tell every response without an error, which only endless coefficients do; say an l2 penalty"
        )
    if not np.isfinite(found).all() or not worst <= ACCEPTED_GRADIENT * max(1.0, largest):
        raise InvalidRequest(f"the solver came to no end (the gradient is still {worst:.1e}); {TO_DO}")


def _check_free_columns(problem: GlmProblem, blocks: list[Any]) -> None:
    """Raises InvalidRequest as check_gram does."""
    free = problem.free
    if not len(free) or len(free) > CHECKED_COLUMNS_MAX:
        return
    matrix = _side_by_side(blocks).tocsc()[:, free]
    gram = np.asarray((matrix.multiply(problem.weight[:, None]).T @ matrix).todense())
    check_gram(gram, free, problem.column_name)


def _polished(problem: GlmProblem, matrix: Any, found: Any) -> Any:
    """After one step more of Newton's: glum stops where the loss, and not yet its gradient, has no further digit."""
    sums = _sums(problem, matrix, found, hessian=True).with_penalty(found, problem.l2)
    try:
        step = np.linalg.solve(sums.hessian, sums.gradient)
    except np.linalg.LinAlgError:
        return found
    return found - step if np.isfinite(step).all() else found


def _sums(problem: GlmProblem, matrix: Any, found: Any, *, hessian: bool) -> GlmSums:
    return sums_at(problem.task, matrix, problem.response, problem.weight, problem.offset, found, hessian=hessian)


def _side_by_side(blocks: list[Any]) -> Any:
    return (blocks[0] if len(blocks) == 1 else needed("scipy.sparse").hstack(blocks)).tocsr()


def _tabmat(blocks: list[Any]) -> Any:
    """What is mostly there, dense; the rest sparse."""
    tabmat = needed("tabmat")
    made = []
    for block in blocks:
        dense = block.nnz >= 0.3 * block.shape[0] * block.shape[1] and block.shape[1] <= IRLS_COLUMNS_MAX
        if dense:
            made.append(tabmat.DenseMatrix(np.asfortranarray(block.toarray())))
        else:
            made.append(tabmat.SparseMatrix(block.tocsc()))
    return made[0] if len(made) == 1 else tabmat.SplitMatrix(made)


def _one_thread() -> AbstractContextManager[Any]:
    """Threads of tabmat and BLAS wait for each other in loops: on 2 busy cores one was 60 times as fast for 1,200 columns, and
    14 times for 200,000 rows.
    """
    limits: AbstractContextManager[Any] = needed("threadpoolctl").threadpool_limits(1)
    return limits


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
