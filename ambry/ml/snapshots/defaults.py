"""What stands where an entity has no value: the default of the feature's definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ambry.ml.features.axes import TensorType
from ambry.ml.snapshots.schema import arrow_type


def filled(column: Any, kind: TensorType) -> Any:
    """The column of a snapshot with its nulls filled: a scalar by the default, a dense tensor by one of which every cell is it.

    A tensor has the shape of its column, to which a vocabulary of `kind` may have grown since. A sparse one gets none: no cell
    of it was said. Without a default, nulls stay.
    """
    if kind.default is None or not column.null_count:
        return column
    if not kind.axes:
        return pc.fill_null(column, pa.scalar(kind.default, arrow_type(kind.value_type)))
    if not isinstance(column, pa.ExtensionArray):
        return column
    storage = column.storage
    width = storage.type.list_size
    cells = np.full(width, kind.default, dtype=storage.type.value_type.to_pandas_dtype())
    default = pa.FixedSizeListArray.from_arrays(pa.array(cells), width).cast(storage.type)
    places = pc.if_else(pc.is_null(storage), len(storage), pa.array(np.arange(len(storage))))
    return pa.ExtensionArray.from_storage(column.type, pa.concat_arrays([storage, default]).take(places))
