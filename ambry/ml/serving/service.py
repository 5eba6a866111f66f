"""What scores: the model that an alias points to, a challenger in its shadow, and the arms of an experiment.

A model is loaded before it serves, in a thread of its own; the one before serves until then, and stays when the new one cannot
be loaded. A shadow scores what the champion has scored, when there is time for it: its answer is compared and thrown away.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from ambry.client.sync.client import AmbryClient
from ambry.errors import AmbryError, Overloaded
from ambry.ml.experiments.document import Experiment
from ambry.ml.experiments.exposures import ExposureLog
from ambry.ml.models.lifecycle import CHAMPION, POLL_S, ModelWatch
from ambry.ml.models.loading import StoredModel, open_model
from ambry.ml.serving.drift import InputDrift
from ambry.ml.serving.inference import InferenceRequest, columns_of
from ambry.ml.serving.metrics import ServingMetrics
from ambry.ml.serving.predictors import Predict, predictor_of

LOADED_MAX = 8
"""Models in memory; the one that was used least recently goes."""
SHADOWS_MAX = 4
"""Requests that wait for the challenger; more are not shadowed."""


@dataclass(frozen=True, slots=True)
class Scored:
    """An answer, by which model, in which arm of the experiment (empty for none)."""

    outputs: Mapping[str, Any]
    model: StoredModel
    arm: str = ""


class ScoringService:
    """Scores requests by several threads. Close it, or use it in a `with`."""

    def __init__(
        self,
        client: AmbryClient,
        dataset: str,
        *,
        alias: str = CHAMPION,
        challenger: str = "",
        experiment: Experiment | None = None,
        exposures: ExposureLog | None = None,
        trust: bool = False,
        function: str = "",
        poll_s: float = POLL_S,
    ) -> None:
        """`challenger` is an alias too. Raises BlobNotFound where an alias is not there, and what loading raises."""
        self._client = client
        self._trust = trust
        self._function = function
        self._experiment = experiment
        self._exposures = exposures
        self._lock = threading.Lock()
        self._loaded: dict[str, tuple[StoredModel, Predict]] = {}
        self._shadows = ThreadPoolExecutor(1, thread_name_prefix="ambry-shadow")
        self._waiting = threading.Semaphore(SHADOWS_MAX)
        self.drift = InputDrift()
        self.metrics = ServingMetrics()
        self.champion = ModelWatch(client, dataset, alias, prepare=self._prepare, poll_s=poll_s)
        try:
            self.challenger = (
                ModelWatch(client, dataset, challenger, prepare=self._prepare, poll_s=poll_s) if challenger else None
            )
            for arm in experiment.arms if experiment is not None else ():
                if arm.model:
                    self._prepare(open_model(client, arm.model))
        except BaseException:
            self.champion.close()
            raise

    def score(self, request: InferenceRequest) -> Scored:
        """Score by the arm of the request's `unit`, or by the champion. Raises InvalidRequest, and what the model raises."""
        model, arm = self._chosen(request)
        predict = self._predictor(model)
        with self.metrics.timed(str(model)):
            outputs = predict(request.inputs)
        self.metrics.rows(str(model), request.rows)
        self._look(request)
        if arm and self._exposures is not None:
            self._expose(request, arm)
        if self.challenger is not None and not arm:
            self._shadow(request, outputs)
        return Scored(outputs, model, arm)

    def close(self) -> None:
        """End the threads, and store the exposures that were taken."""
        self.champion.close()
        if self.challenger is not None:
            self.challenger.close()
        self._shadows.shutdown(cancel_futures=True)
        if self._exposures is not None:
            self._exposures.close()

    def __enter__(self) -> ScoringService:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _chosen(self, request: InferenceRequest) -> tuple[StoredModel, str]:
        unit = request.parameters.get("unit")
        if self._experiment is not None and unit is not None:
            arm = self._experiment.arm_of(unit, request.parameters.get("attributes") or {})
            if arm is not None:
                return (open_model(self._client, arm.model) if arm.model else self.champion.current), arm.name
        return self.champion.current, ""

    def _prepare(self, model: StoredModel) -> None:
        """Load it, and let one go that was not used for long."""
        predict = predictor_of(model, trust=self._trust, function=self._function)
        with self._lock:
            self._loaded[str(model)] = (model, predict)
            for name in list(self._loaded)[: max(0, len(self._loaded) - LOADED_MAX)]:
                del self._loaded[name]
        self.metrics.loaded(str(model))

    def _predictor(self, model: StoredModel) -> Predict:
        with self._lock:
            found = self._loaded.pop(str(model), None)
            if found is not None:
                self._loaded[str(model)] = found
        if found is None:
            self._prepare(model)
            return self._predictor(model)
        return found[1]

    def _look(self, request: InferenceRequest) -> None:
        if all(array.dtype != object for array in request.inputs.values()):
            self.drift.take(columns_of(request.inputs))

    def _expose(self, request: InferenceRequest, arm: str) -> None:
        if self._exposures is None:
            return
        try:
            self._exposures.record(request.parameters["unit"], arm, request.parameters.get("attributes") or {})
        except AmbryError:
            self.metrics.lost_exposure()

    def _shadow(self, request: InferenceRequest, outputs: Mapping[str, Any]) -> None:
        if self.challenger is None or not self._waiting.acquire(blocking=False):
            return
        model = self.challenger.current

        def compare() -> None:
            try:
                with self.metrics.timed(str(model)):
                    others = self._predictor(model)(request.inputs)
                self.metrics.shadowed(str(model), agreement(outputs, others))
            except (AmbryError, ValueError, RuntimeError, TypeError, ArithmeticError):
                self.metrics.failed(str(model))
            finally:
                self._waiting.release()

        try:
            self._shadows.submit(compare)
        except RuntimeError:
            self._waiting.release()
            raise Overloaded("the service is being closed") from None


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
