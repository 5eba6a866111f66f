"""Columns of the store in types that Spark has.

    arrow.fixed_shape_tensor    array of arrays, one for each axis; of booleans, which lie as uint8, array of boolean
    sparse cells                array<struct<axis, ..., value>>, as they are
    uint8, uint16, uint32       smallint, int, bigint
    uint64                      decimal(20,0)
    float16                     float
    dictionary, run-end         its values
    timestamp, duration, time   microseconds; a value that is none is refused
    date64                      date

All else is as `pyspark` has it, and what it has not (unions, views of lists, intervals of months, decimals of more than 38
digits) is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ambry.errors import InvalidRequest
from ambry.ml.snapshots.described import holds_booleans

_WIDER = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.float16(): pa.float32(),
    pa.string_view(): pa.string(),
    pa.binary_view(): pa.binary(),
    pa.date64(): pa.date32(),
    pa.time32("s"): pa.time64("us"),
    pa.time32("ms"): pa.time64("us"),
    pa.time64("ns"): pa.time64("us"),
}


def spark_arrow_schema(schema: Any, names: Sequence[str]) -> Any:
    """The pyarrow Schema of some columns, with types that Spark has. Raises InvalidRequest for a column that is not there."""
    for name in names:
        found = schema.get_all_field_indices(name)
        if not found:
            raise InvalidRequest(f"there is no column {name!r}; there are {', '.join(schema.names)}")
        if len(found) > 1:
            raise InvalidRequest(f"{len(found)} columns are called {name!r}; which of them is meant, nothing says")
    return pa.schema([pa.field(name, _spark_type(schema.field(name)), schema.field(name).nullable) for name in names])


def as_spark(batch: Any, schema: Any) -> Any:
    """A record batch in exactly this schema of Spark's. Raises InvalidRequest for a value that does not fit."""
    arrays: list[Any] = []
    for field in schema:
        column = batch.column(field.name)
        try:
            if isinstance(column, pa.FixedShapeTensorArray):
                column = _nested(column)
            if pa.types.is_run_end_encoded(column.type):
                column = pc.run_end_decode(column)
            arrays.append(column if column.type == field.type else column.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InvalidRequest(
                f"the column {field.name!r} ({column.type}) cannot be {field.type} in Spark: {error}; leave it out "
                "(option columns), or say another schema"
            ) from error
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _spark_type(field: Any) -> Any:
    kind = field.type
    if isinstance(kind, pa.FixedShapeTensorType):
        nested = pa.bool_() if holds_booleans(field) else _plain(kind.value_type)
        for _ in kind.shape:
            nested = pa.list_(nested)
        return nested
    return _plain(kind)


def _plain(kind: Any) -> Any:
    if isinstance(kind, pa.ExtensionType | pa.BaseExtensionType):
        return _plain(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _plain(kind.value_type)
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    if pa.types.is_duration(kind):
        return pa.duration("us")
    if pa.types.is_struct(kind):
        return pa.struct([each.with_type(_plain(each.type)) for each in kind])
    if pa.types.is_map(kind):
        return pa.map_(_plain(kind.key_type), _plain(kind.item_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(kind.value_field.with_type(_plain(kind.value_type)))
    return _WIDER.get(kind, kind)


def _nested(tensors: Any) -> Any:
    """Arrays within arrays over the same cells. Raises InvalidRequest for a tensor whose axes lie in another order."""
    shape, order = tensors.type.shape, tensors.type.permutation
    if order is not None and list(order) != sorted(order):
        raise InvalidRequest(f"a tensor whose axes lie in the order {order} cannot be read; write it in rows")
    storage = tensors.storage
    width = storage.type.list_size
    nested = storage.values.slice(storage.offset * width, len(storage) * width)
    for length in reversed(shape[1:]):
        nested = pa.ListArray.from_arrays(_offsets(len(nested) // length, length), nested)
    missing = storage.is_null() if storage.null_count else None
    return pa.ListArray.from_arrays(_offsets(len(storage), shape[0]), nested, mask=missing)


def _offsets(count: int, length: int) -> Any:
    return pa.array(np.arange(count + 1, dtype=np.int64) * length).cast(pa.int32())
