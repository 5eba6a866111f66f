"""Columns of users' frames as columns of a snapshot: every type and shape there and back, against numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import InvalidRequest
from ambry.ml.features.axes import TensorType
from ambry.ml.features.definitions import ValueType
from ambry.ml.snapshots.cells import NUMPY_TYPES, cells_of, dense_of, tensor_view
from ambry.ml.snapshots.columns import conform, conform_keys
from ambry.ml.snapshots.schema import Layout, feature_field, layout_of
from tests.support.feature_kinds import NUMBERS, VALUES, kind_of


@given(st.data(), st.sampled_from(ValueType))
def test_scalars_of_every_type(data: st.DataObject, value_type: ValueType) -> None:
    kind = kind_of(value_type.value)
    values = data.draw(st.lists(st.none() | VALUES[value_type], max_size=6))
    array = conform(pa.array(values, feature_field(kind, "a").type), kind)
    assert array.to_pylist() == values
    assert array.type == feature_field(kind, "a").type


@given(st.data(), st.sampled_from(sorted(NUMBERS, key=str)), st.integers(0, 4))
def test_dense_tensors_of_every_type_are_numpys(data: st.DataObject, value_type: ValueType, count: int) -> None:
    kind = kind_of(value_type.value, "kinds", "week")
    flat = data.draw(st.lists(NUMBERS[value_type], min_size=count * 21, max_size=count * 21))
    tensors = np.array(flat, dtype=NUMPY_TYPES[value_type]).reshape(count, 3, 7)
    array = conform(tensors, kind)
    assert array.type == feature_field(kind, "a").type
    assert array.type.dim_names == ["kinds", "week"]
    assert np.array_equal(tensor_view(array, kind), tensors)
    assert not tensor_view(array, kind).flags.writeable
    for form in (
        list(tensors),
        array,
        pa.chunked_array([array]),
        pa.array(tensors.tolist(), pa.list_(pa.list_(pa.from_numpy_dtype(tensors.dtype)))),
    ):
        assert conform(form, kind).equals(array)
    assert np.array_equal(dense_of(cells_of(tensors, kind), kind), tensors)


@given(st.data(), st.sampled_from(ValueType))
def test_sparse_cells_of_every_type(data: st.DataObject, value_type: ValueType) -> None:
    kind = kind_of(value_type.value, "kinds", "days")
    cells = st.dictionaries(
        st.tuples(st.integers(0, 2), st.integers(0, 2**31 - 1)), VALUES[value_type], max_size=4
    ).map(lambda found: [(*key, value) for key, value in sorted(found.items())])
    rows = data.draw(st.lists(st.none() | cells, max_size=5))
    array = conform(rows, kind)
    told = [None if row is None else [tuple(cell.values()) for cell in row] for row in array.to_pylist()]
    assert told == rows
    backwards = [None if row is None else row[::-1] for row in rows]
    assert conform(backwards, kind).equals(array)
    assert conform(array, kind).equals(array)
    assert conform([None if row is None else {cell[:-1]: cell[-1] for cell in row} for row in rows], kind).equals(array)


def test_rows_without_a_tensor_are_written_again_from_arrow() -> None:
    """Over several axes they were refused: what Arrow keeps of a tensor is one flat list."""
    kind = kind_of("INT", "kinds", "week")
    column = conform([np.arange(21).reshape(3, 7), None, np.zeros((3, 7), int)], kind)
    assert conform(column, kind).equals(column)
    assert conform(column.slice(1), kind).to_pylist() == [None, [0] * 21]


def test_names_are_encoded_and_strange_ones_are_0() -> None:
    kind = kind_of("INT", "kinds", "days")
    rows = [[("Click", 3, 5), ("Reshare", 1, 7)], [(1, 0, 1)]]
    array = conform(rows, kind)
    assert [[tuple(cell.values()) for cell in row] for row in array.to_pylist()] == [
        [(0, 1, 7), (2, 3, 5)],
        [(1, 0, 1)],
    ]
    structs = pa.array(
        [
            [{"value": 5, "days": 3, "kinds": "Click"}, {"value": 7, "days": 1, "kinds": "Reshare"}],
            [{"value": 1, "days": 0, "kinds": "Comment"}],
        ]
    )
    assert conform(structs, kind).equals(array)


def test_numbers_of_names_in_one_cell_are_added_up() -> None:
    """Two names that a vocabulary did not have, or two texts in one bucket, refused the whole snapshot."""
    rows = [[("a", 1), ("b", 2), ("Click", 5)], [("Click", 1)]]
    expected = [[{"kinds": 0, "value": 3}, {"kinds": 2, "value": 5}], [{"kinds": 2, "value": 1}]]
    assert conform(rows, kind_of("INT", "kinds"), "sparse").to_pylist() == expected
    structs = pa.array([[{"kinds": name, "value": value} for name, value in row] for row in rows])
    assert conform(structs, kind_of("INT", "kinds"), "sparse").to_pylist() == expected
    flags = conform([[("a", False), ("b", True)]], kind_of("BOOLEAN", "kinds"), "sparse")
    assert flags.to_pylist() == [[{"kinds": 0, "value": True}]]
    texts = {f"text {number}": 1.0 for number in range(2_000)}
    [hashed] = conform([texts], kind_of("FLOAT", "words"), "sparse").to_pylist()
    assert sum(cell["value"] for cell in hashed) == 2_000 and len(hashed) <= 1_000
    for wrong, kind in (([("a", 2**31 - 1), ("b", 1)], "INT"), ([("a", "x"), ("b", "y")], "STRING")):
        with pytest.raises(InvalidRequest, match=r"together|stands twice"):
            conform([wrong], kind_of(kind, "kinds"), "sparse")


def test_texts_are_hashed() -> None:
    kind = kind_of("FLOAT", "words")
    told = conform([{"dog": 1.0}, {b"dog": 1.0}], kind, "sparse")
    assert told.to_pylist() == 2 * conform(pa.array([[{"words": "dog", "value": 1.0}]]), kind, "sparse").to_pylist()


def test_entities_take_64_bits() -> None:
    array = conform([[(-(2**63), True), (2**63 - 1, False)]], kind_of("BOOLEAN", "member"))
    assert array.to_pylist() == [[{"member": -(2**63), "value": True}, {"member": 2**63 - 1, "value": False}]]


def test_frames_of_pandas_and_polars() -> None:
    kind = kind_of("LONG")
    assert conform(pd.Series([1, None, 3]), kind).to_pylist() == [1, None, 3]
    assert conform(pl.Series([1, None, 3]).to_arrow(), kind).to_pylist() == [1, None, 3]
    assert conform(pd.Series(["a", None], dtype="category"), kind_of("STRING")).to_pylist() == ["a", None]
    assert conform(pd.Series([[1, 2, 3], None], dtype=object), kind_of("INT", "kinds")).storage.to_pylist() == [
        [1, 2, 3],
        None,
    ]
    assert conform(
        pd.Series([[("Click", 1.5)], None], dtype=object), kind_of("FLOAT", "kinds"), "sparse"
    ).to_pylist() == [
        [{"kinds": 2, "value": 1.5}],
        None,
    ]


@pytest.mark.parametrize(
    ("values", "kind", "layout", "words"),
    [
        ([1, 2**31], kind_of("INT"), None, "2147483648 in row 1 is not INT"),
        ([1.0, 1.5], kind_of("INT"), None, "1.5 in row 1 is not INT"),
        (["a"], kind_of("INT"), None, "takes INT, and the column is string"),
        ([1], kind_of("STRING"), None, "takes STRING, and the column is int64"),
        ([1], kind_of("BOOLEAN"), None, "takes BOOLEAN"),
        (["a", 1], kind_of("STRING"), None, "1 in row 1 is of another kind than the values before, which are string"),
        (
            np.zeros((2, 3, 6)),
            kind_of("DOUBLE", "kinds", "week"),
            None,
            "has the shape (3, 7), and the rows have (3, 6)",
        ),
        ([np.zeros((3, 7)), np.zeros((7, 3))], kind_of("DOUBLE", "kinds", "week"), None, "row 1 has (7, 3)"),
        ([[1, 2, 3], [1, 2]], kind_of("INT", "kinds"), None, "row 1 has (2,)"),
        (pa.array([[1, 2, 3], [1, 2]]), kind_of("INT", "kinds"), None, "have the lengths 3/2"),
        (pa.array([[1, 2], [1, 2, 3, 4]]), kind_of("INT", "kinds"), None, "have the lengths 2/4"),
        (pa.array([[1, None, 3]]), kind_of("INT", "kinds"), None, "a cell without a value"),
        (np.array([[1.5, 0, 0]]), kind_of("INT", "kinds"), None, "row 0 is not INT"),
        (np.array([[2**40, 0, 0]]), kind_of("INT", "kinds"), None, "row 0 is not INT"),
        (np.array([["a", "b", "c"]]), kind_of("INT", "kinds"), None, "takes INT"),
        ([[(3, 1)]], kind_of("INT", "kinds"), "sparse", "3 does not lie on the axis 'kinds'"),
        ([[(-1, 1)]], kind_of("INT", "days"), None, "-1 does not lie on the axis 'days'"),
        (pa.array([[{"days": -1, "value": 1}]]), kind_of("INT", "days"), None, "-1 does not lie on the axis 'days'"),
        ([[(1, 1), (1, 2)]], kind_of("INT", "days"), None, "the cell (1) stands twice in row 0"),
        ([[], [("a", 1), ("a", 2)]], kind_of("INT", "kinds"), "sparse", "the cell (0) stands twice in row 1"),
        ([[(1, 2, 3)]], kind_of("INT", "days"), None, "is no cell"),
        ([[(1, None)]], kind_of("INT", "days"), None, "leave the cell out"),
        ([[(None, 1)]], kind_of("INT", "days"), None, "axis 'days'"),
        (["x"], kind_of("INT", "days"), None, "'x' in row 0 is no list of cells"),
        (
            pa.array([[{"day": 1, "value": 1}]]),
            kind_of("INT", "days"),
            None,
            "a cell has the fields days, value, and not day, value",
        ),
        ([[1]], kind_of("INT", "days"), "dense", "an axis has no length"),
        ([["a"]], kind_of("STRING", "kinds"), "dense", "have no width"),
        ([1], kind_of("INT"), "dense", "is a scalar"),
        ([[1, 2, 3]], kind_of("INT", "kinds"), "scalar", "dense or sparse"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_row(
    values: Any, kind: TensorType, layout: Layout | None, words: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        conform(values, kind, layout)
    assert words in str(caught.value)
    assert "urn:li:(n,a,1,0)" in str(caught.value) or "axis" in words


def test_keys_are_whole_numbers_or_texts() -> None:
    assert conform_keys(np.array([3, 1], dtype=np.uint8), "id").type == pa.int64()
    assert conform_keys(pd.Series(["a", "b"]), "id").type == pa.string()
    for wrong, words in (
        ([1.5], "double"),
        ([1, None], "no key in row 1"),
        ([2**64 - 1], "in row 0 is nothing that Arrow has"),
        ([True], "bool"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            conform_keys(wrong, "id")
        assert words in str(caught.value)


def test_wide_tensors_are_sparse_unless_they_are_asked_to_be_dense() -> None:
    kind = kind_of("FLOAT", "words", "week")
    assert [layout_of(kind), layout_of(kind, "dense"), layout_of(kind_of("FLOAT", "words"))] == [
        "sparse",
        "dense",
        "dense",
    ]


def test_a_view_is_over_the_memory_of_the_column() -> None:
    kind = kind_of("INT", "kinds")
    array = conform(np.arange(6, dtype=np.int32).reshape(2, 3), kind)
    view = tensor_view(array, kind)
    assert view.ctypes.data == array.storage.values.buffers()[1].address
    assert np.array_equal(tensor_view(array.slice(1, 1), kind), [[3, 4, 5]])


def test_sparse_is_made_dense_within_bounds() -> None:
    kind = kind_of("INT", "days")
    column = conform([[(5, 1)], None], kind)
    assert dense_of(column, kind, (6,)).tolist() == [[0, 0, 0, 0, 0, 1], [0] * 6]
    for shape, words in (((5,), "beyond 4"), (None, "say `shape`"), ((2**40,), "would take"), ((5, 5), "1 axes")):
        with pytest.raises(InvalidRequest) as caught:
            dense_of(column, kind, shape)
        assert words in str(caught.value)
