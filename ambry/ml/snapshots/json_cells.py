"""Typed values as JSON and back, where nothing has types: columns of texts, lines of JSON, CSV.

scalar    itself; bytes in base64
dense     nested lists; what sparse ones are written as is read too
sparse    a list of cells [key, ..., value]; cells that are objects, {"axis": key, ..., "value": value}, are read too, and over
          one axis an object of all cells, {"name": value}
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

import numpy as np
import pyarrow as pa

from ambry.errors import MALFORMED, InvalidRequest
from ambry.ml.features.axes import TensorType
from ambry.ml.features.definitions import ValueType
from ambry.ml.snapshots.described import holds_booleans
from ambry.ml.snapshots.schema import VALUE


def plain_values(column: Any, field: Any) -> list[Any]:
    """What JSON can hold of each row of a column of a snapshot, whose field it is; None for null."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(field.type, pa.FixedShapeTensorType):
        dtype = np.dtype("bool") if holds_booleans(field) else field.type.value_type.to_pandas_dtype()
        rows = column.storage.to_pylist()
        return [None if row is None else _listed(np.array(row, dtype).reshape(field.type.shape)) for row in rows]
    if pa.types.is_list(field.type):
        cells = column.values
        fields = [plain_values(each, part) for each, part in zip(cells.flatten(), cells.type, strict=True)]
        listed = [list(cell) for cell in zip(*fields, strict=True)]
        ends = column.offsets.to_pylist()
        there = column.is_valid().to_pylist()
        return [
            listed[start:end] if is_there else None for start, end, is_there in zip(ends, ends[1:], there, strict=False)
        ]
    if column.type == pa.float32():
        shown = _listed(column.fill_null(0).to_numpy(zero_copy_only=False))
        return [value if there else None for value, there in zip(shown, column.is_valid().to_pylist(), strict=True)]
    return [_plain(value) for value in column.to_pylist()]


def _listed(values: Any) -> Any:
    """Nested lists of numbers: of a float of 32 bits the shortest one that is it (1.4, and not 1.399999976158142)."""
    if values.dtype != np.float32:
        return values.tolist()
    short = values.astype(str).astype(np.float64)
    with np.errstate(over="ignore"):
        return np.where(short.astype(np.float32) == values, short, values.astype(np.float64)).tolist()


def value_of(value: Any, kind: TensorType) -> Any:
    """What was read of one row, for `conform`. Raises InvalidRequest for what is no JSON of a tensor, or no base64."""
    if value is None:
        return None
    if kind.axes and isinstance(value, str | bytes):
        try:
            value = json.loads(value)
        except MALFORMED as error:
            raise InvalidRequest(
                f"{kind.urn}: {value[:40]!r} is no tensor as JSON; write {_example(kind)}: {error}"
            ) from None
    if kind.value_type is not ValueType.BYTES:
        return value
    if not kind.axes:
        return _bytes(value, kind)
    if not isinstance(value, list):
        raise InvalidRequest(f"{kind.urn}: {str(value)[:40]!r} is no list of cells")
    return [
        {**cell, VALUE: _bytes(cell.get(VALUE), kind)}
        if isinstance(cell, dict)
        else [*cell[:-1], _bytes(cell[-1], kind)]
        for cell in value
    ]


def _example(kind: TensorType) -> str:
    """A cell of this feature."""
    keys = [1 if axis.vocabulary is None else (*axis.vocabulary.names[1:2], 0)[0] for axis in kind.axes]
    return json.dumps({str(keys[0]): 1} if len(keys) == 1 else [[*keys, 1]], ensure_ascii=False)


def _plain(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _bytes(value: Any, kind: TensorType) -> bytes:
    if isinstance(value, bytes):
        return value
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise InvalidRequest(f"{kind.urn}: {str(value)[:40]!r} is no base64") from None
