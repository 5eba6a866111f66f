"""What a column of Parquet belongs to is told by its place in the file, as pyarrow writes it, and not by its name."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from ambry.spark.parquet_leaves import INSTANT, flat_columns, leaf_count, with_instants

AT = pa.timestamp("ns")
TYPES = {
    "plain": pa.int64(),
    "words": pa.dictionary(pa.int32(), pa.string()),
    "list": pa.list_(pa.int64()),
    "large": pa.large_list(pa.string()),
    "fixed": pa.list_(pa.float32(), 3),
    "tensor": pa.fixed_shape_tensor(pa.float32(), (2, 2)),
    "map": pa.map_(pa.string(), pa.struct([("a", pa.int8()), ("b", pa.list_(pa.int8()))])),
    "struct": pa.struct([("a", pa.map_(pa.string(), pa.int64())), ("a.b", pa.decimal128(5, 2))]),
    "none": pa.null(),
    "uuid": pa.uuid(),
}


@pytest.mark.parametrize("name", TYPES)
def test_a_type_has_as_many_columns_as_pyarrow_writes(name: str) -> None:
    schema = pa.schema([(name, TYPES[name])])
    sink = pa.BufferOutputStream()
    parquet.write_table(schema.empty_table(), sink)
    assert leaf_count(TYPES[name]) == len(parquet.read_metadata(pa.BufferReader(sink.getvalue())).schema)


def test_columns_that_are_one_leaf_have_the_number_of_it() -> None:
    schema = pa.schema([*TYPES.items(), pa.field("map.key_value.key", pa.string())])
    assert flat_columns(schema) == {0: "plain", 1: "words", 12: "none", 14: "map.key_value.key"}


@pytest.mark.parametrize(
    ("stored", "told"),
    [
        (pa.list_(AT), pa.list_(INSTANT)),
        (pa.large_list(AT), pa.large_list(INSTANT)),
        (pa.list_(AT, 2), pa.list_(INSTANT, 2)),
        (pa.map_(AT, AT), pa.map_(INSTANT, INSTANT)),
        (pa.struct([("a", pa.list_(pa.struct([("t", AT)])))]), pa.struct([("a", pa.list_(pa.struct([("t", INSTANT)])))])),
        (pa.fixed_shape_tensor(pa.float32(), (2,)), pa.fixed_shape_tensor(pa.float32(), (2,))),
        (pa.timestamp("us"), pa.timestamp("us")),
    ],
)  # fmt: skip
def test_only_what_is_of_96_bits_is_an_instant(stored: Any, told: Any) -> None:
    schema = pa.schema([("before", pa.struct([("x", pa.int32()), ("y", pa.int32())])), ("at", stored), ("after", AT)])
    kinds = ["INT32", "INT32", *["INT96" if stored != told else "INT64"] * leaf_count(stored), "INT96"]
    found = with_instants(schema, kinds)
    assert found.types == [schema.types[0], told, INSTANT]
