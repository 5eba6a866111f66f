"""What a service sees of its inputs, beside what its model was trained on: running means and deviations, in constant memory.

The training side is what the manifest says under `params["inputs"]`: {"mean": [...], "std": [...]}, one number for each column.
Welford, 1962, merged by whole batches (Chan, Golub and LeVeque, 1983).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

COLUMNS_MAX = 1_000
"""Columns beyond are not looked at."""
LARGEST = 1e100
"""A value beyond is missing: its square, and many of them, are still numbers."""
DEVIATIONS_MAX = 1_000.0
"""A value further from the mean of training counts as one so far away, so that the mean finds its way back."""


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """One column since the model was loaded.

    `shift` is how many deviations of training its mean has moved; None where nothing is known of training.
    """

    column: int
    rows: int
    missing: int
    mean: float
    std: float
    shift: float | None


class InputDrift:
    """Takes what one model has scored. Usable by threads."""

    def __init__(self, training: object = None) -> None:
        """`training` is what a manifest says of it; what is not means and deviations counts as nothing."""
        self._training = _training_of(training)
        self._lock = threading.Lock()
        self._width: int | None = None if self._training is None else self._training.shape[1]
        self._rows: Any = np.zeros(0, dtype=np.int64)
        self._missing: Any = np.zeros(0, dtype=np.int64)
        self._mean: Any = np.zeros(0)
        self._squares: Any = np.zeros(0)
        self.strange = 0
        """Requests with another number of columns than training had, or, where that is not known, than the first one."""

    @property
    def knows_training(self) -> bool:
        return self._training is not None

    def take(self, matrix: Any) -> None:
        """Rows of numbers; one that is not finite, or larger than LARGEST, is missing."""
        with np.errstate(over="ignore", invalid="ignore"):
            matrix = np.asarray(matrix, dtype=np.float64)
            width, matrix = matrix.shape[1], matrix[:, :COLUMNS_MAX]
            there = np.abs(matrix) <= LARGEST
            values = np.where(there, matrix, 0.0)
            if self._training is not None and width == self._training.shape[1]:
                means, deviations = self._training[:, :COLUMNS_MAX]
                reach = np.where(deviations > 0, deviations * DEVIATIONS_MAX, np.inf)
                values = np.clip(values, means - reach, means + reach)
        count = there.sum(axis=0)
        mean = np.where(there, values, 0.0).sum(axis=0) / np.maximum(count, 1)
        squares = (np.where(there, values - mean, 0.0) ** 2).sum(axis=0)
        with self._lock:
            if self._width is None:
                self._width = width
            if width != self._width:
                self.strange += 1
                return
            if not len(self._rows):
                self._rows, self._missing = np.zeros_like(count), np.zeros_like(count)
                self._mean, self._squares = np.zeros_like(mean), np.zeros_like(mean)
            total = self._rows + count
            delta = mean - self._mean
            part = np.divide(count, np.maximum(total, 1))
            self._squares = self._squares + squares + delta**2 * self._rows * part
            self._mean = self._mean + delta * part
            self._rows = total
            self._missing = self._missing + (len(matrix) - count)

    def columns(self) -> list[ColumnDrift]:
        """What was seen, beside the training's means and deviations. All numbers are finite."""
        with self._lock:
            rows, missing, mean = self._rows, self._missing, self._mean
            std = np.sqrt(self._squares / np.maximum(rows - 1, 1))
        return [
            ColumnDrift(
                column=place,
                rows=int(rows[place]),
                missing=int(missing[place]),
                mean=float(mean[place]),
                std=float(std[place]),
                shift=self._shift(place, float(mean[place])) if rows[place] else None,
            )
            for place in range(len(rows))
        ]

    def _shift(self, place: int, mean: float) -> float | None:
        if self._training is None or not self._training[1, place] > 0:
            return None
        shift = abs(mean - float(self._training[0, place])) / float(self._training[1, place])
        return shift if math.isfinite(shift) else None


def summary_of(matrix: Any) -> dict[str, list[float]]:
    """What a model says of its training inputs: for `params={"inputs": summary_of(rows)}` when it is published.

    The deviation of a single row is 0, and a column without any value has the mean 0.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    there = np.isfinite(matrix)
    count = there.sum(axis=0)
    mean = np.where(there, matrix, 0.0).sum(axis=0) / np.maximum(count, 1)
    squares = (np.where(there, matrix - mean, 0.0) ** 2).sum(axis=0)
    return {"mean": mean.tolist(), "std": np.sqrt(squares / np.maximum(count - 1, 1)).tolist()}


def _training_of(said: object) -> Any:
    """Means and deviations as two rows; None for what is not that."""
    if not isinstance(said, Mapping):
        return None
    means, deviations = said.get("mean"), said.get("std")
    if not isinstance(means, list) or not isinstance(deviations, list) or not len(means) == len(deviations) > 0:
        return None
    if not all(map(_is_number, [*means, *deviations])) or min(deviations) < 0:
        return None
    return np.asarray([means, deviations], dtype=np.float64)


def _is_number(each: object) -> bool:
    return isinstance(each, int | float) and not isinstance(each, bool) and abs(each) <= LARGEST
