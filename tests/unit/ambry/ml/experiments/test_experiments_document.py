"""Experiments as documents: canonical, checked, and widened only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ambry.errors import DataCorrupt, InvalidRequest
from ambry.ml.experiments.document import (
    Arm,
    Experiment,
    Holdout,
    LayerRange,
    check_ramp,
    parse_experiment,
    ramped,
)

ARMS = (Arm("control", 0.5, "ranker@1.4.0"), Arm("treatment", 0.5, "ranker@2.0.0"))
WHOLE = Experiment(
    name="ranker-2",
    arms=ARMS,
    exposed=0.1,
    targeting={"country": ("de", "at"), "beta": (True,)},
    layer=LayerRange("feed", 0.0, 0.5),
    holdout=Holdout("2026", 0.05),
    metrics=("clicks",),
    note="größer",
)
UNITS = np.arange(100_000)


@pytest.mark.parametrize(
    "experiment", [WHOLE, Experiment(name="a", arms=ARMS), Experiment(name="a", arms=ARMS, exposed=0)]
)
def test_a_document_is_read_as_it_was_written(experiment: Experiment) -> None:
    assert parse_experiment(experiment.encode()) == experiment
    assert parse_experiment(experiment.encode()).encode() == experiment.encode()


def test_arms_of_many_are_those_of_each() -> None:
    experiment = replace(WHOLE, targeting={}, exposed=0.5)
    arms = experiment.arms_of(UNITS[:5_000])
    names = [None if arm is None else arm.name for arm in map(experiment.arm_of, range(5_000))]
    assert [None if arm < 0 else ARMS[arm].name for arm in arms.tolist()] == names
    assert set(names) == {None, "control", "treatment"}


def test_who_is_not_targeted_is_not_in_it() -> None:
    experiment = Experiment(name="a", arms=ARMS, targeting={"country": ("de",), "age": (30, 31)})
    assert experiment.arm_of(1, {"country": "de", "age": 30}) is not None
    for attributes in ({}, {"country": "de"}, {"country": "fr", "age": 30}):
        assert experiment.arm_of(1, attributes) is None


def test_a_layer_has_each_unit_in_one_experiment_at_most() -> None:
    first, second, third = (
        Experiment(name=name, arms=ARMS, layer=LayerRange("feed", begin, end)).arms_of(UNITS) >= 0
        for name, begin, end in (("a", 0.0, 0.3), ("b", 0.3, 0.9), ("c", 0.9, 1.0))
    )
    assert bool(np.all(first.astype(int) + second + third == 1))
    other = Experiment(name="a", arms=ARMS, layer=LayerRange("ads", 0.0, 0.3)).arms_of(UNITS) >= 0
    assert abs(float(np.corrcoef(first, other)[0, 1])) < 0.02


def test_a_holdout_is_in_no_experiment_that_names_it() -> None:
    inside = [
        Experiment(name=name, arms=ARMS, holdout=Holdout("2026", 0.1)).arms_of(UNITS) >= 0 for name in ("a", "b", "c")
    ]
    assert bool(np.all(inside[0] == inside[1])) and bool(np.all(inside[0] == inside[2]))
    assert abs(float(inside[0].mean()) - 0.9) < 0.01


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "a b"}, "no name of an experiment"),
        ({"salt": "xyz"}, "no salt"),
        ({"arms": ()}, "1 to 64 arms"),
        ({"arms": (Arm("a", 0.5), Arm("a", 0.5))}, "a name of its own"),
        ({"arms": (Arm("a", 0.5), Arm("b", 0.6))}, "1.1 together"),
        ({"arms": (Arm("a", float("nan")),)}, "from 0 to 1"),
        ({"exposed": 1.5}, "exposed is a number from 0 to 1"),
        ({"exposed": True}, "exposed is a number"),
        ({"layer": LayerRange("x", 0.5, 0.5)}, "stretch of a layer"),
        ({"holdout": Holdout("x", 2)}, "share of a holdout"),
        ({"targeting": {"a": ()}}, "targeting by 'a'"),
    ],
)
def test_what_contradicts_itself_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        Experiment(**{"name": "a", "arms": ARMS, **change})


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b"\xff", b'{"name":"a","arms":[1]}', b'{"name":1,"arms":[]}', b"[" * 100_000]
)
def test_what_is_no_experiment_is_told(data: bytes) -> None:
    with pytest.raises(DataCorrupt, match="no experiment"):
        parse_experiment(data)


def test_a_ramp_widens() -> None:
    assert ramped(WHOLE, 0.5).exposed == 0.5
    check_ramp(WHOLE, replace(WHOLE, targeting={"country": ("de", "at", "ch"), "beta": (True,)}))
    check_ramp(WHOLE, replace(WHOLE, targeting={"country": ("de", "at")}))
    check_ramp(WHOLE, replace(WHOLE, layer=LayerRange("feed", 0.0, 0.8)))
    assert ramped(WHOLE, 0).exposed == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"exposed": 0.05}, "not fall to 0.05"),
        ({"name": "other"}, "keeps the name"),
        ({"salt": "0" * 16}, "the salt"),
        ({"holdout": None}, "the holdout"),
        ({"arms": (Arm("control", 0.4), Arm("treatment", 0.6))}, "keeps the arms"),
        ({"targeting": {"country": ("de",)}}, "'country' would leave out"),
        ({"targeting": {**WHOLE.targeting, "age": (3,)}}, "'age' would leave out"),
        ({"layer": None}, "layer may grow"),
        ({"layer": LayerRange("feed", 0.1, 0.5)}, "layer may grow"),
    ],
)
def test_what_would_move_somebody_back_is_no_ramp(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        check_ramp(WHOLE, replace(WHOLE, **change))


def test_another_model_behind_an_arm_is_a_ramp_too() -> None:
    check_ramp(WHOLE, replace(WHOLE, arms=(ARMS[0], replace(ARMS[1], model="ranker@2.0.1"))))
