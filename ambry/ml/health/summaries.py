"""A table in a few numbers for each column, and a sample of it: whatever its size, in one reading and bounded memory.

The sample of a column is drawn by a hash of the places of its values, so that the same table gives the same report.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ambry.errors import InvalidRequest
from ambry.ml.experiments.assignment import places_of, salt_of
from ambry.ml.health.cells import Cells, cells_of
from ambry.ml.health.tensors import CELLS_APART_MAX, KEPT_CELLS, KEPT_ROWS_MIN, TensorSketch, width_of
from ambry.ml.snapshots.schema import ENTITY_KEY, URN_KEY
from ambry.ml.tables import NamedTable

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
SAMPLE_MAX = 100_000
"""Numbers of a column that are kept to compare distributions."""
TEXTS_MAX = 10_000
"""Different texts of a column that are told apart."""
TEXT_CHARACTERS_MAX = 200
"""Of a longer one its beginning and its digest are kept."""
TOP = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnSummary:
    """What a column holds. What has no numbers has no mean and so on; what has no texts has no `texts`."""

    name: str
    urn: str = ""
    """Of a typed feature."""
    part: str = ""
    """What the name ends with where this is a part of what stands in the column, as `[3]` for a cell of a dense feature."""
    width: int = 0
    """How many cells a row of a dense feature has."""
    count: int
    missing: int
    mean: float | None = None
    variance: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    nonzero: int | None = None
    quantiles: tuple[float, ...] = ()
    """At QUANTILES, of the sample."""
    texts: Counter[str] | None = None
    other_texts: int = 0
    """Of texts beyond TEXTS_MAX different ones."""
    vocabulary_cells: int = 0
    out_of_vocabulary: int = 0
    sample: Any = None
    """A numpy array of some of the numbers, sorted."""

    @property
    def column(self) -> str:
        """The one that it is, or is a part of."""
        return self.name.removesuffix(self.part)

    @property
    def is_cell(self) -> bool:
        """Of a dense feature whose cells are told apart."""
        return self.part.startswith("[")

    @property
    def has_cells(self) -> bool:
        """Whether its cells are told apart."""
        return 0 < self.width <= CELLS_APART_MAX

    @property
    def kind(self) -> str:
        return "texts" if self.texts is not None else "values" if self.sample is None else "numbers"

    @property
    def missing_rate(self) -> float:
        return self.missing / (self.missing + self.count) if self.missing else 0.0

    @property
    def out_of_vocabulary_rate(self) -> float | None:
        """Of the cells on an axis with a vocabulary; None where there are none."""
        return self.out_of_vocabulary / self.vocabulary_cells if self.vocabulary_cells else None

    @property
    def top(self) -> list[tuple[str, int]]:
        """The most frequent texts."""
        return sorted((self.texts or Counter()).items(), key=lambda each: (-each[1], each[0]))[:TOP]

    def plain(self) -> dict[str, Any]:
        """As JSON has it, without the sample."""
        told = {
            "column": self.name,
            "urn": self.urn,
            "cells": self.width or None,
            "count": self.count,
            "missing": self.missing,
            "mean": self.mean,
            "variance": self.variance,
            "minimum": self.minimum,
            "maximum": self.maximum,
            "nonzero": self.nonzero,
            "quantiles": {f"{part:g}": value for part, value in zip(QUANTILES, self.quantiles, strict=False)},
            "top": [{"text": text, "count": count} for text, count in self.top],
            "out_of_vocabulary_rate": self.out_of_vocabulary_rate,
        }
        return {name: value for name, value in told.items() if value not in (None, "", [], {})}


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSummary:
    """A table, by its columns."""

    name: str
    rows: int
    columns: tuple[ColumnSummary, ...]
    known: frozenset[str] = frozenset()
    """The names and URNs of all columns of the table, also of those that are not looked at."""

    def counterparts(self, others: Iterable[ColumnSummary]) -> Iterator[ColumnSummary | None]:
        """What columns of another table are here: of the same feature, whatever it is called, or else of the same name."""
        names = {each.name: each for each in reversed(self.columns)}
        features = {(each.urn, each.part): each for each in reversed(self.columns) if each.urn}
        for other in others:
            yield features.get((other.urn, other.part)) or names.get(other.name)


def summarise(table: NamedTable, columns: Collection[str] | None = None) -> TableSummary:
    """Read a table once. All columns but the key of a snapshot, or those that are named, by name or URN.

    Raises InvalidRequest for one that is not there, and for names that stand twice.
    """
    names = table.schema.names
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InvalidRequest(f"{table.name} has two columns {twice!r}; give one of them another name")
    entity = (table.schema.metadata or {}).get(ENTITY_KEY, b"").decode()
    urns = {field.name: (field.metadata or {}).get(URN_KEY, b"").decode() for field in table.schema}
    if columns is not None and (lacking := sorted(set(columns) - set(urns) - set(urns.values()))):
        raise InvalidRequest(f"{table.name} has no column {lacking[0]!r}; it has {', '.join(urns)}")
    wanted = [
        field
        for field in table.schema
        if (field.name != entity if columns is None else field.name in columns or urns[field.name] in columns)
    ]
    sketches: dict[str, dict[str, _Sketch]] = {field.name: {} for field in wanted}
    widths = {field.name: width_of(field) for field in wanted}
    apart = {name: width for name, width in widths.items() if 0 < width <= CELLS_APART_MAX}
    kept = min(SAMPLE_MAX, max(KEPT_ROWS_MIN, KEPT_CELLS // max(1, sum(apart.values()))))
    tensors = {name: TensorSketch(name, width, kept) for name, width in apart.items()}
    rows = 0
    for batch in table.batches:
        rows += batch.num_rows
        for field in wanted:
            for cells in cells_of(field, batch.column(field.name)):
                own = sketches[field.name]
                own.setdefault(cells.part, _Sketch(cells.name, urns[field.name], cells.part)).add(cells)
            if field.name in tensors:
                tensors[field.name].add(batch.column(field.name))
    found: list[ColumnSummary] = []
    for field in wanted:
        own = sketches[field.name]
        own.setdefault("", _Sketch(field.name, urns[field.name]))
        found += (sketch.summary(widths[field.name]) for _, sketch in sorted(own.items()))
        if field.name in tensors:
            found += _cells(field.name, urns[field.name], tensors.pop(field.name))
    columns_found = tuple(found)
    told = Counter(each.name for each in columns_found)
    if twice := next((name for name, count in told.items() if count > 1), None):
        raise InvalidRequest(f"{table.name} has a column {twice!r}, and the cells of a feature are called so")
    known = frozenset([*urns, *filter(None, urns.values())])
    return TableSummary(name=table.name, rows=rows, columns=columns_found, known=known)


def quantiles(sample: Any, parts: Any) -> Any:
    """Of sorted numbers, also of such whose differences are beyond a float."""
    scale = 4.0 if max(abs(sample[0]), abs(sample[-1])) > 1e307 else 1.0
    return np.quantile(sample / scale, parts) * scale


class _Sketch:
    """What was seen of a column so far."""

    def __init__(self, column: str, urn: str, part: str = "") -> None:
        self.name = f"{column}{part}"
        self._urn, self._part = urn, part
        self._salt = salt_of(self.name)
        self._count = self._missing = self._nonzero = 0
        self._vocabulary_cells = self._out_of_vocabulary = self._other_texts = 0
        self._mean = self._squares = 0.0
        self._minimum, self._maximum = math.inf, -math.inf
        self._texts: Counter[str] | None = None
        self._has_numbers = False
        self._sample = self._places = np.empty(0)

    def add(self, cells: Cells) -> None:
        self._missing += cells.missing
        self._vocabulary_cells += cells.vocabulary_cells
        self._out_of_vocabulary += cells.out_of_vocabulary
        self._count += cells.others
        if cells.texts is not None:
            self._add_texts(cells.texts)
        elif cells.numbers is not None:
            self._has_numbers = True
            if len(cells.numbers):
                self._add_numbers(cells.numbers)

    def _add_texts(self, texts: Any) -> None:
        self._texts = Counter() if self._texts is None else self._texts
        self._count += len(texts)
        for each in texts.value_counts().to_pylist():
            text = _shortened(str(each["values"]))
            if text in self._texts or len(self._texts) < TEXTS_MAX:
                self._texts[text] += each["counts"]
            else:
                self._other_texts += each["counts"]

    def _add_numbers(self, numbers: Any) -> None:
        # Chan, Golub and LeVeque (1979): means and squares of pieces add up without a loss.
        count = len(numbers)
        total = self._count + count
        # What is beyond a float becomes infinite, and is None in the summary.
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(numbers.mean())
            if not math.isfinite(mean):
                mean = float((numbers / count).sum())
            self._squares += float(((numbers - mean) ** 2).sum())
        apart = mean - self._mean
        if self._count:
            self._squares += apart * apart * self._count * count / total
        if math.isfinite(apart):
            self._mean += apart * (count / total)
        else:
            self._mean = self._mean * (self._count / total) + mean * (count / total)
        self._nonzero += int(np.count_nonzero(numbers))
        self._minimum, self._maximum = (
            min(self._minimum, float(numbers.min())),
            max(self._maximum, float(numbers.max())),
        )
        places = places_of(self._salt, np.arange(self._count, total))
        self._count = total
        self._sample, self._places = np.concatenate([self._sample, numbers]), np.concatenate([self._places, places])
        if len(self._sample) > 2 * SAMPLE_MAX:
            self._thin()

    def _thin(self) -> None:
        if len(self._sample) > SAMPLE_MAX:
            kept = np.argpartition(self._places, SAMPLE_MAX)[:SAMPLE_MAX]
            self._sample, self._places = self._sample[kept], self._places[kept]

    def _variance(self) -> float | None:
        found = self._squares / (self._count - 1) if self._count > 1 else 0.0
        return found if math.isfinite(found) else None

    def summary(self, width: int = 0) -> ColumnSummary:
        told: dict[str, Any] = {}
        if self._has_numbers:
            self._thin()
            sample = np.sort(self._sample)
            told = {"sample": sample, "nonzero": self._nonzero}
            if self._count:
                told |= {
                    "mean": self._mean,
                    "variance": self._variance(),
                    "minimum": self._minimum,
                    "maximum": self._maximum,
                    "quantiles": tuple(float(value) for value in quantiles(sample, QUANTILES)),
                }
        return ColumnSummary(
            name=self.name,
            urn=self._urn,
            part=self._part,
            width=0 if self._part else width,
            count=self._count,
            missing=self._missing,
            texts=self._texts,
            other_texts=self._other_texts,
            vocabulary_cells=self._vocabulary_cells,
            out_of_vocabulary=self._out_of_vocabulary,
            **told,
        )


def _cells(name: str, urn: str, sketch: TensorSketch) -> Iterator[ColumnSummary]:
    for place, told in enumerate(sketch.cells()):
        sample = told["sample"]
        if len(sample):
            told["quantiles"] = tuple(float(value) for value in quantiles(sample, QUANTILES))
        yield ColumnSummary(name=f"{name}[{place}]", urn=urn, part=f"[{place}]", **told)


def _shortened(text: str) -> str:
    if len(text) <= TEXT_CHARACTERS_MAX:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return f"{text[: TEXT_CHARACTERS_MAX - 17]}…{digest}"


def summary_rows(found: Iterable[ColumnSummary]) -> list[list[object]]:
    """For tables: column, values, missing, mean, deviation, minimum, median, maximum, out of vocabulary, most frequent."""
    rows: list[list[object]] = []
    for each in found:
        median = each.quantiles[QUANTILES.index(0.5)] if each.quantiles else None
        deviation = None if each.variance is None else math.sqrt(each.variance)
        outside = each.out_of_vocabulary_rate
        rows.append(
            [
                each.name,
                each.count,
                f"{each.missing_rate:.2%}",
                *(
                    "" if value is None else value
                    for value in (each.mean, deviation, each.minimum, median, each.maximum)
                ),
                "" if outside is None else f"{outside:.2%}",
                ", ".join(text for text, _ in each.top[:3]),
            ]
        )
    return rows
