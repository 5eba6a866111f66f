"""Models of entities behind the protocol: as their scorer has it, and refused with a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy", reason="pip install 'ambry[photon]'")
pytest.importorskip("fastavro", reason="pip install 'ambry[photon]'")

from ambry import AmbryClient, InvalidRequest
from ambry.ml import models
from ambry.ml.photon.serving import open_scorer
from ambry.ml.serving.predictors import Predictor, predictor_of
from tests.support.photon_models import many_entities

FEATURES = {("action", "kind-0"): 0.5, ("action", "kind-3"): -2.0}


@pytest.fixture
def scored(client: AmbryClient, name: str) -> Predictor:
    models.publish(client, name, many_entities(20))
    return predictor_of(models.open(client, name))


def of(ids: Any, **inputs: Any) -> dict[str, Any]:
    return {"memberId": np.array(ids, dtype=object), **{name: np.array(each) for name, each in inputs.items()}}


def test_rows_are_scored_as_their_scorer_does(client: AmbryClient, name: str, scored: Predictor) -> None:
    who = ["member-3", "nobody", "member-19"]
    numbers = {
        "action/kind-0": np.full((3, 1), 0.5),
        "action/kind-3": np.full(3, -2),
        "offset": np.array([0.0, 1.0, 0.5]),
    }
    found = scored.predict({"memberId": np.array(who, dtype=object), **numbers, "unknown": np.ones(3)})
    scorer = open_scorer(client, name)
    expected = [
        scorer.score({"memberId": each}, FEATURES, offset=offset)
        for each, offset in zip(who, (0.0, 1.0, 0.5), strict=True)
    ]
    assert found["score"].tolist() == expected
    assert found["predict"] == pytest.approx(1 / (1 + np.exp(-np.array(expected))))
    assert len(set(expected)) == 3


def test_a_text_is_a_term_and_a_number_may_be_an_id(client: AmbryClient, name: str, scored: Predictor) -> None:
    scorer = open_scorer(client, name)
    terms = np.array(["kind-1", "kind-2"], dtype=object)
    found = scored.predict({"memberId": np.array([7, 8]), "action": terms})
    assert found["score"].tolist() == [
        scorer.score({"memberId": "7"}, {("action", "kind-1"): 1.0}),
        scorer.score({"memberId": "8"}, {("action", "kind-2"): 1.0}),
    ]


def test_what_it_takes_and_gives_is_told(scored: Predictor) -> None:
    assert [each.told() for each in scored.inputs[:2]] == [
        {"name": "memberId", "datatype": "BYTES", "shape": [-1]},
        {"name": "action/kind-0", "datatype": "FP64", "shape": [-1]},
    ]
    assert [each.name for each in scored.outputs] == ["predict", "score"]


def test_inputs_that_are_none_are_refused(scored: Predictor) -> None:
    for inputs, words in (
        ({"x": np.ones(1)}, "scores by memberId; missing: memberId"),
        ({"memberId": np.array([1.5])}, "'memberId' says who is scored"),
        (of(["a"], x=np.ones((1, 2))), r"'x' has the shape \(1, 2\)"),
        (of(["a"]) | {"offset": np.array(["1"], dtype=object)}, "'offset' is numbers"),
    ):
        with pytest.raises(InvalidRequest, match=words):
            scored.predict(inputs)
