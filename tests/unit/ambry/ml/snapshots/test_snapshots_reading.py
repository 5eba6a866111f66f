"""Snapshots written and read back, against a frontend: in order, whole, by key, at a point in time."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from ambry import AmbryClient, BlobNotFound, InvalidRequest, UpdateConflict
from ambry.ml import snapshots
from ambry.ml.features.metadata import FeatureMetadata, FeatureNotDefined
from ambry.ml.features.publishing import load, publish
from ambry.ml.features.reading import parse_definitions
from ambry.ml.snapshots.cells import tensor_view
from ambry.ml.snapshots.flat import to_frame
from ambry.ml.snapshots.reading import open_snapshot
from ambry.ml.snapshots.runs import _batches
from ambry.ml.snapshots.writing import write_snapshot
from tests.support.alone import run_alone

TEXT = """\
age: {valType: INT, default: -1}
name: {valType: STRING}
week: {valType: FLOAT, dims: [days-1-0], default: 0.5}
actions: {valType: INT, dims: [kinds-1-0, seen-1-0]}
days: {type: discrete : {size: 7}}
seen: {type: discrete}
kinds: {type: categorical : {idMappingFile: "kinds.csv"}}
// (kinds.csv)
0, OUT_OF_VOCAB
1, Comment
2, Click
"""
METADATA = FeatureMetadata.of([parse_definitions(TEXT, "n")])
AGE, NAME, WEEK, ACTIONS = (f"urn:li:(n,{name},1,0)" for name in ("age", "name", "week", "actions"))
ALL = [AGE, NAME, WEEK, ACTIONS]
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)


def rows_of(keys: list[int]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "member": keys,
            "age": [key % 90 for key in keys],
            "name": [f"m{key}" for key in keys],
            "week": [np.arange(7, dtype=np.float32) * key for key in keys],
            "actions": [[("Click", key, 1), ("Comment", 0, key)] for key in keys],
        }
    )


def write(client: AmbryClient, name: str, rows: Any, **options: Any) -> Any:
    settings = {"metadata": METADATA, "entity": "member", "as_of": NOON, "rows_per_batch": 8, **options}
    return write_snapshot(client, name, rows, ALL, **settings)


def test_what_was_written_is_read_in_the_order_of_keys(client: AmbryClient, name: str) -> None:
    keys = list(range(0, 200, 2))
    random.Random(7).shuffle(keys)
    written = write(client, name, rows_of(keys), memory_max=2_000)
    assert (written.rows, written.version) == (100, str(int(NOON.timestamp() * 1000)))
    with open_snapshot(client, name, metadata=METADATA) as snapshot:
        assert (snapshot.rows, snapshot.place.version, snapshot.about.as_of) == (100, written.version, NOON)
        table = snapshot.table()
        assert table.column("member").to_pylist() == sorted(keys)
        assert table.schema.field("week").type.dim_names == ["days"]
        assert table.column("actions")[3].as_py() == [
            {"kinds": 1, "seen": 0, "value": 6},
            {"kinds": 2, "seen": 6, "value": 1},
        ]
        assert [str(urn) for urn in snapshot.urns] == [AGE, WEEK, NAME, ACTIONS]  # What has a width comes first.


@pytest.mark.parametrize("fetched", [False, True])
def test_entities_are_read_by_key_in_the_order_asked(client: AmbryClient, name: str, fetched: bool) -> None:
    write(client, name, rows_of(list(range(0, 200, 2))))
    with open_snapshot(client, name, metadata=METADATA) as snapshot:
        if fetched:
            snapshot.fetch()
        keys = [198, 0, 7, 42, 42, -5, 1_000]
        table = snapshot.read([WEEK, AGE, ACTIONS], keys)
        assert table.column_names == ["member", "week", "age", "actions"]
        assert table.column("member").to_pylist() == keys
        assert table.column("age").to_pylist() == [18, 0, -1, 42, 42, -1, -1]
        weeks = table.column("week").combine_chunks().storage.to_pylist()
        assert weeks[0] == [198.0 * day for day in range(7)]
        assert weeks[2] == [0.5] * 7
        assert [row is None for row in table.column("actions").to_pylist()] == [
            False,
            False,
            True,
            False,
            False,
            True,
            True,
        ]
        assert snapshot.read([AGE], []).num_rows == 0


def test_few_entities_cost_few_bytes(client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write(client, name, rows_of(list(range(2_000))))
    asked: list[Any] = []
    ranges = AmbryClient.get_ranges

    def counted(self: AmbryClient, ref: Any, spans: Any, **options: Any) -> list[bytes]:
        pieces = ranges(self, ref, spans, **options)
        asked.append(sum(len(piece) for piece in pieces))
        return pieces

    monkeypatch.setattr(AmbryClient, "get_ranges", counted)
    with open_snapshot(client, name, metadata=METADATA) as snapshot:
        assert snapshot.read([AGE], [5, 6, 1_999]).column("age").to_pylist() == [5, 6, 1_999 % 90]
    assert len(asked) == 1 and asked[0] < written.size / 50


def test_a_read_by_key_is_one_request(client: AmbryClient, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was opened is known: nobody is asked again what its version is."""
    write(client, name, rows_of(list(range(2_000))))
    with open_snapshot(client, name, metadata=METADATA) as snapshot:
        snapshot.read([AGE], [5])
        sent: list[str] = []
        exchange = AmbryClient._exchange

        def counted(self: AmbryClient, endpoint: Any, request: Any, *rest: Any, **named: Any) -> Any:
            sent.append(f"{request.method} {request.path}")
            return exchange(self, endpoint, request, *rest, **named)

        monkeypatch.setattr(AmbryClient, "_exchange", counted)
        assert snapshot.read([AGE], [5, 6, 1_999]).column("age").to_pylist() == [5, 6, 1_999 % 90]
    assert len(sent) == 1, sent


def test_texts_are_keys_too(client: AmbryClient, name: str) -> None:
    frame = rows_of([3, 1, 2])
    frame["member"] = ["zoë", "ann", "bob"]
    write(client, name, frame)
    with open_snapshot(client, name, metadata=METADATA) as snapshot:
        assert snapshot.read([AGE], ["zoë", "bob", "eve"]).column("age").to_pylist() == [3, 2, -1]
        with pytest.raises(InvalidRequest, match=r"the entities of .* are string, and the keys int64"):
            snapshot.read([AGE], [1])


def test_frames_of_every_kind_make_the_same_snapshot(client: AmbryClient, name: str) -> None:
    frame = rows_of([1, 2, 3]).drop(columns="actions")
    plain = [AGE, NAME, WEEK]
    table = pa.table(
        {
            "member": frame["member"],
            "age": frame["age"],
            "name": frame["name"],
            "week": pa.array([row.tolist() for row in frame["week"]]),
        }
    )
    forms: list[Any] = [
        frame,
        table,
        pl.from_arrow(table),
        table.to_reader(),
        iter(table.to_batches(max_chunksize=1)),
        iter(frame.to_dict("records")),
        {name: list(frame[name]) for name in frame},
    ]
    found = set()
    for place, rows in enumerate(forms):
        written = write_snapshot(
            client, name, rows, plain, metadata=METADATA, entity="member", as_of=NOON + timedelta(seconds=place)
        )
        with open_snapshot(client, f"{name}@{written.version}", metadata=METADATA) as snapshot:
            data = snapshot.table().replace_schema_metadata(None)
            found.add(str([[str(value) for value in column.to_pylist()] for column in data.columns]))
    assert len(found) == 1


def test_a_point_in_time_is_the_newest_snapshot_before_it(client: AmbryClient, name: str) -> None:
    for hours in (0, 1, 2):
        write(client, name, rows_of([hours]), as_of=NOON + timedelta(hours=hours))
    for minutes, expected in ((0, [0]), (59, [0]), (60, [1]), (90, [1]), (500, [2])):
        with open_snapshot(client, name, as_of=NOON + timedelta(minutes=minutes), metadata=METADATA) as snapshot:
            assert snapshot.table([AGE]).column("member").to_pylist() == expected
    with pytest.raises(BlobNotFound, match="or before"):
        open_snapshot(client, name, as_of=NOON - timedelta(seconds=1))
    for minutes, told in ((120, "of other rows.* is there"), (0, "of other rows.* is there"), (30, "was there before")):
        with pytest.raises(UpdateConflict, match=told):
            write(client, name, rows_of([5]), as_of=NOON + timedelta(minutes=minutes))


def test_definitions_are_found_by_what_the_snapshot_says(client: AmbryClient, name: str) -> None:
    publish(client, f"{name}-definitions", METADATA)
    write(client, name, rows_of([1]), metadata=load(client, f"{name}-definitions@1.0.0"))
    with open_snapshot(client, name) as snapshot:
        assert snapshot.about.definitions == f"{name}-definitions@1.0.0"
        assert snapshot.resolve(ACTIONS) == METADATA.tensor_type(ACTIONS)
        with pytest.raises(FeatureNotDefined):
            snapshot.resolve("urn:li:(n,other,1,0)")
    write(client, f"{name}-b", rows_of([1]))
    with open_snapshot(client, f"{name}-b") as snapshot, pytest.raises(InvalidRequest, match="say `metadata`"):
        snapshot.resolve(AGE)


def test_definitions_whose_vocabulary_grew_read_older_snapshots(client: AmbryClient, name: str) -> None:
    """The shape was that of the definitions at hand: nothing dense could be read any more."""
    share_and_flag = [
        f"{name}: {{valType: {kind}, dims: [kinds-1-0], default: {default}}}\n"
        for name, kind, default in (("share", "FLOAT", "0.5"), ("flag", "BOOLEAN", "true"))
    ]
    text = "".join(share_and_flag)
    before = FeatureMetadata.of([parse_definitions(text + TEXT, "n")])
    after = FeatureMetadata.of([parse_definitions(f"{text}{TEXT}3, Share\n4, Like\n", "n")])
    share, flag = "urn:li:(n,share,1,0)", "urn:li:(n,flag,1,0)"
    rows = {"member": [1, 2, 3], "share": [np.arange(3), None, np.ones(3)], "flag": [[True, False, True], None, None]}
    write_snapshot(client, name, rows, [share, flag], metadata=before, entity="member", as_of=NOON, rows_per_batch=2)
    for metadata, more in ((before, 0), (after, 2)):
        expected = {
            "member": [1, 2, 9],
            "share": [[0, 1, 2, *[0] * more], [0.5] * (3 + more), [0.5] * (3 + more)],
            "flag": [[1, 0, 1, *[0] * more], [1] * (3 + more), [1] * (3 + more)],
        }
        with open_snapshot(client, name, metadata=metadata) as snapshot:
            assert snapshot.read([share, flag], [1, 2, 9]).to_pydict() == expected
            assert np.concatenate(snapshot.arrays(share)).shape == (3, 3 + more)
            found = snapshot.reader([share, flag]).read([1, 2, 9])
            assert found.values[share].tolist() == expected["share"]
            assert found.values[flag].tolist() == expected["flag"]
            assert tensor_view(snapshot.table([share]).column(1).chunk(0), metadata.tensor_type(share)).shape == (2, 3)
            assert "share[Click]" in to_frame(snapshot.table(), metadata=metadata)
            assert snapshot.resolve(share) == metadata.tensor_type(share)
    other = FeatureMetadata.of([parse_definitions(text.replace("FLOAT", "DOUBLE") + TEXT, "n")])
    with (
        open_snapshot(client, name, metadata=other) as snapshot,
        pytest.raises(
            InvalidRequest, match=r"is DOUBLE \[kinds .* by the definitions, and was written as FLOAT \[kinds"
        ),
    ):
        snapshot.read([share], [1])


def test_no_keys_are_of_any_type(client: AmbryClient, name: str) -> None:
    write_snapshot(client, name, {"member": ["a"], "age": [1]}, [AGE], metadata=METADATA, entity="member", as_of=NOON)
    with open_snapshot(client, name, metadata=METADATA) as snapshot:
        nothing: list[Any] = [[], np.zeros(0), pa.array([], pa.int64())]
        for none in nothing:
            assert snapshot.read([AGE], none).schema.field(0).type == pa.string()
        reader = snapshot.reader([AGE])
        assert reader.read(["a\0", "a"]).found.tolist() == [False, True]
        for wrong in ([["a"]], [1], ["a", 1]):
            with pytest.raises(InvalidRequest):
                reader.read(wrong)


def test_what_has_other_versions_has_no_points_in_time(client: AmbryClient, name: str) -> None:
    client.create_dataset(name, "SEMANTIC")
    client.put_version(name, b"x", "1.0.0")
    with pytest.raises(InvalidRequest, match="are SEMANTIC; snapshots take a dataset whose versions are TIMESTAMP"):
        open_snapshot(client, name, as_of=NOON)


def test_a_batch_that_arrow_splits_loses_no_row() -> None:
    """Columns of more than 2 GiB of texts are several, and the first was taken for the whole."""

    class Split:
        def combine_chunks(self) -> Any:
            return pa.Table.from_batches([pa.record_batch({"a": [1, 2]}), pa.record_batch({"a": [3]})])

    assert [batch.num_rows for batch in _batches(Split())] == [2, 1]


def test_names_of_builtins_are_hidden_from_import_star() -> None:
    for module in ("snapshots", "models", "experiments"):
        names: dict[str, Any] = {}
        exec(f"from ambry.ml.{module} import *", names)
        assert not {"open", "list"} & set(names)
    assert snapshots.open is open_snapshot


def test_an_entity_that_stands_twice_is_refused_and_nothing_is_visible(client: AmbryClient, name: str) -> None:
    for memory in (1 << 20, 500):
        with pytest.raises(InvalidRequest, match="the entity 4 stands twice"):
            write(client, name, rows_of([*range(20), 4]), memory_max=memory)
    with pytest.raises(BlobNotFound):
        client.dataset(name)


def test_an_empty_snapshot(client: AmbryClient, name: str) -> None:
    write(client, name, rows_of([]), allow_empty=True)
    with open_snapshot(client, name, metadata=METADATA) as snapshot:
        assert (snapshot.rows, snapshot.table().num_rows) == (0, 0)
        assert snapshot.read([AGE], [1]).column("age").to_pylist() == [-1]


def test_a_view_of_a_batch_shares_the_memory_of_the_mapped_file(client: AmbryClient, name: str) -> None:
    write(client, name, rows_of(list(range(8))))
    with open_snapshot(client, name, metadata=METADATA) as snapshot:
        before = pa.total_allocated_bytes()
        [batch] = list(snapshot.batches([WEEK]))
        view = batch.column("week").storage.values.to_numpy(zero_copy_only=True)
        assert pa.total_allocated_bytes() <= before
        assert view[7:14].tolist() == [float(day) for day in range(7)]


def test_parquet_is_read_by_others(client: AmbryClient, name: str, tmp_path: Path) -> None:
    written = write(client, name, rows_of([3, 1, 2]), file_format="parquet")
    client.get_file(written.id, tmp_path / "x.parquet")
    assert pd.read_parquet(tmp_path / "x.parquet", columns=["member", "age"])["member"].tolist() == [1, 2, 3]
    with open_snapshot(client, name, metadata=METADATA) as snapshot:
        assert snapshot.read([AGE], [3, 7]).column("age").to_pylist() == [3, -1]


def test_strangers_read_the_file(client: AmbryClient, name: str, tmp_path: Path) -> None:
    written = write(client, name, rows_of([3, 1, 2]))
    client.get_file(written.id, tmp_path / "x.arrow")
    assert pl.read_ipc(tmp_path / "x.arrow", columns=["member", "age"])["age"].to_list() == [1, 2, 3]
    assert pd.read_feather(tmp_path / "x.arrow", columns=["member", "name"])["name"].tolist() == ["m1", "m2", "m3"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"entity": "nobody"}, "no column 'nobody'; they have"),
        ({"columns": {AGE: "years"}}, "no column 'years'"),
        ({"as_of": datetime(2026, 1, 1)}, "no time zone"),
        ({"as_of": datetime(1969, 1, 1, tzinfo=UTC)}, "before 1970"),
        ({"layouts": {NAME: "dense"}}, "is a scalar"),
    ],
)
def test_what_cannot_be_written_is_told(client: AmbryClient, name: str, change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        write(client, name, rows_of([1]), **change)


STRANGER = """
import json
import pandas, polars, pyarrow as pa, pyarrow.parquet as pq
cells = [{"kinds": 1, "seen": 0, "value": 2}, {"kinds": 2, "seen": 2, "value": 1}]
for table in (pa.ipc.open_file(pa.memory_map(sys.argv[1])).read_all(), pq.read_table(sys.argv[2])):
    week = table.schema.field("week")
    assert (week.type.dim_names, week.type.shape) == (["days"], [7])
    assert json.loads(week.metadata[b"ambry.type"])["valType"] == "FLOAT"
    assert table.schema.metadata[b"ambry.entity"] == b"member"
    assert table.column("week").combine_chunks().to_numpy_ndarray()[2].tolist() == [2.0 * day for day in range(7)]
    assert table.column("actions")[2].as_py() == cells
for frame in (polars.read_ipc(sys.argv[1]), polars.read_parquet(sys.argv[2])):
    assert frame["actions"][2].to_list() == cells and frame["name"][2] == "m2"
for frame in (pandas.read_feather(sys.argv[1]), pandas.read_parquet(sys.argv[2])):
    assert frame["member"].tolist() == list(range(20)) and frame["name"][19] == "m19"
"""


def test_strangers_without_our_package_read_the_files(client: AmbryClient, name: str) -> None:
    """An interpreter that finds what is installed, and not us."""
    paths = []
    for file_format in ("arrow", "parquet"):
        written = write(client, f"{name}-{file_format}", rows_of(list(range(20))), file_format=file_format)
        paths.append(str(client.cached_path(written.id)))
    run_alone(STRANGER, *paths)
