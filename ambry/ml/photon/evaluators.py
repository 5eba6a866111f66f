"""What a model is worth on rows: AUC, RMSE, log loss, Poisson loss, and the same by groups of rows, as Photon names them.

    AUC, RMSE, LOGISTIC_LOSS, POISSON_LOSS, SQUARED_LOSS       over all rows, with their weights
    AUC:memberId                                               the mean over members, of those with both responses
    PRECISION@5:queryId                                        of the five of the highest scores, how many are positive

Losses are means by weight. In groups each row counts as one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ambry.errors import InvalidRequest
from ambry.ml.photon.examples import Examples, grouped, rows_of_groups
from ambry.ml.photon.models import PhotonModel, Task

_PRECISION = re.compile(r"PRECISION@([1-9]\d{0,5})")


@dataclass(frozen=True, slots=True)
class Evaluator:
    """One number about scores. `group` is the kind of id that rows are grouped by, or empty."""

    name: str
    group: str
    of: Callable[[Any, Any, Any], float]
    """Scores, responses, weights."""
    larger_is_better: bool

    def __call__(self, scores: Any, examples: Examples) -> float:
        """NaN where nothing can be said: no rows, or no group with both responses. Raises InvalidRequest without such ids."""
        response, weight = examples.response, examples.weight
        if np.isnan(response).any():
            raise InvalidRequest(f"{self} asks for responses, and not all rows have one")
        if not self.group:
            return self.of(scores, response, weight)
        _, codes = grouped(examples.entities(self.group))
        found = [self.of(scores[rows], response[rows], np.ones(len(rows))) for rows in rows_of_groups(codes)]
        told = [value for value in found if not np.isnan(value)]
        return float(np.mean(told)) if told else float("nan")

    def better(self, one: float, other: float) -> bool:
        """Whether `one` is."""
        return one > other if self.larger_is_better else one < other

    def __str__(self) -> str:
        return f"{self.name}:{self.group}" if self.group else self.name


def auc(scores: Any, response: Any, weight: Any) -> float:
    """The chance that a positive row has a higher score than a negative one; equal scores are half."""
    positive, negative = weight * (response > 0.5), weight * (response <= 0.5)
    total = positive.sum() * negative.sum()
    if not total > 0:
        return float("nan")
    _, places = np.unique(scores, return_inverse=True)
    here = np.bincount(places, positive)
    there = np.bincount(places, negative)
    below = np.cumsum(there) - there
    return float((here * (below + there / 2)).sum() / total)


def evaluator(text: str) -> Evaluator:
    """Of its name. Raises InvalidRequest."""
    name, _, group = text.partition(":")
    name = name.strip().upper()
    if name in _WHOLE:
        of, larger = _WHOLE[name]
        return Evaluator(name, group, of, larger)
    if (found := _PRECISION.fullmatch(name)) and group:
        return Evaluator(name, group, _precision_at(int(found[1])), True)
    raise InvalidRequest(
        f"there is no evaluator {text!r}; there are {', '.join(_WHOLE)}, each with :ID for groups, and PRECISION@K:ID"
    )


def evaluate(model: PhotonModel, examples: Examples, evaluators: Iterable[str] = ()) -> dict[str, float]:
    """Numbers by their names; without any, what is usual for the task. Raises InvalidRequest, also for responses that the task
    has not, of which a loss would be a number nevertheless.
    """
    return evaluate_scores(model.task, model.scores(examples), examples, evaluators)


def evaluate_scores(task: Task, scores: Any, examples: Examples, evaluators: Iterable[str] = ()) -> dict[str, float]:
    """The same of scores that were found elsewhere. Raises InvalidRequest."""
    task.check(examples)
    told = [evaluator(text) for text in evaluators] or [evaluator(text) for text in DEFAULTS[task]]
    # A loss beyond a float's range is inf.
    with np.errstate(over="ignore", invalid="ignore"):
        return {str(each): each(scores, examples) for each in told}


def _mean(losses: Any, weight: Any) -> float:
    return float(np.average(losses, weights=weight)) if weight.sum() > 0 else float("nan")


def _loss(task: Task) -> Callable[[Any, Any, Any], float]:
    return lambda scores, response, weight: _mean(task.losses(scores, response), weight)


def _rmse(scores: Any, response: Any, weight: Any) -> float:
    return float(np.sqrt(_mean((scores - response) ** 2, weight)))


def _precision_at(count: int) -> Callable[[Any, Any, Any], float]:
    def of(scores: Any, response: Any, weight: Any) -> float:
        # Of equal scores, those that come first.
        best = np.argsort(-scores, kind="stable")[:count]
        return float((response[best] > 0.5).sum() / count)

    return of


_WHOLE: dict[str, tuple[Callable[[Any, Any, Any], float], bool]] = {
    "AUC": (auc, True),
    "RMSE": (_rmse, False),
    "LOGISTIC_LOSS": (_loss(Task.LOGISTIC), False),
    "POISSON_LOSS": (_loss(Task.POISSON), False),
    "SQUARED_LOSS": (_loss(Task.LINEAR), False),
}
DEFAULTS = {Task.LINEAR: ("RMSE",), Task.LOGISTIC: ("AUC", "LOGISTIC_LOSS"), Task.POISSON: ("POISSON_LOSS",)}
