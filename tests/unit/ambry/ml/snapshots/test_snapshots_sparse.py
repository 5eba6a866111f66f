"""Cells out of whatever holds them: names and indices, structs and tuples, dense rows; and dense again."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import DataCorrupt, InvalidRequest
from ambry.ml.features.axes import TensorType
from ambry.ml.features.definitions import ValueType
from ambry.ml.snapshots.cells import NUMPY_TYPES, cells_of, dense_of, parts_of
from ambry.ml.snapshots.columns import conform
from tests.support.feature_kinds import NAMES, NUMBERS, VALUES, kind_of


def told(column: Any) -> list[Any]:
    return [None if row is None else [tuple(cell.values()) for cell in row] for row in column.to_pylist()]


@given(st.data(), st.sampled_from(ValueType))
def test_every_form_of_cells_of_every_type(data: st.DataObject, value_type: ValueType) -> None:
    kind = kind_of(value_type.value, "member", "kinds")
    keys = st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2))
    cells = st.dictionaries(keys, VALUES[value_type], max_size=3)
    rows = data.draw(st.lists(st.none() | cells, max_size=4))
    wanted = [None if row is None else sorted((*key, value) for key, value in row.items()) for row in rows]
    stored = conform(rows, kind)
    assert told(stored) == wanted
    structs = [
        None
        if row is None
        else [{"value": value, "kinds": NAMES[cell], "member": who} for (who, cell), value in row.items()]
        for row in rows
    ]
    leaf = stored.type.value_type.field("value").type
    struct = pa.struct([("value", leaf), ("kinds", pa.string()), ("member", pa.int64())])
    forms: dict[str, Any] = {
        "mappings of cells": structs,
        "tuples": [None if row is None else [(*key, value) for key, value in row.items()] for row in rows],
        "names": [None if row is None else {(who, NAMES[cell]): v for (who, cell), v in row.items()} for row in rows],
        "structs": pa.array(structs, pa.list_(struct)),
        "large lists": pa.array(structs, pa.large_list(struct)),
        "a slice": pa.array([*structs, *structs, *structs], pa.list_(struct)).slice(len(rows), len(rows)),
        "pandas": pd.Series(structs, dtype=object),
        "what is stored": stored,
        "polars": pl.Series(pa.array(structs, pa.large_list(struct))) if rows else [],
    }
    for name, form in forms.items():
        assert conform(form, kind).equals(stored), name


@given(st.data(), st.sampled_from(sorted(NUMBERS, key=str)), st.booleans())
def test_sparse_and_dense_are_the_same_there_and_back(data: st.DataObject, value_type: ValueType, known: bool) -> None:
    kind = kind_of(value_type.value, "kinds", "week" if known else "days")
    dtype = NUMPY_TYPES[value_type]
    count, length = data.draw(st.integers(0, 3)), 7
    values = st.just(0).map(dtype.type) | NUMBERS[value_type]
    flat = data.draw(st.lists(values, min_size=count * 3 * length, max_size=count * 3 * length))
    tensors = np.array(flat, dtype).reshape(count, 3, length)
    sparse = cells_of(tensors, kind)
    assert np.array_equal(dense_of(sparse, kind, (3, length)), tensors)
    assert cells_of(dense_of(sparse, kind, (3, length)), kind).equals(sparse)
    fixed = pa.array(tensors.tolist(), pa.list_(pa.list_(pa.from_numpy_dtype(dtype), length), 3))
    forms: list[Any] = [tensors, list(tensors), pd.Series(list(tensors), dtype=object), fixed]
    if dtype.kind != "b":
        tensor = pa.fixed_shape_tensor(pa.from_numpy_dtype(dtype), (3, length))
        storage = pa.array(tensors.reshape(count, 3 * length).tolist(), tensor.storage_type)
        forms.append(pa.ExtensionArray.from_storage(tensor, storage))
    for form in forms:
        assert conform(form, kind, "sparse").equals(sparse)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=4) | st.sampled_from(NAMES), max_size=6))
def test_names_are_encoded_and_decoded_and_strange_ones_are_0(names: list[str]) -> None:
    kind = kind_of("LONG", "kinds")
    [axis] = kind.axes
    known = {name: index for index, name in enumerate(NAMES)}
    assert axis.encode_all(names) == [axis.encode(name) for name in names] == [known.get(name, 0) for name in names]
    assert [axis.decode(axis.encode(name)) for name in names] == [name if name in known else NAMES[0] for name in names]
    once = dict.fromkeys(names, 1)
    counts: dict[int, int] = {}
    for name in once:
        counts[known.get(name, 0)] = counts.get(known.get(name, 0), 0) + 1
    wanted = [sorted(counts.items())]
    assert told(conform([once], kind, "sparse")) == wanted
    struct = pa.list_(pa.struct([("kinds", pa.string()), ("value", pa.int8())]))
    assert told(conform(pa.array([[{"kinds": name, "value": 1} for name in once]], struct), kind, "sparse")) == wanted


def test_what_lies_under_a_null_is_nobodys() -> None:
    """A null struct over content became a cell that nobody wrote, and a null list a traceback."""
    kind = kind_of("INT", "days")
    struct = pa.StructArray.from_arrays([pa.array([1, 2, 3]), pa.array([7, 8, 9])], names=["days", "value"])
    offsets = pa.array([0, 1, 2, 3], pa.int32())
    lists = pa.ListArray.from_arrays(offsets, struct, mask=pa.array([False, True, False]))
    assert told(conform(lists, kind)) == [[(1, 7)], None, [(3, 9)]]
    assert told(conform(lists.slice(1), kind)) == [None, [(3, 9)]]
    assert [part.tolist() for part in (parts_of(lists)[0], parts_of(lists)[1][0])] == [[0, 2], [1, 3]]
    hollow = pa.StructArray.from_arrays(
        [pa.array([1, 2]), pa.array([7, 8])], names=["days", "value"], mask=pa.array([False, True])
    )
    column = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), hollow)
    with pytest.raises(InvalidRequest, match="a cell in row 1 has no value or no key"):
        conform(column, kind)
    with pytest.raises(DataCorrupt, match="row 1 of the column has a cell that is null"):
        dense_of(column, kind, (9,))


def test_lists_of_one_axis_that_are_numbers_are_dense() -> None:
    kind = kind_of("INT", "kinds")
    wanted = [[(1, 5)], None, [(0, 1), (2, 2)]]
    rows = [[0, 5, 0], None, [1, 0, 2]]
    for form in (rows, pa.array(rows), pa.array(rows, pa.list_(pa.int8(), 3)), pd.Series(rows), pl.Series(rows)):
        assert told(conform(form, kind, "sparse")) == wanted
    # Over two axes a list is cells, always; a matrix is an array.
    grid = kind_of("INT", "kinds", "days")
    assert told(conform([[[0, 0, 5], [1, 0, 7]]], grid)) == [[(0, 0, 5), (1, 0, 7)]]
    assert told(conform([np.array([[0, 0, 5], [1, 0, 7], [0, 0, 0]])], grid)) == [[(0, 2, 5), (1, 0, 1), (1, 2, 7)]]


Cell = namedtuple("Cell", ["value", "days"])


def test_cells_that_have_names_are_taken_by_them() -> None:
    assert told(conform([[Cell(value=7, days=3)]], kind_of("INT", "days"))) == [[(3, 7)]]


def test_sums_of_one_cell_stay_within_their_type() -> None:
    def added(value_type: str, *numbers: Any) -> Any:
        row = {f"x{place}": number for place, number in enumerate(numbers)}
        [[cell]] = conform([row], kind_of(value_type, "kinds"), "sparse").to_pylist()
        return cell["value"]

    assert added("LONG", 2**63 - 1, -1, 1) == 2**63 - 1
    assert added("LONG", 2**62, 2**62 - 1) == 2**63 - 1
    assert added("LONG", -(2**62), -(2**62)) == -(2**63)
    assert added("FLOAT", float("inf"), 1.0) == float("inf")
    for value_type, numbers in (
        ("LONG", (2**62, 2**62)),
        ("INT", (2**31 - 1, 1)),
        ("FLOAT", (3e38, 3e38)),
        ("DOUBLE", (1.5e308, 1.5e308)),
    ):
        with pytest.raises(InvalidRequest, match=f"more than {value_type} holds together"):
            added(value_type, *numbers)


UNSIGNED = pa.list_(pa.struct([("member", pa.uint64()), ("value", pa.int8())]))


@pytest.mark.parametrize(
    ("values", "kind", "words"),
    [
        ([[{"days": 1, "value": 1, "w": 7}]], kind_of("INT", "days"), "days, value, and not days, value, w in row 0"),
        ([[{"days": 1}]], kind_of("INT", "days"), "a cell has the fields days, value, and not days in row 0"),
        ([5], kind_of("INT", "days"), "5 in row 0 is no list of cells"),
        ([[], [(0, 1)], [(0, 1), (1, 2**40)]], kind_of("INT", "days"), "1099511627776 in row 2 is not INT"),
        ([[(0, 1)], [(0, "a")]], kind_of("INT", "days"), "'a' in row 1 is of another kind"),
        ([[], [(0, 2**70)]], kind_of("LONG", "days"), "in row 1 is nothing that Arrow has"),
        ([[], [(0, None)]], kind_of("LONG", "days"), "a cell in row 1 has no value or no key"),
        ([[], [(-1, 5)]], kind_of("LONG", "days"), "row 1: -1 does not lie on the axis 'days'"),
        ([[], [([], 5)]], kind_of("LONG", "days"), "row 1: [] is nothing on the axis 'days'"),
        ([[("\ud800", 5)]], kind_of("LONG", "words"), "surrogates not allowed"),
        ([[(1, [2])]], kind_of("LONG", "days"), "takes LONG"),
        ([np.zeros(6)], kind_of("LONG", "week"), "has the shape (7,), and row 0 has (6,)"),
        ([np.zeros((2, 2))], kind_of("LONG", "week"), "has 1 axes, and the rows have 2"),
        (np.array([["a", "b"]]), kind_of("STRING", "days"), "STRING has no width"),
        (np.array(5), kind_of("INT", "days"), "urn:li:(n,a,1,0)"),
        (5, kind_of("INT", "days"), "urn:li:(n,a,1,0)"),
        (
            pa.array([[{"member": 2**64 - 1, "value": 1}]], UNSIGNED),
            kind_of("INT", "member"),
            "does not lie on the axis",
        ),
        (pa.array([[{"days": 1.5, "value": 1}]]), kind_of("INT", "days"), "double is nothing on the axis"),
        (pa.array([[{"days": None, "value": 1}]]), kind_of("INT", "days"), "no key"),
    ],
)
def test_what_is_no_cell_is_refused_with_its_row(values: Any, kind: TensorType, words: str) -> None:
    """Fields with other names were dropped, and errors of Arrow and Python reached the caller."""
    with pytest.raises(InvalidRequest) as caught:
        conform(values, kind, "sparse")
    assert words in str(caught.value) and "urn:li:(n,a,1,0)" in str(caught.value)


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=2) | st.binary(max_size=2),
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(st.text(max_size=1), inner, max_size=2)
    ),
    max_leaves=6,
)
DIMS = st.sampled_from([(), ("kinds",), ("days",), ("kinds", "words")])


@given(
    st.lists(JUNK, max_size=3) | JUNK,
    st.sampled_from(ValueType),
    st.sampled_from([(), ("kinds",), ("days",), ("kinds", "words")]),
)
def test_anything_is_taken_or_refused_in_our_words(values: Any, value_type: ValueType, dims: tuple[str, ...]) -> None:
    try:
        column = conform(values, kind_of(value_type.value, *dims))
    except InvalidRequest as error:
        assert "urn:li:(n,a,1,0)" in str(error)
    else:
        assert len(column) == len(values)


def test_numbers_are_no_texts() -> None:
    """Whole ones beside a float, or too large for 64 bits, ended in a KeyError."""
    for row in ([1 << 70], [1, 0.5], [9007199254740993, 0.5]):
        with pytest.raises(InvalidRequest, match="urn:li:"):
            conform([row], kind_of("STRING", "kinds"))


@pytest.mark.parametrize("rows", [[[0.0, -0.0, 1.0]], [np.array([0.0, -0.0, 1.0])], np.array([[0.0, -0.0, 1.0]])])
def test_the_sign_of_zero_is_kept(rows: Any) -> None:
    """Dense, sparse and dense again it was 0.0."""
    kind = kind_of("DOUBLE", "days")
    cells = conform(rows, kind, "sparse")
    assert repr(cells.to_pylist()) == "[[{'days': 1, 'value': -0.0}, {'days': 2, 'value': 1.0}]]"
    assert repr(dense_of(cells, kind, (3,)).tolist()) == "[[0.0, -0.0, 1.0]]"
