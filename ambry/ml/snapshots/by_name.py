"""Cells of a dense feature: whoever writes one by its names, `{"Click": 1}`, means the tensor that is zero elsewhere.

A row holds cells where it can be nothing else: a mapping, a list of mappings, or a list of cells (key, ..., value) that has not
the form of a tensor. Over two axes of which the last has the length 3 a list of numbers is always the tensor, since three
numbers are also a cell: cells with names, and mappings, are told apart all the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from ambry.ml.features.axes import TensorType
from ambry.ml.snapshots.cells import dense_of
from ambry.ml.snapshots.dense import is_listing
from ambry.ml.snapshots.sparse import cells_column, named_fields


def with_tensors(values: Any, kind: TensorType, shape: tuple[int, ...]) -> Any:
    """`values` with a tensor in place of each row of cells, and as they are where there is none.

    Raises InvalidRequest for cells that are none, with their row.
    """
    if isinstance(values, pa.Array | pa.ChunkedArray):
        if not (is_listing(values.type) and pa.types.is_struct(values.type.value_type)):
            return values
        values = values.to_pylist()
    if not isinstance(values, list | tuple) and not hasattr(values, "iloc"):
        return values
    rows = list(values)
    places = [place for place, row in enumerate(rows) if has_cells(row, shape)]
    if places:
        chosen = frozenset(places)
        cells = cells_column([row if place in chosen else None for place, row in enumerate(rows)], kind)
        tensors = dense_of(cells, kind, shape)
        for place in places:
            rows[place] = tensors[place]
        return rows
    return values


def has_cells(row: Any, shape: tuple[int, ...]) -> bool:
    """Whether a row of Python's is of cells, and no tensor."""
    if isinstance(row, Mapping):
        return True
    if not isinstance(row, list | tuple) or not row:
        return False
    first = row[0]
    if named_fields(first) is not None:
        return True
    if not isinstance(first, list | tuple) or any(isinstance(each, list | tuple) for each in first):
        return False
    if any(isinstance(key, str | bytes) for cell in row if isinstance(cell, list | tuple) for key in cell[:-1]):
        return True
    return len(first) == len(shape) + 1 and not (len(shape) == 2 and shape[1] == 3)
