"""Effects: penalties, scales, and what contradicts itself."""

from __future__ import annotations

from typing import Any

import pytest

from ambry.errors import InvalidRequest
from ambry.ml.photon.effects import FixedEffect, Normalization, RandomEffect, design_of
from ambry.ml.photon.examples import INTERCEPT, examples_of

A, B = ("a", ""), ("b", "")
ROWS = examples_of([{A: 3.0, B: 5.0}, {A: -4.0, B: 5.0}, {B: 5.0}], [0, 0, 0])


def test_the_intercept_is_outside_of_penalties_and_a_random_one_inside() -> None:
    fixed = design_of(FixedEffect(l1=2.0, l2=3.0), ROWS)
    assert fixed.index.features == (A, B, INTERCEPT)
    assert (fixed.l1[2], fixed.l2[2]) == (0.0, 0.0)
    random = design_of(RandomEffect(name="r", entity="m", l2=3.0), ROWS)
    assert random.l2[2] == 3.0
    assert design_of(RandomEffect(name="r", entity="m", penalize_intercept=False), ROWS).l2[2] == 0.0


def test_scaled_columns_times_their_scale_are_the_rows() -> None:
    for kind in Normalization:
        made = design_of(FixedEffect(normalization=kind), ROWS)
        assert (made.matrix.toarray() * made.scale)[:, :2] == pytest.approx(ROWS.shard("features").matrix.toarray())


@pytest.mark.parametrize(
    ("kind", "divided_by"),
    [(Normalization.NONE, 1.0), (Normalization.MAX_MAGNITUDE, 4.0), (Normalization.STANDARD_DEVIATION, 37**0.5 / 3**0.5)],
)  # fmt: skip
def test_a_penalty_is_on_what_is_divided(kind: Normalization, divided_by: float) -> None:
    made = design_of(FixedEffect(l1=1.0, l2=1.0, normalization=kind), ROWS)
    assert made.l1[0] * made.scale[0] == pytest.approx(divided_by)
    assert made.l2[0] * made.scale[0] ** 2 == pytest.approx(divided_by**2)


def test_a_feature_that_is_the_same_everywhere_is_not_divided() -> None:
    made = design_of(FixedEffect(l2=1.0, normalization=Normalization.STANDARD_DEVIATION), ROWS)
    assert made.l2[1] * made.scale[1] ** 2 == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"l1": -1.0}, "l1 of 'global' is -1.0"),
        ({"l2": float("nan")}, "l2 of 'global' is nan"),
        ({"normalization": Normalization.STANDARDIZATION, "intercept": False}, "is to be standardised"),
    ],
)
def test_what_contradicts_itself_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        FixedEffect(**options)


def test_bounds_are_in_order() -> None:
    for bounds in ({"lower": 0}, {"lower": 5, "upper": 4}):
        with pytest.raises(InvalidRequest, match="the lower bound is 1 or more"):
            RandomEffect(name="r", entity="m", **bounds)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="is to be standardised"):
        RandomEffect(name="r", entity="m", normalization=Normalization.STANDARDIZATION)
