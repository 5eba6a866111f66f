"""What rows leave out, and what of them a model does not know, as sentences and as counts."""

from __future__ import annotations

import pytest

pytest.importorskip("glum", reason="pip install 'ambry[photon]'")

from ambry.ml.photon.effects import FixedEffect, RandomEffect
from ambry.ml.photon.examples import Examples, Feature, examples_of
from ambry.ml.photon.glmix import train
from ambry.ml.photon.models import PhotonModel, Task
from ambry.ml.photon.unmatched import trained_names, unknown_terms, unmatched_told


def rows(told: list[dict[Feature, float]], couriers: list[str]) -> Examples:
    return examples_of(told, [3.0 + row % 7 for row in range(len(told))], ids={"courier": couriers})


@pytest.fixture(scope="module")
def model() -> PhotonModel:
    told = [{("km", ""): 1.0 + row % 7, ("vehicle", "van" if row % 3 else "bike"): 1.0} for row in range(60)]
    effects = [FixedEffect(l2=0.1), RandomEffect(name="per-courier", entity="courier", l2=1.0)]
    return train(rows(told, [f"c{row % 5}" for row in range(60)]), Task.LINEAR, effects)


def test_rows_that_have_and_are_all_that_the_model_knows_say_nothing(model: PhotonModel) -> None:
    assert (
        unmatched_told(model, rows([{("km", ""): 2.0, ("vehicle", "van"): 1.0}, {("km", ""): 1.0}], ["c1", "c0"])) == []
    )


def test_what_is_left_out_and_what_is_not_known_is_said(model: PhotonModel) -> None:
    told: list[dict[Feature, float]] = [{("vehicle", "ship"): 1.0}, {("vehicle", "van"): 1.0}, {("speed", ""): 2.0}]
    assert unmatched_told(model, rows(told, ["c1", "nobody", "c2"])) == [
        "no row has km: the model was trained with it, and takes it as 0",
        "2 of 3 rows have what the model has no coefficient for, which adds nothing: speed, vehicle/ship",
        "1 of 3 rows are of a courier without a model in per-courier, which adds nothing to them",
    ]


def test_names_of_training_are_known_where_all_effects_say_them(model: PhotonModel) -> None:
    assert trained_names(model.configurations, model) == frozenset({"km", "vehicle"})
    assert trained_names({"global": model.configurations["global"]}, model) is None


def test_terms_are_counted_that_no_effect_has() -> None:
    asked: list[Feature] = [("km", ""), ("vehicle", "van"), ("vehicle", "ship"), ("speed", "")]
    assert unknown_terms(asked, [{("vehicle", "bike"): 1.0}, {("vehicle", "van"): 0.5}]) == 1
    assert unknown_terms(asked, []) == 2
