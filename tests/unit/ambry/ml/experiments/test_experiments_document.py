"""Experiments as documents: canonical, checked, and widened only."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import InvalidRequest
from ambry.ml.experiments.assignment import arm_at, arms_at, exposed_stretches
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
        ({"name": 1}, "no name of an experiment"),
        ({"arms": (Arm("a", 0.5), Arm("a", 0.5))}, "a name of its own"),
        ({"arms": (Arm("a", 1.0), Arm("b", 0))}, "nobody ever sees the arm 'b'"),
        ({"arms": (Arm("a" * 151, 1.0),)}, "an arm is a text of 1 to 150 characters"),
        ({"arms": (Arm("\ud800", 1.0),)}, "stands alone"),
        ({"arms": (Arm("a", 1.0, 5),)}, "the model of 'a' is a text"),  # type: ignore[arg-type]
        ({"arms": (Arm("a", 0.5), Arm("b", 0.6))}, "1.1 together"),
        ({"arms": (Arm("a", float("nan")),)}, "from 0 to 1"),
        ({"exposed": 1.5}, "exposed is a number from 0 to 1"),
        ({"exposed": True}, "exposed is a number"),
        ({"layer": LayerRange("x", 0.5, 0.5)}, "stretch of a layer"),
        ({"layer": LayerRange("x", "0", 0.5)}, "end of a stretch of a layer"),  # type: ignore[arg-type]
        ({"layer": LayerRange("../x", 0, 0.5)}, "no name of a layer"),
        ({"holdout": Holdout("", 0.1)}, "no name of a holdout"),
        ({"metrics": "clicks"}, "a list of names"),
        ({"metrics": (1,)}, "a metric is a text"),
        ({"note": 5}, "the note is a text"),
        ({"targeting": {"a": (None,)}}, "texts, numbers or booleans"),
        ({"targeting": {"a": (float("nan"),)}}, "would round"),
        ({"targeting": {"a": (2**53,)}}, "would round"),
        ({"targeting": {"a": ("\udfff",)}}, "stands alone"),
        ({"holdout": Holdout("x", 2)}, "share of a holdout"),
        ({"targeting": {"a": ()}}, "targeting by 'a'"),
    ],
)
def test_what_contradicts_itself_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        Experiment(**{"name": "a", "arms": ARMS, **change})


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b"\xff", b'{"name":"a","arms":[1]}', b'{"name":"a","arms":[{"name":"b"}]}', b"[" * 100_000],
)
def test_what_is_no_experiment_is_told(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match="no experiment"):
        parse_experiment(data)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ('"exposd":0.1', "no field 'exposd'"),
        ('"exposed":0.1,"exposed":1', "'exposed' stands twice"),
        ('"targeting":{"country":"de"}', "'country' is a list"),
        ('"targeting":["country"]', "an object of lists"),
        ('"metrics":"clicks"', "'metrics' is a list"),
        ('"layer":{"name":"feed","from":0,"to":1,"till":1}', "a layer has no field 'till'"),
        ('"format":true', "format True"),
        ('"format":2', "a newer one"),
    ],
)
def test_what_would_be_another_experiment_than_meant_is_refused(said: str, words: str) -> None:
    """A field that was misspelt was left out: `exposd` 0.1 exposed everybody. A text in place of a list was its letters."""
    document = '{"name":"a","arms":[{"name":"b","share":1}],' + said + "}"
    with pytest.raises(InvalidRequest, match=words):
        parse_experiment(document)


@pytest.mark.parametrize(
    ("value", "same", "others"),
    [
        (1, (1, 1.0), (True, "1", None, [1])),
        (0.5, (0.5,), ("0.5", 0)),
        (True, (True,), (1, 1.0, "true")),
        (False, (False,), (0, 0.0, None, "")),
        ("1", ("1",), (1, True)),
        ("e\u0301", ("e\u0301",), ("\u00e9",)),
        (2**53 - 1, (2**53 - 1, float(2**53 - 1)), (2**53, -(2**53) + 1)),
    ],
)
def test_targeting_compares_as_any_language_can(value: Any, same: tuple[Any, ...], others: tuple[Any, ...]) -> None:
    """1 was True and 1.0 was True, which only Python says."""
    experiment = parse_experiment(Experiment(name="a", arms=ARMS, targeting={"a": (value,)}).encode())
    assert all(experiment.arm_of(7, {"a": each}) is not None for each in same)
    assert all(experiment.arm_of(7, {"a": each}) is None for each in others)
    assert experiment.arm_of(7, {"b": value}) is None
    with pytest.raises(InvalidRequest, match="would leave out"):
        check_ramp(experiment, replace(experiment, targeting={"a": (str(others[0]) + "?",)}))


def test_true_is_no_ramp_of_1() -> None:
    now = Experiment(name="a", arms=ARMS, targeting={"a": (1,)})
    with pytest.raises(InvalidRequest, match="would leave out"):
        check_ramp(now, replace(now, targeting={"a": (True,)}))
    check_ramp(now, replace(now, targeting={"a": (1.0, True)}))


@pytest.mark.parametrize("shares", [(0.1,) * 10, (0.7, 0.2, 0.1), (1 / 3,) * 3, (0.5, 0.5), (1.0,)])
def test_the_last_arm_ends_where_places_do(shares: tuple[float, ...]) -> None:
    """Shares that were 0.9999999999999999 together left the last places in no arm of an experiment exposed to all."""
    last = (2**53 - 1) / 2**53
    whole = exposed_stretches(shares, 1.0)
    assert arm_at(last, whole) == len(shares) - 1 and arms_at(np.array([0.0, last]), whole).tolist() == [
        0,
        len(shares) - 1,
    ]
    assert all(end == begin for (_, end), (begin, _) in pairwise(whole)) and whole[-1][1] == 1.0
    assert arm_at(last, exposed_stretches(shares, 0.999)) is None


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


CUTS = st.lists(st.floats(0.001, 0.999), min_size=1, max_size=5, unique=True).map(sorted)
PARTS = st.floats(0, 1)


@given(CUTS, st.lists(PARTS, min_size=6, max_size=6), PARTS, st.lists(st.integers(), min_size=1, unique=True))
def test_of_a_layer_a_unit_is_in_one_experiment_and_of_a_holdout_in_none(
    cuts: list[float], exposed: list[float], share: float, salts: list[int]
) -> None:
    """Whatever they are exposed to: those of one layer share nobody, and together with the holdout they are everybody."""
    units = UNITS[:2_000] * (1 + abs(salts[0]) % 1_000)
    ends = [*zip([0.0, *cuts], [*cuts, 1.0], strict=True)]
    holdout = Holdout("2026", share)

    def inside(exposed: list[float]) -> Any:
        return np.array(
            [
                Experiment(
                    name=f"e{number}", arms=ARMS, exposed=part, layer=LayerRange("feed", *end), holdout=holdout
                ).arms_of(units)
                >= 0
                for number, (end, part) in enumerate(zip(ends, exposed, strict=False))
            ]
        )

    held = Experiment(name="x", arms=ARMS, holdout=holdout).arms_of(units) < 0
    whole = inside([1.0] * 6)
    assert bool(np.all(whole.sum(axis=0) + held == 1))
    assert bool(np.all(inside(exposed) <= whole))


@given(CUTS, PARTS, PARTS, PARTS)
def test_ramps_of_anything_move_nobody(cuts: list[float], one: float, other: float, share: float) -> None:
    """Exposed further, to more of a layer and to more values of an attribute: who was in an arm stays in it."""
    holdout, begin, end = Holdout("2026", share / 2), cuts[0] / 2, cuts[-1]
    now = Experiment(
        name="a",
        arms=ARMS,
        exposed=min(one, other),
        layer=LayerRange("feed", begin, end),
        holdout=holdout,
        targeting={"country": ("de",)},
    )
    after = replace(
        now,
        exposed=max(one, other),
        layer=LayerRange("feed", begin / 2, (1 + end) / 2),
        targeting={"country": ("de", "at")},
    )
    if after.exposed:
        check_ramp(now, after)
        before, later = now.arms_of(UNITS[:2_000]), after.arms_of(UNITS[:2_000])
        assert bool(np.all((before < 0) | (before == later)))
        for unit in range(40):
            arm = now.arm_of(unit, {"country": "de"})
            assert arm is None or arm == after.arm_of(unit, {"country": "de"})


def test_experiments_and_layers_know_nothing_of_each_other_for_texts_either() -> None:
    """Of texts of several lengths, which are hashed in different ways."""
    for text in ("{}x", "member-{}", "urn:li:member:{}", "{}" + "x" * 250):
        units = [text.format(number) for number in range(20_000)]
        inside = [
            Experiment(name=name, arms=ARMS, layer=layer).arms_of(units) == 0
            for name, layer in (
                ("a", None),
                ("b", None),
                ("a", LayerRange("feed", 0, 0.5)),
                ("c", LayerRange("ads", 0, 0.5)),
            )
        ]
        for first in range(4):
            for second in range(first):
                if (first, second) != (2, 0):
                    assert abs(float(np.corrcoef(inside[first], inside[second])[0, 1])) < 6 / 20_000**0.5
        # The layer takes half of the arm, whichever half that is.
        assert abs(float(inside[2].mean() / inside[0].mean()) - 0.5) < 0.04
