"""Whatever a column of a user's frame holds, as the column of a snapshot.

    scalar    numbers, texts, booleans, bytes; null where an entity has none
    dense     arrays of the shape: a numpy array of (rows, ...), Arrow tensors, fixed or nested lists
    sparse    cells: lists of (key, ..., value), lists of structs with the names of the axes, {key: value} or
              {(key, ...): value}; or anything dense, of which what is not zero is kept

A key is an index, or the name that it stands for: of a vocabulary (0 where it is strange to it), or a text that is hashed. The
numbers of different names that lie in one cell, as strange to the vocabulary or in one bucket, are added up.
What does not fit is refused with its row, never rounded, cut or dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ambry.errors import InvalidRequest
from ambry.ml.features.axes import Axis, TensorType, bucket_of
from ambry.ml.features.definitions import Categorical, Hashed, ValueType
from ambry.ml.features.vocabulary import OUT_OF_VOCAB_ID
from ambry.ml.snapshots.cells import NUMPY_TYPES, cells_of, sparse_column
from ambry.ml.snapshots.schema import VALUE, Layout, arrow_type, feature_field, layout_of, shape_of


def conform(values: Any, kind: TensorType, layout: Layout | None = None) -> Any:
    """One column as a pyarrow array of the feature's field. Raises InvalidRequest, which names the feature and the row."""
    match layout_of(kind, layout):
        case "scalar":
            return _scalar(values, kind)
        case "dense":
            return _dense(values, kind)
        case _:
            return _sparse(values, kind)


def conform_keys(values: Any, name: str) -> Any:
    """The column of the entities as int64 or string. Raises InvalidRequest for nulls and for other types."""
    array = _arrow(values, name)
    if pa.types.is_integer(array.type) or not len(array):
        array = _cast(array, array.type if array.type == pa.string() else pa.int64(), name)
    elif pa.types.is_large_string(array.type) or str(array.type) == "string_view":
        array = array.cast(pa.string())
    if array.type not in (pa.int64(), pa.string()):
        raise InvalidRequest(f"the column {name!r} is {array.type}; a key is a whole number or a string")
    if array.null_count:
        row = pc.index(pc.is_null(array), True).as_py()
        raise InvalidRequest(f"the column {name!r} has no key in row {row}")
    return array


# --- scalars ---


def _scalar(values: Any, kind: TensorType) -> Any:
    array = _arrow(values, str(kind.urn))
    wanted = arrow_type(kind.value_type)
    fits = {
        ValueType.STRING: pa.types.is_string(array.type) or pa.types.is_large_string(array.type),
        ValueType.BYTES: pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type),
        ValueType.BOOLEAN: pa.types.is_boolean(array.type),
    }.get(kind.value_type, pa.types.is_integer(array.type) or pa.types.is_floating(array.type))
    if not (fits or pa.types.is_null(array.type) or str(array.type) in ("string_view", "binary_view")):
        raise InvalidRequest(f"{kind.urn} takes {kind.value_type.value}, and the column is {array.type}")
    return _cast(array, wanted, str(kind.urn))


def _cast(array: Any, wanted: Any, what: str) -> Any:
    """Raises InvalidRequest with the first row that does not fit."""
    try:
        return array.cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        for row, value in enumerate(array):
            try:
                pa.array([value.as_py()], array.type).cast(wanted)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                raise InvalidRequest(f"{what}: {value.as_py()!r} in row {row} is not {wanted}") from None
        raise InvalidRequest(f"{what}: the column is {array.type} and not {wanted}: {error}") from None


def _arrow(values: Any, what: str) -> Any:
    """One array, without a dictionary. Raises InvalidRequest."""
    try:
        if isinstance(values, pa.ChunkedArray):
            array = values.combine_chunks()
        elif isinstance(values, pa.Array):
            array = values
        else:
            array = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError) as error:
        raise InvalidRequest(
            f"{what}: the column holds values of several kinds, or such as Arrow does not have: {error}"
        ) from None
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


# --- dense tensors ---


def dense_column(tensors: Any, missing: Any | None, kind: TensorType) -> Any:
    """The column of a numpy array of (rows, *shape) in the type of the feature; null where the mask `missing` says so."""
    if kind.value_type is ValueType.BOOLEAN:
        tensors = tensors.view(np.uint8)
    field = feature_field(kind, "x", "dense")
    flat = pa.array(tensors.reshape(-1))
    mask = pa.array(missing) if missing is not None and missing.any() else None
    storage = pa.FixedSizeListArray.from_arrays(flat, prod(shape_of(kind)), mask=mask)
    return pa.ExtensionArray.from_storage(field.type, storage.cast(field.type.storage_type))


def _dense(values: Any, kind: TensorType) -> Any:
    tensors, missing = _tensors(values, kind, shape_of(kind))
    return dense_column(tensors, missing, kind)


def _tensors(values: Any, kind: TensorType, shape: tuple[int, ...]) -> tuple[Any, Any | None]:
    """A numpy array of (rows, *shape) in the type of the feature, and a mask of the rows that have none.

    Raises InvalidRequest.
    """
    if isinstance(values, np.ndarray) and values.dtype != object:
        return _typed(values, kind, shape), None
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return _arrow_tensors(values, kind, shape)
    rows = [None if _is_none(row) else np.asarray(row) for row in values]
    for place, row in enumerate(rows):
        if row is not None and (row.shape != shape or row.dtype == object):
            raise InvalidRequest(f"{kind.urn} has the shape {shape}, and row {place} has {row.shape}")
    missing = np.array([row is None for row in rows], dtype=bool)
    empty = np.zeros(shape, dtype=NUMPY_TYPES[kind.value_type])
    stacked = np.stack([empty if row is None else row for row in rows]) if rows else np.zeros((0, *shape), empty.dtype)
    return _typed(stacked, kind, shape), missing


def _arrow_tensors(values: Any, kind: TensorType, shape: tuple[int, ...]) -> tuple[Any, Any | None]:
    array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    missing = pc.is_null(array).to_numpy(zero_copy_only=False)
    if missing.any():
        # What lies under a null is nobody's: the rows that are there are taken by themselves.
        there, _ = _arrow_tensors(array.drop_null(), kind, shape)
        tensors = np.zeros((len(array), *shape), dtype=there.dtype)
        tensors[~missing] = there
        return tensors, missing
    count, lengths = len(array), []
    while pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_fixed_size_list(array.type):
        lengths.append(pc.unique(pc.list_value_length(array)).to_pylist())
        array = array.flatten()
    if array.null_count:
        raise InvalidRequest(
            f"{kind.urn}: a tensor has a cell without a value; leave the whole row null, or the feature sparse"
        )
    if count and lengths not in ([[length] for length in shape], [[prod(shape)]]):
        told = " x ".join("/".join(str(length) for length in each[:3]) for each in lengths)
        raise InvalidRequest(f"{kind.urn} has the shape {shape}, and the lists have the lengths {told}")
    flat = array.to_numpy(zero_copy_only=False)
    return _typed(flat.reshape(count, *shape), kind, shape), missing


def _typed(tensors: Any, kind: TensorType, shape: tuple[int, ...]) -> Any:
    """The same in the type of the feature, C-contiguous. Raises InvalidRequest where a value would change."""
    if tensors.shape[1:] != shape:
        raise InvalidRequest(f"{kind.urn} has the shape {shape}, and the rows have {tensors.shape[1:]}")
    wanted = NUMPY_TYPES[kind.value_type]
    if tensors.dtype == wanted:
        return np.ascontiguousarray(tensors)
    if wanted.kind == "b" and tensors.dtype == np.uint8 and tensors.max(initial=0) <= 1:
        return np.ascontiguousarray(tensors).view(wanted)
    if wanted.kind == "f" and tensors.dtype.kind in "iuf":
        return np.ascontiguousarray(tensors, dtype=wanted)
    if tensors.dtype.kind not in "biuf" or (wanted.kind == "b") != (tensors.dtype.kind == "b"):
        raise InvalidRequest(f"{kind.urn} takes {kind.value_type.value}, and the column is {tensors.dtype}")
    with np.errstate(invalid="ignore"):
        typed = np.ascontiguousarray(tensors, dtype=wanted)
    if not np.array_equal(typed, tensors):
        row = int(np.argwhere(typed != tensors)[0][0])
        raise InvalidRequest(f"{kind.urn}: a value in row {row} is not {kind.value_type.value}")
    return typed


# --- sparse cells ---


def _sparse(values: Any, kind: TensorType) -> Any:
    if isinstance(values, np.ndarray) and values.dtype != object:
        shape = tuple(known or length for known, length in zip(kind.shape, values.shape[1:], strict=False))
        return cells_of(_checked(_typed(values, kind, shape), kind), kind)
    if isinstance(values, pa.Array | pa.ChunkedArray):
        array = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
        if pa.types.is_list(array.type) and pa.types.is_struct(array.type.value_type):
            return _structs(array, kind)
        if isinstance(array, pa.ExtensionArray) and kind.is_dense:
            tensors, missing = _arrow_tensors(array, kind, shape_of(kind))
            return _with_missing(cells_of(tensors, kind), missing)
        values = array.to_pylist()
    return _rows(list(values), kind)


def _structs(array: Any, kind: TensorType) -> Any:
    """Of list<struct>, whose fields may stand in any order and hold names in place of indices."""
    struct = array.type.value_type
    names = [axis.name for axis in kind.axes]
    told = [struct.field(place).name for place in range(struct.num_fields)]
    if sorted(told) != sorted([*names, VALUE]):
        raise InvalidRequest(
            f"{kind.urn}: a cell has the fields {', '.join([*names, VALUE])}, and not {', '.join(told)}"
        )
    cells = array.flatten()
    rows = pc.list_parent_indices(array).to_numpy(zero_copy_only=False)
    axes = [_indices(cells.field(axis.name), axis, kind) for axis in kind.axes]
    values = _scalar(cells.field(VALUE), kind)
    _no_nulls(values, kind)
    missing = pc.is_null(array).to_numpy(zero_copy_only=False)
    said = {f"axis {axis.name}": _arrow(cells.field(axis.name), str(kind.urn)) for axis in kind.axes}
    keys = pa.table({"row": rows, **said})
    if keys.group_by(keys.column_names).aggregate([]).num_rows < len(cells):
        # A cell stands twice, and not only after names have become indices.
        return sparse_column(kind, rows, axes, values, len(array), missing)
    return sparse_column(kind, rows, axes, values, len(array), missing, add=True)


def _rows(rows: list[Any], kind: TensorType) -> Any:
    """Of Python's own lists, tuples and mappings."""
    missing = np.array([_is_none(row) for row in rows], dtype=bool)
    cells = [
        () if none else _cells(row, kind, place) for place, (row, none) in enumerate(zip(rows, missing, strict=True))
    ]
    owners = np.repeat(np.arange(len(rows)), [len(row) for row in cells])
    flat = list(chain.from_iterable(cells))
    axes = [axis.encode_all(cell[place] for cell in flat) for place, axis in enumerate(kind.axes)]
    values = _scalar(pa.array([cell[-1] for cell in flat], None if flat else arrow_type(kind.value_type)), kind)
    _no_nulls(values, kind)
    add = all(len({cell[:-1] for cell in row}) == len(row) for row in cells)
    return sparse_column(kind, owners, axes, values, len(rows), missing, add=add)


def _cells(row: Any, kind: TensorType, place: int) -> Sequence[tuple[Any, ...]]:
    """The cells of one row as (key, ..., value)."""
    wanted = len(kind.axes) + 1
    items: Iterable[Any] = row
    if isinstance(row, Mapping):
        items = [(*(key if isinstance(key, tuple) else (key,)), value) for key, value in row.items()]
    elif isinstance(row, np.ndarray) and row.dtype != object and row.ndim == len(kind.axes):
        places = np.nonzero(row)
        items = list(zip(*(each.tolist() for each in (*places, row[places])), strict=True))
    found = []
    for cell in items:
        if isinstance(cell, Mapping):
            cell = tuple(cell.get(name) for name in (*(axis.name for axis in kind.axes), VALUE))
        if not isinstance(cell, Sequence) or isinstance(cell, str | bytes) or len(cell) != wanted:
            raise InvalidRequest(
                f"{kind.urn}: {cell!r} in row {place} is no cell; one is "
                f"({', '.join([*(axis.name for axis in kind.axes), VALUE])})"
            )
        found.append(tuple(each.item() if isinstance(each, np.generic) else each for each in cell))
    return found


def _indices(keys: Any, axis: Axis, kind: TensorType) -> Any:
    """A whole column of keys as indices. Raises InvalidRequest."""
    keys = keys.dictionary_decode() if pa.types.is_dictionary(keys.type) else keys
    _no_nulls(keys, kind)
    if pa.types.is_integer(keys.type):
        return _in_range(keys.to_numpy(zero_copy_only=False), axis, kind)
    is_text = pa.types.is_string(keys.type) or pa.types.is_large_string(keys.type)
    if is_text and axis.vocabulary is not None:
        names = pa.array(axis.vocabulary.names, keys.type)
        found = pc.index_in(keys, value_set=names)
        ids = pa.array(axis.vocabulary.ids, pa.int32())
        return pc.fill_null(ids.take(found), OUT_OF_VOCAB_ID).to_numpy(zero_copy_only=False)
    if isinstance(axis.kind, Hashed) and (is_text or pa.types.is_binary(keys.type)):
        buckets = axis.kind.buckets
        return np.array([bucket_of(key, buckets) for key in keys.to_pylist()], dtype=np.int64)
    raise InvalidRequest(f"{kind.urn}: {keys.type} is nothing on the axis {axis.name!r}")


def _in_range(indices: Any, axis: Axis, kind: TensorType) -> Any:
    if axis.is_wide or not len(indices):
        return indices
    limit = axis.size or 1 << 31
    for bound in (int(indices.min()), int(indices.max())):
        if not 0 <= bound < limit:
            known = " of its vocabulary" if isinstance(axis.kind, Categorical) else ""
            raise InvalidRequest(
                f"{kind.urn}: {bound} does not lie on the axis {axis.name!r}, whose indices{known} go to {limit - 1}"
            )
    return indices


def _checked(tensors: Any, kind: TensorType) -> Any:
    if tensors.ndim != len(kind.axes) + 1:
        raise InvalidRequest(f"{kind.urn} has {len(kind.axes)} axes, and the rows have {tensors.ndim - 1}")
    return tensors


def _with_missing(column: Any, missing: Any | None) -> Any:
    if missing is None or not missing.any():
        return column
    return pc.if_else(pa.array(missing), pa.scalar(None, column.type), column)


def _no_nulls(values: Any, kind: TensorType) -> None:
    if values.null_count:
        raise InvalidRequest(f"{kind.urn}: a cell has no {VALUE} or no key; leave the cell out")


def _is_none(row: Any) -> bool:
    return row is None or (isinstance(row, float) and row != row)
