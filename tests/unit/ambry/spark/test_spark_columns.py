"""Columns of the store in types that Spark has, value by value, and back into snapshots."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ambry.errors import InvalidRequest
from ambry.ml.snapshots.schema import TYPE_KEY
from ambry.spark.columns import as_spark, check_fields, decimals_fit, spark_arrow_schema


def read(table: Any) -> Any:
    schema = spark_arrow_schema(table.schema, table.schema.names)
    return pa.Table.from_batches([as_spark(batch, schema) for batch in table.to_batches()], schema)


def tensors(shape: tuple[int, ...], rows: int, kind: Any, missing: int | None = None) -> Any:
    width = int(np.prod(shape))
    cells = pa.array(np.arange(rows * width) % 2 if kind == pa.uint8() else np.arange(rows * width), kind)
    mask = None if missing is None else pa.array([row == missing for row in range(rows)])
    storage = pa.FixedSizeListArray.from_arrays(cells, width, mask=mask)
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(kind, shape), storage)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 1, 2)])
@pytest.mark.parametrize("missing", [None, 1])
def test_tensors_are_arrays_of_arrays(shape: tuple[int, ...], missing: int | None) -> None:
    table = pa.table({"t": tensors(shape, 4, pa.float32(), missing)})
    expected: list[Any] = np.arange(4 * np.prod(shape), dtype=np.float32).reshape(4, *shape).tolist()
    if missing is not None:
        expected[missing] = None
    assert read(table).column("t").to_pylist() == expected
    # A part of an array begins somewhere else in the same cells.
    assert read(table.slice(1, 2)).column("t").to_pylist() == expected[1:3]


def test_tensors_of_booleans_are_booleans() -> None:
    axis = {"name": "flags", "dimension": "flags-1-0", "kind": "discrete", "size": 2}
    told = json.dumps({"valType": "BOOLEAN", "axes": [axis]})
    field = pa.field("t", pa.fixed_shape_tensor(pa.uint8(), (2,)), metadata={TYPE_KEY: told})
    table = pa.Table.from_arrays([tensors((2,), 2, pa.uint8())], schema=pa.schema([field]))
    assert read(table).column("t").to_pylist() == [[False, True], [False, True]]


def test_types_that_spark_has_not_are_wider_ones() -> None:
    columns = {
        "u8": pa.array([0, 255, None], pa.uint8()),
        "u32": pa.array([0, 2**32 - 1, None], pa.uint32()),
        "u64": pa.array([0, 2**64 - 1, None], pa.uint64()),
        "half": pa.array([np.float16(0.5), np.float16(1), None], pa.float16()),
        "word": pa.array(["a", "b", None]).dictionary_encode(),
        "at": pa.array([1_000, 2_000, None], pa.timestamp("ns", "UTC")),
        "bag": pa.array([[{"n": 7}], [], None], pa.list_(pa.struct([("n", pa.uint16())]))),
    }
    found = read(pa.table(columns))
    assert [str(kind) for kind in found.schema.types[:5]] == ["int16", "int64", "decimal128(20, 0)", "float", "string"]
    assert found.column("u64").to_pylist() == [0, 2**64 - 1, None]
    assert found.column("word").to_pylist() == ["a", "b", None]
    assert found.column("bag").to_pylist() == [[{"n": 7}], [], None]
    assert found.column("at").cast(pa.int64()).to_pylist() == [1, 2, None]


VALUES = {
    pa.string(): ["a", None, "b"],
    pa.large_string(): ["a", "", "b"],
    pa.string_view(): ["a", "long enough to lie outside of its view", "b"],
    pa.binary_view(): [b"a", b"", b"b"],
    pa.uint8(): [1, 255, None],
    pa.list_(pa.uint16()): [[1], None, [2, 3]],
    pa.struct([("n", pa.int8())]): [{"n": 1}, None, {"n": None}],
}


@pytest.mark.parametrize("index", [pa.int8(), pa.uint8(), pa.uint32(), pa.uint64(), pa.int64()], ids=str)
@pytest.mark.parametrize("values", VALUES, ids=str)
def test_dictionaries_are_their_values_at_any_depth(index: Any, values: Any) -> None:
    """Categoricals and enums of polars have views as values, which Arrow takes out of no dictionary: they were refused."""
    picked = pa.array([2, None, 0, 1, 0, 2, 1], index)
    words = pa.DictionaryArray.from_arrays(picked, pa.array(VALUES[values], values))
    lists = pa.ListArray.from_arrays(
        pa.array([0, 2, 2, 5, 7], pa.int32()), words, mask=pa.array([False, False, True, False])
    )
    rows = words.slice(0, 4)
    columns = {
        "plain": rows,
        "list": lists,
        "large": pa.LargeListArray.from_arrays(pa.array([0, 1, 1, 3, 7]), words),
        "fixed": pa.FixedSizeListArray.from_arrays(pa.concat_arrays([words, rows.slice(3)]), 2),
        "struct": pa.StructArray.from_arrays([rows, lists], ["w", "l"], mask=pa.array([False, True, False, False])),
        "map": pa.MapArray.from_arrays(pa.array([0, 1, 1, 3, 7], pa.int32()), pa.array(list("abcdefg")), words),
    }
    table = pa.table(columns)
    for part in (table, table.slice(1, 2), table.slice(0, 0)):
        assert read(part).to_pylist() == part.to_pylist()


@pytest.mark.parametrize("kind", ["categorical", "enum"])
@pytest.mark.parametrize("level", ["newest", "oldest"])
def test_what_polars_writes_of_categories_is_text(kind: str, level: str) -> None:
    import polars

    words = ["a", None, "b", "a"]
    wanted = polars.Categorical() if kind == "categorical" else polars.Enum(["b", "a"])
    frame = polars.DataFrame(
        {"w": polars.Series(words, dtype=wanted), "l": polars.Series([words] * 4, dtype=polars.List(wanted))}
    )
    sink = io.BytesIO()
    frame.write_ipc(sink, compat_level=getattr(polars.CompatLevel, level)())
    found = read(pa.ipc.open_file(sink.getvalue()).read_all())
    assert found.to_pydict() == {"w": words, "l": [words] * 4}


def test_types_that_lie_otherwise_in_spark() -> None:
    columns = {
        "day": pa.array([86_400_000, None], pa.date64()),
        "at": pa.array([1, None], pa.time32("s")),
        "fine": pa.array([1_000, None], pa.time64("ns")),
        "runs": pa.RunEndEncodedArray.from_arrays(pa.array([1, 2], pa.int32()), pa.array(["a", None])),
        "large": pa.array([["a"], None], pa.large_list(pa.large_string())),
        "small": pa.array([1, None], pa.decimal32(5, 2)),
    }
    found = read(pa.table(columns))
    kinds = ["date32[day]", "time64[us]", "time64[us]", "string"]
    assert [str(kind) for kind in found.schema.types[:4]] == kinds
    assert found.column("day").cast(pa.int32()).to_pylist() == [1, None]
    assert found.column("at").cast(pa.int64()).to_pylist() == [1_000_000, None]
    assert found.column("fine").cast(pa.int64()).to_pylist() == [1, None]
    assert found.column("runs").to_pylist() == ["a", None]
    assert found.column("large").to_pylist() == [["a"], None]


def test_a_value_that_would_be_rounded_is_refused() -> None:
    table = pa.table({"at": pa.array([1_001], pa.timestamp("ns"))})
    with pytest.raises(InvalidRequest, match=r"'at'.*cannot be timestamp"):
        read(table)


@pytest.mark.parametrize("nested", [False, True])
def test_a_time_of_day_that_is_no_microsecond_is_refused(nested: bool) -> None:
    """Spark's times of day are nanoseconds in Arrow: they came through, were not shown, and were told apart all the same."""
    kind = pa.time64("ns")
    stored, there = (pa.list_(kind), pa.list_(kind)) if nested else (kind, kind)

    def batch(value: int) -> Any:
        return pa.record_batch({"at": pa.array([[value] if nested else value, None], stored)})

    schema = pa.schema([("at", there)])
    assert as_spark(batch(5_000), schema).column("at").equals(batch(5_000).column("at"))
    with pytest.raises(InvalidRequest, match=r"'at'.*would lose data"):
        as_spark(batch(5_001), schema)


def test_what_a_file_says_is_never_null_may_be() -> None:
    """pyarrow writes nulls into such a field, and Spark leaves out what asks for them."""
    never = pa.field("a", pa.int64(), nullable=False)
    stored = pa.schema([never, ("s", pa.struct([never])), ("l", pa.list_(never)), ("m", pa.map_(pa.string(), never))])
    told = spark_arrow_schema(stored, stored.names)
    assert told.field("a").nullable and told.field("s").type.field("a").nullable
    assert told.field("l").type.value_field.nullable and told.field("m").type.item_field.nullable
    batch = pa.RecordBatch.from_arrays([pa.array([1, None])], schema=pa.schema([never]))
    assert as_spark(batch, pa.schema([told.field("a")])).column("a").to_pylist() == [1, None]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.int64(), [1, None]),
        (pa.list_(pa.field("element", pa.int64(), nullable=False)), [[1, None], [2]]),
        (pa.struct([pa.field("a", pa.int64(), nullable=False)]), [{"a": 1}, {"a": None}]),
        (pa.map_(pa.string(), pa.field("value", pa.int64(), nullable=False)), [[("a", 1)], [("b", None)]]),
        (
            pa.map_(pa.string(), pa.struct([pa.field("a", pa.int64(), nullable=False)])),
            [[("a", {"a": 1})], [("b", {"a": None})]],
        ),
    ],
)
def test_a_value_that_is_missing_where_a_schema_allows_none_is_refused(kind: Any, values: list[Any]) -> None:
    may_be_null = spark_arrow_schema(pa.schema([("v", kind)]), ["v"])
    stored = pa.record_batch([pa.array(values, may_be_null.field("v").type)], schema=may_be_null)
    asked = pa.schema([pa.field("v", kind, nullable=False)])
    with pytest.raises(InvalidRequest, match=r"'v'.*(NOT NULL|non-nullable)"):
        as_spark(stored, asked)
    assert as_spark(stored.slice(0, 0), asked).num_rows == 0


@pytest.mark.parametrize("around", [lambda kind: kind, pa.list_, lambda kind: pa.map_(pa.string(), kind)])
def test_a_field_whose_case_alone_differs_is_refused_at_any_depth(around: Callable[[Any], Any]) -> None:
    """It was null in each row, where Spark reads the other one."""
    stored = around(pa.struct([("b", pa.int64()), ("c", pa.struct([("d", pa.int8())]))]))
    check_fields(stored, stored, "s")
    check_fields(
        stored, around(pa.struct([("c", pa.struct([("d", pa.int8()), ("e", pa.int8())])), ("b", pa.int64())])), "s"
    )
    for said, field in (
        (pa.struct([("B", pa.int64())]), "B"),
        (pa.struct([("c", pa.struct([("D", pa.int8())]))]), "D"),
    ):
        with pytest.raises(InvalidRequest, match=f"has no field '{field}', and has '{field.lower()}'"):
            check_fields(stored, around(said), "s")


@pytest.mark.parametrize("key", [pa.large_string(), pa.string(), pa.large_binary()])
def test_maps_of_dictionaries_are_read_whole_and_in_slices(key: Any) -> None:
    """Arrow ended the process (SIGABRT) as it cast the keys."""
    inner = pa.map_(key, pa.dictionary(pa.int8(), pa.string()))
    words = [[("b", "x"), ("c", None)], None, [], [("d", "y")]] * 2
    listed = [None if each is None else [each] for each in words]
    for stored in (pa.array(words, inner), pa.array(listed, pa.list_(inner))):
        batch = pa.record_batch({"m": stored})
        plain = pa.map_(pa.string() if key != pa.large_binary() else pa.binary(), pa.string())
        said = pa.schema([("m", plain if pa.types.is_map(stored.type) else pa.list_(plain))])
        for start in range(len(batch)):
            found = as_spark(batch.slice(start, 3), said).column("m")
            found.validate(full=True)
            assert found.to_pylist() == stored.slice(start, 3).to_pylist()


def test_decimals_that_spark_has_not_are_known() -> None:
    for fits, kind in (
        (True, pa.decimal128(38, 10)),
        (True, pa.list_(pa.decimal256(20, 0))),
        (True, pa.map_(pa.string(), pa.int64())),
        (False, pa.decimal256(39, 0)),
        (False, pa.decimal128(5, -2)),
        (False, pa.decimal128(5, 6)),
        (False, pa.struct([("a", pa.list_(pa.decimal256(50, 2)))])),
        (False, pa.map_(pa.string(), pa.decimal256(50, 2))),
    ):
        assert decimals_fit(kind) is fits, kind


def test_columns_that_are_not_there_and_that_are_there_twice() -> None:
    schema = pa.schema([("a", pa.int32()), ("b", pa.int32()), ("b", pa.int32())])
    with pytest.raises(InvalidRequest, match="no column 'c'; there are a, b, b"):
        spark_arrow_schema(schema, ["c"])
    with pytest.raises(InvalidRequest, match="2 columns are called 'b'"):
        spark_arrow_schema(schema, ["b"])
    with pytest.raises(InvalidRequest, match="'a' is asked for twice"):
        spark_arrow_schema(schema, ["a", "a"])
    assert spark_arrow_schema(schema, ["a"]).names == ["a"]
