"""What a service sees of its inputs, beside what its model was trained on, in constant memory.

The training side is what the manifest says under `params["inputs"]` (models/inputs.py): means, deviations, and values in bins
that training filled alike. Rows are kept until there are some hundred requests, or ten thousand values, and counted together
by who brings the last of them: a thread of its own would take the interpreter from those who score more often than this.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ambry.ml.health.comparison import psi_of
from ambry.ml.models.inputs import COLUMNS_MAX, counted
from ambry.ml.moments import RunningMoments

LARGEST = 1e100
"""A value beyond is missing: its square, and many of them, are still numbers."""
DEVIATIONS_MAX = 1_000.0
"""A value further from the mean of training counts as one so far away, so that the mean finds its way back."""
WAITING_CELLS, WAITING_REQUESTS = 10_000, 256
"""That are counted together."""
HELD_MAX = 8
"""So many times as much may wait for that; what comes then is not looked at."""
FEW_ROWS = 64
_TENTHS = 10
_TERMS = 100


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """One column since the model was loaded. What needs to know the training is None where nobody does.

    `shift` is how many deviations of training its mean has moved, `distance` the largest one between the distribution functions
    (Kolmogorov-Smirnov, at the edges of fiftieths of training) with the `p` of chance, `psi` the population stability index.
    """

    column: int
    rows: int
    missing: int
    mean: float
    std: float
    shift: float | None
    distance: float | None = None
    p: float | None = None
    psi: float | None = None
    training_missing: float | None = None


@dataclass(frozen=True, slots=True)
class VocabularyDrift:
    """A feature with a vocabulary: which part of its cells that are not 0 is of no name in it, now and in training."""

    feature: str
    unknown: float | None
    training_unknown: float


class InputDrift:
    """Takes what one model has scored. Usable by threads."""

    def __init__(self, training: object = None) -> None:
        """`training` is what a manifest says of it; what is not means and deviations counts as nothing."""
        self._training = _training_of(training)
        self._bins = _bins_of(training, self._training)
        self._vocabularies = _vocabularies_of(training, self._training)
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._waiting: list[Any] = []
        self._waiting_cells = 0
        self._width: int | None = None if self._training is None else self._training.shape[1]
        self._moments = RunningMoments(0)
        self._missing: Any = np.zeros(0, dtype=np.int64)
        self._nonzero: Any = np.zeros(0, dtype=np.int64)
        self._counts: Any = None if self._bins is None else np.zeros_like(self._bins.counts)
        self.strange = 0
        """Requests with another number of columns than training had, or, where that is not known, than the first one."""
        self.skipped = 0
        """Requests that were not looked at, as too much was waiting."""

    @property
    def knows_training(self) -> bool:
        return self._training is not None

    def take(self, matrix: Any) -> bool:
        """Keep rows of numbers, which are not changed any more. True where it is time to `count` what waits."""
        matrix = np.asarray(matrix)
        with self._lock:
            if self._width is None:
                self._width = matrix.shape[1]
            if matrix.shape[1] != self._width:
                self.strange += 1
                return False
            if self._waiting_cells >= HELD_MAX * WAITING_CELLS or len(self._waiting) >= HELD_MAX * WAITING_REQUESTS:
                self.skipped += 1
                return False
            before = self._is_time()
            self._waiting.append(matrix)
            self._waiting_cells += matrix.size
            return self._is_time() and not before

    def _is_time(self) -> bool:
        return self._waiting_cells >= WAITING_CELLS or len(self._waiting) >= WAITING_REQUESTS

    def count(self) -> None:
        """Count what waits; one that is not finite, or larger than LARGEST, is missing."""
        with self._counting:
            with self._lock:
                waiting, self._waiting, self._waiting_cells = self._waiting, [], 0
            if waiting:
                self._count(np.concatenate([each[:, :COLUMNS_MAX] for each in waiting], dtype=np.float64))

    def _count(self, matrix: Any) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            there = np.abs(matrix) <= LARGEST
            values = np.where(there, matrix, 0.0)
            if self._bins is not None:
                self._bins.add(self._counts, values, there)
            if self._training is not None:
                means, deviations = self._training[:, :COLUMNS_MAX]
                reach = np.where(deviations > 0, deviations * DEVIATIONS_MAX, np.inf)
                values = np.where(there, np.clip(values, means - reach, means + reach), 0.0)
        if not len(self._moments.count):
            self._moments = RunningMoments(matrix.shape[1])
            self._missing = self._nonzero = np.zeros(matrix.shape[1], dtype=np.int64)
        self._moments.add(values, there)
        self._missing = self._missing + (~there).sum(axis=0)
        self._nonzero = self._nonzero + (np.where(there, matrix, 0.0) != 0).sum(axis=0)

    def columns(self) -> list[ColumnDrift]:
        """What was seen, beside the training. All numbers are finite."""
        self.count()
        with self._counting:
            rows, missing, mean = self._moments.count, self._missing, self._moments.mean
            std = np.sqrt(self._moments.variance)
            counts = None if self._counts is None else self._counts.copy()
        return [
            ColumnDrift(
                column=place,
                rows=int(rows[place]),
                missing=int(missing[place]),
                mean=float(mean[place]),
                std=float(std[place]),
                shift=self._shift(place, float(mean[place])) if rows[place] else None,
                **({} if self._bins is None else self._bins.compared(place, counts)),
            )
            for place in range(len(rows))
        ]

    def vocabularies(self) -> list[VocabularyDrift]:
        """Of each feature with a vocabulary, by the summary of training."""
        self.count()
        with self._counting:
            nonzero = self._nonzero
        found = []
        for each in self._vocabularies:
            used = int(nonzero[each.begin : each.end].sum()) if len(nonzero) else 0
            outside = int(nonzero[list(each.at)].sum()) if used else 0
            found.append(VocabularyDrift(each.feature, outside / used if used else None, each.part))
        return found

    def _shift(self, place: int, mean: float) -> float | None:
        if self._training is None or not self._training[1, place] > 0:
            return None
        shift = abs(mean - float(self._training[0, place])) / float(self._training[1, place])
        return shift if math.isfinite(shift) else None


@dataclass(frozen=True, slots=True)
class _Bins:
    """The bins of training, of all columns beside each other: `edges` and `counts` as wide as the widest."""

    edges: Any
    counts: Any
    widths: tuple[int, ...]
    missing: tuple[float | None, ...]
    tenths: tuple[Any, ...] = field(default=())
    """Where bins of about a tenth begin."""

    def add(self, counts: Any, values: Any, there: Any) -> None:
        if len(values) < FEW_ROWS:
            # A search in each column would cost more than to compare with all edges.
            bins = (values[:, :, np.newaxis] >= self.edges).sum(axis=2)
            rows, columns = np.nonzero(there)
            np.add.at(counts, (columns, bins[rows, columns]), 1)
            return
        for place, width in enumerate(self.widths):
            found = counted(self.edges[place, :width], values[there[:, place], place])
            counts[place, : width + 1] += found

    def compared(self, place: int, counts: Any) -> dict[str, Any]:
        missing = self.missing[place]
        used = self.widths[place] + 1
        before, after = self.counts[place, :used], counts[place, :used]
        told: dict[str, Any] = {"training_missing": missing}
        if not before.sum() or not after.sum():
            return told
        distance = float(np.abs(np.cumsum(before) / before.sum() - np.cumsum(after) / after.sum()).max())
        begins = self.tenths[place]
        psi = psi_of(np.add.reduceat(before, begins), np.add.reduceat(after, begins))
        return {**told, "distance": distance, "p": _chance(distance, before.sum(), after.sum()), "psi": psi}


@dataclass(frozen=True, slots=True)
class _VocabularyColumns:
    feature: str
    begin: int
    end: int
    at: tuple[int, ...]
    part: float


def _chance(distance: float, first: int, second: int) -> float:
    """How often two samples of the same are so far apart (Kolmogorov, 1933; Smirnov, 1948), for large ones."""
    reach = distance * math.sqrt(first * second / (first + second))
    if reach < 0.2:
        return 1.0
    terms = (math.exp(-2 * (k * reach) ** 2) * (2.0 if k % 2 else -2.0) for k in range(1, _TERMS))
    return min(1.0, max(0.0, sum(terms)))


def _tenths(counts: Any) -> Any:
    """Where bins begin that together have a tenth or more."""
    begins, gathered, least = [0], 0, counts.sum() / _TENTHS
    for place, count in enumerate(counts):
        if gathered >= least and count:
            begins.append(place)
            gathered = 0
        gathered += int(count)
    return np.array(begins)


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


def _bins_of(said: object, training: Any) -> _Bins | None:
    """None for what are no bins of as many columns."""
    if training is None or not isinstance(said, Mapping):
        return None
    width = min(training.shape[1], COLUMNS_MAX)
    edges, counts, missing = (said.get(name) for name in ("edges", "counts", "missing"))
    if not isinstance(edges, list) or not isinstance(counts, list) or not len(edges) == len(counts) == width:
        return None
    if not all(isinstance(each, list) and all(map(_is_number, each)) for each in (*edges, *counts)):
        return None
    if not all(map(_fits, edges, counts)):
        return None
    most = max(map(len, edges))
    of_edges, of_counts = np.full((width, most), np.inf), np.zeros((width, most + 1), dtype=np.int64)
    for place, (one, other) in enumerate(zip(edges, counts, strict=True)):
        of_edges[place, : len(one)] = one
        of_counts[place, : len(other)] = other
    rates = missing if isinstance(missing, list) and len(missing) >= width and all(map(_is_number, missing)) else None
    return _Bins(
        edges=of_edges,
        counts=of_counts,
        widths=tuple(map(len, edges)),
        missing=tuple(rates[:width]) if rates is not None else (None,) * width,
        tenths=tuple(_tenths(np.array(each)) for each in counts),
    )


def _fits(edges: list[Any], counts: list[Any]) -> bool:
    """Whether they are bins, one more than edges, which rise."""
    whole = all(type(each) is int and 0 <= each <= 1 << 53 for each in counts)
    return whole and len(edges) + 1 == len(counts) and sorted(set(edges)) == edges


def _vocabularies_of(said: object, training: Any) -> list[_VocabularyColumns]:
    """None of what is nothing of the kind."""
    told = said.get("unknown") if isinstance(said, Mapping) else None
    if training is None or not isinstance(told, list):
        return []
    found = []
    for each in told:
        if not isinstance(each, Mapping):
            return []
        feature, begin, end, at, part = (each.get(name) for name in ("feature", "from", "to", "at", "part"))
        if not isinstance(feature, str) or not isinstance(begin, int) or not isinstance(end, int):
            return []
        if not isinstance(part, int | float) or not _is_number(part):
            return []
        if not 0 <= begin < end <= min(training.shape[1], COLUMNS_MAX) or not isinstance(at, list):
            return []
        if not all(type(place) is int and begin <= place < end for place in at):
            return []
        found.append(_VocabularyColumns(feature, begin, end, tuple(at), float(part)))
    return found


def _is_number(each: object) -> bool:
    return isinstance(each, int | float) and not isinstance(each, bool) and abs(each) <= LARGEST
