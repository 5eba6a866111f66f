"""What a service tells of its inputs beside their training: by the same numbers as a comparison of two tables."""

from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from ambry.ml.health import compare, summarise, table_of
from ambry.ml.models.inputs import summary_of
from ambry.ml.serving import drift as module
from ambry.ml.serving.drift import HELD_MAX, WAITING_REQUESTS, InputDrift

CHANCE = np.random.default_rng(7)
TRAINING = np.column_stack(
    [CHANCE.normal(10, 2, 5_000), CHANCE.poisson(2, 5_000), CHANCE.exponential(1, 5_000), np.full(5_000, 3.0)]
)


@pytest.mark.parametrize("moved", [0.0, 0.3, 2.0])
def test_drift_is_what_a_comparison_of_two_tables_says(moved: float) -> None:
    """The service knew means alone: a distribution that is wider, or has two humps, did not move."""
    chance = np.random.default_rng(8)
    now = np.column_stack(
        [
            10 + (chance.normal(0, 2, 4_000)) * (1 + moved),
            chance.poisson(2 + moved, 4_000),
            chance.exponential(1 + moved, 4_000),
            np.full(4_000, 3.0),
        ]
    )
    now[chance.random(now.shape) < moved / 10] = np.nan
    drift = InputDrift(json.loads(json.dumps(summary_of(TRAINING))))
    for part in np.array_split(now, 1_000):
        if drift.take(part):
            drift.count()
    names = ("a", "b", "c", "d")
    tables = [table_of({n: rows[:, at] for at, n in enumerate(names)}) for rows in (TRAINING, now)]
    report = compare(summarise(tables[0]), summarise(tables[1]))
    for at, (found, known) in enumerate(zip(drift.columns(), report.comparisons, strict=True)):
        exact = ks_2samp(TRAINING[:, at], now[:, at][~np.isnan(now[:, at])], method="asymp")
        assert found.distance is not None and known.distance is not None and found.p is not None
        # Between two edges lies a fiftieth of training.
        assert exact.statistic - 0.021 <= found.distance <= exact.statistic + 1e-9
        assert found.missing == np.isnan(now[:, at]).sum() and found.training_missing == 0
        assert found.psi is not None and known.psi is not None
        assert found.psi == pytest.approx(known.psi, rel=0.25, abs=0.01)
        assert (found.p < 0.001) == (found.distance > 0.1 or (exact.pvalue < 0.001 and found.distance > 0.03))


def test_cells_out_of_the_vocabulary_are_told() -> None:
    training = {**summary_of([[0.0, 1.0, 2.0], [0.0, 1.0, 3.0], [1.0, 0.0, 0.0]])}
    training["unknown"] = [{"feature": "urn:li:(n,a,1,0)", "from": 0, "to": 2, "at": [0], "part": 0.25}]
    drift = InputDrift(training)
    assert [(each.unknown, each.training_unknown) for each in drift.vocabularies()] == [(None, 0.25)]
    drift.take(np.array([[5.0, 0.0, 1.0], [1.0, 1.0, 1.0], [0.0, np.nan, 1.0]]))
    [found] = drift.vocabularies()
    assert found.feature == "urn:li:(n,a,1,0)" and found.unknown == pytest.approx(2 / 3)


def test_who_scores_counts_nothing_and_memory_is_bounded() -> None:
    drift = InputDrift(summary_of(TRAINING))
    told = [drift.take(TRAINING[:1]) for _ in range(HELD_MAX * WAITING_REQUESTS + 5)]
    assert told.index(True) == WAITING_REQUESTS - 1 and sum(told) == 1
    assert drift.skipped == 5 and drift._counts.sum() == 0
    assert drift.columns()[0].rows == HELD_MAX * WAITING_REQUESTS and drift._counts.sum() > 0
    assert drift.take(np.zeros((module.WAITING_CELLS, 4)))
    drift.take(np.zeros((HELD_MAX * module.WAITING_CELLS, 4)))
    assert not drift.take(TRAINING[:1]) and drift.skipped == 6
    threads = [threading.Thread(target=drift.count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert drift.columns()[0].rows == HELD_MAX * WAITING_REQUESTS + (HELD_MAX + 1) * module.WAITING_CELLS


def test_few_rows_are_counted_as_many_are() -> None:
    """By another way, which is cheaper for them."""
    rows = np.where(CHANCE.random((200, 4)) < 0.2, np.nan, np.round(CHANCE.normal(5, 5, (200, 4))))
    few, many = InputDrift(summary_of(TRAINING)), InputDrift(summary_of(TRAINING))
    for part in np.array_split(rows, 20):
        few.take(part)
        few.count()
    many.take(rows)
    many.count()
    assert (few._counts == many._counts).all() and few._counts.sum() == np.isfinite(rows).sum()


NUMBERS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=2)
SAID = st.recursive(NUMBERS, lambda some: st.lists(some, max_size=3), max_leaves=8)
UNKNOWN = st.fixed_dictionaries({}, optional=dict.fromkeys(("feature", "from", "to", "at", "part"), SAID))
SOUND: dict[str, Any] = summary_of(np.array([[1.0, 2.0], [2.0, 2.0], [3.0, 5.0]]))


@given(
    st.fixed_dictionaries(
        {},
        optional={name: st.just(value) | SAID for name, value in SOUND.items()} | {"unknown": SAID | st.lists(UNKNOWN)},
    )
    | SAID
)
def test_whatever_a_manifest_says_of_training_is_taken_or_nothing(said: Any) -> None:
    drift = InputDrift(said)
    drift.take(np.array([[1.0, 2.0]]))
    assert all(each.rows == 1 for each in drift.columns()) and drift.vocabularies() is not None
