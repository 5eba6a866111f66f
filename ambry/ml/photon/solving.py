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
    _check_response(problem, blocks)
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
    matrix = _tabmat(blocks)
    try:
        with _one_thread(), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            model.fit(matrix, problem.response, sample_weight=problem.weight, offset=problem.offset)
        found = np.asarray(model.coef_, dtype=np.float64)
    except (np.linalg.LinAlgError, ValueError, FloatingPointError) as error:
        raise InvalidRequest(f"the model has no best coefficients ({_short(error)}); {_TO_DO}") from error
    if not by_lbfgs and not any_l1:
        found = _polished(problem, blocks, found)
    _check_found(problem, matrix, found, per_weight)
    return found


_TO_DO = "say an l2 penalty, and look at features of very different sizes"


def _check_response(problem: GlmProblem, blocks: list[Any]) -> None:
    """Raises InvalidRequest for a response that only endless coefficients would give."""
    if problem.task is Task.LINEAR or not len(problem.free):
        return
    told = problem.response[problem.weight > 0]
    value = told[0]
    if (told == value).all() and (problem.task is Task.LOGISTIC or value == 0):
        raise InvalidRequest(
            f"the response is {value:g} in every row, which no finite coefficients give without a penalty on all of them; take "
            "rows with both responses, or leave the intercept out and say l2"
        )


def _check_free_columns(problem: GlmProblem, blocks: list[Any]) -> None:
    """Raises InvalidRequest for a column without a penalty that is 0, or is told by others."""
    free = problem.free
    if not len(free) or len(free) > CHECKED_COLUMNS_MAX:
        return
    sparse = needed("scipy.sparse")
    matrix = (blocks[0] if len(blocks) == 1 else sparse.hstack(blocks)).tocsc()[:, free]
    gram = np.asarray((matrix.multiply(problem.weight[:, None]).T @ matrix).todense())
    size = np.sqrt(np.diagonal(gram))
    if not (size > 0).all():
        name = problem.column_name(int(free[int(np.argmin(size > 0))]))
        raise InvalidRequest(f"{name} is 0 in every row with a weight, and has no penalty; leave it out, or say l2")
    _, triangle, order = needed("scipy.linalg").qr(gram / np.outer(size, size), pivoting=True)
    left = np.abs(np.diagonal(triangle))
    if left[-1] <= DEPENDENT * len(free):
        name = problem.column_name(int(free[order[-1]]))
        raise InvalidRequest(
            f"{name} is told by the other features without a penalty (they are collinear), so that no coefficients are best; "
            "leave one out, or say l2"
        )


def _polished(problem: GlmProblem, blocks: list[Any], found: Any) -> Any:
    """After one step more of Newton's: glum stops where the loss, and not yet its gradient, has no further digit."""
    matrix = (blocks[0] if len(blocks) == 1 else needed("scipy.sparse").hstack(blocks)).tocsr()
    with np.errstate(all="ignore"):
        mean = problem.task.mean(matrix @ found + problem.offset)
        gradient = matrix.T @ (problem.weight * (mean - problem.response)) + problem.l2 * found
        curve = problem.weight * problem.task.curvature(mean)
        hessian = np.asarray((matrix.multiply(curve[:, None]).T @ matrix).todense()) + np.diag(problem.l2)
    try:
        step = np.linalg.solve(hessian, gradient)
    except np.linalg.LinAlgError:
        return found
    return found - step if np.isfinite(step).all() else found


def _check_found(problem: GlmProblem, matrix: Any, found: Any, per_weight: float) -> None:
    """Raises InvalidRequest for what the solver could not end."""
    with np.errstate(all="ignore"):
        score = np.asarray(matrix.matvec(found)) + problem.offset
        mean = problem.task.mean(score)
        gradient = np.asarray(matrix.transpose_matvec(problem.weight * (mean - problem.response))) + problem.l2 * found
        away = np.where(found != 0, np.abs(gradient + problem.l1 * np.sign(found)), np.abs(gradient) - problem.l1)
        worst = per_weight * float(away.max(initial=0.0))
    if problem.task is Task.LOGISTIC and len(problem.free) and np.abs(mean - problem.response).max() < 1e-7:
        raise InvalidRequest(
            "the features tell every response without an error, which only endless coefficients do; say an l2 penalty"
        )
    size = max(1.0, float(np.abs(problem.response).max(initial=0.0)))
    if not np.isfinite(found).all() or not worst <= ACCEPTED_GRADIENT * size:
        raise InvalidRequest(f"the solver came to no end (the gradient is still {worst:.1e}); {_TO_DO}")


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
