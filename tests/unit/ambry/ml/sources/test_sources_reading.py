"""Features of every type, written to every kind of source: each gives the same answer."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import fastavro
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy
from pyarrow import parquet

from ambry import AmbryClient, InvalidRequest
from ambry.ml.features.definitions import ValueType
from ambry.ml.features.metadata import FeatureMetadata, FeatureNotDefined
from ambry.ml.features.reading import parse_definitions
from ambry.ml.places import version_of
from ambry.ml.snapshots.reading import open_snapshot
from ambry.ml.snapshots.schema import layout_of
from ambry.ml.snapshots.writing import write_snapshot
from ambry.ml.sources.answers import FeatureSource
from ambry.ml.sources.avro import AvroSource, write_avro
from ambry.ml.sources.lmdb import LmdbSource, write_lmdb
from ambry.ml.sources.parquet import ParquetSource
from ambry.ml.sources.snapshot import SnapshotSource
from ambry.ml.sources.sql import SqlSource, write_sql
from tests.support.fixed_lists import needs_fixed_lists

DIMENSIONS = """\
days: {type: discrete : {size: 3}}
seen: {type: discrete}
kinds: {type: categorical : {idMappingFile: "kinds.csv"}}
words: {type: hashed : {buckets: 1000}}
members: {type: entity}
// (kinds.csv)
0, OUT_OF_VOCAB
1, "Comment, 100%2C"
2, Click
3, "#7"
"""
AXES = ("days", "seen", "kinds", "words", "members")
WHEN = datetime(2026, 11, 27, 12, tzinfo=UTC)
SEEDS = range(10)
_numbers = count()


def defined(chance: random.Random) -> FeatureMetadata:
    """Some features of each type, over none to three dims, with and without a default."""
    lines = []
    for value_type in ValueType:
        for axes in range(4):
            dims = ", ".join(f"{axis}-1-0" for axis in chance.sample(AXES, axes))
            default = f", default: {DEFAULTS[value_type]}" if chance.random() < 0.5 else ""
            lines.append(f"{value_type.value.lower()}{axes}: {{valType: {value_type.value}, dims: [{dims}]{default}}}")
    return FeatureMetadata.of([parse_definitions("\n".join(lines) + "\n" + DIMENSIONS, "n")])


DEFAULTS = {
    ValueType.INT: "-1",
    ValueType.LONG: "4294967296",
    ValueType.FLOAT: "0.5",
    ValueType.DOUBLE: "0.1",
    ValueType.STRING: '"none"',
    ValueType.BOOLEAN: "true",
    ValueType.BYTES: '"6e6f6e65"',
}


def value_of(chance: random.Random, value_type: ValueType) -> Any:
    match value_type:
        case ValueType.INT:
            return chance.choice([0, 1, -(1 << 31), (1 << 31) - 1, chance.randrange(1000)])
        case ValueType.LONG:
            return chance.choice([0, -(1 << 53), 1 << 53, chance.randrange(1 << 40)])
        case ValueType.FLOAT:
            return float(np.float32(chance.choice([0.0, 0.1, -3e38, float("inf"), chance.random()])))
        case ValueType.DOUBLE:
            return chance.choice([0.0, 0.1, 1e300, float("-inf"), chance.random()])
        case ValueType.STRING:
            return chance.choice(["", "a", "é,%2C%", "x" * 300, "\n", "😀"])
        case ValueType.BOOLEAN:
            return chance.random() < 0.5
        case ValueType.BYTES:
            return chance.choice([b"", b"\x00\xff", chance.randbytes(20)])


def index_on(chance: random.Random, axis: str) -> Any:
    match axis:
        case "days":
            return chance.randrange(3)
        case "seen":
            return chance.choice([0, 7, (1 << 31) - 1])
        case "kinds":
            return chance.randrange(4)
        case "words":
            return chance.randrange(1000)
        case _:
            return chance.choice([0, -(1 << 63), (1 << 63) - 1, 42])


def column_of(chance: random.Random, kind: Any, rows: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(rows):
        if chance.random() < 0.2:
            found.append(None)
        elif not kind.axes:
            found.append(value_of(chance, kind.value_type))
        elif layout_of(kind) == "dense":
            cells = [value_of(chance, kind.value_type) for _ in range(int(np.prod(kind.shape)))]
            dtype = np.bool_ if kind.value_type is ValueType.BOOLEAN else None
            found.append(
                np.array(cells, dtype).reshape(kind.shape) if chance.random() < 0.9 else np.zeros(kind.shape, dtype)
            )
        else:
            places = {tuple(index_on(chance, axis.name) for axis in kind.axes) for _ in range(chance.randrange(4))}
            found.append([(*place, value_of(chance, kind.value_type)) for place in sorted(places)])
    return found


def sources_of(client: AmbryClient, directory: Path, rows: Any, metadata: FeatureMetadata) -> Iterator[FeatureSource]:
    name = f"sources-{next(_numbers)}"
    settings: dict[str, Any] = {"metadata": metadata, "entity": "member"}
    write_snapshot(client, name, rows, metadata.urns, as_of=WHEN, rows_per_batch=8, **settings)
    snapshot = open_snapshot(client, name, metadata=metadata)
    yield SnapshotSource(snapshot)
    snapshot.fetch()
    yield SnapshotSource(snapshot)
    write_lmdb(directory / "lmdb", rows, metadata.urns, **settings)
    with LmdbSource(directory / "lmdb", metadata) as source:
        yield source
    write_snapshot(client, f"{name}-p", rows, metadata.urns, as_of=WHEN, file_format="parquet", **settings)
    client.get_file(version_of(f"{name}-p"), directory / "table.parquet")
    yield ParquetSource(str(directory / "table.parquet"), metadata, entity="member")
    yield ParquetSource((directory / "table.parquet").as_uri(), metadata, entity="member")
    engine = sqlalchemy.create_engine(f"sqlite:///{directory / 'features.sqlite'}")
    write_sql(engine, "features", rows, metadata.urns, **settings)
    yield SqlSource(engine, "features", metadata, entity="member")
    engine.dispose()
    write_avro(directory / "features.avro", rows, metadata.urns, **settings)
    yield AvroSource(directory / "features.avro", metadata, entity="member")


@needs_fixed_lists
@pytest.mark.parametrize("seed", SEEDS)
def test_every_source_gives_the_same_answer(client: AmbryClient, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    metadata = defined(chance)
    entities: list[Any] = [*chance.sample(range(-50, 50), 40), -(1 << 63), (1 << 63) - 1]
    strange: list[Any] = [1_000, 1_001]
    if seed % 2:
        entities, strange = [f"m{key}é" for key in entities], ["", "x" * 600]
    kinds = [metadata.tensor_type(urn) for urn in metadata.urns]
    rows = pd.DataFrame(
        {
            "member": entities,
            **{kind.urn.name: pd.Series(column_of(chance, kind, len(entities)), dtype=object) for kind in kinds},
        }
    )
    asked = [*chance.sample(entities, 20), *strange, entities[0], entities[0]]
    urns = chance.sample(metadata.urns, len(metadata.urns))
    expected: Any = None
    for source in sources_of(client, tmp_path, rows, metadata):
        answer = source.read(urns, asked)
        assert answer.column("member").to_pylist() == asked
        assert source.resolve(str(urns[0])) == metadata.tensor_type(urns[0])
        if expected is None:
            expected = answer
            assert_is_what_was_written(answer, rows, asked, kinds)
            continue
        assert answer.schema.equals(expected.schema, check_metadata=True), source
        for name in expected.column_names:
            assert answer.column(name).combine_chunks().equals(expected.column(name).combine_chunks()), (source, name)
        nothing = source.read(urns[:2], [])
        assert (nothing.num_rows, nothing.schema.field(0).type) == (0, expected.schema.field(0).type)


def assert_is_what_was_written(answer: Any, rows: pd.DataFrame, asked: list[Any], kinds: list[Any]) -> None:
    """Not by way of anything that the sources share."""
    places = {entity: place for place, entity in enumerate(rows["member"])}
    for kind in kinds:
        found = answer.column(kind.urn.name).to_pylist()
        for entity, value in zip(asked, found, strict=True):
            wanted = rows[kind.urn.name][places[entity]] if entity in places else None
            if wanted is None:
                sparse = not isinstance(answer.schema.field(kind.urn.name).type, pa.FixedShapeTensorType)
                default = None if kind.axes and sparse else kind.default
                assert value == (default if not kind.axes or default is None else [default] * int(np.prod(kind.shape)))
            elif not kind.axes:
                assert value == wanted
            elif isinstance(wanted, np.ndarray):
                assert value == wanted.reshape(-1).tolist()
            else:
                assert [tuple(cell.values()) for cell in value] == wanted


TEXT = """\
age: {valType: INT, default: -1}
score: {valType: FLOAT, dims: [kinds-1-0]}
clicks: {valType: LONG, dims: [kinds-1-0, seen-1-0]}
kinds: {type: categorical : {idMappingFile: "kinds.csv"}}
seen: {type: discrete}
// (kinds.csv)
0, OUT_OF_VOCAB
1, Comment
2, Click
"""
METADATA = FeatureMetadata.of([parse_definitions(TEXT, "n")])
AGE, SCORE, CLICKS = (f"urn:li:(n,{name},1,0)" for name in ("age", "score", "clicks"))


def test_a_parquet_table_of_others_is_read_under_its_own_names(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": np.array([3, 1, 2], "uint8"), "years": [30, 10, 20], "extra": ["c", "a", "b"]})
    frame.to_parquet(tmp_path / "x.parquet")
    source = ParquetSource(str(tmp_path / "x.parquet"), METADATA, entity="id", columns={AGE: "years"})
    assert source.read([AGE], [2, 258, -254, 3]).column("age").to_pylist() == [20, -1, -1, 30]
    with pytest.raises(FeatureNotDefined, match="has no column for urn:li:\\(n,score,1,0\\); say `columns`"):
        source.resolve(SCORE)
    with pytest.raises(InvalidRequest, match="the entities are int64 in the column 'id', and the keys string"):
        source.read([AGE], ["x"])
    with pytest.raises(InvalidRequest, match="has no column 'member'; it has id, years, extra"):
        ParquetSource(str(tmp_path / "x.parquet"), METADATA, entity="member")


def test_an_entity_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """Which of both is meant, nobody knows; the others are read."""
    parquet.write_table(pa.table({"member": [1, 1, 2], "age": [10, 11, 20]}), tmp_path / "x.parquet")
    source = ParquetSource(str(tmp_path / "x.parquet"), METADATA, entity="member")
    assert source.read([AGE], [2]).column("age").to_pylist() == [20]
    with pytest.raises(InvalidRequest, match="the entity 1 stands twice"):
        source.read([AGE], [2, 1])


def test_a_sql_table_of_others_is_read_as_well(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    with sqlite3.connect(path) as made:
        made.execute("create table t (member integer primary key, age integer, score text, clicks text)")
        made.execute("insert into t values (1, 10, '[0, 1, 2.5]', '[[\"Click\", 7, 3], [\"Reshare\", 0, 1]]')")
        made.execute("insert into t values (2, null, null, '[')")
    source = SqlSource(f"sqlite:///{path}", "t", METADATA, entity="member")
    answer = source.read([AGE, SCORE, CLICKS], [1])
    assert answer.column("score").to_pylist() == [[0.0, 1.0, 2.5]]
    assert answer.column("clicks").to_pylist() == [
        [{"kinds": 0, "seen": 0, "value": 1}, {"kinds": 2, "seen": 7, "value": 3}]
    ]
    assert source.read([AGE], [2, 1]).column("age").to_pylist() == [-1, 10]
    with pytest.raises(InvalidRequest, match="is no tensor as JSON"):
        source.read([CLICKS], [2])
    with pytest.raises(InvalidRequest, match="there is no table 'u'"):
        SqlSource(f"sqlite:///{path}", "u", METADATA, entity="member")


def test_more_keys_than_a_statement_has_parameters(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.sqlite'}"
    rows = {"member": list(range(3_000)), "age": list(range(3_000))}
    assert write_sql(url, "t", rows, [AGE], metadata=METADATA, entity="member") == 3_000
    source = SqlSource(url, "t", METADATA, entity="member")
    assert source.read([AGE], range(2_999, -1, -1)).column("age").to_pylist() == list(range(2_999, -1, -1))


def test_what_a_sql_table_would_change_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'x.sqlite'}"
    settings: dict[str, Any] = {"metadata": METADATA, "entity": "member"}
    with pytest.raises(InvalidRequest, match="an entity stands twice in the rows for 't'"):
        write_sql(url, "t", {"member": [1, 1], "age": [1, 2]}, [AGE], **settings)
    write_sql(url, "t", {"member": [1], "age": [1]}, [AGE], **settings)
    with pytest.raises(InvalidRequest, match="there is a table 't'"):
        write_sql(url, "t", {"member": [1], "age": [1]}, [AGE], **settings)


def test_online_features_are_put_again_and_again(tmp_path: Path) -> None:
    """What comes replaces what was there, of its entities and features; a map that is full grows, also under a reader."""
    settings: dict[str, Any] = {"metadata": METADATA, "entity": "member"}
    write_lmdb(tmp_path / "x", {"member": [1, 2], "age": [10, 20]}, [AGE], **settings)
    write_lmdb(tmp_path / "x", {"member": [2, 3], "age": [None, 30]}, [AGE], **settings)
    write_lmdb(tmp_path / "x", {"member": [1], "score": [[1, 2, 3]]}, [SCORE], **settings)
    with LmdbSource(tmp_path / "x", METADATA) as source:
        answer = source.read([AGE, SCORE], [1, 2, 3])
        assert answer.column("age").to_pylist() == [10, -1, 30]
        assert answer.column("score").to_pylist() == [[1.0, 2.0, 3.0], None, None]
        with pytest.raises(FeatureNotDefined, match="urn:li:\\(n,clicks,1,0\\) is not in"):
            source.resolve(CLICKS)
    with pytest.raises(InvalidRequest, match="the entities there are"):
        write_lmdb(tmp_path / "x", {"member": ["a"], "age": [1]}, [AGE], **settings)
    with pytest.raises(InvalidRequest, match="LMDB has keys of 1 to 511"):
        write_lmdb(tmp_path / "y", {"member": ["a" * 512], "age": [1]}, [AGE], **settings)
    with pytest.raises(InvalidRequest, match="holds no features; `write_lmdb` puts them there"):
        LmdbSource(tmp_path / "z", METADATA)


def test_a_full_map_of_lmdb_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ambry.ml.sources.lmdb.MAP_BYTES", 1 << 16)
    rows = {"member": list(range(20_000)), "age": list(range(20_000))}
    write_lmdb(tmp_path / "x", rows, [AGE], metadata=METADATA, entity="member")
    with LmdbSource(tmp_path / "x", METADATA) as source:
        assert source.read([AGE], [19_999, 0]).column("age").to_pylist() == [19_999, 0]


def test_lmdb_has_rows_of_before_and_after_a_vocabulary_grew(tmp_path: Path) -> None:
    """The new width was refused where the old one lay, so a name that was accepted ended what is served from there."""
    code = f"""
import sys
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.sources import write_lmdb
before, after = (FeatureMetadata.of([parse_definitions(sys.argv[2] + more, 'n')]) for more in ('', '3, Share\\n'))
for metadata, member, cells in ((after, 2, [5, 6, 7, 8]), (before, 3, [9, 9, 9])):
    rows = {{'member': [member], 'score': [cells]}}
    write_lmdb(sys.argv[1], rows, ['{SCORE}'], metadata=metadata, entity='member')
"""
    place = tmp_path / "x"
    write_lmdb(place, {"member": [1], "score": [[1, 2, 3]]}, [SCORE], metadata=METADATA, entity="member")

    def told(source: LmdbSource, *members: int) -> Any:
        return source.read([SCORE], list(members)).column("score").combine_chunks().to_numpy_ndarray().tolist()

    with LmdbSource(place, METADATA) as source:
        assert told(source, 1) == [[1, 2, 3]]
        subprocess.run([sys.executable, "-c", code, place, TEXT], check=True, timeout=60)
        # Also who has opened it before reads them; the id 3 is strange to these definitions.
        assert told(source, 1, 2, 3) == [[1, 2, 3], [13, 6, 7], [9, 9, 9]]
    with LmdbSource(place, FeatureMetadata.of([parse_definitions(TEXT + "3, Share\n", "n")])) as source:
        assert told(source, 1, 2, 3, 1) == [[1, 2, 3, 0], [5, 6, 7, 8], [9, 9, 9, 0], [1, 2, 3, 0]]


def test_records_of_photon_are_read_and_become_a_snapshot(client: AmbryClient, tmp_path: Path) -> None:
    """Its terms are null where there is none, and names that nobody defined are passed by."""
    triple = {
        "type": "record",
        "name": "FeatureAvro",
        "fields": [
            {"name": "name", "type": "string"},
            {"name": "term", "type": ["null", "string"]},
            {"name": "value", "type": "double"},
        ],
    }
    schema = {
        "type": "record",
        "name": "TrainingExampleAvro",
        "fields": [
            {"name": "uid", "type": "long"},
            {"name": "label", "type": "double"},
            {"name": "features", "type": {"type": "array", "items": triple}},
        ],
    }
    records = [
        {
            "uid": uid,
            "label": 1.0,
            "features": [
                {"name": "age", "term": None, "value": float(uid)},
                {"name": "score", "term": "Click", "value": 0.5},
                {"name": "clicks", "term": f"Reshare,{uid}", "value": 3.0},
                {"name": "unknown", "term": "x", "value": 1.0},
            ],
        }
        for uid in range(10_000)
    ]
    with (tmp_path / "x.avro").open("wb") as file:
        fastavro.writer(file, schema, records)
    source = AvroSource(tmp_path / "x.avro", METADATA, entity="uid")
    urns = [AGE, SCORE, CLICKS]
    name = f"photon-{next(_numbers)}"
    written = write_snapshot(client, name, source.batches(urns), urns, metadata=METADATA, entity="uid", as_of=WHEN)
    assert written.rows == 10_000
    with open_snapshot(client, name, metadata=METADATA) as snapshot:
        keys = [9_999, 5_000, 12_345]
        answer = SnapshotSource(snapshot).read(urns, keys)
        assert answer.equals(source.read(urns, keys))
        assert answer.column("age").to_pylist() == [9_999, 5_000, -1]
        assert answer.column("score").to_pylist() == [[0.0, 0.0, 0.5], [0.0, 0.0, 0.5], None]
        assert answer.column("clicks").to_pylist()[0] == [{"kinds": 0, "seen": 9_999, "value": 3}]


def test_a_file_that_cannot_be_written_whole_is_not_there(tmp_path: Path) -> None:
    rows = {"member": list(range(20_000)), "clicks": [[]] * 19_999 + [[("Click", 0, (1 << 53) + 1)]]}
    with pytest.raises(InvalidRequest, match="no float is"):
        write_avro(tmp_path / "x", rows, [CLICKS], metadata=METADATA, entity="member")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_such_avro_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"something else")
    with pytest.raises(InvalidRequest, match="is no Avro file"):
        AvroSource(tmp_path / "x", METADATA, entity="member")
    write_avro(tmp_path / "y", {"member": [1], "age": [1]}, [AGE], metadata=METADATA, entity="member")
    with pytest.raises(InvalidRequest, match="have no field 'uid'; they have member, features"):
        AvroSource(tmp_path / "y", METADATA, entity="uid")
    with pytest.raises(FeatureNotDefined, match="clicks,1,0\\) is not in"):
        AvroSource(tmp_path / "y", METADATA, entity="member").resolve(CLICKS)


def test_a_table_that_others_made_meanwhile_stays(tmp_path: Path) -> None:
    """It was dropped: the failed writer took it for its own."""
    metadata = FeatureMetadata.of([parse_definitions("a: {valType: INT}", "n")])
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'features.sqlite'}")

    def rows() -> Iterator[Any]:
        with sqlite3.connect(tmp_path / "features.sqlite") as other:
            other.execute("create table mine (member integer)")
            other.execute("insert into mine values (99)")
        yield pd.DataFrame({"member": [1], "a": [1]})

    with pytest.raises(sqlalchemy.exc.OperationalError, match="already exists"):
        write_sql(engine, "mine", rows(), metadata.urns, metadata=metadata, entity="member")
    with sqlite3.connect(tmp_path / "features.sqlite") as other:
        assert other.execute("select * from mine").fetchall() == [(99,)]
    engine.dispose()
