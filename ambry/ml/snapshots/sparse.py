"""Cells of a feature out of whatever holds them, as the sparse column of a snapshot.

A list of a row holds cells, always: what could be a matrix too is not guessed about. Dense are numpy arrays, Arrow's tensors
and lists of fixed size; and, over one axis, a list of numbers, which can be nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ambry.errors import InvalidRequest
from ambry.ml.features.axes import Axis, TensorType, bucket_of
from ambry.ml.features.definitions import Categorical, Hashed
from ambry.ml.features.vocabulary import OUT_OF_VOCAB_ID
from ambry.ml.snapshots.cells import NUMPY_TYPES, cells_of, not_zero, owners_of, sparse_column
from ambry.ml.snapshots.dense import array_tensors, arrow_tensors, is_listing, row_tensor
from ambry.ml.snapshots.scalars import cell_values, fitted, is_none, plain, refuse_nulls
from ambry.ml.snapshots.schema import VALUE

_FORMS = "(key, ..., value), a mapping of the axes and the value, or a numpy array for all cells of the row"


def cells_column(values: Any, kind: TensorType) -> Any:
    """The column. Raises InvalidRequest."""
    if hasattr(values, "__arrow_c_stream__") and not hasattr(values, "iloc"):
        values = pa.chunked_array(values)
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return _of_arrow(values, kind)
    if isinstance(values, np.ndarray) and values.dtype != object:
        tensors, missing = array_tensors(values, kind, _shape(values.shape[1:], kind))
        return _with_missing(cells_of(tensors, kind), missing)
    return _of_rows(list(values), kind)


def named_fields(value: Any) -> Mapping[str, Any] | None:
    """What a mapping, a row of Spark or a named tuple says by name; None for anything else."""
    if isinstance(value, Mapping):
        return value
    if hasattr(value, "asDict"):
        return dict(value.asDict())
    return dict(value._asdict()) if hasattr(value, "_asdict") else None


# --- Arrow ---


def _of_arrow(values: Any, kind: TensorType) -> Any:
    if isinstance(values.type, pa.FixedShapeTensorType):
        tensors, missing = arrow_tensors(values, kind, _shape(values.type.shape, kind))
        return _with_missing(cells_of(tensors, kind), missing)
    array = plain(values)
    lengths, inner = [], array.type
    while pa.types.is_fixed_size_list(inner):
        lengths.append(inner.list_size)
        inner = inner.value_type
    if lengths and len(lengths) == len(kind.axes) and not (pa.types.is_struct(inner) or is_listing(inner)):
        tensors, missing = arrow_tensors(array, kind, _shape(lengths, kind))
        return _with_missing(cells_of(tensors, kind), missing)
    if is_listing(array.type) and pa.types.is_struct(array.type.value_type):
        return _of_structs(array, kind)
    return _of_rows(array.to_pylist(), kind)


def _of_structs(array: Any, kind: TensorType) -> Any:
    """Of list<struct>, whose fields may stand in any order and hold names in place of indices."""
    struct = array.type.value_type
    _check_fields([struct.field(place).name for place in range(struct.num_fields)], kind)
    rows = owners_of(array)
    missing = array.is_null().to_numpy(zero_copy_only=False)
    cells = plain(array.flatten())
    refuse_nulls(cells, kind, rows)
    keys = {axis.name: plain(cells.field(axis.name)) for axis in kind.axes}
    axes = [_indices(keys[axis.name], axis, kind, rows) for axis in kind.axes]
    values = cell_values(cells.field(VALUE), kind, rows)
    said = pa.Table.from_arrays([pa.array(rows), *keys.values()], [str(place) for place in range(len(keys) + 1)])
    # Names that fall into one cell are added up; a key that was said twice is a mistake.
    add = said.group_by(said.column_names).aggregate([]).num_rows == len(cells)
    return sparse_column(kind, rows, axes, values, len(array), missing, add=add)


def _indices(keys: Any, axis: Axis, kind: TensorType, rows: Any) -> Any:
    """A whole column of keys as indices. Raises InvalidRequest."""
    refuse_nulls(keys, kind, rows)
    if not len(keys):
        return np.zeros(0, np.int64)
    if pa.types.is_integer(keys.type):
        return _in_range(keys.to_numpy(zero_copy_only=False), axis, kind)
    is_text = pa.types.is_string(keys.type) or pa.types.is_large_string(keys.type)
    if is_text and axis.vocabulary is not None:
        names = pa.array(axis.vocabulary.names, keys.type)
        found = pc.index_in(keys, value_set=names)
        ids = pa.array(axis.vocabulary.ids, pa.int32())
        return pc.fill_null(ids.take(found), OUT_OF_VOCAB_ID).to_numpy(zero_copy_only=False)
    is_binary = pa.types.is_binary(keys.type) or pa.types.is_large_binary(keys.type)
    if isinstance(axis.kind, Hashed) and (is_text or is_binary):
        buckets = axis.kind.buckets
        return np.array([bucket_of(key, buckets) for key in keys.to_pylist()], dtype=np.int64)
    raise InvalidRequest(f"{kind.urn}: {keys.type} is nothing on the axis {axis.name!r}")


def _in_range(indices: Any, axis: Axis, kind: TensorType) -> Any:
    first, limit = (-(1 << 63), 1 << 63) if axis.is_wide else (0, axis.size or 1 << 31)
    for bound in (int(indices.min()), int(indices.max())):
        if not first <= bound < limit:
            known = " of its vocabulary" if isinstance(axis.kind, Categorical) else ""
            raise InvalidRequest(
                f"{kind.urn}: {bound} does not lie on the axis {axis.name!r}, whose indices{known} go to {limit - 1}"
            )
    return indices


# --- Python ---


def _of_rows(rows: list[Any], kind: TensorType) -> Any:
    """Of Python's own lists, tuples and mappings, and of one numpy array for each row."""
    missing = np.array([is_none(row) for row in rows], dtype=bool)
    cells = [
        () if none else _cells(row, kind, place) for place, (row, none) in enumerate(zip(rows, missing, strict=True))
    ]
    owners = np.repeat(np.arange(len(rows)), [len(row) for row in cells])
    flat = list(chain.from_iterable(cells))
    axes = [_encoded(axis, [cell[place] for cell in flat], kind, owners) for place, axis in enumerate(kind.axes)]
    values = cell_values([cell[-1] for cell in flat], kind, owners)
    add = all(len({cell[:-1] for cell in row}) == len(row) for row in cells)
    return sparse_column(kind, owners, axes, values, len(rows), missing, add=add)


def _encoded(axis: Axis, keys: list[Any], kind: TensorType, owners: Any) -> list[int]:
    try:
        return axis.encode_all(keys)
    except InvalidRequest:
        for place, key in enumerate(keys):
            try:
                axis.encode(key)
            except InvalidRequest as error:
                raise InvalidRequest(f"{kind.urn}: row {int(owners[place])}: {error.message}") from None
        raise


def _cells(row: Any, kind: TensorType, place: int) -> Sequence[tuple[Any, ...]]:
    """The cells of one row as (key, ..., value)."""
    row = row.toArray() if hasattr(row, "toArray") else row
    if isinstance(row, np.ndarray) and row.dtype != object:
        return _of_dense(row, kind, place)
    if isinstance(row, Mapping):
        row = [(*(key if isinstance(key, tuple) else (key,)), value) for key, value in row.items()]
    if not isinstance(row, Iterable) or isinstance(row, str | bytes):
        raise InvalidRequest(f"{kind.urn}: {_shown(row)} in row {place} is no list of cells; a cell is {_FORMS}")
    items = list(row)
    if len(kind.axes) == 1 and items and all(isinstance(item, int | float | np.number | np.bool_) for item in items):
        return _of_dense(row_tensor(items, kind, place), kind, place)
    return [_cell(item, kind, place) for item in items]


def _cell(cell: Any, kind: TensorType, place: int) -> tuple[Any, ...]:
    if (named := named_fields(cell)) is not None:
        _check_fields(list(named), kind, f" in row {place}")
        cell = tuple(named[name] for name in (*(axis.name for axis in kind.axes), VALUE))
    is_sequence = isinstance(cell, Sequence) and not isinstance(cell, str | bytes)
    if not is_sequence or len(cell) != len(kind.axes) + 1:
        raise InvalidRequest(f"{kind.urn}: {_shown(cell)} in row {place} is no cell; one is {_FORMS}")
    return tuple(each.item() if isinstance(each, np.generic) else each for each in cell)


def _of_dense(row: Any, kind: TensorType, place: int) -> list[tuple[Any, ...]]:
    row = row_tensor(row, kind, place)
    if row.shape != _shape(row.shape, kind):
        raise InvalidRequest(f"{kind.urn} has the shape {_shape(row.shape, kind)}, and row {place} has {row.shape}")
    typed = fitted(row, kind, lambda _: place)
    places = not_zero(typed)
    return list(zip(*(each.tolist() for each in (*places, typed[places])), strict=True))


def _shape(given: Sequence[int], kind: TensorType) -> tuple[int, ...]:
    """What a dense row has, of which the axes without a length are as long as those given. Raises InvalidRequest."""
    if kind.value_type not in NUMPY_TYPES:
        raise InvalidRequest(
            f"{kind.urn}: {kind.value_type.value} has no width, so there are no tensors of it, but cells"
        )
    if len(given) != len(kind.axes):
        raise InvalidRequest(f"{kind.urn} has {len(kind.axes)} axes, and the rows have {len(given)}")
    return tuple(length if known is None else known for known, length in zip(kind.shape, given, strict=True))


def _check_fields(told: list[str], kind: TensorType, where: str = "") -> None:
    wanted = [*(axis.name for axis in kind.axes), VALUE]
    if sorted(map(str, told)) != sorted(wanted):
        raise InvalidRequest(
            f"{kind.urn}: a cell has the fields {', '.join(wanted)}, and not {', '.join(map(str, told))}{where}"
        )


def _with_missing(column: Any, missing: Any) -> Any:
    if not missing.any():
        return column
    return pc.if_else(pa.array(missing), pa.scalar(None, column.type), column)


def _shown(value: Any) -> str:
    told = repr(value)
    return told if len(told) <= 80 else f"{told[:80]}..."
