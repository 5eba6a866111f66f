"""Columns of a stranger that are not what they say: they were read by what they say, over the memory of something else."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ambry import AmbryClient, DataCorrupt, InvalidRequest
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.snapshots.described import check_schema_of, holds_booleans, lies_as, type_of
from ambry.ml.snapshots.schema import (
    AS_OF_KEY,
    ENTITY_KEY,
    FORMAT_KEY,
    TYPE_KEY,
    URN_KEY,
    SnapshotAbout,
    snapshot_schema,
)
from tests.support.strange_snapshots import put_strange, put_strange_parquet

TEXT = """\
age: {valType: INT, default: -1}
name: {valType: STRING}
flag: {valType: BOOLEAN}
week: {valType: FLOAT, dims: [days-1-0], default: 0.5}
grid: {valType: BOOLEAN, dims: [days-1-0, pair-1-0]}
seen: {valType: INT, dims: [places-1-0, people-1-0]}
days: {type: discrete : {size: 7}}
pair: {type: discrete : {size: 2}}
places: {type: discrete}
people: {type: entity}
"""
METADATA = FeatureMetadata.of([parse_definitions(TEXT, "n")])
NAMES = ("age", "name", "flag", "week", "grid", "seen")
AGE, NAME, FLAG, WEEK, GRID, SEEN = (f"urn:li:(n,{name},1,0)" for name in NAMES)
ABOUT = SnapshotAbout(entity="member", as_of=datetime(2026, 11, 27, 12, tzinfo=UTC))
SCHEMA = snapshot_schema([METADATA.tensor_type(urn) for urn in (AGE, NAME, FLAG, WEEK, GRID, SEEN)], ABOUT, pa.int64())
CELL = pa.field("value", pa.int32(), nullable=False)


def with_type(name: str, kind: Any) -> Any:
    place = SCHEMA.get_field_index(name)
    return SCHEMA.set(place, SCHEMA.field(place).with_type(kind))


def with_metadata(name: str, **said: bytes | None) -> Any:
    place = SCHEMA.get_field_index(name)
    found = {**SCHEMA.field(place).metadata, **{{"urn": URN_KEY, "type": TYPE_KEY}[key]: said[key] for key in said}}
    kept = {key: value for key, value in found.items() if value is not None}
    return SCHEMA.set(place, SCHEMA.field(place).with_metadata(kept))


def told(**change: Any) -> bytes:
    return json.dumps({**json.loads(SCHEMA.field("week").metadata[TYPE_KEY]), **change}).encode()


def about(**said: bytes | None) -> Any:
    keys = {"format": FORMAT_KEY, "entity": ENTITY_KEY, "as_of": AS_OF_KEY}
    found = {**SCHEMA.metadata, **{keys[key]: value for key, value in said.items()}}
    return SCHEMA.with_metadata({key: value for key, value in found.items() if value is not None})


def cells(*fields: tuple[str, Any]) -> Any:
    return pa.list_(pa.struct(list(fields)))


AXIS = {"name": "days", "dimension": "n/days-1-0", "kind": "discrete", "size": 7}
OTHERS = [
    ("float for int", with_type("age", pa.float32()), "'age' says that it is INT, and is float"),
    ("unsigned", with_type("age", pa.uint32()), "is uint32"),
    ("shorter", with_type("age", pa.int16()), "is int16"),
    ("longer", with_type("age", pa.int64()), "is int64"),
    ("a time", with_type("age", pa.date32()), "is date32"),
    ("a dictionary", with_type("name", pa.dictionary(pa.int32(), pa.string())), "is dictionary"),
    ("bytes for texts", with_type("name", pa.binary()), "is binary"),
    ("large texts", with_type("name", pa.large_string()), "is large_string"),
    ("bytes for bits", with_type("flag", pa.uint8()), "is uint8"),
    ("a scalar for a tensor", with_type("week", pa.float32()), r"FLOAT \[days: 7\], and is float"),
    ("a tensor for a scalar", with_type("age", pa.fixed_shape_tensor(pa.int32(), (1,))), "says that it is INT"),
    ("another value", with_type("week", pa.fixed_shape_tensor(pa.int32(), (7,), dim_names=["days"])), "is extension"),
    ("another length", with_type("week", pa.fixed_shape_tensor(pa.float32(), (6,), dim_names=["days"])), "days: 7"),
    ("other axes", with_type("grid", pa.fixed_shape_tensor(pa.uint8(), (2, 7))), "'grid'"),
    (
        "turned axes",
        with_type("grid", pa.fixed_shape_tensor(pa.uint8(), (7, 2), dim_names=["pair", "days"])),
        "'grid'",
    ),
    ("a permutation", with_type("grid", pa.fixed_shape_tensor(pa.uint8(), (7, 2), permutation=[1, 0])), "'grid'"),
    ("a list for a tensor", with_type("week", pa.list_(pa.float32(), 7)), "'week'"),
    (
        "narrow keys",
        with_type("seen", cells(("places", pa.int32()), ("people", pa.int32()), ("value", pa.int32()))),
        "'seen'",
    ),
    (
        "turned keys",
        with_type("seen", cells(("people", pa.int64()), ("places", pa.int32()), ("value", pa.int32()))),
        "'seen'",
    ),
    ("no value", with_type("seen", cells(("places", pa.int32()), ("people", pa.int64()))), "'seen'"),
    (
        "large lists",
        with_type("seen", pa.large_list(SCHEMA.field("seen").type.value_type)),
        "'seen'",
    ),
    ("no type", with_metadata("age", type=None), "does not say what it holds"),
    ("a type that is no JSON", with_metadata("age", type=b"{"), "does not say what it holds"),
    ("a type that is no UTF-8", with_metadata("age", type=b"\xff\xfe"), "does not say what it holds"),
    ("a type that is a list", with_metadata("age", type=b"[1]"), "does not say what it holds"),
    ("a deep type", with_metadata("age", type=b"[" * 100_000), "does not say what it holds"),
    ("a type without axes", with_metadata("age", type=b'{"valType": "INT"}'), "does not say what it holds"),
    (
        "a value that is none",
        with_metadata("age", type=b'{"valType": "HALF", "axes": []}'),
        "does not say what it holds",
    ),
    ("axes that are none", with_metadata("week", type=told(axes=[3])), "does not say what it holds"),
    ("an axis of no length", with_metadata("week", type=told(axes=[{**AXIS, "size": 0}])), "is no length of an axis"),
    (
        "an axis that is true",
        with_metadata("week", type=told(axes=[{**AXIS, "size": True}])),
        "is no length of an axis",
    ),
    ("an axis without a name", with_metadata("week", type=told(axes=[{**AXIS, "name": None}])), "is no axis"),
    ("no URN", with_metadata("age", urn=None), "does not say of which feature"),
    ("a URN that is none", with_metadata("age", urn=b"age"), "is no URN of a feature"),
    ("a URN that is no UTF-8", with_metadata("age", urn=b"\xff"), "is no URN of a feature"),
    ("a URN twice", with_metadata("flag", urn=f"urn:li:(n, {'age'},1,0)".encode()), "are both of"),
    ("a name twice", SCHEMA.append(pa.field("age", pa.int8())), "two columns are called 'age'"),
    ("another key", SCHEMA.set(0, pa.field("who", pa.int64())), "first column is no key"),
    ("a key of another type", SCHEMA.set(0, pa.field("member", pa.float64())), "first column is no key"),
    ("a key further on", SCHEMA.remove(0).append(SCHEMA.field(0)), "first column is no key"),
    ("no columns", pa.schema([], SCHEMA.metadata), "first column is no key"),
    ("no entity", about(entity=None), "of which entities"),
    ("an entity that is no UTF-8", about(entity=b"\xff"), "of which entities"),
    ("no time", about(as_of=None), "which time"),
    ("a time that is none", about(as_of=b"noon"), "which time"),
    ("a time without a zone", about(as_of=b"2026-11-27T12:00:00"), "has no time zone"),
    ("a format that is no UTF-8", about(format=b"\xff"), "of the format"),
    ("no format", about(format=None), "is no snapshot"),
]


def test_what_is_written_is_what_it_says() -> None:
    assert check_schema_of(SCHEMA) == ABOUT
    assert str(type_of(SCHEMA.field("grid"))) == "BOOLEAN [days (discrete n/days-1-0), pair (discrete n/pair-1-0)]"
    assert type_of(SCHEMA.field(0)) is None
    assert [holds_booleans(SCHEMA.field(name)) for name in ("week", "grid")] == [False, True]


def test_tensors_without_names_and_lists_of_other_nullability_are_the_same() -> None:
    for name, kind in (
        ("week", pa.fixed_shape_tensor(pa.float32(), (7,))),
        ("seen", cells(("places", pa.int32()), ("people", pa.int64()), ("value", pa.int32()))),
    ):
        described = type_of(SCHEMA.field(name))
        assert described is not None
        assert lies_as(kind, described)


@pytest.mark.parametrize(("schema", "words"), [each[1:] for each in OTHERS], ids=[each[0] for each in OTHERS])
def test_a_column_that_is_not_what_it_says_is_told(schema: Any, words: str) -> None:
    with pytest.raises((DataCorrupt, InvalidRequest), match=words):
        check_schema_of(schema)


def rows(schema: Any, keys: list[int]) -> Any:
    """Numbers of a type that the schema has, whatever it says."""
    columns = [pa.array(keys, schema.types[0])]
    for field in list(schema)[1:]:
        is_number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        columns.append(pa.array(keys, field.type) if is_number else pa.nulls(len(keys), field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


@pytest.mark.parametrize("kind", [pa.float32(), pa.uint32(), pa.int16(), pa.int64(), pa.float64(), pa.date32()])
@pytest.mark.parametrize("file_format", ["arrow", "parquet"])
def test_no_way_of_reading_gives_numbers_of_another_type(
    client: AmbryClient, name: str, kind: Any, file_format: str
) -> None:
    """`arrays` and `reader` gave the bits of floats as whole numbers, and `read` another type than the definitions have."""
    schema = with_type("age", kind)
    if file_format == "arrow":
        snapshot = put_strange(client, name, schema, [rows(schema, [1, 2, 3])], key="member", metadata=METADATA)
    else:
        snapshot = put_strange_parquet(client, name, schema, [rows(schema, [1, 2, 3])], metadata=METADATA)
    ways: list[Any] = [
        lambda: snapshot.arrays(AGE),
        lambda: list(snapshot._content.own_views("age", METADATA.tensor_type(AGE))),
        lambda: snapshot.reader([AGE]),
        lambda: snapshot.read([AGE], [1]),
        lambda: snapshot.table(),
        lambda: snapshot.fetch().table(),
        lambda: snapshot.urns,
        lambda: snapshot.about,
    ]
    for way in ways:
        with pytest.raises(DataCorrupt, match=r"the snapshot .* cannot be read: the column 'age' says that it is INT"):
            way()


@pytest.mark.parametrize("way", ["read", "fetch", "arrays", "own"])
def test_an_index_that_tells_of_other_types_than_the_file_has_is_told(client: AmbryClient, name: str, way: str) -> None:
    """Batches say nothing of their types, so those of the index were taken: floats became whole numbers."""
    schema = with_type("age", pa.float32())
    snapshot = put_strange(
        client, name, schema, [rows(schema, [1, 2, 3])], key="member", told=SCHEMA, metadata=METADATA
    )
    with pytest.raises(DataCorrupt, match="its index tells of other columns than it has"):
        match way:
            case "read":
                snapshot.read([AGE], [2])
            case "fetch":
                snapshot.fetch()
            case "arrays":
                snapshot.arrays(AGE)
            case _:
                list(snapshot._content.own_views("age", METADATA.tensor_type(AGE)))


@pytest.mark.parametrize("fetched", [False, True])
@pytest.mark.parametrize(
    ("cells_of", "words"),
    [
        (lambda: pa.array([0, 1, 2, *[0] * 25], pa.uint8()), "neither 0 nor 1"),
        (lambda: pa.array([0, 1, None, *[0] * 25], pa.uint8()), "a cell that is null"),
    ],
)
def test_a_tensor_with_a_cell_that_is_no_boolean_is_told(
    client: AmbryClient, name: str, fetched: bool, cells_of: Any, words: str
) -> None:
    storage = pa.FixedSizeListArray.from_arrays(cells_of(), 14)
    grid = pa.ExtensionArray.from_storage(
        SCHEMA.field("grid").type, storage.cast(SCHEMA.field("grid").type.storage_type)
    )
    batch = rows(SCHEMA, [1, 2])
    batch = batch.set_column(SCHEMA.get_field_index("grid"), SCHEMA.field("grid"), grid)
    snapshot = put_strange(client, name, SCHEMA, [batch], key="member", metadata=METADATA)
    if fetched:
        snapshot.fetch()
    for way in (lambda: snapshot.read([GRID], [1]), lambda: snapshot.arrays(GRID), lambda: snapshot.reader([GRID])):
        with pytest.raises(DataCorrupt, match=words):
            way()
    assert snapshot.read([AGE], [1, 2]).column("age").to_pylist() == [1, 2]


def test_packed_numbers_are_read_and_may_be_written(client: AmbryClient, name: str) -> None:
    """What lies in no mapping was looked for in it: a raw ValueError, or another's bytes."""
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    batches = [rows(SCHEMA, list(range(start, start + 1_000))) for start in (0, 1_000)]
    snapshot = put_strange(client, name, SCHEMA, batches, key="member", options=options, metadata=METADATA)
    mine = list(snapshot._content.own_views("age", snapshot.resolve(AGE)))
    np.testing.assert_array_equal(np.concatenate(mine), np.arange(2_000))
    mine[0][:] = -1
    np.testing.assert_array_equal(np.concatenate(snapshot.arrays(AGE)), np.arange(2_000))
