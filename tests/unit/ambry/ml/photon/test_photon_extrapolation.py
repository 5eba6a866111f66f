"""Where sweeps lead: of a linear map, to its fixed point as soon as its directions are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ambry.ml.extras import needed
from ambry.ml.photon.examples import FeatureIndex
from ambry.ml.photon.extrapolation import Extrapolation
from ambry.ml.photon.models import FixedModel, RandomModel

SLOW = np.diag([0.99, 0.95, 0.2])
END = np.array([3.0, -1.0, 2.0])


def state(values: np.ndarray) -> dict[str, Any]:
    """Two coefficients that are fixed, and one of an entity."""
    fixed = FixedModel(shard="s", index=FeatureIndex((("a", ""), ("b", ""))), means=values[:2])
    means = needed("scipy.sparse").csr_matrix(values[2:].reshape(1, 1))
    random = RandomModel(entity="e", shard="s", index=FeatureIndex((("a", ""),)), entities=("x",), means=means)
    return {"fixed": fixed, "random": random}


def values_of(models: dict[str, Any]) -> np.ndarray:
    return np.concatenate([models["fixed"].means, models["random"].means.toarray()[0]])


def test_a_slow_linear_map_is_at_its_end_after_its_dimensions() -> None:
    ahead, here = Extrapolation(), state(np.zeros(3))
    for _ in range(5):
        after = state(END + SLOW @ (values_of(here) - END))
        here = ahead.next(here, after)
    assert values_of(here) == pytest.approx(END, abs=1e-8)


def test_nothing_is_learned_from_one_sweep_or_from_what_was_forgotten() -> None:
    ahead = Extrapolation()
    first, second = state(np.zeros(3)), state(np.ones(3))
    assert values_of(ahead.next(first, second)).tolist() == [1.0, 1.0, 1.0]
    ahead.forget()
    assert values_of(ahead.next(second, replaced := state(np.full(3, 1.5)))).tolist() == values_of(replaced).tolist()


def test_what_does_not_move_leads_nowhere_else() -> None:
    ahead, here = Extrapolation(), state(END)
    for _ in range(3):
        here = ahead.next(here, {name: replace(model) for name, model in here.items()})
    assert np.array_equal(values_of(here), END)
