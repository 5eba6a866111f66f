"""How the columns of an effect are scaled, from moments that are added up wherever the rows lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ambry.ml.extras import needed


@dataclass(frozen=True, slots=True)
class ColumnMoments:
    """Of the columns of some rows."""

    rows: int
    largest: Any
    """Of the sizes; 0 where there is nothing."""
    power: Any
    """The sum of squares, of values divided by the largest, so that no square is out of a float's range."""
    mean: Any
    squares: Any
    """The sum of squares around the mean, which a difference of squares would lose."""

    @classmethod
    def of(cls, matrix: Any) -> ColumnMoments:
        """Of a CSR matrix."""
        rows = matrix.shape[0]
        if not rows:
            nothing = np.zeros(matrix.shape[1])
            return cls(0, nothing, nothing, nothing, nothing)
        largest = abs(matrix).max(axis=0).toarray().ravel()
        relative = matrix @ diagonal(1 / np.where(largest > 0, largest, 1.0))
        mean = np.asarray(matrix.mean(axis=0)).ravel()
        columns = matrix.tocsc()
        away = columns.copy()
        # Of what is stored, and of the zeros that are not.
        stored = np.diff(columns.indptr)
        with np.errstate(over="ignore", invalid="ignore"):
            away.data = (columns.data - np.repeat(mean, stored)) ** 2
            squares = np.asarray(away.sum(axis=0)).ravel() + (rows - stored) * mean**2
        return cls(rows, largest, np.asarray(relative.multiply(relative).sum(axis=0)).ravel(), mean, squares)

    def __add__(self, other: ColumnMoments) -> ColumnMoments:
        """Of both."""
        rows = self.rows + other.rows
        if not self.rows or not other.rows:
            return self if self.rows else other
        largest = np.maximum(self.largest, other.largest)
        most = np.where(largest > 0, largest, 1.0)
        apart = other.mean - self.mean
        with np.errstate(over="ignore", invalid="ignore"):
            return ColumnMoments(
                rows,
                largest,
                self.power * (self.largest / most) ** 2 + other.power * (other.largest / most) ** 2,
                self.mean + apart * (other.rows / rows),
                self.squares + other.squares + apart**2 * (self.rows * other.rows / rows),
            )

    @property
    def root_mean_square(self) -> Any:
        """1 where there is nothing."""
        found = np.sqrt(self.power / max(self.rows, 1))
        return np.where(found > 0, found * self.largest, 1.0)

    @property
    def deviation(self) -> Any:
        """The standard deviation; 0 for columns that are the same in every row."""
        found = np.sqrt(self.squares / max(self.rows - 1, 1))
        return np.where(found < 1e-12 * np.abs(self.mean), 0.0, found)


def diagonal(values: Any) -> Any:
    """A square matrix, CSR."""
    return needed("scipy.sparse").diags_array(values).tocsr()
