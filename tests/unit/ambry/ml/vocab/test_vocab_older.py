"""An old model on data of a newer vocabulary: names that it does not know are 0 to it, all others are what they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry import InvalidRequest
from ambry.ml.features.vocabulary import Vocabulary
from ambry.ml.vocab.older import as_older

OLD = Vocabulary((0, 1, 2, 5), ("OUT_OF_VOCAB", "Comment", "Click", "Share"))
NEW = OLD.with_names(["React", "Repost"])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64])
def test_ids_that_are_known_stay_and_others_are_0(dtype: type) -> None:
    ids: npt.NDArray[Any] = np.array([[0, 1, 2, 3], [5, 6, 7, 1]], dtype=dtype)
    read = as_older(OLD, ids)
    assert read.dtype == dtype and read.tolist() == [[0, 1, 2, 0], [5, 0, 0, 1]]
    assert as_older(NEW, ids).tolist() == [[0, 1, 2, 0], [5, 6, 7, 1]]


def test_an_old_model_scores_the_same_with_a_new_vocabulary() -> None:
    """Weights by id, as long as the old vocabulary: a new id would be out of them, and 0 is what it learnt for the rest."""
    weights = np.array([0.5, 1.0, 2.0, np.nan, np.nan, 3.0])
    names = ["Share", "Repost", "Click", "never heard of"]
    with_old = weights[[OLD.encode(name) for name in names]]
    with_new = weights[as_older(OLD, [NEW.encode(name) for name in names])]
    assert with_old.tolist() == with_new.tolist() == [3.0, 0.5, 2.0, 0.5]


@given(st.lists(st.integers(0, 100)), st.sets(st.integers(1, 100), max_size=20))
def test_it_is_what_reading_by_name_gives(ids: list[int], known: set[int]) -> None:
    names = sorted(known)
    old = Vocabulary((0, *names), ("OUT_OF_VOCAB", *(f"name {id}" for id in names)))
    assert as_older(old, np.array(ids, dtype=np.int64)).tolist() == [old.encode(f"name {id}") for id in ids]


def test_what_are_no_ids_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="whole numbers"):
        as_older(OLD, [1.5])


def test_no_ids_are_no_ids() -> None:
    assert as_older(OLD, []).tolist() == []


def test_large_ids_are_not_taken_for_others() -> None:
    """int64 beside uint64 was compared as floats."""
    known = Vocabulary((0, (1 << 31) - 1), ("OUT_OF_VOCAB", "last"))
    ids = np.array([(1 << 31) - 1, (1 << 31), (1 << 64) - 1], dtype=np.uint64)
    assert as_older(known, ids).tolist() == [(1 << 31) - 1, 0, 0]
