"""Means and sums of squares of many columns, added up a piece of rows at a time.

Chan, Golub and LeVeque (1983), "Algorithms for computing the sample variance": those of pieces add up without the loss that a
difference of squares has.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class RunningMoments:
    """Of each of `width` columns: how many values there were, their mean, and their squares around it. numpy arrays."""

    def __init__(self, width: int) -> None:
        self.count: Any = np.zeros(width, dtype=np.int64)
        self.mean: Any = np.zeros(width)
        self.squares: Any = np.zeros(width)

    def add(self, values: Any, there: Any) -> None:
        """Rows of columns; `there` says what is a value, and what is none is 0. What is beyond a float becomes infinite."""
        count = there.sum(axis=0)
        total = self.count + count
        with np.errstate(over="ignore", invalid="ignore"):
            mean = values.sum(axis=0) / np.maximum(count, 1)
            around = np.where(there, values - mean, 0.0)
            apart = mean - self.mean
            part = count / np.maximum(total, 1)
            self.squares = self.squares + np.einsum("ij,ij->j", around, around) + apart**2 * self.count * part
            self.mean = self.mean + apart * part
        self.count = total

    @property
    def variance(self) -> Any:
        """Of each column as of a sample; 0 of one value or none."""
        return self.squares / np.maximum(self.count - 1, 1)
