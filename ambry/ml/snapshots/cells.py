"""Sparse cells and dense tensors of one feature, and what turns one into the other.

A sparse column is list<struct<axis..., value>>: of each row the cells that are there, in the order of their indices, each once.
What is not there is zero. Everything here works on whole columns; nothing is done cell by cell.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ambry.errors import DataCorrupt, InvalidRequest
from ambry.ml.features.axes import TensorType
from ambry.ml.features.definitions import ValueType
from ambry.ml.snapshots.schema import VALUE, feature_field, shape_of

NUMPY_TYPES: dict[ValueType, Any] = {
    ValueType.INT: np.dtype("<i4"),
    ValueType.LONG: np.dtype("<i8"),
    ValueType.FLOAT: np.dtype("<f4"),
    ValueType.DOUBLE: np.dtype("<f8"),
    ValueType.BOOLEAN: np.dtype("bool"),
}
"""Of what has a width."""
DENSE_BYTES_MAX = 1 << 31
"""More than this is not made dense: a shape that nobody thought of would take all memory."""


def sparse_column(
    kind: TensorType,
    rows: Any,
    axes: Sequence[Any],
    values: Any,
    count: int,
    missing: Any | None = None,
    *,
    add: bool = False,
) -> Any:
    """The pyarrow column of cells: cell i is of row `rows[i]`, at `axes[a][i]` of each axis, and is `values[i]`.

    `count` rows; `missing` is a mask of those that have no value at all. The indices lie on their axes.
    Raises InvalidRequest where a cell stands twice; with `add`, such numbers are added up (of booleans one is enough), and only
    what is no number is refused.
    """
    rows = np.asarray(rows, dtype=np.int64)
    columns = [np.asarray(axis) for axis in axes]
    order = np.lexsort([*reversed(columns), rows])
    rows = rows[order]
    columns = [column[order] for column in columns]
    same = rows[1:] == rows[:-1]
    for column in columns:
        same &= column[1:] == column[:-1]
    value = values.take(pa.array(order)) if isinstance(values, pa.Array) else pa.array(np.asarray(values)[order])
    if same.any():
        if not add or kind.value_type not in NUMPY_TYPES:
            place = int(np.argmax(same))
            cell = ", ".join(str(column[place]) for column in columns)
            raise InvalidRequest(f"{kind.urn}: the cell ({cell}) stands twice in row {int(rows[place])}")
        first = np.flatnonzero(np.concatenate([[True], ~same]))
        value = _added(value, first, kind)
        rows, columns = rows[first], [column[first] for column in columns]
    field = feature_field(kind, "x", "sparse")
    struct = field.type.value_type
    arrays = [pa.array(column, struct.field(place).type) for place, column in enumerate(columns)]
    arrays.append(value.cast(struct.field(VALUE).type))
    cells = pa.StructArray.from_arrays(arrays, fields=list(struct))
    if len(rows) >= 1 << 31:
        raise InvalidRequest(
            f"{kind.urn}: {len(rows)} cells are more than a column of one piece holds; give fewer rows at once"
        )
    offsets = np.zeros(count + 1, dtype=np.int32)
    np.cumsum(np.bincount(rows, minlength=count), out=offsets[1:])
    mask = None if missing is None or not missing.any() else pa.array(missing)
    return pa.ListArray.from_arrays(pa.array(offsets), cells, type=field.type, mask=mask)


def _added(values: Any, first: Any, kind: TensorType) -> Any:
    """The numbers from each of `first` up to the next one, added up. Raises InvalidRequest for a sum that the type has not."""
    numbers = values.to_numpy(zero_copy_only=False)
    if kind.value_type is ValueType.BOOLEAN:
        return pa.array(np.logical_or.reduceat(numbers, first))
    wanted = NUMPY_TYPES[kind.value_type]
    with np.errstate(over="ignore", invalid="ignore"):
        about = np.add.reduceat(numbers.astype(np.float64), first)
        sums = about.astype(wanted) if wanted.kind == "f" else np.add.reduceat(numbers.astype(np.int64), first)
    if wanted.kind == "f":
        is_beyond = bool((np.isinf(sums) & np.logical_and.reduceat(np.isfinite(numbers), first)).any())
    else:
        # Near the end of 64 bits floats do not tell, and Python's own numbers do.
        near = np.flatnonzero(np.abs(about) >= 2.0**62)
        ends = [*first[1:].tolist(), len(numbers)]
        exact = [*sums.tolist(), *(sum(numbers[first[place] : ends[place]].tolist()) for place in near.tolist())]
        limit = 1 << (8 * wanted.itemsize - 1)
        is_beyond = not all(-limit <= number < limit for number in (min(exact), max(exact)))
    if is_beyond:
        raise InvalidRequest(f"{kind.urn}: numbers of one cell are more than {kind.value_type.value} holds together")
    return pa.array(sums)


def owners_of(column: Any) -> Any:
    """The row of each cell of a column of lists, as numpy; what lies under a null is in no row."""
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    return np.repeat(np.arange(len(column), dtype=np.int64), lengths)


def parts_of(column: Any) -> tuple[Any, list[Any], Any]:
    """Rows, indices per axis (numpy) and values (pyarrow) of a sparse column.

    Raises DataCorrupt for a cell that is null, which nothing of ours writes.
    """
    column = _whole(column)
    rows = owners_of(column)
    cells = column.flatten()
    if cells.null_count:
        row = int(rows[pc.index(pc.is_null(cells), True).as_py()])
        raise DataCorrupt(f"row {row} of the column has a cell that is null")
    names = [field.name for field in cells.type]
    axes = [cells.field(name).to_numpy(zero_copy_only=False) for name in names if name != VALUE]
    return rows, axes, cells.field(VALUE)


def dense_of(column: Any, kind: TensorType, shape: Sequence[int] | None = None) -> Any:
    """A sparse column as a numpy array of (rows, *shape), with zero where no cell is; null rows are all zero.

    `shape` is needed where an axis has no length. Raises InvalidRequest for a cell outside of it, and for a type without a
    width.
    """
    dtype = NUMPY_TYPES.get(kind.value_type)
    if dtype is None:
        raise InvalidRequest(f"{kind.urn}: {kind.value_type.value} has no width, so there is no dense tensor of it")
    if shape is None:
        if not kind.is_dense:
            raise InvalidRequest(f"{kind.urn} has an axis without a length; say `shape`")
        shape = shape_of(kind)
    if len(shape) != len(kind.axes):
        raise InvalidRequest(f"{kind.urn} has {len(kind.axes)} axes, and `shape` has {len(shape)}")
    column = _whole(column)
    size = len(column) * prod(shape) * dtype.itemsize
    if size > DENSE_BYTES_MAX:
        raise InvalidRequest(
            f"{kind.urn}: {len(column)} dense rows would take {size} bytes; read fewer, or leave them sparse"
        )
    dense = np.zeros((len(column), *shape), dtype=dtype)
    rows, axes, values = parts_of(column)
    for name, indices, length in zip((axis.name for axis in kind.axes), axes, shape, strict=True):
        if len(indices) and not (int(indices.min()) >= 0 and int(indices.max()) < length):
            raise InvalidRequest(
                f"{kind.urn}: the axis {name!r} has indices up to {int(indices.max())}, beyond {length - 1}"
            )
    dense[(rows, *axes)] = values.to_numpy(zero_copy_only=False)
    return dense


def not_zero(dense: Any) -> tuple[Any, ...]:
    """The indices on each axis of what is not zero to the last bit: -0.0 is a cell, and so the same when it is dense again."""
    is_float = dense.dtype.kind == "f"
    return np.nonzero(np.ascontiguousarray(dense).view(f"u{dense.dtype.itemsize}") if is_float else dense)


def cells_of(dense: Any, kind: TensorType) -> Any:
    """The sparse column of what is not zero (`not_zero`) in a numpy array of (rows, *shape)."""
    dense = np.asarray(dense)
    rows, *axes = not_zero(dense)
    return sparse_column(kind, rows, axes, dense[(rows, *axes)], len(dense))


def tensor_view(column: Any, kind: TensorType) -> Any:
    """A dense column as a numpy array of (rows, *shape) over the same memory, not to be written. Null rows hold anything.

    The shape is the column's own: a vocabulary of `kind` may have grown since.
    Raises InvalidRequest for a column of several chunks, which no one array can lie over.
    """
    if isinstance(column, pa.ChunkedArray):
        if column.num_chunks > 1:
            raise InvalidRequest(
                f"{kind.urn}: {column.num_chunks} batches have no memory in common; take one at a time"
            )
        column = column.combine_chunks()
    is_tensor = isinstance(column, pa.ExtensionArray)
    shape = column.type.shape if is_tensor else shape_of(kind)
    storage = column.storage if is_tensor else column
    width = storage.type.list_size
    # The cells of a null row may be null themselves: Parquet reads them so.
    values, count = storage.values, len(storage) * width
    dtype = np.dtype(values.type.to_pandas_dtype())
    start = (storage.offset * width + values.offset) * dtype.itemsize
    flat = np.frombuffer(values.buffers()[1], dtype, count, start) if count else np.zeros(0, dtype)
    flat.flags.writeable = False
    view = flat.reshape(len(storage), *shape)
    return view.view(np.dtype("bool")) if kind.value_type is ValueType.BOOLEAN else view


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
