"""Models of entities behind the protocol: as their scorer has it, and refused with a sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("scipy", reason="pip install 'ambry[photon]'")
pytest.importorskip("fastavro", reason="pip install 'ambry[photon]'")

from ambry import AmbryClient, InvalidRequest
from ambry.ml import models
from ambry.ml.photon.effects import FixedEffect, RandomEffect
from ambry.ml.photon.examples import examples_of
from ambry.ml.photon.glmix import train
from ambry.ml.photon.models import Task
from ambry.ml.photon.serving import open_scorer
from ambry.ml.serving.drift import InputDrift
from ambry.ml.serving.metrics import ServingMetrics
from ambry.ml.serving.predictors import Predictor, predictor_of
from ambry.ml.serving.served import ServedModel
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


@pytest.mark.parametrize("l1", [0.0, 1e-3])
def test_names_that_it_was_not_trained_on_and_values_of_another_kind_are_refused(
    client: AmbryClient, name: str, l1: float
) -> None:
    pytest.importorskip("glum", reason="pip install 'ambry[photon]'")
    rows = [{("km", ""): 1.0 + row % 7, ("vehicle", "van" if row % 3 else "bike"): 1.0} for row in range(60)]
    rows[0] |= {("toll", ""): 0.0}  # Nobody had one: its coefficient is 0, and is not written.
    ids = {"courier": [f"c{row % 5}" for row in range(60)]}
    examples = examples_of(rows, [3.0 + row % 7 + row % 3 for row in range(60)], ids=ids)
    effects = [FixedEffect(l1=l1, l2=0.1), RandomEffect(name="per-courier", entity="courier", l2=1.0)]
    models.publish(client, name, train(examples, Task.LINEAR, effects))
    scored = predictor_of(models.open(client, name))

    def score(**inputs: Any) -> float:
        arrays = {
            each: np.array([value], dtype=object if isinstance(value, str) else None) for each, value in inputs.items()
        }
        return float(scored.predict({"courier": np.array(["c0"], dtype=object)} | arrays)["score"][0])

    refused: list[tuple[dict[str, Any], str]] = [
        ({"km": "3"}, "'km' is numbers, and not BYTES"),
        ({"vehicle": 1.0}, "'vehicle' is texts"),
    ]
    refused += [
        ({"km": 3.0, "speed": 9.0}, "no feature 'speed'; it has km, toll, vehicle"),
        ({"vehicles": "van"}, "no feature 'vehicles'; did you mean 'vehicle'"),
    ]
    with pytest.raises(InvalidRequest, match="no feature 'speed'"):
        open_scorer(client, name).score({"courier": "c0"}, {("speed", ""): 1.0})
    assert score(km=3.0, toll=9.0) == score(km=3.0)
    for inputs, words in refused:
        with pytest.raises(InvalidRequest, match=words):
            score(**inputs)
    # As in Photon: a term that is new adds nothing, and what is not said is 0.
    assert score(km=3.0, vehicle="truck") == score(km=3.0) != score(km=3.0, vehicle="van")
    assert score(**{"km": 3.0, "vehicle/van": 1.0}) == score(km=3.0, vehicle="van")


def test_what_is_left_out_and_what_is_not_known_is_counted(client: AmbryClient, name: str) -> None:
    pytest.importorskip("glum", reason="pip install 'ambry[photon]'")
    rows = [{("km", ""): 1.0 + row % 7, ("vehicle", "van" if row % 3 else "bike"): 1.0} for row in range(60)]
    examples = examples_of(
        rows, [3.0 + row % 7 for row in range(60)], ids={"courier": [f"c{row % 5}" for row in range(60)]}
    )
    models.publish(
        client,
        name,
        train(examples, Task.LINEAR, [FixedEffect(l2=0.1), RandomEffect(name="c", entity="courier", l2=1.0)]),
    )
    model = models.open(client, name)
    predictor = predictor_of(model)
    told = {"courier": np.array(["c0", "nobody", "c1"], dtype=object), "km": np.ones(3)}
    predictor.predict(told | {"vehicle": np.array(["van", "truck", "bike"], dtype=object)})
    predictor.predict(told | {"vehicle/ship": np.array([1.0, 0.0, 1.0])})
    predictor.predict(told)
    with pytest.raises(InvalidRequest):
        predictor.predict(told | {"speed": np.ones(3)})
    served = ServedModel(model=model, predictor=predictor, drift=InputDrift(None))
    page = ServingMetrics().render(serving={}, errors={}, drift=[served], dropped={}).decode()
    for line in ("left_out_names", "unknown_terms", "unknown_entities"):
        assert f'ambry_serving_{line}{{model="{name}@1.0.0"}} 3.0' in page, page


def test_features_that_are_called_as_an_input_is_are_scored_as_in_a_batch(client: AmbryClient, name: str) -> None:
    """One called offset was added with the coefficient 1, one called as an id was left out, and one with a slash in its name,
    of a random effect alone, was another one.
    """
    pytest.importorskip("glum", reason="pip install 'ambry[photon]'")
    rows = [{("offset", ""): float(row % 7), ("courier", ""): float(row % 4)} for row in range(60)]
    own = [{("km/h", ""): float(row % 5)} for row in range(60)]
    examples = examples_of(
        {"features": rows, "own": own},
        [3.0 + row % 7 - row % 4 + (row % 5) * (row % 3) for row in range(60)],
        ids={"courier": [f"c{row % 3}" for row in range(60)]},
    )
    effects = [FixedEffect(), RandomEffect(name="per-courier", entity="courier", shard="own")]
    model = train(examples, Task.LINEAR, effects)
    models.publish(client, name, model)
    scored = predictor_of(models.open(client, name))
    assert {each.name for each in scored.inputs} == {"courier", "courier/", "offset/"}
    inputs = {
        "courier": examples.ids["courier"],
        "courier/": np.array([row["courier", ""] for row in rows]),
        "offset/": np.array([row["offset", ""] for row in rows]),
        "km/h": np.array([row["km/h", ""] for row in own]),
    }
    assert scored.predict(inputs)["score"] == pytest.approx(model.scores(examples))
    moved = scored.predict({**inputs, "offset": np.ones(60)})["score"]
    assert moved == pytest.approx(model.scores(examples) + 1)
    for left_out in ("courier/", "offset/"):
        said = {each: array for each, array in inputs.items() if each != left_out} | {"offset": np.ones(60)}
        with pytest.raises(
            InvalidRequest, match=f"a feature that is called '{left_out[:-1]}', .*say the feature as {left_out} or"
        ):
            scored.predict(said)


def test_terms_of_a_feature_that_is_called_as_an_id_are_texts_with_a_slash(client: AmbryClient, name: str) -> None:
    pytest.importorskip("glum", reason="pip install 'ambry[photon]'")
    rows = [{("courier", ("bike", "van")[row % 2]): 1.0} for row in range(60)]
    ids = {"courier": [f"c{row % 3}" for row in range(60)]}
    examples = examples_of(rows, [3.0 * (row % 2) + row % 3 for row in range(60)], ids=ids)
    model = train(examples, Task.LINEAR, [FixedEffect(l2=1.0), RandomEffect(name="per-courier", entity="courier")])
    models.publish(client, name, model)
    terms = np.array([("bike", "van")[row % 2] for row in range(60)], dtype=object)
    told = predictor_of(models.open(client, name)).predict({"courier": examples.ids["courier"], "courier/": terms})
    assert told["score"] == pytest.approx(model.scores(examples))


def test_a_name_that_may_be_one_or_another_feature_is_refused(client: AmbryClient, name: str) -> None:
    """Both are told as a/b/c, and the last one was taken."""
    pytest.importorskip("glum", reason="pip install 'ambry[photon]'")
    rows = [{("a", "b/c"): float(row % 2), ("a/b", "c"): float(row % 3)} for row in range(30)]
    model = train(
        examples_of(rows, [1.0 * (row % 2) + row % 3 for row in range(30)]), Task.LINEAR, [FixedEffect(l2=1.0)]
    )
    models.publish(client, name, model)
    scored = predictor_of(models.open(client, name))
    with pytest.raises(
        InvalidRequest, match="'a/b/c' may be a term of several features, a, a/b; say one of these as texts"
    ):
        scored.predict({"a/b/c": np.ones(1)})
    means = model.coefficients("global")
    found = scored.predict({"a/b": np.array(["c"], dtype=object)})["score"]
    assert found == pytest.approx([means["a/b", "c"] + means["(INTERCEPT)", ""]])
