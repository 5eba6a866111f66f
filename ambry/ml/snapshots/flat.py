"""Tensors as one column per cell, for frames that know numbers alone: `actionShare[Click]`, `week[3]`, `grid[Click, 3]`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from ambry.errors import InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.features.axes import Axis
from ambry.ml.features.definitions import ValueType
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.snapshots.cells import dense_of
from ambry.ml.snapshots.dense import dense_column
from ambry.ml.snapshots.described import holds_booleans
from ambry.ml.snapshots.schema import DENSE_CELLS_MAX, URN_KEY, feature_field

COLUMNS_MAX = 100_000
Frames = Literal["pandas", "polars"]


def flat_table(table: Any, metadata: FeatureMetadata | None = None) -> Any:
    """A pyarrow Table of scalars alone, of one that was read from a snapshot or a source.

    With the definitions, the cells of a vocabulary are called by its names, and sparse tensors whose axes all have a length
    become columns too, zero where there is no cell. Other sparse ones stay as they are: how many cells there could be, nobody
    knows. Raises InvalidRequest for more than COLUMNS_MAX columns.
    """
    fields: list[Any] = []
    columns: list[Any] = []
    for field, column in zip(table.schema, table.columns, strict=True):
        kind = None
        if metadata is not None and URN_KEY in (field.metadata or {}):
            kind = metadata.tensor_type(field.metadata[URN_KEY].decode())
        column = column.combine_chunks()
        if kind is not None and pa.types.is_list(field.type) and kind.is_dense and _fits(kind):
            column = dense_column(dense_of(column, kind), column.is_null().to_numpy(zero_copy_only=False), kind)
            field = feature_field(kind, field.name, "dense")
        if not isinstance(field.type, pa.FixedShapeTensorType):
            fields.append(field)
            columns.append(column)
            continue
        axes = [None] * len(field.type.shape) if kind is None else kind.axes
        names = [_names(axis, length) for axis, length in zip(axes, field.type.shape, strict=True)]
        cells = _cells(column, field)
        for place, keys in enumerate(product(*names)):
            fields.append(pa.field(f"{field.name}[{', '.join(map(str, keys))}]", cells[place].type))
            columns.append(cells[place])
        if len(fields) > COLUMNS_MAX:
            raise InvalidRequest(f"more than {COLUMNS_MAX} columns; read fewer features, or the tensors as they are")
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


def to_frame(table: Any, library: Frames = "pandas", metadata: FeatureMetadata | None = None) -> Any:
    """`flat_table` as a DataFrame of pandas, whose index is the entity, or of polars. Raises InvalidRequest."""
    flat = flat_table(table, metadata)
    if library == "pandas":
        needed("pandas")
        return flat.to_pandas().set_index(flat.schema.names[0])
    if library == "polars":
        return needed("polars").from_arrow(flat)
    raise InvalidRequest(f"library is 'pandas' or 'polars', not {library!r}")


def _fits(kind: Any) -> bool:
    return kind.value_type not in (ValueType.STRING, ValueType.BYTES) and int(np.prod(kind.shape)) <= DENSE_CELLS_MAX


def _names(axis: Axis | None, length: int) -> list[Any]:
    """Of an axis as long as the column has it: a vocabulary may have grown since."""
    known: Mapping[int, str] = {} if axis is None or axis.vocabulary is None else axis.vocabulary.name_of
    return [known.get(index, index) for index in range(length)]


def _cells(column: Any, field: Any) -> list[Any]:
    """Each cell as a column; null where the tensor is."""
    width = int(np.prod(field.type.shape))
    storage = column.storage
    values = storage.values.slice(storage.offset * width, len(storage) * width).to_numpy(zero_copy_only=False)
    cells = values.reshape(len(storage), width)
    if holds_booleans(field):
        cells = cells.view(np.dtype("bool"))
    missing = storage.is_null().to_numpy(zero_copy_only=False)
    return [pa.array(np.ascontiguousarray(cells[:, place]), mask=missing) for place in range(width)]
