"""What a service sees of its inputs, beside what its model was trained on: running means and deviations, in constant memory.

The training side is what the manifest says under `params["inputs"]`: {"mean": [...], "std": [...]}, one number for each column.
Welford, 1962, merged by whole batches (Chan, Golub and LeVeque, 1983).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

COLUMNS_MAX = 1_000
"""Columns beyond are not looked at."""


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """One column since the service began.

    `shift` is how many deviations of training its mean has moved; None where nothing is known of training.
    """

    column: int
    rows: int
    missing: int
    mean: float
    std: float
    shift: float | None


class InputDrift:
    """Takes what is scored. Usable by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: Any = np.zeros(0, dtype=np.int64)
        self._missing: Any = np.zeros(0, dtype=np.int64)
        self._mean: Any = np.zeros(0)
        self._squares: Any = np.zeros(0)

    def take(self, matrix: Any) -> None:
        """Rows of numbers; one that is not finite is missing."""
        matrix = np.asarray(matrix, dtype=np.float64)[:, :COLUMNS_MAX]
        there = np.isfinite(matrix)
        count = there.sum(axis=0)
        filled = np.where(there, matrix, 0.0)
        safe = np.maximum(count, 1)
        mean = filled.sum(axis=0) / safe
        squares = (np.where(there, matrix - mean, 0.0) ** 2).sum(axis=0)
        with self._lock:
            if len(self._rows) != matrix.shape[1]:
                # Another model, with other inputs: what was seen before says nothing of it.
                width = matrix.shape[1]
                self._rows, self._missing = np.zeros(width, dtype=np.int64), np.zeros(width, dtype=np.int64)
                self._mean, self._squares = np.zeros(width), np.zeros(width)
            total = self._rows + count
            delta = mean - self._mean
            part = np.divide(count, np.maximum(total, 1))
            self._squares = self._squares + squares + delta**2 * self._rows * part
            self._mean = self._mean + delta * part
            self._rows = total
            self._missing = self._missing + (len(matrix) - count)

    def columns(self, training: Mapping[str, Any] | None = None) -> list[ColumnDrift]:
        """What was seen, beside the training's means and deviations."""
        means, deviations = _training(training, len(self._rows))
        with self._lock:
            std = np.sqrt(self._squares / np.maximum(self._rows - 1, 1))
            return [
                ColumnDrift(
                    column=place,
                    rows=int(self._rows[place]),
                    missing=int(self._missing[place]),
                    mean=float(self._mean[place]),
                    std=float(std[place]),
                    shift=_shift(float(self._mean[place]), means, deviations, place) if self._rows[place] else None,
                )
                for place in range(len(self._rows))
            ]


def summary_of(matrix: Any) -> dict[str, list[float]]:
    """What a model says of its training inputs: for `params={"inputs": summary_of(rows)}` when it is published."""
    matrix = np.asarray(matrix, dtype=np.float64)
    return {"mean": np.nanmean(matrix, axis=0).tolist(), "std": np.nanstd(matrix, axis=0, ddof=1).tolist()}


def _training(training: Mapping[str, Any] | None, width: int) -> tuple[list[float], list[float]]:
    said = training or {}
    means, deviations = said.get("mean"), said.get("std")
    if not isinstance(means, list) or not isinstance(deviations, list) or not len(means) == len(deviations) >= width:
        return [], []
    return means, deviations


def _shift(mean: float, means: list[float], deviations: list[float], place: int) -> float | None:
    if not means or not deviations[place]:
        return None
    return abs(mean - means[place]) / deviations[place]
