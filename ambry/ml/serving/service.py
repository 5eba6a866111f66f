"""What scores: the model that an alias points to, a challenger in its shadow, and the arms of an experiment.

A model is loaded before it serves, in a thread of its own; the one before serves until then, and stays when the new one cannot
be loaded. No request waits for the store. A shadow scores what the champion has scored, when there is time for it: its answer
is compared and thrown away.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ambry.client.refs import LATEST
from ambry.client.sync.client import AmbryClient
from ambry.errors import AmbryError, InvalidRequest
from ambry.ml.experiments.document import Experiment
from ambry.ml.experiments.exposures import ExposureLog
from ambry.ml.experiments.following import ExperimentWatch
from ambry.ml.experiments.store import load_experiment
from ambry.ml.models.histories import CHAMPION
from ambry.ml.models.lifecycle import POLL_S
from ambry.ml.models.loading import StoredModel
from ambry.ml.places import Place, dataset_of, in_dataset, version_of
from ambry.ml.serving.feature_log import FeatureLog
from ambry.ml.serving.inference import InferenceRequest
from ambry.ml.serving.metrics import ServingMetrics
from ambry.ml.serving.served import FollowedModel, ModelLoader, ServedModel, ServingSlot, slot_of

SHADOWS_MAX = 4
"""Requests that wait for the challenger; more are not shadowed."""


@dataclass(frozen=True, slots=True)
class Scored:
    """An answer, by which model, in which arm of the experiment (empty for none)."""

    outputs: Mapping[str, Any]
    served: ServedModel
    arm: str = ""

    @property
    def model(self) -> StoredModel:
        return self.served.model


@dataclass(frozen=True, slots=True)
class _Plan:
    """An experiment, and the models of its arms by the texts that name them."""

    experiment: Experiment | None = None
    slots: Mapping[str, ServingSlot] = field(default_factory=dict)


class ScoringService:
    """Scores requests by several threads. Close it, or use it in a `with`."""

    def __init__(
        self,
        client: AmbryClient,
        dataset: Place,
        *,
        alias: str = CHAMPION,
        challenger: str = "",
        experiment: Experiment | str | None = None,
        exposures: ExposureLog | None = None,
        features: FeatureLog | None = None,
        trust: bool = False,
        function: str = "",
        poll_s: float = POLL_S,
    ) -> None:
        """`challenger` is an alias too. An experiment that is named is followed; one of a version (NAME@3) stays as it is.

        The logs are closed with the service. Raises BlobNotFound where an alias is not there, and what loading raises.
        """
        self._client = client
        self._exposures = exposures
        self._features = features
        self._poll_s = poll_s
        self._plan = _Plan()
        self._waiting = threading.Semaphore(SHADOWS_MAX)
        self.metrics = ServingMetrics()
        self._loader = ModelLoader(trust=trust, function=function, loaded=self.metrics.loaded)
        with ExitStack() as opened:
            # Closed in the opposite order: who follows the experiment first, the threads of its arms afterwards.
            for log in (exposures, features):
                if log is not None:
                    opened.callback(log.close)
            self._shadows = ThreadPoolExecutor(1, thread_name_prefix="ambry-shadow")
            opened.callback(self._shadows.shutdown, cancel_futures=True)
            dataset = dataset_of(dataset)
            self.champion = self._followed(dataset, alias)
            opened.callback(self.champion.close)
            self.challenger = self._followed(dataset, challenger) if challenger else None
            if self.challenger is not None:
                opened.callback(self.challenger.close)
            opened.callback(self._close_arms)
            self._experiment = self._followed_experiment(experiment)
            if self._experiment is not None:
                opened.callback(self._experiment.close)
            self._opened = opened.pop_all()

    def score(self, request: InferenceRequest) -> Scored:
        """Predict, and record. Raises InvalidRequest, and what the model raises."""
        scored = self.predict(request)
        self.record(request, scored)
        return scored

    def predict(self, request: InferenceRequest) -> Scored:
        """Score by the arm of the request's `unit`, or by the champion. Nothing is written down but the time that it took.

        Raises InvalidRequest, and what the model raises.
        """
        served, arm = self._chosen(request)
        with self.metrics.timed(served.name):
            outputs = served.predictor.predict(request.inputs)
            if not isinstance(outputs, Mapping):
                raise TypeError(f"its function gives arrays by name, not {type(outputs).__name__}")
        return Scored(outputs, served, arm)

    def record(self, request: InferenceRequest, scored: Scored) -> None:
        """Count what was answered: rows, drift, who saw which arm, what the features were, what the challenger would say."""
        served = scored.served
        self.metrics.rows(served.name, request.rows)
        with suppress(InvalidRequest):
            # What is no matrix of numbers has no drift.
            if served.drift.take(served.predictor.columns.matrix(request.inputs)):
                served.drift.count()
        if scored.arm and self._exposures is not None:
            self._expose(self._exposures, request, scored)
        if self._features is not None:
            self._features.record(served.name, scored.arm, request, scored.outputs)
        if self.challenger is not None and not scored.arm:
            self._shadow(self.challenger.served, request, scored.outputs)

    @property
    def experiment(self) -> Experiment | None:
        """The experiment as it is assigned by now."""
        return self._plan.experiment

    def render_metrics(self) -> bytes:
        """The page of Prometheus."""
        logs = {"exposures": self._exposures, "features": self._features}
        return self.metrics.render(
            serving={role: slot.served.name for role, slot in self._roles().items()},
            errors={role: error is not None for role, error in self.errors().items()},
            drift=self.answering(),
            dropped={name: log.dropped for name, log in logs.items() if log is not None},
        )

    def errors(self) -> dict[str, Exception | None]:
        """Of each that is followed, why it may not be what it is in the store."""
        found = {role: slot.error for role, slot in self._roles().items()}
        if self._experiment is not None:
            found["experiment"] = self._experiment.error
        return found

    def close(self) -> None:
        """End the threads, and store what was taken. Raises what storing raises, when all else is closed."""
        self._opened.close()

    def __enter__(self) -> ScoringService:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def serving(self) -> dict[str, StoredModel]:
        """Which model serves as what: champion, challenger, and arms of the experiment."""
        return {role: slot.served.model for role, slot in self._roles().items()}

    def answering(self) -> list[ServedModel]:
        """Those that answer requests, and so have drift: the champion, and the models of arms, each once."""
        found = {"": self.champion.served}
        for role, slot in self._roles().items():
            if role != "challenger" and slot.served.name != self.champion.served.name:
                found[slot.served.name] = slot.served
        return list(found.values())

    def _roles(self) -> dict[str, ServingSlot]:
        roles: dict[str, ServingSlot] = {"champion": self.champion}
        if self.challenger is not None:
            roles["challenger"] = self.challenger
        plan = self._plan
        for arm in plan.experiment.arms if plan.experiment is not None else ():
            if arm.model in plan.slots:
                roles[f"arm {arm.name}"] = plan.slots[arm.model]
        return roles

    def _followed(self, dataset: str, alias: str) -> FollowedModel:
        return FollowedModel(self._client, in_dataset(dataset, f"@{alias}"), self._loader, poll_s=self._poll_s)

    def _followed_experiment(self, said: Experiment | str | None) -> ExperimentWatch | None:
        if said is None or isinstance(said, Experiment):
            if said is not None:
                self._take_plan(said)
            return None
        if version_of(said).version != LATEST:
            self._take_plan(load_experiment(self._client, said).experiment)
            return None
        return ExperimentWatch(self._client, said, prepare=self._take_plan, poll_s=self._poll_s)

    def _take_plan(self, experiment: Experiment) -> None:
        """Assign by this one from now on, when the models of its arms are there; one that has ended needs none."""
        wanted = {arm.model for arm in experiment.arms if arm.model and experiment.exposed}
        before = self._plan.slots
        with ExitStack() as made:
            slots = {text: before[text] for text in wanted & before.keys()}
            for text in sorted(wanted - before.keys()):
                slots[text] = slot_of(self._client, text, self._loader, poll_s=self._poll_s)
                made.callback(slots[text].close)
            made.pop_all()
        self._plan = _Plan(experiment, slots)
        for text in before.keys() - wanted:
            before[text].close()

    def _close_arms(self) -> None:
        for slot in self._plan.slots.values():
            slot.close()

    def _chosen(self, request: InferenceRequest) -> tuple[ServedModel, str]:
        unit = request.parameters.get("unit")
        plan = self._plan
        if plan.experiment is not None and unit is not None:
            arm = plan.experiment.arm_of(unit, request.parameters.get("attributes") or {})
            if arm is not None:
                return plan.slots[arm.model].served if arm.model else self.champion.served, arm.name
        return self.champion.served, ""

    def _expose(self, log: ExposureLog, request: InferenceRequest, scored: Scored) -> None:
        model, asked = scored.model, request.parameters
        try:
            log.record(asked["unit"], scored.arm, asked.get("attributes") or {}, model=str(model), sha256=model.digest)
        except (AmbryError, ValueError, TypeError):
            self.metrics.lost_exposure()
        else:
            self.metrics.exposed(scored.arm)

    def _shadow(self, challenger: ServedModel, request: InferenceRequest, outputs: Mapping[str, Any]) -> None:
        if not self._waiting.acquire(blocking=False):
            self.metrics.not_shadowed()
            return

        def compare() -> None:
            try:
                with self.metrics.timed(challenger.name):
                    others = challenger.predictor.predict(request.inputs)
                self.metrics.shadowed(challenger.name, agreement(outputs, others))
            except InvalidRequest:
                # The champion took these inputs, so it is the challenger that is at fault.
                self.metrics.failed(challenger.name)
            except Exception:
                # Of any kind, as it is others who wrote it; `timed` has counted it, and nobody waits for the answer.
                return
            finally:
                self._waiting.release()

        try:
            self._shadows.submit(compare)
        except RuntimeError:
            # The service is being closed; what was scored is answered all the same.
            self._waiting.release()


def agreement(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Which part of the rows two models say the same of, in the first output that both have; 0 if they have none."""
    for name, answers in one.items():
        others = other.get(name)
        if others is None or len(others) != len(answers):
            continue
        answers, others = np.asarray(answers), np.asarray(others)
        if answers.dtype.kind == "f" and others.dtype.kind == "f" and answers.shape == others.shape:
            same = np.isclose(answers, others, rtol=1e-3, atol=1e-6)
        elif answers.shape == others.shape:
            same = answers == others
        else:
            continue
        return float(same.reshape(len(same), -1).all(axis=1).mean()) if len(same) else 1.0
    return 0.0
