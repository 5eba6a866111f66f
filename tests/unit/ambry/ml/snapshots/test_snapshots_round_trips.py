"""Snapshots of every type and shape, through a file and back: whole, by columns, by keys and mapped, the same as numpy's.

Each goes the way of a user: rows are sorted and written into a file, that is put, fetched into a cache and mapped, or read in
ranges. What is expected is kept as numpy arrays, and compared to the last bit: -0.0 and NaN are values.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any, Literal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from ambry import AmbryClient
from ambry.ml import snapshots
from ambry.ml.features.axes import TensorType
from ambry.ml.features.definitions import DIMS_MAX, Feature, FeatureDim, ValueType
from ambry.ml.features.metadata import FeatureMetadata
from ambry.ml.features.reading import parse_definitions
from ambry.ml.features.urn import Reference
from ambry.ml.snapshots.cells import NUMPY_TYPES, dense_of, tensor_view
from ambry.ml.snapshots.schema import Layout
from tests.support.feature_kinds import EXTREMES, VALUES
from tests.support.fixed_lists import needs_fixed_lists

DIMENSIONS = """\
kinds: {type: categorical : {idMappingFile: "kinds.csv"}}
pair: {type: discrete : {size: 2}}
one: {type: discrete : {size: 1}}
words: {type: hashed : {buckets: 3}}
days: {type: discrete}
member: {type: entity}
// (kinds.csv)
0, OUT_OF_VOCAB
1, Comment
2, Click
"""
PARSED = parse_definitions(DIMENSIONS, "n")
SIZES = {"kinds": 3, "pair": 2, "one": 1, "words": 3}
"""Of the dimensions that end."""
WORDS = {xxhash.xxh3_64_intdigest(word.encode()) % 3: word for word in ("", "ä", "b", "c", "d", "e", "f")}
NAMES = {0: "nobody has this name", 1: "Comment", 2: "Click"}
WHEN = datetime(2026, 11, 28, 12, tzinfo=UTC)
FileKind = Literal["arrow", "parquet"]
_numbers = count()

TEXT_KEYS = ["", "a", "a\0", "b", "ä", "😀", "\uffff", "a" * 300]
NUMBER_KEYS = [-(2**63), -1, 0, 1, 17, 2**31, 2**53 + 1, 2**63 - 1]


@dataclass(frozen=True)
class Column:
    """A feature with what its rows have: None, a value, a numpy array, or cells by their indices."""

    feature: Feature
    dims: tuple[str, ...]
    layout: Layout | None
    rows: list[Any]

    @property
    def urn(self) -> str:
        return f"urn:li:(n,{self.feature.name},1,0)"

    @property
    def is_dense(self) -> bool:
        has_shape = all(dim in SIZES for dim in self.dims) and self.feature.value_type in NUMPY_TYPES
        return bool(self.dims) and has_shape and self.layout != "sparse"

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(SIZES[dim] for dim in self.dims)

    @property
    def has_width(self) -> bool:
        return self.feature.value_type in NUMPY_TYPES and (self.is_dense or not self.dims)

    def given(self, place: int) -> Any:
        """What a user has in a row: names and texts in place of some indices, in any order."""
        row = self.rows[place]
        if row is None or self.is_dense or not self.dims:
            return row
        told = [
            (*(self._key(dim, index) for dim, index in zip(self.dims, at, strict=True)), v) for at, v in row.items()
        ]
        random.Random(place).shuffle(told)
        return told

    def _key(self, dim: str, index: int) -> Any:
        return NAMES[index] if dim == "kinds" else WORDS[index] if dim == "words" else index

    def expected(self, place: int | None) -> Any:
        """What `read` gives of a row; None is an entity that is not there."""
        row = None if place is None else self.rows[place]
        default = self.feature.default
        if row is not None or default is None or (self.dims and not self.is_dense):
            return row
        return np.full(self.shape, default, NUMPY_TYPES[self.feature.value_type]) if self.dims else default


def column(
    number: int,
    value_type: ValueType,
    dims: tuple[str, ...],
    layout: Layout | None,
    rows: list[Any],
    default: Any = None,
) -> Column:
    axes = tuple(FeatureDim(Reference.parse(f"{dim}-1-0"), f"axis{place}") for place, dim in enumerate(dims))
    feature = Feature(f"f{number}", value_type, axes, default=default)
    return Column(feature, dims, layout, rows)


# --- the way there and back ---


@pytest.fixture(scope="module")
def store(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AmbryClient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AMBRY_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        with AmbryClient([url]) as made:
            yield made


def bits(values: Any, value_type: ValueType) -> Any:
    """What is equal only if every bit is."""
    array = np.asarray(values, NUMPY_TYPES[value_type])
    return array.view(f"u{array.itemsize}") if array.dtype.kind == "f" else array


def same(got: Any, wanted: Any, value_type: ValueType) -> bool:
    if (got is None) != (wanted is None):
        return False
    if wanted is None or value_type not in NUMPY_TYPES:
        return bool(got == wanted)
    return np.array_equal(bits(got, value_type), bits(wanted, value_type))


def values_of(found: Any, column: Column, kind: TensorType) -> list[Any]:
    """The rows of a column of Arrow as `Column.rows` has them."""
    whole = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    if column.is_dense:
        tensors = tensor_view(whole, kind)
        assert tensors.shape == (len(whole), *column.shape)
        return [None if null else row for null, row in zip(whole.is_null().to_pylist(), tensors, strict=True)]
    if not column.dims:
        return list(whole.to_pylist())
    axes = [dim.name for dim in column.feature.dims]
    rows = whole.to_pylist()
    cells = [
        None if row is None else {tuple(cell[axis] for axis in axes): cell["value"] for cell in row} for row in rows
    ]
    lengths = [None if row is None else len(row) for row in rows]
    assert lengths == [None if row is None else len(row) for row in cells], "a cell stands twice"
    assert [row and list(row) for row in cells] == [row and sorted(row) for row in cells], "cells lie in their order"
    return cells


def check_rows(got: list[Any], wanted: list[Any], column: Column) -> None:
    value_type = column.feature.value_type
    assert len(got) == len(wanted)
    for place, (one, other) in enumerate(zip(got, wanted, strict=True)):
        if isinstance(other, dict):
            assert isinstance(one, dict) and one.keys() == other.keys(), (column, place, one)
            assert all(same(one[key], other[key], value_type) for key in other), (column, place, one)
        else:
            assert same(one, other, value_type), (column, place, one)


def check_round_trip(
    store: AmbryClient, keys: list[Any], columns: list[Column], *, form: str, kind: FileKind, rows_per_batch: int
) -> None:
    metadata = FeatureMetadata.of([replace(PARSED, features=tuple(each.feature for each in columns))])
    kinds = {each.urn: metadata.tensor_type(each.urn) for each in columns}
    rows = [
        {"member": key, **{each.feature.name: each.given(place) for each in columns}} for place, key in enumerate(keys)
    ]
    name = f"round-trip-{next(_numbers)}"
    written = snapshots.write(
        store,
        name,
        iter(rows) if form == "mappings" else pd.DataFrame(rows, columns=list(rows[0]), dtype=object),
        [each.urn for each in columns],
        metadata=metadata,
        entity="member",
        as_of=WHEN,
        layouts={each.urn: each.layout for each in columns if each.layout},
        file_format=kind,
        rows_per_batch=rows_per_batch,
    )
    order = sorted(
        range(len(keys)), key=lambda place: keys[place].encode() if isinstance(keys[0], str) else keys[place]
    )
    in_order = [keys[place] for place in order]
    place_of = {key: place for place, key in enumerate(keys)}
    strange = ["not there", "\0"] if isinstance(keys[0], str) else [12_345, -12_345]
    asked = [*keys, *strange, *keys[:2]]
    with snapshots.open(store, name, metadata=metadata) as snapshot:
        assert (snapshot.rows, snapshot.info.id, str(snapshot.place.version)) == (
            len(keys),
            written.id,
            written.version,
        )
        for fetched in (False, True):
            if fetched:
                snapshot.fetch()
            found = snapshot.read([each.urn for each in reversed(columns)], asked)
            assert found.column("member").to_pylist() == asked
            for each in columns:
                wanted = [each.expected(place_of.get(key)) for key in asked]
                check_rows(values_of(found.column(each.feature.name), each, kinds[each.urn]), wanted, each)
        whole = snapshot.table()
        assert whole.column("member").to_pylist() == in_order
        for each in columns:
            wanted = [each.rows[place] for place in order]
            got = whole.column(each.feature.name)
            check_rows(values_of(got, each, kinds[each.urn]), wanted, each)
            assert snapshot.table([each.urn]).column(each.feature.name).equals(got) or each.feature.value_type in FLOATS
            if each.has_width:
                check_mapped(snapshot, each, wanted, asked, place_of)
            elif each.feature.value_type in NUMPY_TYPES and set(each.dims) <= SIZES.keys():
                check_dense_again(got, each, kinds[each.urn], wanted)
        check_strangers(snapshot, kind, in_order, columns, order)


FLOATS = (ValueType.FLOAT, ValueType.DOUBLE)
"""NaN equals nothing."""


def check_mapped(
    snapshot: snapshots.Snapshot, column: Column, wanted: list[Any], asked: list[Any], place_of: dict[Any, int]
) -> None:
    """As numpy over the mapped file, batch after batch, and by key out of it."""
    batches = snapshot.arrays(column.urn)
    assert len(batches) == snapshot.batch_count
    assert all(batch.dtype == NUMPY_TYPES[column.feature.value_type] for batch in batches)
    rows = [row for batch in batches for row in batch]
    value_type = column.feature.value_type
    assert len(rows) == len(wanted)
    assert all(same(one, other, value_type) for one, other in zip(rows, wanted, strict=True) if other is not None)
    read = snapshot.reader([column.urn]).read(asked)
    assert read.found.tolist() == [key in place_of for key in asked]
    expected = [column.expected(place_of.get(key)) for key in asked]
    missing = read.missing.get(column.urn, np.zeros(len(asked), bool))
    assert missing.tolist() == [key not in place_of or column.rows[place_of[key]] is None for key in asked]
    got = read.values[column.urn]
    assert all(same(one, other, value_type) for one, other in zip(got, expected, strict=True) if other is not None)


def check_dense_again(found: Any, column: Column, kind: TensorType, wanted: list[Any]) -> None:
    """Sparse cells whose axes end are numpy's array with zero elsewhere."""
    tensors = np.zeros((len(wanted), *column.shape), NUMPY_TYPES[column.feature.value_type])
    for place, row in enumerate(wanted):
        for at, value in (row or {}).items():
            tensors[(place, *at)] = value
    assert same(dense_of(found, kind), tensors, column.feature.value_type)


def check_strangers(
    snapshot: snapshots.Snapshot, kind: FileKind, keys: list[Any], columns: list[Column], order: list[int]
) -> None:
    """The file itself, by libraries alone."""
    path = snapshot._client.cached_path(snapshot.info.id)
    if kind == "arrow":
        table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    else:
        table = parquet.read_table(path)
        frame = pl.read_parquet(path, columns=["member"])
        assert frame["member"].to_list() == keys
    assert table.column("member").to_pylist() == keys
    for each in columns:
        if not each.dims:
            got = table.column(each.feature.name).to_pylist()
            check_rows(got, [each.rows[place] for place in order], each)


# --- all types, all shapes ---


def extreme(value_type: ValueType, seed: int) -> Any:
    return random.Random(seed).choice(EXTREMES[value_type])


def swept(value_type: ValueType, depth: int, layout: Layout | None, count: int, seed: int, number: int) -> Column:
    """One column with rows that have nothing, with nothing in them, and with all that a type can be at its ends."""
    chance = random.Random(seed)
    ends = ("kinds", "pair", "words", "one", "pair", "one", "pair", "one")[:depth]
    endless = ("member", "days", "kinds", "words", "pair", "days", "member", "one")[:depth]
    is_dense = layout == "dense"
    dims = ends if is_dense else endless
    finite = [value for value in EXTREMES[value_type] if not isinstance(value, float) or np.isfinite(value)]
    rows: list[Any] = []
    for place in range(count):
        if place % 5 == 3:
            rows.append(None)
        elif not dims:
            rows.append(chance.choice(EXTREMES[value_type]))
        elif is_dense:
            shape = tuple(SIZES[dim] for dim in dims)
            flat = [chance.choice(EXTREMES[value_type]) for _ in range(int(np.prod(shape)))]
            rows.append(np.array(flat, NUMPY_TYPES[value_type]).reshape(shape))
        else:
            cells = {
                tuple(_index(dim, chance) for dim in dims): chance.choice(EXTREMES[value_type])
                for _ in range(0 if place % 5 == 4 else 3)
            }
            rows.append(cells)
    return column(number, value_type, dims, layout, rows, chance.choice([None, chance.choice(finite)]))


def _index(dim: str, chance: random.Random) -> int:
    if dim == "member":
        return chance.choice([-(2**63), -1, 0, 2**63 - 1])
    return chance.randrange(SIZES.get(dim, 2**31))


@needs_fixed_lists
@pytest.mark.parametrize("kind", ["arrow", "parquet"])
@pytest.mark.parametrize("keys", [NUMBER_KEYS, TEXT_KEYS], ids=["numbers", "texts"])
def test_every_type_of_0_to_the_most_dims_comes_back(store: AmbryClient, kind: FileKind, keys: list[Any]) -> None:
    columns: list[Column] = []
    for value_type in ValueType:
        for depth in range(DIMS_MAX + 1):
            layouts: list[Layout | None] = [None] if not depth else ["sparse"]
            if depth and value_type in NUMPY_TYPES:
                layouts.append("dense")
            for layout in layouts:
                seed = len(columns)
                columns.append(swept(value_type, depth, layout, len(keys), seed, seed))
    assert len(columns) == 7 + DIMS_MAX * (7 + 5)
    check_round_trip(store, keys, columns, form="mappings", kind=kind, rows_per_batch=3)


# --- drawn ---


@st.composite
def drawn_columns(draw: st.DrawFn, count: int, number: int) -> Column:
    value_type = draw(st.sampled_from(ValueType))
    dims = tuple(draw(st.lists(st.sampled_from(["kinds", "pair", "one", "words", "days", "member"]), max_size=4)))
    can_be_dense = bool(dims) and value_type in NUMPY_TYPES and set(dims) <= SIZES.keys()
    layout: Layout | None = draw(st.sampled_from([None, "sparse", "dense"])) if can_be_dense else None
    value = VALUES[value_type]
    if dims and value_type in FLOATS:
        value = value | st.just(float("nan"))
    row: st.SearchStrategy[Any] = value
    if can_be_dense and layout != "sparse":
        shape = tuple(SIZES[dim] for dim in dims)
        size = int(np.prod(shape))
        row = st.lists(value, min_size=size, max_size=size).map(
            lambda flat: np.array(flat, NUMPY_TYPES[value_type]).reshape(shape)
        )
    elif dims:
        indices = [
            st.integers(-(2**63), 2**63 - 1) if dim == "member" else st.integers(0, SIZES.get(dim, 2**31) - 1)
            for dim in dims
        ]
        row = st.dictionaries(st.tuples(*indices), value, max_size=4)
    rows = draw(st.lists(st.none() | row, min_size=count, max_size=count))
    finite = VALUES[value_type].filter(lambda value: not isinstance(value, float) or np.isfinite(value))
    return column(number, value_type, dims, layout, rows, draw(st.none() | finite))


@needs_fixed_lists
@settings(max_examples=60)
@given(st.data())
def test_any_snapshot_is_numpys_whichever_way_it_is_read(store: AmbryClient, data: st.DataObject) -> None:
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
    key: st.SearchStrategy[Any] = data.draw(st.sampled_from([st.integers(-(2**63), 2**63 - 1), text]))
    keys = data.draw(st.lists(key, min_size=1, max_size=9, unique=True))
    columns = [data.draw(drawn_columns(len(keys), number)) for number in range(data.draw(st.integers(1, 4)))]
    check_round_trip(
        store,
        keys,
        columns,
        form=data.draw(st.sampled_from(["mappings", "pandas"])),
        kind=data.draw(st.sampled_from(["arrow", "parquet"])),
        rows_per_batch=data.draw(st.sampled_from([1, 2, 3, 2_048])),
    )
