"""What an experiment has shown moves an alias, with the numbers in its history, or is refused with them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ambry import AmbryClient, BlobNotFound, InvalidRequest, UpdateConflict
from ambry.client.refs import VersionRef
from ambry.ml import models
from ambry.ml.experiments import decision
from ambry.ml.experiments.decision import DecisionRefused, ModelMove, decide
from ambry.ml.experiments.document import Arm, Experiment
from ambry.ml.experiments.evaluation import Evaluation, evaluate
from ambry.ml.experiments.store import StoredExperiment, ramp_experiment, start_experiment


def evaluated(experiment: Experiment, lift: float, *, keep: float = 1.0) -> Evaluation:
    """4,000 units; of the control only a part is kept."""
    chance = np.random.default_rng(5)
    units = np.arange(4_000)
    arms = experiment.arms_of(units)
    clicks = chance.normal(10 + lift * (arms == 1), 3)
    kept = (arms == 1) | (chance.random(len(units)) < keep)
    return evaluate(experiment, {"unit": units[kept], "clicks": clicks[kept]}, metrics=["clicks"])


@pytest.fixture
def stored(client: AmbryClient, name: str) -> StoredExperiment:
    """Of the models 1.0.0 and 1.1.0, of which the first serves."""
    for data in (b"1", b"2"):
        models.publish(client, f"{name}-model", {"x.txt": data})
    models.promote(client, f"{name}-model@1.0.0", why="the first")
    arms = (Arm("control", 0.5, f"{name}-model@1.0.0"), Arm("treatment", 0.5, f"{name}-model@1.1.0"))
    return start_experiment(client, Experiment(name=name, arms=arms))


def serving(client: AmbryClient, stored: StoredExperiment) -> str:
    return models.open(client, f"{stored.dataset}-model@champion").version


def test_a_winner_is_promoted_with_its_numbers(client: AmbryClient, stored: StoredExperiment) -> None:
    found = evaluated(stored.experiment, 1.0)
    made = decide(client, stored, found, arm="treatment", who="ann", why="as planned")
    assert (serving(client, stored), made.moved.who, made.forced) == ("1.1.0", "ann", ())
    why = client.alias_history(f"{stored.dataset}-model", "champion")[0].why
    effect = found.of("clicks", "treatment").effect
    assert why == (
        f"as planned; {stored} treatment: clicks {effect.difference:+.4g} ({effect.relative:+.2%}), "
        f"always-valid p {effect.always_p:.2g}; report {made.report.name}"
    )
    assert made.report.name.startswith(f"{stored.dataset}.evaluations/")
    assert json.loads(client.get_bytes(made.report.name.replace(".html", ".json"))) == json.loads(found.encode())
    info = client.head(made.report)
    assert info.content_type == "text/html; charset=utf-8"
    # A second one wrote another move of the same; it is told, and made where it is asked for again.
    with pytest.raises(
        InvalidRequest, match=r"points to .*@1\.1\.0 already, by a decision of .* for 'treatment'; to decide it again"
    ):
        decide(client, stored, found, arm="treatment")
    assert len(client.alias_history(f"{stored.dataset}-model", "champion")) == 2
    assert decide(client, stored, found, arm="treatment", force="new outcomes").report == made.report
    assert len(client.alias_history(f"{stored.dataset}-model", "champion")) == 3


def test_a_loser_is_rolled_back(client: AmbryClient, stored: StoredExperiment) -> None:
    models.promote(client, f"{stored.dataset}-model@1.1.0")
    found = evaluated(stored.experiment, -1.0)
    with pytest.raises(DecisionRefused, match=r"no better \(-"):
        decide(client, stored, found, arm="treatment")
    made = decide(client, stored, found, arm="treatment", move=ModelMove.ROLL_BACK)
    assert (serving(client, stored), made.move) == ("1.0.0", ModelMove.ROLL_BACK)
    with pytest.raises(InvalidRequest, match=r"is 1\.0\.0 and not 1\.1\.0"):
        decide(client, stored, found, arm="treatment", move=ModelMove.ROLL_BACK)


def test_where_less_is_better_the_signs_turn(client: AmbryClient, stored: StoredExperiment) -> None:
    better, worse = evaluated(stored.experiment, -1.0), evaluated(stored.experiment, 1.0)
    with pytest.raises(DecisionRefused, match="no better"):
        decide(client, stored, worse, arm="treatment", lower_is_better=True)
    decide(client, stored, better, arm="treatment", lower_is_better=True)
    with pytest.raises(DecisionRefused, match="no worse"):
        decide(client, stored, better, arm="treatment", lower_is_better=True, move=ModelMove.ROLL_BACK)
    decide(client, stored, worse, arm="treatment", lower_is_better=True, move=ModelMove.ROLL_BACK)
    assert serving(client, stored) == "1.0.0"


@pytest.mark.parametrize(
    ("lift", "keep", "words"),
    [(0.0, 1.0, "an effect on clicks is not shown"), (1.0, 0.8, "split is not what it should be")],
)
def test_what_is_not_shown_moves_nothing_but_by_force(
    client: AmbryClient, stored: StoredExperiment, lift: float, keep: float, words: str
) -> None:
    found = evaluated(stored.experiment, lift, keep=keep)
    with pytest.raises(DecisionRefused, match=words) as refused:
        decide(client, stored, found, arm="treatment")
    assert serving(client, stored) == "1.0.0"
    assert b"<svg" in client.get_bytes(refused.value.report)
    made = decide(client, stored, found, arm="treatment", force="the old one is switched off today")
    assert (serving(client, stored), bool(made.forced)) == ("1.1.0", True)
    assert "forced: the old one is switched off today; " in made.moved.why


@pytest.mark.parametrize("move", list(ModelMove))
def test_who_moves_the_alias_meanwhile_is_not_overruled(
    client: AmbryClient, stored: StoredExperiment, move: ModelMove, monkeypatch: pytest.MonkeyPatch
) -> None:
    models.publish(client, f"{stored.dataset}-model", {"x.txt": b"3"})
    found = evaluated(stored.experiment, 1.0 if move is ModelMove.PROMOTE else -1.0)
    if move is ModelMove.ROLL_BACK:
        models.promote(client, f"{stored.dataset}-model@1.1.0")
    kept = decision.keep_report

    def after_another(*arguments: Any) -> Any:
        models.promote(client, f"{stored.dataset}-model@1.2.0", why="an emergency")
        return kept(*arguments)

    monkeypatch.setattr(decision, "keep_report", after_another)
    with pytest.raises(UpdateConflict):
        decide(client, stored, found, arm="treatment", move=move)
    assert serving(client, stored) == "1.2.0"


def test_a_reason_is_not_written_down_as_force_where_nothing_speaks_against_it(
    client: AmbryClient, stored: StoredExperiment
) -> None:
    made = decide(client, stored, evaluated(stored.experiment, 1.0), arm="treatment", force="in a hurry")
    assert "forced" not in made.moved.why and made.forced == ()


def test_the_first_champion_may_come_of_an_experiment(client: AmbryClient, stored: StoredExperiment) -> None:
    found = evaluated(stored.experiment, 1.0)
    made = decide(client, stored, found, arm="treatment", alias="ranker")
    assert (made.moved.alias, made.moved.version) == ("ranker", "1.1.0")
    with pytest.raises(InvalidRequest, match="pointed to nothing before"):
        decide(client, stored, found, arm="treatment", alias="ranker", move=ModelMove.ROLL_BACK)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"arm": "third"}, "no arm 'third'; it has control, treatment"),
        ({"arm": "control"}, "what others are compared with"),
        ({"arm": "treatment", "metric": "money"}, "nothing of 'money'"),
        ({"arm": "treatment", "force": "x" * 501}, "at most 500 characters"),
    ],
)
def test_what_cannot_be_decided_is_told(
    client: AmbryClient, stored: StoredExperiment, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        decide(client, stored, evaluated(stored.experiment, 1.0), **arguments)


def test_an_arm_has_to_name_a_model_that_is_there(client: AmbryClient, stored: StoredExperiment) -> None:
    control, treatment = stored.experiment.arms
    found = evaluated(stored.experiment, 1.0)
    models.publish(client, f"{stored.dataset}-model", {"x.txt": b"3"})
    for model, error in (("", InvalidRequest), (f"{stored.dataset}-model@1.2.0", BlobNotFound)):
        arms = (control, replace(treatment, model=model))
        stored = ramp_experiment(client, stored.dataset, replace(stored.experiment, arms=arms))
        if model:  # It was there when the experiment began, and is gone when it is decided.
            client.delete(VersionRef(f"{stored.dataset}-model", "1.2.0"))
        with pytest.raises(error):
            decide(client, stored, found, arm="treatment")
    other = replace(found, experiment="another")
    with pytest.raises(InvalidRequest, match="an evaluation of 'another'"):
        decide(client, stored, other, arm="treatment")
