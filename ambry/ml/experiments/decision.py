"""What an experiment has shown moves an alias, or is refused with the reason: promotion of an arm's model, or its way back.

Two things have to hold: the split is what it should be, and the effect is shown at whatever look this is, by the always-valid
p, adjusted for how many comparisons there were. Who decides otherwise says why. The evaluation and its page are stored beside
the experiment before the alias moves, and the move says in its history what the effect was and where they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from ambry.client.datasets import AliasInfo, version_before
from ambry.client.refs import NameRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import BlobNotFound, InvalidRequest
from ambry.ml.experiments.evaluation import ArmComparison, Evaluation
from ambry.ml.experiments.report import render_report
from ambry.ml.experiments.store import StoredExperiment
from ambry.ml.held_back import HeldBack
from ambry.ml.models.histories import CHAMPION
from ambry.ml.models.loading import StoredModel, open_model
from ambry.ml.pages import keep
from ambry.ml.places import dataset_text

FOLDER = "evaluations"
REASON_CHARACTERS_MAX = 500
_WHY_CHARACTERS_MAX = 1_024


class ModelMove(Enum):
    """What is done with the model of an arm."""

    PROMOTE = "promote"
    ROLL_BACK = "roll back"


class DecisionRefused(HeldBack):
    """What the experiment has shown is no reason for it. `report` is where the evaluation was stored."""

    def __init__(self, message: str, report: NameRef) -> None:
        super().__init__(message)
        self.report = report


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentDecision:
    """An alias was moved by what an experiment has shown."""

    move: ModelMove
    comparison: ArmComparison
    moved: AliasInfo
    report: NameRef
    """The page; the numbers are beside it, as .json."""
    forced: tuple[str, ...]
    """What spoke against it."""


def keep_report(client: AmbryClient, stored: StoredExperiment, evaluation: Evaluation) -> NameRef:
    """Store an evaluation and its page beside the experiment; the name of the page."""
    html = render_report(evaluation, stored.experiment)
    return keep(client, stored.place, FOLDER, evaluation.encode(), html)


def decide(
    client: AmbryClient,
    stored: StoredExperiment,
    evaluation: Evaluation,
    *,
    arm: str,
    metric: str = "",
    move: ModelMove = ModelMove.PROMOTE,
    alias: str = CHAMPION,
    lower_is_better: bool = False,
    who: str = "",
    why: str = "",
    force: str = "",
) -> ExperimentDecision:
    """Let the alias point to the arm's model, or back to where it did before it pointed there; durable on return.

    `metric` is the first one of the evaluation unless said. With `force`, a reason, what speaks against it is written down and
    not in the way.

    Raises DecisionRefused, InvalidRequest for an arm without a model, BlobNotFound for a model that is not there,
    UpdateConflict where the alias moved meanwhile.
    """
    if len(f"{why}{force}") > REASON_CHARACTERS_MAX:
        raise InvalidRequest(f"the reasons have at most {REASON_CHARACTERS_MAX} characters together")
    model = _model_of(client, stored, evaluation, arm)
    found = evaluation.of(metric or _first_metric(evaluation), arm)
    dataset = dataset_text(model.place)
    now, before = _now_and_before(client, dataset, alias)
    target = model.version if move is ModelMove.PROMOTE else before
    if move is ModelMove.ROLL_BACK and now != model.version:
        raise InvalidRequest(
            f"{alias} of {dataset} is {now or 'not there'} and not {model.version}, the model of {arm!r}"
        )
    if target is None:
        raise InvalidRequest(f"{alias} of {dataset} pointed to nothing before {model.version}; promote another model")
    if not force and move is ModelMove.PROMOTE and now == target and _is_decided(client, stored, dataset, alias, arm):
        raise InvalidRequest(
            f"{alias} of {dataset} points to {model} already, by a decision of {stored.experiment.name!r} for {arm!r}; to "
            "decide it again, say force with a reason (--force)"
        )
    report = keep_report(client, stored, evaluation)
    against = objections(evaluation, found, move, lower_is_better=lower_is_better)
    if against and not force:
        raise DecisionRefused(
            f"{stored} gives no reason to {move.value} {model}: {'; '.join(against)}. Look at {_shown(report)}",
            report,
        )
    told = _why(stored, found, report, why=why, force=force if against else "")
    moved = client.set_alias(dataset, alias, target, expected=now, who=who, why=told)
    return ExperimentDecision(move=move, comparison=found, moved=moved, report=report, forced=tuple(against))


def objections(
    evaluation: Evaluation, found: ArmComparison, move: ModelMove, *, lower_is_better: bool = False
) -> list[str]:
    """What speaks against it; nothing where the experiment has shown enough."""
    against = []
    if not evaluation.trustworthy:
        against.append(f"the split is not what it should be (sample ratio p {evaluation.sample_ratio_p:.2g})")
    effect = found.effect
    if not found.adjusted_p < evaluation.alpha:
        against.append(
            f"an effect on {found.metric} is not shown (always-valid p {found.adjusted_p:.2g}, not below {evaluation.alpha:g})"
        )
    wanted = -effect.difference if lower_is_better else effect.difference
    if move is ModelMove.ROLL_BACK:
        wanted = -wanted
    if not wanted > 0:
        is_worse = move is ModelMove.PROMOTE
        against.append(
            f"{found.arm} is {'no better' if is_worse else 'no worse'} ({effect.difference:+.4g} of {found.metric})"
        )
    return against


def _model_of(client: AmbryClient, stored: StoredExperiment, evaluation: Evaluation, arm: str) -> StoredModel:
    """Raises InvalidRequest, BlobNotFound."""
    if evaluation.experiment != stored.experiment.name:
        raise InvalidRequest(
            f"this is an evaluation of {evaluation.experiment!r} and not of {stored.experiment.name!r}"
        )
    arms = {each.name: each for each in stored.experiment.arms}
    if arm not in arms:
        raise InvalidRequest(f"{stored} has no arm {arm!r}; it has {', '.join(arms)}")
    if arm == evaluation.control:
        raise InvalidRequest(f"{arm!r} is what others are compared with; decide about another arm")
    if not arms[arm].model:
        raise InvalidRequest(
            f"the arm {arm!r} of {stored} names no model; ramp the experiment with one, such as ranker@2.0.0"
        )
    return open_model(client, arms[arm].model)


def _first_metric(evaluation: Evaluation) -> str:
    if not evaluation.comparisons:
        raise InvalidRequest(f"the evaluation of {evaluation.experiment!r} compares nothing; say which metrics")
    return evaluation.comparisons[0].metric


def _now_and_before(client: AmbryClient, dataset: str, alias: str) -> tuple[str | None, str | None]:
    """Where an alias points, and where it is rolled back to; None is nowhere."""
    try:
        moves = client.alias_history(dataset, alias)
    except BlobNotFound:
        return None, None
    return moves[0].version, version_before(moves)


def _is_decided(client: AmbryClient, stored: StoredExperiment, dataset: str, alias: str, arm: str) -> bool:
    """Whether where the alias points was decided by this experiment for this arm, as its history says."""
    newest = client.alias_history(dataset, alias)[0].why
    version = re.escape(str(stored).rpartition("@")[0])
    return re.search(rf"(?:^|; ){version}@\d+ {re.escape(arm)}: ", newest) is not None


def _why(stored: StoredExperiment, found: ArmComparison, report: NameRef, *, why: str, force: str) -> str:
    effect = found.effect
    relative = "" if effect.relative is None else f" ({effect.relative:+.2%})"
    told = [
        *([why] if why else []),
        *([f"forced: {force}"] if force else []),
        f"{stored} {found.arm}: {found.metric} {effect.difference:+.4g}{relative}, always-valid p {found.adjusted_p:.2g}",
        f"report {_shown(report)}",
    ]
    return "; ".join(told)[:_WHY_CHARACTERS_MAX]


def _shown(name: NameRef) -> str:
    return str(name) if name.account else name.name
