"""Any rows, written to every kind of source, are the same to the last bit when they are read by any keys.

Bits: -0.0 is another float than 0.0, unless SQLite has it, and NaN in a tensor is NaN; as a number alone it is null for all.
What a source does not keep it refuses when it is written: LMDB keys of no byte or of more than 511, names with terms whole
numbers that no float has.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from ambry import AmbryClient, InvalidRequest
from ambry.ml.features.availability import WrongSource
from ambry.ml.features.definitions import Availability, ValueType
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.snapshots.reading import open_snapshot
from ambry.ml.snapshots.schema import layout_of
from ambry.ml.snapshots.writing import write_snapshot
from ambry.ml.sources.answers import FeatureSource
from ambry.ml.sources.avro import AvroSource, write_avro
from ambry.ml.sources.lmdb import LmdbSource, write_lmdb
from ambry.ml.sources.lmdb_cells import KEY_BYTES_MAX
from ambry.ml.sources.parquet import ParquetSource
from ambry.ml.sources.reader import StoredFeatures
from ambry.ml.sources.snapshot import SnapshotSource
from ambry.ml.sources.sql import SqlSource, write_sql
from tests.support.fixed_lists import needs_fixed_lists

DEFAULTS = {
    ValueType.INT: "-1",
    ValueType.LONG: "4294967296",
    ValueType.FLOAT: "-0.0",
    ValueType.DOUBLE: "0.1",
    ValueType.STRING: '"none"',
    ValueType.BOOLEAN: "true",
    ValueType.BYTES: '"6e6f6e65"',
}
SHAPES = {"": (), "D": ("days",), "S": ("kinds", "members"), "H": ("words",)}
"""A scalar, a tensor that lies dense, and two that lie sparse."""
LINES = [
    f"{value_type.value.lower()}{shape}{told}: {{valType: {value_type.value}, "
    f"dims: [{', '.join(f'{axis}-1-0' for axis in axes)}]{default}}}"
    for value_type in ValueType
    for shape, axes in SHAPES.items()
    for told, default in [("", ""), *([("Else", f", default: {DEFAULTS[value_type]}")] if shape in ("", "D") else [])]
]
METADATA = FeatureMetadata.of(
    [
        parse_definitions(
            "\n".join(LINES)
            + """
days: {type: discrete : {size: 2}}
kinds: {type: categorical : {idMappingFile: "kinds.csv"}}
words: {type: hashed : {buckets: 100000}}
members: {type: entity}
// (kinds.csv)
0, OUT_OF_VOCAB
1, "Comment, 100%2C"
2, "Click\\0"
""",
            "n",
        )
    ]
)
KINDS = [METADATA.tensor_type(urn) for urn in METADATA.urns]
KINDS_BY_NAME = {kind.urn.name: kind for kind in KINDS}
WHEN = datetime(2026, 11, 27, 12, tzinfo=UTC)
LIMITS = st.sampled_from([0, -1, -(1 << 63), (1 << 63) - 1])
TEXTS = st.text(max_size=5) | st.sampled_from(["", "\0", "a", "a\0", "a\0\0", "é,%2C%", "#7", "12", "x" * 600])
VALUES: dict[ValueType, st.SearchStrategy[Any]] = {
    ValueType.INT: st.integers(-(1 << 31), (1 << 31) - 1),
    ValueType.LONG: LIMITS | st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-5, 5),
    ValueType.FLOAT: st.floats(width=32) | st.sampled_from([0.0, -0.0]),
    ValueType.DOUBLE: st.floats() | st.sampled_from([0.0, -0.0]),
    ValueType.STRING: TEXTS,
    ValueType.BOOLEAN: st.booleans(),
    ValueType.BYTES: st.binary(max_size=5) | st.sampled_from([b"", b"\0", b"a\0"]),
}
INDICES: dict[str, st.SearchStrategy[Any]] = {
    "days": st.integers(0, 1),
    "kinds": st.sampled_from([0, 1, 2, "Comment, 100%2C", "Click\0", "Click", "strange"]),
    "words": st.integers(0, 99_999) | TEXTS.filter(bool),
    "members": LIMITS | st.integers(0, 9),
}
_numbers = count()


def cells(kind: Any) -> st.SearchStrategy[Any]:
    if not kind.axes:
        return VALUES[kind.value_type]
    values = VALUES[kind.value_type]
    if layout_of(kind) == "dense":
        return st.lists(values, min_size=2, max_size=2)
    cell = st.tuples(*(INDICES[axis.name] for axis in kind.axes), values)
    return st.lists(cell, max_size=3, unique_by=lambda made: str(kind.axes[0].encode_all([made[0]])))


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Any], dict[str, Any], list[Any]]:
    """Some features, rows of them, and the keys that are asked for."""
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4, unique=True))
    keys = draw(st.sampled_from([LIMITS | st.integers(-3, 300), TEXTS]))
    entities = draw(st.lists(keys, min_size=1, max_size=5, unique=True))
    rows: dict[str, Any] = {"member": entities}
    for kind in kinds:
        rows[kind.urn.name] = [draw(st.none() | cells(kind)) for _ in entities]
    return kinds, rows, draw(st.lists(st.sampled_from(entities) | keys, max_size=6))


def shown(answer: Any, *, of_sqlite: bool) -> dict[str, str]:
    """Each column as text, in which all floats but NaNs are told apart, and for SQLite the zeros are one."""
    told = {name: repr(answer.column(name).to_pylist()) for name in answer.column_names}
    return {name: text.replace("-0.0", "0.0") if of_sqlite else text for name, text in told.items()}


def numbers_in(rows: dict[str, Any]) -> Iterator[Any]:
    for name, column in rows.items():
        if name != "member":
            for value in column:
                yield from ([value] if not isinstance(value, list) else value)


def beyond_a_float(value: Any) -> bool:
    number = value[-1] if isinstance(value, tuple) else value
    return isinstance(number, int) and int(float(number)) != number


def sources(client: AmbryClient, directory: Path, kinds: list[Any], rows: dict[str, Any]) -> Iterator[FeatureSource]:
    urns = [kind.urn for kind in kinds]
    said: dict[str, Any] = {"metadata": METADATA, "entity": "member"}
    name = f"alike-{next(_numbers)}"
    write_snapshot(client, name, rows, urns, as_of=WHEN, rows_per_batch=2, **said)
    snapshot = open_snapshot(client, name, metadata=METADATA)
    yield SnapshotSource(snapshot)
    parquet.write_table(snapshot.table(), directory / "table.parquet")
    yield ParquetSource(str(directory / "table.parquet"), METADATA, entity="member")
    if all(not isinstance(key, str) or 0 < len(key.encode()) <= KEY_BYTES_MAX for key in rows["member"]):
        write_lmdb(directory / "lmdb", rows, urns, **said)
        with LmdbSource(directory / "lmdb", METADATA) as source:
            yield source
    else:
        with pytest.raises(InvalidRequest, match="LMDB has keys of 1 to 511"):
            write_lmdb(directory / "lmdb", rows, urns, **said)
    with ExitStack() as stack:
        engine = sqlalchemy.create_engine(f"sqlite:///{directory / 'features.sqlite'}")
        stack.callback(engine.dispose)
        write_sql(engine, "features", rows, urns, **said)
        yield SqlSource(engine, "features", METADATA, entity="member")
    if any(map(beyond_a_float, numbers_in(rows))):
        with pytest.raises(InvalidRequest, match="no float is"):
            write_avro(directory / "features.avro", rows, urns, **said)
        return
    write_avro(directory / "features.avro", rows, urns, **said)
    yield AvroSource(directory / "features.avro", METADATA, entity="member")


@pytest.fixture(scope="module")
def store(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AmbryClient]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AMBRY_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        with AmbryClient([url]) as made:
            yield made


@needs_fixed_lists
@settings(max_examples=25)
@example(([KINDS_BY_NAME["floatH"]], {"member": [0], "floatH": [[(0, math.nan)]]}, [0]))
@given(tables())
def test_any_rows_are_the_same_in_every_source(
    store: AmbryClient, drawn: tuple[list[Any], dict[str, Any], list[Any]]
) -> None:
    kinds, rows, asked = drawn
    with tempfile.TemporaryDirectory() as made:
        expected: Any = None
        for source in sources(store, Path(made), kinds, rows):
            answer = source.read([kind.urn for kind in kinds], asked)
            if expected is None:
                expected = answer
                assert answer.column("member").to_pylist() == asked
            assert answer.schema.equals(expected.schema, check_metadata=True), source
            of_sqlite = isinstance(source, SqlSource)
            assert shown(answer, of_sqlite=of_sqlite) == shown(expected, of_sqlite=of_sqlite), source


SIDES = "\n".join(f"{side.value.lower()}: {{valType: INT, availability: {side.value}}}" for side in Availability)
TOLD = FeatureMetadata.of([parse_definitions(SIDES, "n")])
ONLINE, OFFLINE, BOTH = (f"urn:li:(n,{side.value.lower()},1,0)" for side in Availability)


@pytest.mark.parametrize("side", [Availability.ONLINE, Availability.OFFLINE])
def test_each_source_by_itself_refuses_what_must_not_be_served_from_it(
    store: AmbryClient, tmp_path: Path, side: Availability
) -> None:
    """A source that was asked without a store of sources gave an OFFLINE feature to who served."""
    rows = {"member": [1], "online": [2], "offline": [3], "both": [4]}
    said: dict[str, Any] = {"metadata": TOLD, "entity": "member"}
    name = f"sides-{next(_numbers)}"
    write_snapshot(store, name, rows, [ONLINE, OFFLINE, BOTH], as_of=WHEN, **said)
    write_lmdb(tmp_path / "lmdb", rows, [ONLINE, OFFLINE, BOTH], **said)
    write_avro(tmp_path / "x.avro", rows, [ONLINE, OFFLINE, BOTH], **said)
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'x.sqlite'}")
    write_sql(engine, "features", rows, [ONLINE, OFFLINE, BOTH], **said)
    snapshot = open_snapshot(store, name, metadata=TOLD)
    parquet.write_table(snapshot.table(), tmp_path / "x.parquet")
    fits, wrong = (ONLINE, OFFLINE) if side is Availability.ONLINE else (OFFLINE, ONLINE)
    with LmdbSource(tmp_path / "lmdb", TOLD, availability=side) as directory:
        found: list[StoredFeatures] = [
            directory,
            SnapshotSource(snapshot, availability=side),
            ParquetSource(tmp_path / "x.parquet", TOLD, entity="member", availability=side),
            SqlSource(engine, "features", TOLD, entity="member", availability=side),
            AvroSource(tmp_path / "x.avro", TOLD, entity="member", availability=side),
        ]
        for source in found:
            words = (
                f"{wrong} is {'ONLINE' if wrong == ONLINE else 'OFFLINE'}, and its source {source!r} is {side.value};"
            )
            for ask in (
                source.resolve,
                lambda urn, s=source: s.reader([BOTH, urn]),
                lambda urn, s=source: s.read([urn], [1]),
            ):
                with pytest.raises(WrongSource, match=re.escape(words)):
                    ask(wrong)
            reader = source.reader([BOTH, fits])
            assert reader.read([1]).column("both").to_pylist() == [4]
    engine.dispose()
    # What is moved is not served.
    batches = AvroSource(tmp_path / "x.avro", TOLD, entity="member").batches([ONLINE])
    assert [batch.column("online").to_pylist() for batch in batches] == [[2]]


def test_one_urn_is_no_list(tmp_path: Path) -> None:
    write_lmdb(tmp_path / "lmdb", {"member": [1], "both": [4]}, [BOTH], metadata=TOLD, entity="member")
    with (
        LmdbSource(tmp_path / "lmdb", TOLD) as source,
        pytest.raises(InvalidRequest, match="features are a list of URNs"),
    ):
        source.reader(BOTH)


GROWING = """
dense: {valType: FLOAT, dims: [kinds-1-0], default: 0.5}
crossed: {valType: INT, dims: [kinds-1-0, {name: other, dim: kinds-1-0}, days-1-0]}
seen: {valType: BOOLEAN, dims: [kinds-1-0]}
sparse: {valType: LONG, dims: [kinds-1-0, members-1-0]}
said: {valType: STRING, dims: [kinds-1-0, members-1-0]}
days: {type: discrete : {size: 2}}
members: {type: entity}
kinds: {type: categorical : {idMappingFile: "kinds.csv"}}
// (kinds.csv)
0, OUT_OF_VOCAB
1, Comment
2, Click
"""
BEFORE, AFTER = (
    FeatureMetadata.of([parse_definitions(text, "n")]) for text in (GROWING, GROWING + "3, Share\n4, Like\n")
)
GROWN = [BEFORE.tensor_type(urn).urn for urn in BEFORE.urns]


def grown_rows(size: int) -> dict[str, Any]:
    crossed = np.arange(2 * size * size * 2, dtype=np.int32).reshape(2, size, size, 2)
    last = size - 1
    return {
        "member": [1, 2, 3],
        "dense": [np.arange(1, size + 1), np.eye(size)[1], None],
        "crossed": [crossed[0], None, crossed[1]],
        "seen": [[id == last for id in range(size)], [id == 1 for id in range(size)], None],
        "sparse": [[(id, 7, 1 << id) for id in range(size)], [], None],
        "said": [[(1, 7, "a"), (last, 7, "b")], [(last - 1, 7, "c"), (last, 7, "d")], None],
    }


def expected_of(rows: dict[str, Any], written: int, read: int) -> dict[str, Any]:
    """Cell by cell in Python: an id is itself where the vocabulary has it, else 0."""

    def known(id: int) -> int:
        return id if id < read else 0

    dense: list[Any] = []
    for row in rows["dense"]:
        cells = [0.5] * read if row is None else [0.0] * read
        for id in range(written if row is not None else 0):
            cells[known(id)] += row[id]
        dense.append(cells)
    seen: list[Any] = []
    for row in rows["seen"]:
        made = [False] * read
        for id in range(written if row is not None else 0):
            made[known(id)] |= row[id]
        seen.append(None if row is None else [int(each) for each in made])
    crossed: list[Any] = []
    for row in rows["crossed"]:
        table = np.zeros((read, read, 2), np.int32)
        for one, other in np.ndindex(written if row is not None else 0, written):
            table[known(one), known(other)] += row[one, other]
        crossed.append(None if row is None else table.reshape(-1).tolist())
    cells_of: dict[str, list[Any]] = {"sparse": [], "said": []}
    for name, found in cells_of.items():
        for row in rows[name]:
            told: dict[tuple[int, int], Any] = {}
            for id, member, value in sorted(row or []):
                key = known(id), member
                told[key] = told.get(key, 0) + value if name == "sparse" else told.get(key, value)
            shown = [{"kinds": id, "members": member, "value": value} for (id, member), value in sorted(told.items())]
            found.append(None if row is None else shown)
    return {"dense": dense, "crossed": crossed, "seen": seen, **cells_of}


@needs_fixed_lists
@pytest.mark.parametrize(("written", "read"), [(BEFORE, AFTER), (AFTER, BEFORE), (BEFORE, BEFORE)])
@pytest.mark.parametrize("layout", [None, "sparse"])
def test_what_another_version_of_a_vocabulary_wrote_is_the_same_from_every_source(
    store: AmbryClient, tmp_path: Path, written: FeatureMetadata, read: FeatureMetadata, layout: Any
) -> None:
    """One accepted name, and Parquet, SQL and LMDB refused; an old model was given ids that it does not have."""
    widths = [metadata.tensor_type(GROWN[0]).axes[0].size or 0 for metadata in (written, read)]
    rows = grown_rows(widths[0])
    layouts = dict.fromkeys(map(str, GROWN), layout) if layout else None
    said: dict[str, Any] = {"entity": "member", "layouts": layouts}
    name = f"grown-{next(_numbers)}"
    write_snapshot(store, name, rows, GROWN, metadata=written, as_of=WHEN, rows_per_batch=2, **said)
    snapshot = open_snapshot(store, name, metadata=read)
    parquet.write_table(snapshot.table(), tmp_path / "x.parquet")
    write_lmdb(tmp_path / "lmdb", rows, GROWN, metadata=written, **said)
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'x.sqlite'}")
    write_sql(engine, "features", rows, GROWN, metadata=written, **said)
    write_avro(tmp_path / "x.avro", rows, GROWN, metadata=written, entity="member")
    expected = expected_of(rows, *widths)
    with LmdbSource(tmp_path / "lmdb", read) as lmdb:
        found: list[StoredFeatures] = [
            SnapshotSource(snapshot),
            ParquetSource(tmp_path / "x.parquet", read, **said),
            lmdb,
            SqlSource(engine, "features", read, **said),
            AvroSource(tmp_path / "x.avro", read, **said),
        ]
        first: Any = None
        for source in found:
            answer = source.read(GROWN, [1, 2, 3])
            first = first or answer
            assert answer.schema.equals(first.schema, check_metadata=True), source
            for urn in GROWN:
                column = answer.column(urn.name).combine_chunks()
                lies = column.storage if hasattr(column, "storage") else column
                if layout is None or urn.name in ("sparse", "said"):
                    assert lies.to_pylist() == expected[urn.name], (source, urn)
                else:
                    assert lies.equals(first.column(urn.name).combine_chunks()), (source, urn)
    engine.dispose()
    if layout is None:
        dense = [urn for urn in GROWN if urn.name in ("dense", "crossed", "seen")]
        rows_read = snapshot.fetch().reader(dense).read([1, 2, 3])
        there = {"dense": [0, 1, 2], "crossed": [0, 2], "seen": [0, 1]}
        for urn in dense:
            wanted = [expected[urn.name][place] for place in there[urn.name]]
            of_reader = rows_read.values[str(urn)][there[urn.name]]
            assert of_reader.reshape(len(wanted), -1).tolist() == wanted
            of_arrays = np.concatenate(snapshot.arrays(urn))
            assert of_arrays.shape[1:] == of_reader.shape[1:]
            # Also rows without a value, with the default or without one: who trains reads what who serves does.
            assert of_arrays.tolist() == rows_read.values[str(urn)].tolist()
