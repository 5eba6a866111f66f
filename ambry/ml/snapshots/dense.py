"""Tensors of a feature, of the same shape in each row, out of whatever holds them."""

from __future__ import annotations

from functools import partial
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ambry.errors import InvalidRequest
from ambry.ml.features.axes import TensorType
from ambry.ml.features.definitions import ValueType
from ambry.ml.snapshots.cells import NUMPY_TYPES
from ambry.ml.snapshots.scalars import ARROW_ERRORS, fitted, is_none, plain
from ambry.ml.snapshots.schema import feature_field, shape_of

_EXACT_MAX = 1 << 24
"""Up to here every whole number is a float of every type."""


def dense_column(tensors: Any, missing: Any | None, kind: TensorType) -> Any:
    """The column of a numpy array of (rows, *shape) in the type of the feature; null where the mask `missing` says so."""
    if kind.value_type is ValueType.BOOLEAN:
        tensors = tensors.view(np.uint8)
    field = feature_field(kind, "x", "dense")
    flat = pa.array(tensors.reshape(-1))
    mask = pa.array(missing) if missing is not None and missing.any() else None
    storage = pa.FixedSizeListArray.from_arrays(flat, prod(shape_of(kind)), mask=mask)
    return pa.ExtensionArray.from_storage(field.type, storage.cast(field.type.storage_type))


def tensors_of(values: Any, kind: TensorType, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """A numpy array of (rows, *shape) in the type of the feature, and a mask of the rows that have none.

    Raises InvalidRequest.
    """
    if hasattr(values, "__arrow_c_stream__") and not hasattr(values, "iloc"):
        values = pa.chunked_array(values)
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return arrow_tensors(values, kind, shape)
    if isinstance(values, np.ndarray) and values.dtype != object:
        return array_tensors(values, kind, shape)
    return _listed(list(values), kind, shape)


def array_tensors(values: Any, kind: TensorType, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Of one numpy array, whose rows may be masked as a whole."""
    _check_shape(values.shape[1:], kind, shape)
    masked = np.ma.getmaskarray(values).reshape(len(values), prod(shape)) if np.ma.isMaskedArray(values) else None
    if masked is None or not masked.any():
        missing: Any = np.zeros(len(values), bool)
    else:
        missing = masked.all(axis=1)
        if partly := np.flatnonzero(masked.any(axis=1) & ~missing).tolist():
            raise InvalidRequest(_lacks_a_cell(kind, partly[0]))
    values = np.asarray(values)
    return _with_rows(values[~missing] if missing.any() else values, missing, kind, shape), missing


def arrow_tensors(values: Any, kind: TensorType, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """Of Arrow's tensors, or of nested lists, which may be flat within a row."""
    if isinstance(values.type, pa.FixedShapeTensorType):
        _check_tensor_type(values.type, kind, shape)
    array = plain(values)
    missing = array.is_null().to_numpy(zero_copy_only=False)
    # What lies under a null is nobody's: only the rows that are there are looked at.
    array = array.drop_null() if missing.any() else array
    count, lengths = len(array), []
    while is_listing(array.type) and not array.null_count:
        lengths.append(pc.unique(pc.list_value_length(array)).to_pylist())
        array = array.flatten()
    if array.null_count:
        raise InvalidRequest(_lacks_a_cell(kind))
    if count and shape and not lengths:
        raise InvalidRequest(
            f"{kind.urn} has the shape {shape}, and the column is {array.type}: a list of numbers is wanted"
        )
    if count and lengths not in ([[length] for length in shape], [[prod(shape)]]):
        told = " x ".join("/".join(str(length) for length in each[:3]) for each in lengths)
        raise InvalidRequest(f"{kind.urn} has the shape {shape}, and the lists have the lengths {told}")
    flat = plain(array)
    if not (pa.types.is_integer(flat.type) or pa.types.is_floating(flat.type) or pa.types.is_boolean(flat.type)):
        if count:
            raise InvalidRequest(f"{kind.urn} takes {kind.value_type.value}, and the cells are {flat.type}")
        flat = pa.array([], pa.int8() if kind.value_type is not ValueType.BOOLEAN else pa.bool_())
    numbers = flat.to_numpy(zero_copy_only=False).reshape(count, *shape)
    return _with_rows(numbers, missing, kind, shape), missing


def row_tensor(row: Any, kind: TensorType, place: int) -> Any:
    """One row as a numpy array of numbers. Raises InvalidRequest."""
    row = row.toArray() if hasattr(row, "toArray") else row
    try:
        array = np.asarray(row)
    except ARROW_ERRORS as error:
        raise InvalidRequest(f"{kind.urn}: row {place} is no tensor: {error}") from None
    if np.ma.isMaskedArray(row) and np.ma.getmaskarray(row).any():
        raise InvalidRequest(_lacks_a_cell(kind, place))
    if not isinstance(row, np.ndarray) and array.dtype.kind == "f" and (np.abs(array) >= _EXACT_MAX).any():
        return _not_rounded(row, array, kind, place)
    return array


def is_listing(arrow_type: Any) -> bool:
    """Whether a column of that type has a list in each row."""
    types = pa.types
    is_plain = types.is_list(arrow_type) or types.is_large_list(arrow_type) or types.is_fixed_size_list(arrow_type)
    return bool(is_plain or types.is_list_view(arrow_type) or types.is_large_list_view(arrow_type))


def _listed(values: list[Any], kind: TensorType, shape: tuple[int, ...]) -> tuple[Any, Any]:
    missing = np.array([is_none(row) for row in values], dtype=bool)
    rows = []
    for place in np.flatnonzero(~missing).tolist():
        row = row_tensor(values[place], kind, place)
        if row.shape != shape or row.dtype == object:
            raise InvalidRequest(f"{kind.urn} has the shape {shape}, and row {place} has {row.shape}")
        rows.append(row)
    if len({row.dtype for row in rows}) > 1:
        # Put together, numbers of several types would be floats, and large ones rounded.
        places = np.flatnonzero(~missing).tolist()
        rows = [fitted(row, kind, partial(_the_row, at)) for row, at in zip(rows, places, strict=True)]
    stacked = np.stack(rows) if rows else np.zeros((0, *shape), NUMPY_TYPES[kind.value_type])
    return _with_rows(stacked, missing, kind, shape), missing


def _the_row(row: int, place: int) -> int:
    return row


def _with_rows(there: Any, missing: Any, kind: TensorType, shape: tuple[int, ...]) -> Any:
    """All rows in the type of the feature, C-contiguous; zero where one is missing. Raises InvalidRequest."""
    places = np.flatnonzero(~missing)
    typed = fitted(there, kind, lambda place: int(places[place // prod(shape)]))
    if not missing.any():
        return np.ascontiguousarray(typed)
    tensors = np.zeros((len(missing), *shape), dtype=typed.dtype)
    tensors[~missing] = typed
    return tensors


def _check_shape(given: tuple[int, ...], kind: TensorType, shape: tuple[int, ...]) -> None:
    if tuple(given) != shape:
        raise InvalidRequest(f"{kind.urn} has the shape {shape}, and the rows have {tuple(given)}")


def _check_tensor_type(given: Any, kind: TensorType, shape: tuple[int, ...]) -> None:
    """Raises InvalidRequest for a tensor of other axes, also where it has as many cells."""
    _check_shape(tuple(given.shape), kind, shape)
    names = [axis.name for axis in kind.axes]
    told = list(given.dim_names or names)
    if list(given.permutation or range(len(shape))) != list(range(len(shape))) or (
        sorted(told) == sorted(names) and told != names
    ):
        raise InvalidRequest(f"{kind.urn} has the axes {', '.join(names)}, and the tensors lie in another order")


def _not_rounded(row: Any, array: Any, kind: TensorType, place: int) -> Any:
    """`array`, which numpy made floats of as a float stands in `row`, or whole numbers as they were. Raises InvalidRequest."""
    wanted = NUMPY_TYPES.get(kind.value_type)
    is_whole = wanted is not None and wanted.kind == "i"
    typed = []
    for value in np.asarray(row, dtype=object).reshape(-1).tolist():
        try:
            found = None if wanted is None else wanted.type(value)
            is_same = found is not None and (not (is_whole or isinstance(value, int)) or int(found) == value)
        except (OverflowError, ValueError):
            is_same = False
        if not is_same:
            raise InvalidRequest(f"{kind.urn}: {value!r} in row {place} is not {kind.value_type.value}")
        typed.append(found)
    return np.array(typed, wanted).reshape(array.shape) if is_whole else array


def _lacks_a_cell(kind: TensorType, row: int | None = None) -> str:
    where = "a tensor" if row is None else f"the tensor in row {row}"
    return f"{kind.urn}: {where} has a cell without a value; leave the whole row null, or the feature sparse"
