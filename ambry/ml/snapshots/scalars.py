"""One value for each row, or for each cell, in the type of a feature: as it is, or refused with its row.

Whole numbers are never rounded, neither into a shorter type nor into a float; a number that is not whole is no INT. Of what is
a float a FLOAT takes the nearest that it has, and refuses what lies beyond all of them.
A scalar that is null, None, NaN or pandas' NA is a row without a value, from wherever it comes: pandas says so by NaN, and one
frame would be two snapshots by pandas and by polars. Within tensors and cells NaN is a number like the others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ambry.errors import InvalidRequest
from ambry.ml.features.axes import TensorType
from ambry.ml.features.definitions import ValueType
from ambry.ml.snapshots.cells import NUMPY_TYPES
from ambry.ml.snapshots.schema import VALUE, arrow_type

ARROW_ERRORS = (pa.ArrowException, TypeError, ValueError, OverflowError)
"""What pyarrow and numpy raise for values that they cannot hold."""
RowOf = Callable[[int], int]
"""The row of a number by its place."""


def is_none(row: Any) -> bool:
    """Whether a row has no value, in the words of Python, numpy or pandas."""
    if row is None or (isinstance(row, float | np.floating) and row != row):
        return True
    return type(row).__name__ in ("NAType", "NaTType")


def arrow_of(values: Any, what: str) -> Any:
    """One array, without a dictionary or a view. Raises InvalidRequest."""
    try:
        if isinstance(values, pa.Array | pa.ChunkedArray):
            return plain(values)
        if hasattr(values, "__arrow_c_stream__") and not hasattr(values, "iloc"):
            return plain(pa.chunked_array(values))
        if isinstance(values, np.ndarray) and not values.dtype.isnative:
            values = values.astype(values.dtype.newbyteorder("="))
        return plain(pa.array(values, from_pandas=True))
    except ARROW_ERRORS as error:
        raise InvalidRequest(f"{what}: {_odd_one(values, int)} ({error})") from None


def plain(array: Any) -> Any:
    """The same values in one array of the plain type: no dictionary, no runs, no views, no extension."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
        # Of more than 2 GiB of texts several chunks are left.
        array = pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        # Arrow takes none out of a dictionary of views.
        array = pa.DictionaryArray.from_arrays(array.indices, _without_views(array.dictionary)).dictionary_decode()
    elif pa.types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    return _without_views(array)


def _without_views(array: Any) -> Any:
    flat = {"string_view": pa.string(), "binary_view": pa.binary()}.get(str(array.type))
    return array if flat is None else array.cast(flat)


def scalar_column(values: Any, kind: TensorType) -> Any:
    """A column of scalars; null where a row has no value. Raises InvalidRequest."""
    if isinstance(values, np.ndarray) and values.ndim != 1:
        raise InvalidRequest(f"{kind.urn} is one value for each row, and the column has the shape {values.shape}")
    if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
        missing = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else np.zeros(len(values), bool)
        return _numbers(np.asarray(values), missing, kind, nan_is_null=True)
    return _typed(arrow_of(values, str(kind.urn)), kind, nan_is_null=True)


def cell_values(values: Any, kind: TensorType, rows: Any) -> Any:
    """The values of cells, which are of `rows`. Raises InvalidRequest for one that is null, too."""
    try:
        array = plain(values if isinstance(values, pa.Array) else pa.array(values))
    except ARROW_ERRORS as error:
        told = _odd_one(values, lambda place: int(rows[place]))
        raise InvalidRequest(f"{kind.urn}: {told} ({error})") from None
    refuse_nulls(array, kind, rows)
    return _typed(array, kind, nan_is_null=False, row_of=lambda place: int(rows[place]))


def refuse_nulls(values: Any, kind: TensorType, rows: Any) -> None:
    """Raises InvalidRequest where a key or a value of a cell is null; `rows` are those of the cells."""
    if values.null_count:
        row = int(rows[pc.index(pc.is_null(values), True).as_py()])
        raise InvalidRequest(f"{kind.urn}: a cell in row {row} has no {VALUE} or no key; leave the cell out")


def fitted(numbers: Any, kind: TensorType, row_of: RowOf) -> Any:
    """A numpy array in the type of the feature. Raises InvalidRequest for what is no number, and where one would change."""
    wanted = NUMPY_TYPES.get(kind.value_type)
    given = numbers.dtype
    if given == wanted:
        return numbers
    if wanted is not None and wanted.kind == "b" and given == np.uint8:
        typed, bad = numbers.astype(bool), numbers > 1
    elif wanted is None or given.kind not in "biuf" or (wanted.kind == "b") != (given.kind == "b"):
        raise InvalidRequest(f"{kind.urn} takes {kind.value_type.value}, and the column is {given}")
    elif wanted.kind == "f":
        with np.errstate(over="ignore"):
            typed = numbers.astype(wanted)
        bad = np.isinf(typed) & ~np.isinf(numbers) if given.kind == "f" else ~_is_exact(typed, numbers)
    else:
        typed, bad = _whole(numbers, wanted)
    if bad.any():
        place = int(np.flatnonzero(bad)[0])
        value = numbers.reshape(-1)[place].item()
        raise InvalidRequest(f"{kind.urn}: {value!r} in row {row_of(place)} is not {kind.value_type.value}")
    return typed


def _odd_one(values: Any, row_of: RowOf) -> str:
    """What is wrong with values that Arrow does not take together: one that it has not, or one of another kind."""
    known: Any = None
    try:
        for place, value in enumerate(values):
            told = repr(value)
            shown = f"{told if len(told) <= 40 else told[:40] + '...'} in row {row_of(place)}"
            try:
                found = pa.array([value], from_pandas=True).type
            except ARROW_ERRORS:
                return f"{shown} is nothing that Arrow has"
            if pa.types.is_null(found):
                continue
            known = found if known is None else known
            if found != known:
                return f"{shown} is of another kind than the values before, which are {known}"
    except TypeError:
        pass
    return "this is no column"


def _whole(numbers: Any, wanted: Any) -> tuple[Any, Any]:
    """As whole numbers, and which of them are none of the type."""
    limits = np.iinfo(wanted)
    if numbers.dtype.kind == "f":
        wide = numbers.astype(np.float64) if numbers.dtype.itemsize < 8 else numbers
        inside = (wide >= float(limits.min)) & (wide < -float(limits.min))
    elif not numbers.size or (int(numbers.min()) >= limits.min and int(numbers.max()) <= limits.max):
        return numbers.astype(wanted), np.zeros(numbers.shape, bool)
    else:
        wide = numbers.astype(object)
        inside = ((wide >= limits.min) & (wide <= limits.max)).astype(bool)
    typed = np.where(inside, numbers, numbers.dtype.type(0)).astype(wanted)
    return typed, ~inside | (typed != numbers)


def _is_exact(floats: Any, numbers: Any) -> Any:
    """Of whole numbers, which are the same as floats."""
    wide = floats.astype(np.float64)
    inside = wide < 2.0 ** (8 * numbers.dtype.itemsize - (numbers.dtype.kind == "i"))
    return inside & (np.where(inside, wide, 0.0).astype(numbers.dtype) == numbers)


def _typed(array: Any, kind: TensorType, *, nan_is_null: bool, row_of: RowOf = int) -> Any:
    wanted = arrow_type(kind.value_type)
    given = array.type
    if pa.types.is_null(given):
        return pa.nulls(len(array), wanted)
    if kind.value_type is ValueType.STRING:
        fits = pa.types.is_string(given) or pa.types.is_large_string(given)
    elif kind.value_type is ValueType.BYTES:
        fits = pa.types.is_binary(given) or pa.types.is_large_binary(given) or pa.types.is_fixed_size_binary(given)
    elif kind.value_type is ValueType.BOOLEAN:
        fits = pa.types.is_boolean(given)
    else:
        fits = pa.types.is_integer(given) or pa.types.is_floating(given)
        if fits:
            missing = array.is_null().to_numpy(zero_copy_only=False)
            numbers = array.fill_null(pa.scalar(0).cast(given)).to_numpy(zero_copy_only=False)
            return _numbers(numbers, missing, kind, nan_is_null=nan_is_null, row_of=row_of)
    if not fits:
        raise InvalidRequest(f"{kind.urn} takes {kind.value_type.value}, and the column is {given}")
    return array.cast(wanted)


def _numbers(numbers: Any, missing: Any, kind: TensorType, *, nan_is_null: bool, row_of: RowOf = int) -> Any:
    """What stands where `missing` says so is nobody's."""
    if nan_is_null and numbers.dtype.kind == "f":
        missing = missing | np.isnan(numbers)
    if missing.any():
        numbers = np.where(missing, numbers.dtype.type(0), numbers)
    return pa.array(np.ascontiguousarray(fitted(numbers, kind, row_of)), mask=missing if missing.any() else None)
