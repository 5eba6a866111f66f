"""Models of Photon's kind (GAME, of which GLMix is what is trained): a score is a sum over coordinates.

A fixed effect is one linear model for all rows. A random effect is one for each entity of a kind; an entity without a model
adds nothing. The mean of a response is a function of the score and the row's offset, by the task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np

from ambry.errors import InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.listed import listed
from ambry.ml.photon.examples import INTERCEPT, Examples, Feature, FeatureIndex, Shard

_CLASSES = "com.linkedin.photon.ml.supervised"


class Task(StrEnum):
    """What is modelled."""

    LINEAR = "LINEAR_REGRESSION"
    LOGISTIC = "LOGISTIC_REGRESSION"
    POISSON = "POISSON_REGRESSION"

    @property
    def model_class(self) -> str:
        """Photon's class of such a model."""
        kinds = {"LINEAR": "regression.Linear", "LOGISTIC": "classification.Logistic", "POISSON": "regression.Poisson"}
        return f"{_CLASSES}.{kinds[self.name]}RegressionModel"

    def mean(self, score: Any) -> Any:
        """Of the response, of scores with their offsets; inf beyond a float's range."""
        if self is Task.LINEAR:
            return score
        if self is Task.POISSON:
            with np.errstate(over="ignore"):
                return np.exp(score)
        return needed("scipy.special").expit(score)

    def curvature(self, mean: Any) -> Any:
        """By how much the mean rises with the score, there."""
        if self is Task.LINEAR:
            return np.ones(len(mean))
        return mean if self is Task.POISSON else mean * (1 - mean)

    def losses(self, score: Any, response: Any) -> Any:
        """Of each row: half of its deviance, of a Poisson response without the part that is the same for every model;
        inf beyond a float's range."""
        with np.errstate(over="ignore", invalid="ignore"):
            if self is Task.LINEAR:
                return 0.5 * (score - response) ** 2
            if self is Task.POISSON:
                return np.exp(score) - response * score
            return np.logaddexp(0.0, score) - response * score

    def check(self, examples: Examples) -> None:
        """Raises InvalidRequest for responses that the task has not, with the row."""
        response = examples.response
        wrong, wanted = ~np.isfinite(response), "a finite number"
        if self is Task.LOGISTIC:
            wrong, wanted = wrong | ((response != 0) & (response != 1)), "0 or 1"
        elif self is Task.POISSON:
            wrong, wanted = wrong | ~(response >= 0), "not negative"
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InvalidRequest(
                f"the response of {examples.row_name(row)} is {response[row]}; in a {self.value} it is {wanted}"
            )


FEATURE_NAMES = "featureNames"
"""Of a configuration: the names of all features that an effect was trained on, also of those without a coefficient."""
NAMES_MAX = 10_000
"""Of more of them nothing is said."""


@dataclass(frozen=True, kw_only=True)
class FixedModel:
    """One linear model over a shard."""

    shard: str
    index: FeatureIndex
    means: Any
    """A coefficient for each feature, float64."""
    variances: Any | None = None

    def scores(self, examples: Examples) -> Any:
        """Of each row."""
        return design(examples.shard(self.shard), self.index) @ self.means


@dataclass(frozen=True, kw_only=True)
class RandomModel:
    """A linear model over a shard for each entity of a kind."""

    entity: str
    """What the ids are called: Photon's random effect type."""
    shard: str
    index: FeatureIndex
    entities: tuple[str, ...]
    means: Any
    """CSR of scipy: (entities, features)."""
    variances: Any | None = None

    @cached_property
    def places(self) -> dict[str, int]:
        """The row of each entity."""
        return {entity: place for place, entity in enumerate(self.entities)}

    def of(self, entity: str) -> dict[Feature, float]:
        """The coefficients of an entity that are not 0. Raises InvalidRequest for one without a model."""
        place = self.places.get(entity)
        if place is None:
            raise no_entity(self.entity, entity, len(self.entities))
        row = self.means[place]
        names = self.index.features
        return {names[column]: value for column, value in zip(row.indices.tolist(), row.data.tolist(), strict=True)}

    def scores(self, examples: Examples) -> Any:
        """Of each row; 0 where its entity has no model."""
        matrix = design(examples.shard(self.shard), self.index)
        found = examples.entities(self.entity)
        places = np.fromiter((self.places.get(each, -1) for each in found), np.int64, len(found))
        known = np.flatnonzero(places >= 0)
        scores = np.zeros(len(found))
        if len(known):
            scores[known] = np.asarray(matrix[known].multiply(self.means[places[known]]).sum(axis=1)).ravel()
        return scores


@dataclass(frozen=True, kw_only=True)
class PhotonModel:
    """A whole model: its coordinates by name."""

    task: Task
    fixed: Mapping[str, FixedModel] = field(default_factory=dict)
    random: Mapping[str, RandomModel] = field(default_factory=dict)
    name: str = ""
    configurations: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What each coordinate was trained with, as JSON has it."""
    observed: tuple[str, ...] = ()
    """What rows of its training had under a name that is no feature's: responses, and ids that evaluators asked for. Empty
    where nobody said it.
    """

    def __post_init__(self) -> None:
        """Raises InvalidRequest."""
        if not self.coordinates:
            raise InvalidRequest("a model has at least one fixed or random effect")
        if both := set(self.fixed) & set(self.random):
            raise InvalidRequest(f"two effects have the same name {min(both)!r}")

    @property
    def coordinates(self) -> dict[str, FixedModel | RandomModel]:
        """All of them."""
        return {**self.fixed, **self.random}

    @property
    def entity_kinds(self) -> tuple[str, ...]:
        """The ids that a row has to have."""
        return tuple(dict.fromkeys(each.entity for each in self.random.values()))

    @property
    def described(self) -> dict[str, str]:
        """What each effect is, by its name."""
        return {
            **{name: fixed_text(len(each.index), each.shard) for name, each in self.fixed.items()},
            **{name: random_text(len(each.entities), each.entity, each.shard) for name, each in self.random.items()},
        }

    def coefficients(self, effect: str, entity: str | int | None = None) -> dict[Feature, float]:
        """Those that are not 0, of a fixed effect or of an entity. Raises InvalidRequest for one without a model."""
        fixed, random = self.fixed.get(effect), self.random.get(effect)
        if fixed is not None:
            return {
                name: value for name, value in zip(fixed.index.features, fixed.means.tolist(), strict=True) if value
            }
        if random is None:
            raise no_effect("the model", effect, list(self))
        return random.of(said_entity(effect, random.entity, entity))

    def scores(self, examples: Examples) -> Any:
        """Of each row, with its offset."""
        with np.errstate(over="ignore", invalid="ignore"):
            return examples.offset + sum(each.scores(examples) for each in self.coordinates.values())

    def predict(self, examples: Examples) -> Any:
        """The mean of the response of each row."""
        return self.task.mean(self.scores(examples))

    @property
    def feature_names(self) -> frozenset[str]:
        """All that are known: of coefficients, and of the training where it said them."""
        told = {name for each in self.coordinates.values() for name, _ in each.index.features}
        said = [each.get(FEATURE_NAMES) for each in self.configurations.values()]
        return frozenset(told.union(*(names for names in said if isinstance(names, list)))) - {INTERCEPT[0]}

    def __iter__(self) -> Iterator[str]:
        return iter(self.coordinates)


def design(shard: Shard, index: FeatureIndex) -> Any:
    """The rows over the features of a model, whose intercept is 1 in each row that has none of its own."""
    matrix = shard.over(index)
    place = index.places.get(INTERCEPT)
    if place is None:
        return matrix
    sparse = needed("scipy.sparse")
    rows = np.arange(matrix.shape[0])
    if INTERCEPT in shard.index.places:
        # What other rows have says nothing of a row: it scores the same beside any.
        rows = np.flatnonzero(matrix[:, [place]].toarray().ravel() == 0)
        if not len(rows):
            return matrix
    ones = (np.ones(len(rows)), (rows, np.full(len(rows), place)))
    return sparse.csr_matrix(matrix + sparse.csr_matrix(ones, shape=matrix.shape))


def fixed_text(features: int, shard: str) -> str:
    """How a fixed effect is told."""
    return f"{features:,} coefficients over {shard}"


def random_text(entities: int, kind: str, shard: str) -> str:
    """How a random effect is told."""
    return f"{entities:,} models by {kind} over {shard}"


def no_effect(where: str, effect: str, there: list[str]) -> InvalidRequest:
    """What is raised for an effect that a model has not."""
    return InvalidRequest(f"{where} has no effect {effect!r}; it has {listed(there)}")


def said_entity(effect: str, kind: str, entity: str | int | None) -> str:
    """As models have it: `3` is "3". Raises InvalidRequest where a random effect is asked for, and nobody is named."""
    if entity is None:
        raise InvalidRequest(f"{effect!r} has coefficients of each {kind}; say of which")
    return str(entity)


def no_entity(kind: str, entity: str, count: int) -> InvalidRequest:
    """What is raised for an entity without a model."""
    return InvalidRequest(
        f"there is no model for the {kind} {entity!r} among {count:,}: it was not in the data, or had too few rows; its score "
        "is that of the other effects"
    )
