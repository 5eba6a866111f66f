"""An entity is said not to be there where that is known: files out of order and indexes that lie said it of who was there."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ambry import AmbryClient, DataCorrupt, InvalidRequest
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.snapshots.index import SCHEMA_KEY
from ambry.ml.snapshots.order import BatchBounds, check_rising
from ambry.ml.snapshots.reading import Snapshot
from ambry.ml.snapshots.schema import SnapshotAbout, snapshot_schema
from tests.support.strange_snapshots import put_strange, put_strange_parquet

METADATA = FeatureMetadata.of([parse_definitions("age: {valType: INT}\n", "n")])
AGE = "urn:li:(n,age,1,0)"
ABOUT = SnapshotAbout(entity="member", as_of=datetime(2026, 11, 27, 12, tzinfo=UTC))


def schema_of(key: Any) -> Any:
    return snapshot_schema([METADATA.tensor_type(AGE)], ABOUT, pa.int64() if isinstance(key, int) else pa.string())


def batches_of(batches: list[list[Any]]) -> list[Any]:
    schema = schema_of(batches[0][0])
    return [
        pa.RecordBatch.from_arrays(
            [pa.array(keys, schema.types[0]), pa.array(range(len(keys)), pa.int32())], schema=schema
        )
        for keys in batches
    ]


def made(client: AmbryClient, name: str, file_format: str, batches: list[list[Any]], **said: Any) -> Snapshot:
    schema = schema_of(batches[0][0])
    if file_format == "arrow":
        return put_strange(client, name, schema, batches_of(batches), key="member", metadata=METADATA, **said)
    return put_strange_parquet(client, name, schema, batches_of(batches), metadata=METADATA)


WAYS: list[Callable[[Snapshot, list[Any]], Any]] = [
    lambda snapshot, keys: snapshot.read([AGE], keys).column("age").to_pylist(),
    lambda snapshot, keys: snapshot.fetch().read([AGE], keys).column("age").to_pylist(),
    lambda snapshot, keys: snapshot.reader([AGE]).read(keys).found.tolist(),
]


@pytest.mark.parametrize("way", WAYS, ids=["ranges", "fetched", "reader"])
@pytest.mark.parametrize("file_format", ["arrow", "parquet"])
@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ([1, 3, 2, 4], "the entity 2 stands after 3"),
        ([4, 3, 2, 1], "stands after 4|do not rise from one batch"),
        ([1, 2, 2, 4], "the entity 2 stands twice"),
        (["a", "c", "b", "d"], "the entity 'b' stands after 'c'"),
        (["a", "b", "b", "d"], "the entity 'b' stands twice"),
    ],
)
def test_entities_out_of_order_are_told(
    client: AmbryClient, name: str, way: Any, file_format: str, keys: list[Any], words: str
) -> None:
    snapshot = made(client, name, file_format, [keys])
    for asked in (keys[1], keys[2], keys[0]):
        with pytest.raises(DataCorrupt, match=words):
            way(snapshot, [asked])


@pytest.mark.parametrize("way", WAYS, ids=["ranges", "fetched", "reader"])
@pytest.mark.parametrize("file_format", ["arrow", "parquet"])
@pytest.mark.parametrize("batches", [[[5, 6], [1, 2]], [[1, 9], [5, 7]], [[1, 5], [5, 7]], [[1, 2], [1, 2]]])
def test_batches_out_of_order_are_told(
    client: AmbryClient, name: str, way: Any, file_format: str, batches: list[list[Any]]
) -> None:
    snapshot = made(client, name, file_format, batches)
    with pytest.raises(DataCorrupt, match=r"do not rise from one batch|begins with|stands twice|stands after"):
        way(snapshot, [1, 2, 5, 7])


@pytest.mark.parametrize("fetched", [False, True])
@pytest.mark.parametrize(
    ("lie", "words"),
    [
        (lambda one: [replace(one[0], last=15), *one[1:]], "was said to go from 0 to 15, and goes from 0 to 19"),
        (lambda one: [one[0], replace(one[1], first=25), *one[2:]], "was said to go from 25 to 39"),
        (lambda one: [replace(one[0], first=5), *one[1:]], "was said to go from 5"),
        (lambda one: [*one[:-1], replace(one[-1], last=50)], "to 50, and goes from 40 to 59"),
        (lambda one: [one[0], replace(one[1], rows=19), one[2]], "was said to have 19 rows"),
        (lambda one: [replace(one[0], first=20, last=39), one[1], one[2]], "do not rise"),
        (lambda one: [replace(one[0], first=19, last=0), one[1], one[2]], "do not rise"),
    ],
)
def test_bounds_that_lie_are_told_before_anybody_is_said_not_to_be_there(
    client: AmbryClient, name: str, fetched: bool, lie: Any, words: str
) -> None:
    """All of 0, 10, 17, 22, 45 and 59 are there; who lies beside what the index says was nobody."""
    batches = [list(range(start, start + 20)) for start in (0, 20, 40)]
    snapshot = made(client, name, "arrow", batches, places=lie)
    if fetched:
        snapshot.fetch() if "rise" not in words else None
    refused = 0
    for key in (0, 10, 17, 22, 45, 59):
        try:
            assert snapshot.read([AGE], [key]).column("age").to_pylist() == [key % 20]
        except DataCorrupt as error:
            refused += 1
            assert words.split(",")[0] in error.message
    assert refused


@pytest.mark.parametrize(
    "lie",
    [
        lambda one: [replace(one[0], offset=one[1].offset, size=one[1].size), *one[1:]],
        lambda one: [replace(one[0], offset=0), *one[1:]],
        lambda one: [replace(one[0], offset=-8), *one[1:]],
        lambda one: [replace(one[0], offset=one[0].offset + 8), *one[1:]],
        lambda one: [replace(one[0], size=0), *one[1:]],
        lambda one: [replace(one[0], size=-1), *one[1:]],
        lambda one: [*one[:-1], replace(one[-1], size=1 << 40)],
        lambda one: [*one[:-1], replace(one[-1], size=(1 << 63) - 1)],
        lambda one: [*one[:-1], replace(one[-1], offset=(1 << 63) - 1)],
        lambda one: [*one[:-1], replace(one[-1], offset=-(1 << 63))],
        lambda one: [replace(one[0], rows=-1), *one[1:]],
        lambda one: [replace(one[0], rows=1 << 62), *one[1:]],
        lambda one: [replace(one[0], size=16), *one[1:]],
        lambda one: [
            replace(one[0], offset=one[1].offset, size=one[1].size),
            replace(one[1], offset=one[2].offset, size=one[2].size),
        ],
        lambda one: one[:2],
    ],
)
def test_places_that_lie_are_told(client: AmbryClient, name: str, lie: Any) -> None:
    """Another batch was read, in which nobody was."""
    batches = [list(range(start, start + 20)) for start in (0, 20, 40)]
    snapshot = made(client, name, "arrow", batches, places=lie)
    with pytest.raises(DataCorrupt, match=r"the snapshot .* cannot be read"):
        snapshot.read([AGE], [5, 45])
        snapshot.fetch()


NULLS: list[dict[str, list[Any]]] = [
    {"offset": [None]},
    {"size": [None]},
    {"rows": [None]},
    {"first": [None]},
    {"last": [None]},
    {"offset": [1.5]},
    {"first": ["a"], "last": ["b"]},
    {"first": []},
]


@pytest.mark.parametrize("change", NULLS, ids=[str(change) for change in NULLS])
def test_an_index_of_other_columns_is_told(client: AmbryClient, name: str, change: dict[str, list[Any]]) -> None:
    """Offsets that are null were a traceback."""
    columns: dict[str, list[Any]] = {"first": [0], "last": [1], "offset": [8], "size": [1], "rows": [2], **change}
    columns = {key: values for key, values in columns.items() if values}
    table = pa.table(columns).replace_schema_metadata({SCHEMA_KEY: schema_of(1).serialize().to_pybytes()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    snapshot = made(client, name, "arrow", [[0, 1]], index=sink.getvalue().to_pybytes())
    with pytest.raises(DataCorrupt, match="has nulls, or other columns than first"):
        snapshot.read([AGE], [0])


@pytest.mark.parametrize("bad", [b"", b"ARROW1\0\0", b"x" * 100])
def test_what_is_no_index_is_told(client: AmbryClient, name: str, bad: bytes) -> None:
    snapshot = made(client, name, "arrow", [[0, 1]], index=bad or b"\0")
    with pytest.raises(DataCorrupt, match=r"the snapshot .* cannot be read"):
        snapshot.rows  # noqa: B018


def test_an_entity_that_is_null_is_told(client: AmbryClient, name: str) -> None:
    schema = schema_of(1)
    schema = schema.set(0, schema.field(0).with_nullable(True))
    batch = pa.RecordBatch.from_arrays([pa.array([1, None, 3]), pa.array([1, 2, 3], pa.int32())], schema=schema)
    for snapshot in (
        put_strange(client, name, schema, [batch], key="member", metadata=METADATA),
        put_strange_parquet(client, f"{name}-parquet", schema, [batch], metadata=METADATA),
    ):
        with pytest.raises(DataCorrupt, match="null"):
            snapshot.read([AGE], [1])


def test_footers_that_say_nothing_of_entities_are_read_and_proved(client: AmbryClient, name: str) -> None:
    schema = schema_of(1)
    right = put_strange_parquet(
        client, name, schema, batches_of([[1, 2], [5, 6]]), metadata=METADATA, write_statistics=False
    )
    assert right.read([AGE], [6, 3, 1]).column("age").to_pylist() == [1, None, 0]
    wrong = put_strange_parquet(
        client, f"{name}-b", schema, batches_of([[5, 6], [1, 2]]), metadata=METADATA, write_statistics=False
    )
    with pytest.raises(DataCorrupt, match="row group 1 begins with 1, and 6 stands before it"):
        wrong.read([AGE], [1])


@pytest.mark.parametrize("seed", range(20))
def test_which_batches_have_to_be_read(seed: int) -> None:
    """Every batch that may have a key, and of a gap those around it, until they are proved."""
    chance = random.Random(seed)
    keys = sorted(chance.sample(range(1_000), 60))
    cuts = [0, *sorted(chance.sample(range(1, 60), 9)), 60]
    pieces = [keys[begin:end] for begin, end in pairwise(cuts)]
    bounds = BatchBounds(
        np.array([piece[0] for piece in pieces]), np.array([piece[-1] for piece in pieces]), are_exact=True
    )
    proved: set[int] = set()
    for _ in range(30):
        asked = [chance.randrange(-5, 1_005) for _ in range(chance.randrange(1, 4))]
        expected: set[Any] = set()
        for key in asked:
            holding = {place for place, piece in enumerate(pieces) if piece[0] <= key <= piece[-1]}
            before = max((place for place, piece in enumerate(pieces) if piece[-1] < key), default=None)
            after = min((place for place, piece in enumerate(pieces) if piece[0] > key), default=None)
            expected |= holding or ({before, after} - {None} - proved)
        found = bounds.batches_of(np.array(asked)).tolist()
        assert found == sorted(expected)
        for place in found:
            bounds.prove(place, pa.array(pieces[place]))
        proved |= set(found)


def test_keys_of_another_type_are_told() -> None:
    bounds = BatchBounds(np.array(["a"], object), np.array(["b"], object), are_exact=True)
    with pytest.raises(InvalidRequest, match="of another type"):
        bounds.batches_of(np.array([1]))
    check_rising(pa.array([], pa.int64()), "here")


def test_many_batches_are_found_as_before(client: AmbryClient, name: str) -> None:
    batches = [list(range(start, start + 20, 2)) for start in range(0, 400, 20)]
    for file_format in ("arrow", "parquet"):
        snapshot = made(client, f"{name}-{file_format}", file_format, batches)
        asked = [0, 1, 18, 19, 20, 398, 399, -7]
        for _ in range(2):
            found = snapshot.read([AGE], asked).column("age").to_pylist()
            assert found == [0, None, 9, None, 0, 9, None, None]
            snapshot.fetch()
