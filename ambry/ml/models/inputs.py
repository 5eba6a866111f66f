"""What the inputs of a model were in training, in a few numbers for each column, which stand in its manifest:

    params["inputs"] = {"mean": [...], "std": [...], "rows": 20000, "missing": [...], "edges": [[...], ...],
                        "counts": [[...], ...], "unknown": [{"feature", "from", "to", "at": [...], "part"}, ...]}

`edges` cut the values of a column into bins of about a fiftieth: the first one lies below the first edge, each other one from
its edge on. `counts` are the values in each. `unknown` are the cells out of the vocabulary of features that have one: which
columns they are, and their part of the cells that are not 0.

Without a summary of one's own it is made when a model is published, of the snapshot that it was trained on: of at most ROWS_MAX
rows at equal distances, so the same snapshot gives the same document. It stands in the manifest, and so is there for whoever
serves when the snapshot is not any more: some 900 bytes for each column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa

from ambry.client.sync.client import AmbryClient
from ambry.errors import BlobNotFound, InvalidRequest
from ambry.ml.features.axes import TensorType
from ambry.ml.features.definitions import ValueType
from ambry.ml.features.publishing import load
from ambry.ml.snapshots.defaults import filled
from ambry.ml.snapshots.described import DescribedAxis, type_of
from ambry.ml.snapshots.reading import Snapshot, open_snapshot

INPUTS = "inputs"
"""Among the params of a manifest."""
COLUMNS_MAX = 1_000
"""Columns beyond are not looked at."""
BINS = 50
ROWS_MAX = 100_000
CELLS_MAX = 5_000_000
"""Of the rows of a snapshot that are looked at: 40 MB."""
_NUMBERS = (ValueType.INT, ValueType.LONG, ValueType.FLOAT, ValueType.DOUBLE, ValueType.BOOLEAN)


def summary_of(matrix: Any) -> dict[str, Any]:
    """What a model says of its training inputs, where no snapshot does: for `params={"inputs": summary_of(rows)}`.

    The deviation of a single row is 0, and a column without any value has the mean 0. Values that are not finite are missing.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    there = np.isfinite(matrix)
    count = there.sum(axis=0)
    mean = np.where(there, matrix, 0.0).sum(axis=0) / np.maximum(count, 1)
    squares = (np.where(there, matrix - mean, 0.0) ** 2).sum(axis=0)
    missing = 1 - count / max(1, len(matrix))
    columns = [matrix[there[:, place], place] for place in range(min(matrix.shape[1], COLUMNS_MAX))]
    edges = [_edges(values) for values in columns]
    return {
        "mean": mean.tolist(),
        "std": np.sqrt(squares / np.maximum(count - 1, 1)).tolist(),
        "rows": len(matrix),
        "missing": [_short(part) for part in missing],
        "edges": [each.tolist() for each in edges],
        "counts": [counted(*each).tolist() for each in zip(edges, columns, strict=True)],
    }


def counted(edges: Any, values: Any) -> Any:
    """How many values lie in each bin."""
    return np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)


def summary_of_snapshot(
    client: AmbryClient, place: str, features: Sequence[str], definitions: str = ""
) -> dict[str, Any] | None:
    """Of these features of a snapshot, beside each other as a model takes them; what has no value has its default.

    None where it is no snapshot of them, or one of them is sparse or no number. Raises what a get raises, DataCorrupt.
    """
    with suppress(BlobNotFound, InvalidRequest):
        metadata = load(client, definitions).metadata if definitions else None
        with open_snapshot(client, place, metadata=metadata) as snapshot:
            columns = [_InputColumn.of(snapshot, urn) for urn in features]
            known = [column for column in columns if column is not None]
            if len(known) < len(columns) or not snapshot.rows:
                return None
            width = sum(column.width for column in known)
            step = -(-snapshot.rows // min(ROWS_MAX, max(1, CELLS_MAX // width)))
            matrix = np.concatenate(list(_rows(snapshot, known, step)))
            told = summary_of(matrix)
            if unknown := list(_unknown(matrix, known)):
                told["unknown"] = unknown
            return told
    return None


@dataclass(frozen=True, slots=True)
class _InputColumn:
    """A feature of a snapshot, as numbers."""

    urn: str
    name: str
    shape: tuple[int, ...]
    axes: tuple[DescribedAxis, ...]
    kind: TensorType | None
    """With its default; None where its definitions are not there."""

    @property
    def width(self) -> int:
        return prod(self.shape)

    @classmethod
    def of(cls, snapshot: Snapshot, urn: str) -> _InputColumn | None:
        """None for a feature that is sparse or no number. Raises FeatureNotDefined, DataCorrupt."""
        name = snapshot.column(urn)
        field = snapshot.schema.field(name)
        described = type_of(field)
        if described is None or described.value_type not in _NUMBERS:
            return None
        if described.axes and not isinstance(field.type, pa.FixedShapeTensorType):
            return None
        kind = None
        with suppress(BlobNotFound, InvalidRequest):
            kind = snapshot.resolve(urn)
        shape = tuple(field.type.shape) if described.axes else ()
        return cls(urn, name, shape, described.axes, kind)


def _rows(snapshot: Snapshot, columns: Sequence[_InputColumn], step: int) -> Iterator[Any]:
    """Each `step`-th row, as floats."""
    begin = 0
    for batch in snapshot.batches([column.urn for column in columns]):
        wanted = np.arange(-begin % step, batch.num_rows, step)
        begin += batch.num_rows
        if len(wanted):
            found = [(batch.column(column.name).take(wanted), column.kind) for column in columns]
            taken = [each if kind is None else filled(each, kind) for each, kind in found]
            yield np.concatenate([_cells(each, len(wanted)) for each in taken], axis=1)


def _cells(column: Any, rows: int) -> Any:
    """As floats of (rows, cells); null is NaN."""
    if not isinstance(column, pa.ExtensionArray):
        return _numbers(column).reshape(rows, -1)
    there = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    cells = np.full((rows, column.storage.type.list_size), np.nan)
    cells[there] = _numbers(column.storage.take(there).flatten()).reshape(len(there), -1)
    return cells


def _numbers(values: Any) -> Any:
    # Booleans are cast to bytes first, of which Arrow makes floats.
    values = values.cast(pa.uint8()) if pa.types.is_boolean(values.type) else values
    return values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _unknown(matrix: Any, columns: Sequence[_InputColumn]) -> Iterator[dict[str, Any]]:
    begin = 0
    for column in columns:
        end = begin + column.width
        outside = np.zeros(column.shape, dtype=bool)
        for place, axis in enumerate(column.axes):
            if axis.kind == "categorical":
                outside[(slice(None),) * place + (0,)] = True
        if outside.any() and end <= COLUMNS_MAX:
            at = np.flatnonzero(outside.reshape(-1)) + begin
            used = np.nan_to_num(matrix[:, begin:end]) != 0
            part = (np.nan_to_num(matrix[:, at]) != 0).sum() / max(1, used.sum())
            yield {"feature": column.urn, "from": begin, "to": end, "at": at.tolist(), "part": _short(part)}
        begin = end


def _edges(values: Any) -> Any:
    """At most BINS - 1, in a few digits, each once."""
    if not len(values):
        return np.zeros(0)
    found = np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1], method="inverted_cdf")
    return np.unique([_short(edge) for edge in found])


def _short(number: Any) -> float:
    return float(f"{float(number):.7g}")
