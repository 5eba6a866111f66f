"""The objective of a generalised linear model as sums over rows, which are added up wherever the rows lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ambry.ml.photon.models import Task


def beyond_floats() -> np.errstate:
    """For what trains: what is beyond a float's range is inf or nan without a word of numpy's, and whatever comes out is looked
    at. As a context, or for a function.
    """
    return np.errstate(over="ignore", invalid="ignore", divide="ignore")


@dataclass(frozen=True, slots=True)
class GlmSums:
    """Of some rows, at some coefficients, each row times its weight."""

    loss: float
    gradient: Any
    hessian: Any
    """Over the columns that it was asked for; None where it was for none."""
    curvature: Any
    """The diagonal of the hessian, over all columns; None where no hessian was asked for."""

    def __add__(self, other: GlmSums) -> GlmSums:
        """Of both. Floats depend on the order in which sums are added."""
        return GlmSums(
            self.loss + other.loss,
            self.gradient + other.gradient,
            None if self.hessian is None or other.hessian is None else self.hessian + other.hessian,
            None if self.curvature is None or other.curvature is None else self.curvature + other.curvature,
        )

    def with_penalty(self, means: Any, l2: Any) -> GlmSums:
        """And half of l2 times the squares of the coefficients. A hessian is over all columns, or over such without l2."""
        whole = self.hessian is not None and len(self.hessian) == len(l2)
        return GlmSums(
            self.loss + 0.5 * float((l2 * means) @ means),
            self.gradient + l2 * means,
            self.hessian + np.diag(l2) if whole else self.hessian,
            None if self.curvature is None else self.curvature + l2,
        )

    def in_units(self, unit: float) -> GlmSums:
        """Of a linear model, where responses, offsets and coefficients are divided by `unit`."""
        return GlmSums(self.loss / unit / unit, self.gradient / unit, self.hessian, self.curvature)


def weighted_square(matrix: Any, weight: Any) -> Any:
    """The products of all pairs of columns, each row times its weight, dense. `matrix` is dense or sparse of scipy."""
    if isinstance(matrix, np.ndarray):
        return (matrix * weight[:, None]).T @ matrix
    return np.asarray((matrix.multiply(weight[:, None]).T @ matrix).todense())


def sums_at(
    task: Task, matrix: Any, response: Any, weight: Any, offset: Any, means: Any, *, hessian: Any = True
) -> GlmSums:
    """`matrix` is dense or CSR of scipy. The hessian is over all columns, none (False), or those of an array.

    What is beyond a float's range is inf or nan, without a word.
    """
    with np.errstate(all="ignore"):
        score = matrix @ means + offset
        mean = task.mean(score)
        away = mean - response
        square = diagonal = None
        if hessian is not False:
            curve = weight * task.curvature(mean)
            whole = hessian is True
            if not whole and not len(hessian):
                square = np.zeros((0, 0))
            else:
                square = weighted_square(matrix if whole else matrix[:, hessian], curve)
            if whole:
                diagonal = np.diagonal(square).copy()
            else:
                diagonal = curve @ (matrix**2 if isinstance(matrix, np.ndarray) else matrix.multiply(matrix).tocsr())
        return GlmSums(
            loss=float(weight @ task.losses(score, response)),
            gradient=np.asarray(matrix.T @ (weight * away)),
            hessian=square,
            curvature=diagonal,
        )
