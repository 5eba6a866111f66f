"""One penalised generalised linear model, by glum: the one solver of fixed effects, and of whole models at once.

Up to 500 columns by iteratively reweighted least squares, which ends with steps of Newton's: glum stops where the loss has no
further digit, or by a bound of its own. More by steps of Newton's alone, by conjugate gradients, which keep no square of the
columns, and by which an entity with few rows counts as much as what all rows tell: 300,000 of one row each take 10 s on two
cores, and glum's L-BFGS, which is asked where they come to no end, more than a minute for 2,000. With an L1 penalty, where no
more than 500 columns are there in the end (some_columns.py), by steps of Newton's alone, each of which ends by the signs of
coefficients (signs.py), and otherwise by coordinate descent, whose end is the same way's. Responses of linear models are
brought to the order of 1, as columns are, so that no bound depends on the unit of either. What has no best coefficients is
refused with what to do (best_checks.py).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ambry.errors import InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.photon.best_checks import (
    TO_DO,
    check_found,
    check_gram,
    check_products,
    check_response,
    checked_columns,
    free_columns,
    no_end,
)
from ambry.ml.photon.models import Task
from ambry.ml.photon.newton import by_newton, conjugate_step, working_start
from ambry.ml.photon.objective import GlmSums, sums_at, weighted_square
from ambry.ml.photon.some_columns import by_some_columns

IRLS_COLUMNS_MAX = 500
GRADIENT_MAX = 1e-11
"""At the end, of the mean loss by a coefficient of a feature of order 1."""
LBFGS_GRADIENT_MAX = 1e-9
POLISHED_GRADIENT_MAX = 1e-6
"""Where steps of Newton's follow, which are cheaper than the last ones of L-BFGS, and lead further."""
ITERATIONS_MAX = 300
LBFGS_ITERATIONS_MAX = 10_000
DENSE_FROM = 0.3
"""Of the cells of a matrix, those that are not 0."""

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
    tell: Callable[[float], object] | None = None
    """Hears of each pass over the rows: the loss, without penalties."""

    @property
    def free(self) -> Any:
        """Columns without a penalty."""
        return free_columns(self)

    def in_units(self, unit: float) -> GlmProblem:
        """Of a linear model, with responses, offsets and coefficients divided by `unit`."""
        if unit == 1:
            return self
        start = None if self.start is None else self.start / unit
        told = self.tell
        tell = None if told is None else lambda loss: told(loss * unit * unit)
        return replace(
            self, response=self.response / unit, offset=self.offset / unit, l1=self.l1 / unit, start=start, tell=tell
        )


def solve(problem: GlmProblem) -> Any:
    """The best coefficients. Raises InvalidRequest where there are none: columns that others tell, a response that is the same
    in all rows, rows that are told apart without an error.
    """
    blocks = problem.matrix if isinstance(problem.matrix, list) else [problem.matrix]
    matrix = _side_by_side(blocks)
    told = problem.response[problem.weight > 0]
    check_response(problem.task, len(problem.free), told.min(), told.max())
    _check_free_columns(problem, matrix)
    unit = unit_of(problem.task, problem.response, problem.weight, problem.offset)
    scaled, columns = problem.in_units(unit), _tabmat(blocks)
    return unit * from_start(lambda start: _solved(scaled, columns, matrix, start), scaled.start)


def unit_of(task: Task, response: Any, weight: Any, offset: Any) -> float:
    """What responses of a linear model are of the order of: a power of two, so that nothing is rounded. Others have 1."""
    if task is not Task.LINEAR:
        return 1.0
    away = np.abs(np.where(weight > 0, response - offset, 0.0))
    largest = float(away.max(initial=0.0))
    if not 0 < largest < math.inf:
        return 1.0
    return power_of_two(largest * math.sqrt(float(weight @ (away / largest) ** 2) / float(weight.sum())))


def power_of_two(size: float) -> float:
    """The one next to it; 1 for what is 0, or beyond a float's range."""
    return 2.0 ** max(-1_000, round(math.log2(size))) if 0 < size < math.inf else 1.0


def from_start(solved: Callable[[Any | None], Any], start: Any | None) -> Any:
    """What a solver finds: where it comes to no end from a start, from nothing. Raises InvalidRequest."""
    if start is not None:
        try:
            return solved(start)
        except InvalidRequest:
            pass
    return solved(None)


def _check_free_columns(problem: GlmProblem, matrix: Any) -> None:
    """Raises InvalidRequest as check_gram and check_products do."""
    free = problem.free
    if not len(free):
        return
    columns = matrix.tocsc()[:, free]
    if len(checked_columns(problem)):
        check_gram(weighted_square(columns, problem.weight), free, problem.column_name)
        return
    rows, turned = columns.tocsr(), columns.T.tocsr()
    square = columns.multiply(columns).T @ problem.weight
    check_products(lambda vector: turned @ (problem.weight * (rows @ vector)), square, free, problem.column_name)


def _solved(problem: GlmProblem, columns: Any, matrix: Any, start: Any | None) -> Any:
    """Raises InvalidRequest."""
    any_l1 = bool((problem.l1 > 0).any())
    weight = float(problem.weight.sum())
    if any_l1 and matrix.shape[1] <= IRLS_COLUMNS_MAX:
        return _by_signs(problem, matrix, start, weight)
    if any_l1 and (found := _by_some_columns(problem, matrix, start, weight)) is not None:
        check_found(problem, _sums(problem, matrix, found, hessian=checked_columns(problem)), found)
        return found
    wide = matrix.shape[1] > IRLS_COLUMNS_MAX and not any_l1
    if wide and (found := _by_conjugate_steps(problem, matrix, start, weight)) is not None:
        return found
    # The mean of losses, and penalties by the same.
    glum = needed("glum")
    model = glum.GeneralizedLinearRegressor(
        family=_FAMILIES[problem.task],
        alpha=(2 if any_l1 else 1) / weight,
        l1_ratio=0.5 if any_l1 else 0.0,
        P1=problem.l1 if any_l1 else None,
        P2=problem.l2,
        fit_intercept=False,
        solver="irls-cd" if any_l1 else "lbfgs" if wide else "irls-ls",
        max_iter=LBFGS_ITERATIONS_MAX if wide else ITERATIONS_MAX,
        gradient_tol=POLISHED_GRADIENT_MAX if wide else GRADIENT_MAX,
        start_params=start,
        check_input=False,
        copy_X=False,
    )
    nothing = np.zeros(matrix.shape[1])
    try:
        with _one_thread(), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            model.fit(columns, problem.response, sample_weight=problem.weight, offset=problem.offset)
        found = np.asarray(model.coef_, dtype=np.float64)
    except (np.linalg.LinAlgError, ValueError, FloatingPointError) as error:
        if any_l1:
            told = " ".join(str(error).split())[:200] or type(error).__name__
            raise InvalidRequest(f"the model has no best coefficients ({told}); {TO_DO}") from error
        found = nothing
    if not any_l1:
        ended = _polished(problem, matrix, found, weight, wide)
        if ended is None and not wide and found.any():
            ended = _polished(problem, matrix, nothing, weight, wide)
        if ended is None and not wide and problem.task is Task.POISSON:
            begin = working_start(matrix, problem.response, problem.weight, problem.offset, problem.l2)
            ended = None if begin is None else _polished(problem, matrix, begin, weight, wide)
        if ended is not None and not wide:
            return ended
        if ended is None and not found.any():
            raise no_end(problem)
        found = found if ended is None else ended
    else:
        found = _ended_by_signs(problem, matrix, found, weight)
    check_found(problem, _sums(problem, matrix, found, hessian=checked_columns(problem)), found)
    return found


def _by_conjugate_steps(problem: GlmProblem, matrix: Any, start: Any | None, weight: float) -> Any | None:
    """None where these steps come to no end, or to none that is the best."""
    found = _polished(problem, matrix, np.zeros(matrix.shape[1]) if start is None else start, weight, wide=True)
    if found is None:
        return None
    try:
        check_found(problem, _sums(problem, matrix, found, hessian=checked_columns(problem)), found)
    except InvalidRequest:
        return None
    return found


def _by_signs(problem: GlmProblem, matrix: Any, start: Any | None, weight: float) -> Any:
    """Where there is an L1 penalty. Raises InvalidRequest."""
    some = np.arange(matrix.shape[1])
    found = _newton_by_signs(problem, matrix, some, np.zeros(len(some)) if start is None else start, weight)
    if found is None and start is None and problem.task is Task.POISSON:
        begin = working_start(matrix, problem.response, problem.weight, problem.offset, problem.l2)
        found = None if begin is None else _newton_by_signs(problem, matrix, some, begin, weight)
    if found is None:
        raise no_end(problem)
    check_found(problem, _sums(problem, matrix, found, hessian=checked_columns(problem)), found)
    return found


def _by_some_columns(problem: GlmProblem, matrix: Any, start: Any | None, weight: float) -> Any | None:
    columns = matrix.tocsc()

    def slope(means: Any) -> Any:
        return _sums(problem, matrix, means, hessian=False).gradient + problem.l2 * means

    def best(some: Any, begin: Any) -> Any | None:
        return _newton_by_signs(problem, columns[:, some].tocsr(), some, begin, weight)

    begin = np.zeros(matrix.shape[1]) if start is None else start
    return by_some_columns(slope, best, begin, problem.l1, IRLS_COLUMNS_MAX)


def _newton_by_signs(problem: GlmProblem, rows: Any, some: Any, begin: Any, weight: float) -> Any | None:
    """Over some columns, whose rows these are."""
    rows = rows.toarray() if mostly_there(rows) else rows
    ended = by_newton(
        lambda means: _sums(problem, rows, means, hessian=True), begin, problem.l2[some], weight, l1=problem.l1[some]
    )
    return None if ended is None else ended[0]


def _ended_by_signs(problem: GlmProblem, matrix: Any, found: Any, weight: float) -> Any:
    """What is there goes on to its end, if it is few enough for a square: coordinate descent ends far off where columns tell
    nearly the same.
    """
    there = np.flatnonzero((found != 0) | (problem.l1 == 0))
    if not 0 < len(there) <= IRLS_COLUMNS_MAX:
        return found
    ended = _newton_by_signs(problem, matrix.tocsc()[:, there].tocsr(), there, found[there], weight)
    if ended is not None:
        found[there] = ended
    return found


def _polished(problem: GlmProblem, matrix: Any, start: Any, weight: float, wide: bool) -> Any | None:
    """After steps of Newton's, one of which is enough behind most that glum finds. None where they come to no end."""
    if not np.isfinite(start).all():
        return None

    def conjugate(means: Any, here: GlmSums) -> Any:
        mean = problem.task.mean(matrix @ means + problem.offset)
        curve = problem.weight * problem.task.curvature(mean)
        return conjugate_step(
            here.gradient, here.curvature, lambda vector: matrix.T @ (curve * (matrix @ vector)) + problem.l2 * vector
        )

    columns: Any = np.zeros(0, dtype=np.int64) if wide else True
    ended = by_newton(
        lambda means: _sums(problem, matrix, means, hessian=columns),
        start,
        problem.l2,
        weight,
        conjugate if wide else None,
    )
    return None if ended is None else ended[0]


def _sums(problem: GlmProblem, matrix: Any, found: Any, *, hessian: Any) -> GlmSums:
    sums = sums_at(problem.task, matrix, problem.response, problem.weight, problem.offset, found, hessian=hessian)
    if problem.tell is not None:
        problem.tell(sums.loss)
    return sums


def _side_by_side(blocks: list[Any]) -> Any:
    return (blocks[0] if len(blocks) == 1 else needed("scipy.sparse").hstack(blocks)).tocsr()


def mostly_there(block: Any) -> bool:
    """Whether it costs less as a dense one."""
    return bool(block.nnz >= DENSE_FROM * block.shape[0] * block.shape[1] and block.shape[1] <= IRLS_COLUMNS_MAX)


def _tabmat(blocks: list[Any]) -> Any:
    """What is mostly there, dense; the rest sparse."""
    tabmat = needed("tabmat")
    made = []
    for block in blocks:
        if mostly_there(block):
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
