"""Cells of a dense feature, by names and ids, in each form that sparse ones have; and what stays a tensor."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from ambry.errors import InvalidRequest
from ambry.ml.snapshots.columns import conform
from tests.support.feature_kinds import kind_of

KIND = kind_of("FLOAT", "kinds")  # Comment is 1, Click is 2.


def dense(values: Any, kind: Any = KIND) -> Any:
    return conform(values, kind).to_pylist()


@pytest.mark.parametrize(
    "row",
    [
        {"Click": 0.5, "Comment": 2},
        {2: 0.5, 1: 2},
        [["Click", 0.5], ["Comment", 2]],
        [(2, 0.5), (1, 2)],
        [{"kinds": "Comment", "value": 2}, {"kinds": 2, "value": 0.5}],
        [0, 2, 0.5],
        np.array([0, 2, 0.5]),
    ],
)
def test_every_form_of_a_row_is_the_same_tensor(row: Any) -> None:
    """Help said that a tensor is a list of cells, and a dense one was refused for its shape."""
    assert dense([None, row, {}, [1, 0, 0]]) == [None, [0, 2, 0.5], [0, 0, 0], [1, 0, 0]]
    assert dense(pd.Series([row, None], dtype=object)) == [[0, 2, 0.5], None]


def test_cells_of_arrow_are_dense_too() -> None:
    cells = conform([{"Click": 0.5}, None], KIND, "sparse")
    assert dense(cells) == dense(pa.chunked_array([cells])) == [[0, 0, 0.5], None]


def test_strange_names_are_zero_and_are_added_up() -> None:
    assert dense([{"Repost": 1, "Reshare": 2, "Click": 4}]) == [[3, 0, 4]]


def test_a_matrix_stays_a_matrix() -> None:
    week = kind_of("INT", "kinds", "week")  # 3 x 7
    tensor = np.arange(21).reshape(3, 7).tolist()
    assert dense([tensor, [["Click", 6, 5]], [[1, 0, 9]]], week) == [
        list(range(21)),
        [0] * 20 + [5],
        [0] * 7 + [9] + [0] * 13,
    ]
    narrow = kind_of("INT", "week", "kinds")  # 7 x 3: three numbers are a row of it, and a cell
    assert dense([[[6, 2, 5]] * 7, [[6, "Click", 5]]], narrow) == [[6, 2, 5] * 7, [0] * 20 + [5]]
    with pytest.raises(InvalidRequest, match="row 0 has"):
        dense([[[6, 2, 5]]], narrow)
    assert dense([[{"week": 6, "kinds": 2, "value": 5}]], narrow) == [[0] * 20 + [5]]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([{"Click": "x"}], "takes FLOAT, and the column is string"),
        ([None, {3: 1}], "row 1"),
        ([[["Click", 1, 2]]], "in row 0 is no cell"),
        ([[["Click", 1], ["Click", 2]]], "the cell (2) stands twice in row 0"),
        ([[]], "row 0 has (0,)"),
    ],
)
def test_what_is_no_cell_is_refused_with_its_row(values: Any, words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        dense(values)
    assert words in caught.value.message
