"""Rows of named features: what is refused, and columns by other indexes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ambry.errors import InvalidRequest
from ambry.ml.photon.examples import INTERCEPT, FeatureIndex, examples_of, shard_of

A, B = ("a", ""), ("b", "x")


def test_features_become_sorted_columns_without_zeros() -> None:
    shard = shard_of([{B: 2.0, A: 1.0}, {A: 0.0}, {}])
    assert shard.index.features == (A, B)
    assert shard.matrix.toarray().tolist() == [[1, 2], [0, 0], [0, 0]]
    assert shard.matrix.nnz == 2


def test_a_shard_over_another_index_has_its_columns() -> None:
    shard = shard_of([{B: 2.0, A: 1.0}])
    assert shard.over(FeatureIndex((("c", ""), B))).toarray().tolist() == [[0, 2]]
    assert shard.over(FeatureIndex(())).shape == (1, 0)


def test_rows_are_taken_by_place_or_mask() -> None:
    rows = examples_of([{A: 1.0}, {A: 2.0}, {A: 3.0}], [0, 1, 0], ids={"member": [7, 8, 9]}, uids="xyz")
    assert rows.take(np.array([2, 0])).uids == ("z", "x")
    kept = rows.take(np.array([False, True, True]))
    assert kept.ids["member"].tolist() == ["8", "9"]
    assert kept.shard("features").matrix.toarray().tolist() == [[2], [3]]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"features": [{A: np.nan}], "response": [1]}, "the feature 'a' of row 0 in 'features' is nan"),
        ({"features": [{B: np.inf}], "response": [1], "uids": ["u"]}, "'b/x' of row 0 (uid 'u')"),
        (
            {"features": [{A: 1.0}, {INTERCEPT: 1.0}, {INTERCEPT: 5.0}], "response": [1, 1, 1]},
            "'(INTERCEPT)' of row 2 in 'features' is 5, and that is what the intercept of a model is called",
        ),
        ({"features": [{A: 1}], "response": [1, 2]}, "2 responses and 1 rows"),
        ({"features": [{A: 1}], "response": [1], "weight": [-1.0]}, "a weight is not negative"),
        ({"features": [{A: 1}] * 2, "response": [1, 0], "weight": [1.0, 1e308]}, "too large to be added up"),
        ({"features": [{A: 1}], "response": [1], "offset": [np.nan]}, "the offset of row 0 is nan"),
        ({"features": [{A: "x"}], "response": [1]}, "a row is {(name, term): number}"),
        ({"features": [{("a", 1): 1.0}], "response": [1]}, "both texts, and not ('a', 1)"),
        ({"features": [{"a": 1.0}], "response": [1]}, "both texts, and not 'a'"),
        ({"features": [1], "response": [1]}, "a row is {(name, term): number}"),
        ({"features": [{A: 1}], "response": ["x"]}, "the response of a row is a number"),
        ({"features": [{A: 1}], "response": [[1]]}, "one response for each row"),
        ({"features": [{A: 1}], "response": [1], "ids": {"m": []}}, "0 ids of 'm'"),
    ],
)
def test_what_is_no_row_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        examples_of(**given)
    assert said in refused.value.message


def test_an_index_has_each_feature_once() -> None:
    with pytest.raises(InvalidRequest, match="'b/x' stands twice"):
        FeatureIndex((B, A, B))


def test_names_that_are_not_there_are_told_with_those_that_are() -> None:
    rows = examples_of([{A: 1}], [1], ids={"member": ["1"]})
    with pytest.raises(InvalidRequest, match="no shard 'x'; there are features"):
        rows.shard("x")
    with pytest.raises(InvalidRequest, match="no ids 'x'; they have member"):
        rows.entities("x")
