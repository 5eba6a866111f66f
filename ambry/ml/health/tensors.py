"""The cells of a dense feature, each a column of its own: `name[3]` is the fourth of a row, in the order of C.

All cells together hide what one of them does: of 31 one can move by ten deviations, or all change places. Rows are kept by a
hash of their numbers, whole, so that memory is bounded by how many cells are kept, whatever their number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from ambry.ml.experiments.assignment import places_of, salt_of
from ambry.ml.moments import RunningMoments

CELLS_APART_MAX = 1_000
"""Of wider features all cells are summarised together."""
KEPT_CELLS = 4_000_000
"""That are kept of all features of a table which are told apart, 8 bytes each, and at times twice as many."""
KEPT_ROWS_MIN = 1_000
"""That are kept however many cells there are."""
_PIECE_CELLS = 1 << 18


def width_of(field: Any) -> int:
    """How many cells a row of a column has; 0 where that is not fixed, or where they are no numbers."""
    kind = field.type
    if isinstance(kind, pa.FixedShapeTensorType):
        width, value = math.prod(kind.shape), kind.value_type
    elif pa.types.is_fixed_size_list(kind):
        width, value = kind.list_size, kind.value_type
    else:
        return 0
    is_number = pa.types.is_integer(value) or pa.types.is_floating(value) or pa.types.is_boolean(value)
    return width if is_number else 0


def matrix_of(column: Any, width: int) -> Any:
    """The rows that are there, as float64; what is missing in them is NaN."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    flat = column.flatten()
    if pa.types.is_boolean(flat.type):
        flat = flat.cast(pa.uint8())
    return flat.to_numpy(zero_copy_only=False).astype(np.float64, copy=False).reshape(-1, width)


class TensorSketch:
    """What was seen of each cell of a feature so far."""

    def __init__(self, name: str, width: int, rows_max: int) -> None:
        self._salt = salt_of(name)
        self._rows_max = rows_max
        self._rows = self._missing_rows = 0
        self._moments = RunningMoments(width)
        self._nonzero: Any = np.zeros(width, dtype=np.int64)
        self._minimum: Any = np.full(width, np.inf)
        self._maximum: Any = np.full(width, -np.inf)
        self._kept: Any = np.empty((0, width))
        self._places: Any = np.empty(0)

    def add(self, column: Any) -> None:
        """A piece of the column."""
        width = len(self._nonzero)
        self._missing_rows += column.null_count
        step = max(1, _PIECE_CELLS // width)
        for begin in range(0, len(column), step):
            self._add(matrix_of(column[begin : begin + step], width))

    def _add(self, matrix: Any) -> None:
        if not len(matrix):
            return
        there = np.isfinite(matrix)
        values = np.where(there, matrix, 0.0)
        self._moments.add(values, there)
        self._nonzero += (values != 0).sum(axis=0)
        self._minimum = np.minimum(self._minimum, np.where(there, matrix, np.inf).min(axis=0))
        self._maximum = np.maximum(self._maximum, np.where(there, matrix, -np.inf).max(axis=0))
        places = places_of(self._salt, np.arange(self._rows, self._rows + len(matrix)))
        self._rows += len(matrix)
        if self._rows > self._rows_max and len(self._places) >= self._rows_max:
            # Of those that come, what is kept anyway is not copied.
            chosen = places < self._places.max()
            matrix, places = matrix[chosen], places[chosen]
        self._kept, self._places = np.concatenate([self._kept, matrix]), np.concatenate([self._places, places])
        if len(self._places) > 2 * self._rows_max:
            self._thin()

    def _thin(self) -> None:
        if len(self._places) > self._rows_max:
            chosen = np.argpartition(self._places, self._rows_max)[: self._rows_max]
            self._kept, self._places = self._kept[chosen], self._places[chosen]

    def cells(self) -> Iterator[dict[str, Any]]:
        """Of each cell what its summary has, of which `sample` is sorted."""
        self._thin()
        moments, variances = self._moments, self._moments.variance
        for place, count in enumerate(moments.count.tolist()):
            column = self._kept[:, place]
            # What is beyond a float is None in the summary.
            mean, variance = float(moments.mean[place]), float(variances[place])
            told: dict[str, Any] = {
                "count": count,
                "missing": self._missing_rows + self._rows - count,
                "nonzero": int(self._nonzero[place]),
                "sample": np.sort(column[np.isfinite(column)]),
            }
            if count:
                told |= {
                    "mean": mean if math.isfinite(mean) else None,
                    "variance": variance if math.isfinite(variance) else None,
                    "minimum": float(self._minimum[place]),
                    "maximum": float(self._maximum[place]),
                }
            yield told
