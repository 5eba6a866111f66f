"""What stands where an entity has no value: the default of the feature's definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ambry.ml.features.axes import TensorType
from ambry.ml.features.definitions import ValueType
from ambry.ml.snapshots.columns import conform
from ambry.ml.snapshots.schema import arrow_type, shape_of


def filled(column: Any, kind: TensorType) -> Any:
    """The column of a snapshot with its nulls filled: a scalar by the default, a dense tensor by one of which every cell is it.

    A sparse one gets none: no cell of it was said. Without a default, nulls stay.
    """
    if kind.default is None or not column.null_count:
        return column
    if not kind.axes:
        return pc.fill_null(column, pa.scalar(kind.default, arrow_type(kind.value_type)))
    if not isinstance(column, pa.ExtensionArray):
        return column
    value = int(kind.default) if kind.value_type is ValueType.BOOLEAN else kind.default
    cells = np.full((1, *shape_of(kind)), value, dtype=column.type.value_type.to_pandas_dtype())
    if kind.value_type is ValueType.BOOLEAN:
        cells = cells.view(np.dtype("bool"))
    default = conform(cells, kind, "dense")
    both = pa.concat_arrays([column.storage, default.storage])
    places = pc.if_else(pc.is_null(column.storage), len(column), pa.array(np.arange(len(column))))
    return pa.ExtensionArray.from_storage(column.type, both.take(places))
