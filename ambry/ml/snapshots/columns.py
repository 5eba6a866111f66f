"""Whatever a column of a user's frame holds, as the column of a snapshot.

    scalar    numbers, texts, booleans, bytes; null where an entity has none
    dense     arrays of the shape: a numpy array of (rows, ...), Arrow tensors, fixed or nested lists; or cells, as sparse ones
    sparse    cells: lists of (key, ..., value), lists of mappings or structs with the names of the axes, {key: value} or
              {(key, ...): value}; or dense ones (sparse.py says which), of which what is not zero is kept

A key is an index, or the name that it stands for: of a vocabulary (0 where it is strange to it), or a text that is hashed. The
numbers of different names that lie in one cell, as strange to the vocabulary or in one bucket, are added up.
What does not fit is refused with its row, and nothing is cut or dropped; what numbers fit, scalars.py says.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ambry.errors import InvalidRequest
from ambry.ml.features.axes import TensorType
from ambry.ml.snapshots.by_name import with_tensors
from ambry.ml.snapshots.dense import dense_column, tensors_of
from ambry.ml.snapshots.scalars import ARROW_ERRORS, arrow_of, scalar_column
from ambry.ml.snapshots.schema import Layout, layout_of, shape_of
from ambry.ml.snapshots.sparse import cells_column


def conform(values: Any, kind: TensorType, layout: Layout | None = None) -> Any:
    """One column as a pyarrow array of the feature's field. Raises InvalidRequest, which names the feature and the row."""
    chosen = layout_of(kind, layout)
    try:
        match chosen:
            case "scalar":
                return scalar_column(values, kind)
            case "dense":
                shape = shape_of(kind)
                tensors, missing = tensors_of(with_tensors(values, kind, shape), kind, shape)
                return dense_column(tensors, missing, kind)
            case _:
                return cells_column(values, kind)
    except InvalidRequest:
        raise
    except ARROW_ERRORS as error:
        raise InvalidRequest(f"{kind.urn}: the column is nothing that a {chosen} one is made of: {error}") from error


def conform_keys(values: Any, name: str) -> Any:
    """The column of the entities as int64 or string. Raises InvalidRequest for nulls and for other types."""
    array = arrow_of(values, f"the column {name!r}")
    if not len(array) and array.type != pa.string():
        array = pa.array([], pa.string() if pa.types.is_large_string(array.type) else pa.int64())
    elif (
        pa.types.is_unsigned_integer(array.type)
        and (beyond := pc.greater(array, pa.scalar((1 << 63) - 1, pa.uint64()))).true_count
    ):
        row = pc.index(beyond, True).as_py()
        raise InvalidRequest(f"the column {name!r}: {array[row].as_py()} in row {row} is not int64")
    elif pa.types.is_integer(array.type):
        array = array.cast(pa.int64())
    elif pa.types.is_large_string(array.type):
        array = array.cast(pa.string())
    if array.type not in (pa.int64(), pa.string()):
        raise InvalidRequest(f"the column {name!r} is {array.type}; a key is a whole number or a string")
    if array.null_count:
        row = pc.index(pc.is_null(array), True).as_py()
        raise InvalidRequest(f"the column {name!r} has no key in row {row}")
    return array
