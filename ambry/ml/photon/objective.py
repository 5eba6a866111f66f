"""The objective of a generalised linear model as sums over rows, which are added up wherever the rows lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ambry.ml.photon.models import Task


@dataclass(frozen=True, slots=True)
class GlmSums:
    """Of some rows, at some coefficients, each row times its weight."""

    loss: float
    gradient: Any
    hessian: Any
    """None where it was not asked for."""
    furthest: float
    """By how much a mean differs from a response at most."""

    def __add__(self, other: GlmSums) -> GlmSums:
        """Of both. Floats depend on the order in which sums are added."""
        return GlmSums(
            self.loss + other.loss,
            self.gradient + other.gradient,
            None if self.hessian is None or other.hessian is None else self.hessian + other.hessian,
            max(self.furthest, other.furthest),
        )

    def with_penalty(self, means: Any, l2: Any) -> GlmSums:
        """And half of l2 times the squares of the coefficients."""
        return GlmSums(
            self.loss + 0.5 * float((l2 * means) @ means),
            self.gradient + l2 * means,
            None if self.hessian is None else self.hessian + np.diag(l2),
            self.furthest,
        )


def sums_at(
    task: Task, matrix: Any, response: Any, weight: Any, offset: Any, means: Any, *, hessian: bool = True
) -> GlmSums:
    """`matrix` is dense or CSR of scipy. What is beyond a float's range is inf or nan, without a word."""
    with np.errstate(all="ignore"):
        score = matrix @ means + offset
        mean = task.mean(score)
        away = mean - response
        square = None
        if hessian:
            curve = weight * task.curvature(mean)
            if isinstance(matrix, np.ndarray):
                square = (matrix * curve[:, None]).T @ matrix
            else:
                square = np.asarray((matrix.multiply(curve[:, None]).T @ matrix).todense())
        return GlmSums(
            loss=float(weight @ task.losses(score, response)),
            gradient=np.asarray(matrix.T @ (weight * away)),
            hessian=square,
            furthest=float(np.abs(away).max(initial=0.0)),
        )
