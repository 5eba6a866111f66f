"""Columns of the store in types that Spark has.

    arrow.fixed_shape_tensor    array of arrays, one for each axis; of booleans, which lie as uint8, array of boolean
    sparse cells                array<struct<axis, ..., value>>, as they are
    uint8, uint16, uint32       smallint, int, bigint
    uint64                      decimal(20,0)
    float16                     float
    dictionary, run-end         its values
    timestamp, duration, time   microseconds; a value that is none is refused, but for times of 96 bits of Parquet, of which
                                Spark takes them off
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
from ambry.spark.written_by_spark import TYPE_KEY

DECIMAL_DIGITS = 38
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
    """The pyarrow Schema of some columns, with types that Spark has.

    Raises InvalidRequest for a column that is not there, or asked for twice, or of a type that Spark alone knows of.

    All may be null, as in every file that Spark reads: what an Arrow file says of that, nobody checked who wrote it, and Spark
    leaves out what it believes to be never so.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidRequest(f"the column {name!r} is asked for twice; once is enough")
        seen.add(name)
        found = schema.get_all_field_indices(name)
        if not found:
            raise InvalidRequest(f"there is no column {name!r}; there are {', '.join(schema.names)}")
        if len(found) > 1:
            raise InvalidRequest(f"{len(found)} columns are called {name!r}; which of them is meant, nothing says")
        if (own := (schema.field(name).metadata or {}).get(TYPE_KEY)) is not None:
            raise InvalidRequest(
                f"the column {name!r} is of the type {own.decode()}, which Spark keeps as {schema.field(name).type} in "
                "Parquet, and which is not read here; leave it out (option columns), or cast it before it is written"
            )
    return pa.schema([pa.field(name, _spark_type(schema.field(name))) for name in names])


def check_fields(stored: Any, said: Any, where: str) -> None:
    """Of a pyarrow type that is read as another one. Raises InvalidRequest for a field of a struct whose case alone differs.

    Arrow takes it for one that the file has not, which is null in each row, and Spark for the other one.
    """
    if pa.types.is_struct(stored) and pa.types.is_struct(said):
        there = {each.name: each.type for each in stored}
        alike = {name.casefold(): name for name in there}
        for each in said:
            if each.name in there:
                check_fields(there[each.name], each.type, f"{where}.{each.name}")
            elif (other := alike.get(each.name.casefold())) is not None:
                raise InvalidRequest(
                    f"the column {where!r} has no field {each.name!r}, and has {other!r}; call it so in your schema"
                )
    elif pa.types.is_map(stored) and pa.types.is_map(said):
        check_fields(stored.key_type, said.key_type, f"{where}.key")
        check_fields(stored.item_type, said.item_type, f"{where}.value")
    elif pa.types.is_list(stored) and pa.types.is_list(said):
        check_fields(stored.value_type, said.value_type, f"{where}.element")


def decimals_fit(kind: Any) -> bool:
    """Whether all decimals in a pyarrow type are such as Spark has: Python takes others too, and Java refuses them later."""
    if pa.types.is_decimal(kind):
        return bool(kind.precision <= DECIMAL_DIGITS and 0 <= kind.scale <= kind.precision)
    return all(decimals_fit(kind.field(place).type) for place in range(kind.num_fields))


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
            column = _decoded(column)
            # By microseconds: Spark's times of day are nanoseconds in Arrow, which it keeps and does not show.
            for kind in (_plain(column.type), field.type):
                column = column if column.type == kind else column.cast(kind)
            arrays.append(column)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise InvalidRequest(
                f"the column {field.name!r} ({column.type}) cannot be {field.type} in Spark: {error}; leave it out "
                "(option columns), or say another schema"
            ) from error
        if _lacks(column, field):
            raise InvalidRequest(
                f"the column {field.name!r} has rows without a value, and your schema says NOT NULL; take that out of it"
            )
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _lacks(values: Any, field: Any) -> bool:
    """Whether there is none where the field says that there always is one."""
    if not field.nullable and values.null_count:
        return True
    if pa.types.is_struct(field.type):
        return any(_lacks(values.field(place).filter(values.is_valid()), each) for place, each in _fixed(field.type))
    if pa.types.is_map(field.type):
        # Taken anew it begins at its own offset.
        whole = values.take(pa.array(np.arange(len(values))))
        inner = ((whole.keys, field.type.key_field), (whole.items, field.type.item_field))
        return any(_lacks(each, of) for each, of in inner if not of.nullable or pa.types.is_nested(of.type))
    return pa.types.is_list(field.type) and _lacks(values.flatten(), field.type.value_field)


def _fixed(kind: Any) -> list[tuple[int, Any]]:
    return [(place, each) for place, each in enumerate(kind) if not each.nullable or pa.types.is_nested(each.type)]


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
        return pa.struct([pa.field(each.name, _plain(each.type), metadata=each.metadata) for each in kind])
    if pa.types.is_map(kind):
        return pa.map_(_plain(kind.key_type), _plain(kind.item_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(pa.field(kind.value_field.name, _plain(kind.value_type)))
    return _WIDER.get(kind, kind)


def _decoded(array: Any) -> Any:
    """The same values without dictionaries, at any depth: Arrow casts none of views, as polars has them, or of lists."""
    kind = array.type
    if not _has_dictionary(kind):
        return array
    if pa.types.is_dictionary(kind):
        values = _decoded(array.dictionary)
        return (values.cast(_WIDER[values.type]) if values.type in _WIDER else values).take(array.indices)
    missing = array.is_null()
    if pa.types.is_struct(kind):
        children = [_decoded(array.field(place)) for place in range(kind.num_fields)]
        return pa.StructArray.from_arrays(children, names=[each.name for each in kind], mask=missing)
    if pa.types.is_map(kind):
        # Keys that are taken anew say bit by bit that none of them is null, and Arrow ends the process where it casts such.
        offsets = array.offsets.to_numpy()
        begin, count = int(offsets[0]), int(offsets[-1] - offsets[0])
        keys, items = (_decoded(each.slice(begin, count)) for each in (array.keys, array.items))
        return pa.MapArray.from_arrays(pa.array(offsets - begin), keys, items, mask=missing)
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))
    return pa.LargeListArray.from_arrays(offsets, _decoded(array.flatten()), mask=missing)


def _has_dictionary(kind: Any) -> bool:
    return pa.types.is_dictionary(kind) or any(_has_dictionary(kind.field(at).type) for at in range(kind.num_fields))


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
