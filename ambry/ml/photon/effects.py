"""What is to be trained: fixed and random effects, with their penalties, normalisation and bounds.

The objective is Photon's: the sum over rows of weight times loss (Task.losses), plus l1 times the sum of absolute coefficients,
plus l2 / 2 times the sum of their squares. A penalty is an input; nothing estimates it. Weights of variance components become
one as l2 = 1 / variance, in a linear model times the variance of the residuals.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from ambry.errors import InvalidRequest
from ambry.ml.extras import needed
from ambry.ml.photon.examples import INTERCEPT, SHARD, Examples, FeatureIndex, Shard, first_row, shown
from ambry.ml.photon.models import FEATURE_NAMES, NAMES_MAX, design
from ambry.ml.photon.objective import beyond_floats
from ambry.ml.photon.scaling import ColumnMoments, diagonal

VALUE_MAX = 1e100
CENTERED = 1e-3
"""Of the mean: where a feature varies by less, its column is nearly the intercept's, and its mean is taken off."""
PENALTY_MAX = 1e150
"""On a column of order 1: beyond it a coefficient is nothing anyway."""


class Normalization(StrEnum):
    """What a feature is divided by before penalties see its coefficient, as Photon names it; models hold coefficients of the
    features as they are.
    """

    NONE = "NONE"
    STANDARD_DEVIATION = "SCALE_WITH_STANDARD_DEVIATION"
    MAX_MAGNITUDE = "SCALE_WITH_MAX_MAGNITUDE"
    STANDARDIZATION = "STANDARDIZATION"
    """Also less its mean, which goes into the intercept: without a penalty on that one, it comes out as the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEffect:
    """What effects of both kinds have. Without `intercept` there is none, unless it is among the features."""

    name: str
    shard: str = SHARD
    l1: float = 0.0
    l2: float = 0.0
    intercept: bool = True
    normalization: Normalization = Normalization.NONE

    def __post_init__(self) -> None:
        """Raises InvalidRequest."""
        for what, weight in (("l1", self.l1), ("l2", self.l2)):
            if not (math.isfinite(weight) and weight >= 0):
                raise InvalidRequest(
                    f"{what} of {self.name!r} is {weight}; a penalty is a finite number, and not negative"
                )
        if self.normalization is Normalization.STANDARDIZATION and (not self.intercept or self.intercept_has_penalty):
            raise InvalidRequest(
                f"{self.name!r} is to be standardised, which moves means into an intercept without a penalty, and it has none; "
                f"take {Normalization.STANDARD_DEVIATION}"
            )

    @property
    def intercept_has_penalty(self) -> bool:
        """Whether the intercept is under l1 and l2."""
        return False

    @property
    def told(self) -> dict[str, Any]:
        """As the metadata of a model say it."""
        return {name: value for name, value in asdict(self).items() if name != "name"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedEffect(ModelEffect):
    """One linear model for all rows. No penalty is on its intercept."""

    name: str = "global"


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomEffect(ModelEffect):
    """A linear model for each entity with at least `lower` rows.

    Of an entity with more than `upper` rows so many are taken, the same for the same seed, which count for all of them.
    """

    entity: str
    l2: float = 1.0
    penalize_intercept: bool = True
    lower: int = 1
    upper: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises InvalidRequest."""
        # Not super(): slots make the class anew, and zero arguments would mean the one before.
        ModelEffect.__post_init__(self)
        if self.lower < 1 or (self.upper is not None and self.upper < self.lower):
            raise InvalidRequest(
                f"{self.name!r} takes entities with {self.lower} to {self.upper} rows; the lower bound is 1 or more, and the "
                "upper one not below it"
            )

    @property
    def intercept_has_penalty(self) -> bool:
        """Its intercepts are what entities differ by, and so under the penalty unless it is said otherwise."""
        return self.penalize_intercept


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """The features of an effect, how they are scaled, and the penalties on what is scaled."""

    index: FeatureIndex
    scale: Any
    center: Any
    """What is taken off each feature first: 0, but where its mean is nearly all of it, and an intercept makes up for it."""
    l1: Any
    l2: Any

    def scaled(self, shard: Shard) -> Any:
        """Rows over the features, CSR, less `center` and divided by `scale`."""
        matrix = design(shard, self.index)
        if self.center.any():
            sparse = needed("scipy.sparse")
            off, rows = np.flatnonzero(self.center), matrix.shape[0]
            places = (np.repeat(np.arange(rows), len(off)), np.tile(off, rows))
            matrix = matrix - sparse.csr_matrix((np.tile(self.center[off], rows), places), matrix.shape)
        return (matrix @ diagonal(1 / self.scale)).tocsr()

    def design(self, shard: Shard) -> Design:
        """Of rows, which may be some of those that are trained on."""
        return Design(
            index=self.index,
            scale=self.scale,
            center=self.center,
            l1=self.l1,
            l2=self.l2,
            matrix=self.scaled(shard),
        )

    def coefficients(self, found: Any) -> Any:
        """Of features as they are, where those of what is scaled were found: an array, or CSR with a row for each model.

        Raises InvalidRequest for what is beyond a float's range.
        """
        dense = isinstance(found, np.ndarray)
        means = found / self.scale if dense else (found @ diagonal(1 / self.scale)).tocsr()
        bad = np.flatnonzero(~np.isfinite(means)) if dense else means.indices[~np.isfinite(means.data)]
        if len(bad):
            raise InvalidRequest(
                f"the coefficient of {shown(self.index.features[int(bad[0])])} is beyond a float's range: the values of the "
                "feature are too small beside what they tell; scale them, or the response"
            )
        return self._with_intercept(means, -1)

    def scaled_coefficients(self, means: Any) -> Any:
        """The other way."""
        means = self._with_intercept(means, 1)
        return means * self.scale if isinstance(means, np.ndarray) else (means @ diagonal(self.scale)).tocsr()

    def _with_intercept(self, means: Any, sign: int) -> Any:
        if not self.center.any():
            return means
        place = self.index.places[INTERCEPT]
        off = sign * (means @ self.center)
        if isinstance(means, np.ndarray):
            means = means.copy()
            means[place] += off
            return means
        rows = np.arange(len(off))
        return (means + needed("scipy.sparse").csr_matrix((off, (rows, np.full(len(off), place))), means.shape)).tocsr()


@dataclass(frozen=True, slots=True, kw_only=True)
class Design(Scaling):
    """Rows of an effect over its features."""

    matrix: Any
    """CSR, scaled."""

    @property
    def without_rows(self) -> Scaling:
        """How rows are scaled, and the penalties."""
        return Scaling(index=self.index, scale=self.scale, center=self.center, l1=self.l1, l2=self.l2)


def design_of(effect: ModelEffect, examples: Examples) -> Design:
    """Every column is scaled to be of order 1, for the solver; penalties are those on what Photon would scale.

    Raises InvalidRequest for a shard that is not there.
    """
    shard = examples.shard(effect.shard)
    index = effect_index(effect, shard.index)
    return scaling_of(effect, index, ColumnMoments.of(design(shard, index))).design(shard)


def effect_index(effect: ModelEffect, there: FeatureIndex) -> FeatureIndex:
    """The features of its shard, and its intercept. Raises InvalidRequest where there are none."""
    features = there.features
    if effect.intercept and INTERCEPT not in there.places:
        features = (*features, INTERCEPT)
    if not features:
        raise InvalidRequest(
            f"the shard {effect.shard!r} has no features, and {effect.name!r} no intercept: nothing to fit"
        )
    return FeatureIndex(features)


def scaling_of(effect: ModelEffect, index: FeatureIndex, moments: ColumnMoments) -> Scaling:
    """From the moments of all rows that are trained on. Raises InvalidRequest for features that are too large."""
    if (bad := first_row(moments.largest > VALUE_MAX)) is not None:
        raise InvalidRequest(
            f"the feature {shown(index.features[bad])} has values of the size {moments.largest[bad]}; beyond {VALUE_MAX:.0e} "
            "nothing can be fitted: scale it"
        )
    own = _factors(effect.normalization, moments)
    under = np.ones(len(index))
    scale = np.where(own != 1, own, moments.root_mean_square)
    center = np.zeros(len(index))
    if INTERCEPT in index.places:
        place = index.places[INTERCEPT]
        scale[place] = 1.0
        under[place] = float(effect.intercept_has_penalty)
        free = not under[place] or not (effect.l1 or effect.l2)
        away = moments.deviation
        # Where rows have intercepts of their own, no mean is made up for.
        if free and moments.largest[place] == 1 and moments.mean[place] > 0 and away[place] == 0:
            off = (away > 0) & (away < CENTERED * np.abs(moments.mean))
            scale, center = np.where(off, away, scale), np.where(off, moments.mean, 0.0)
    with beyond_floats():
        relative = np.minimum(own / scale, PENALTY_MAX)
        l1 = np.minimum(effect.l1 * under * relative, PENALTY_MAX)
        l2 = np.minimum(effect.l2 * under * relative * relative, PENALTY_MAX)
    return Scaling(index=index, scale=scale, center=center, l1=l1, l2=l2)


def check_effects(effects: Sequence[ModelEffect], examples: Examples) -> None:
    """Raises InvalidRequest where there is none, two have one name, or what they ask for is not there."""
    if not effects:
        raise InvalidRequest("there is no effect to fit; give at least one FixedEffect or RandomEffect")
    names = [effect.name for effect in effects]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InvalidRequest(f"two effects have the name {twice!r}; each has its own")
    if not len(examples) or not examples.weight.sum() > 0:
        raise InvalidRequest("there are no rows with a weight above 0 to fit")
    for effect in effects:
        examples.shard(effect.shard)
        if isinstance(effect, RandomEffect):
            examples.entities(effect.entity)


def configurations(
    effects: Sequence[ModelEffect],
    trained: Mapping[str, FeatureIndex],
    start: Mapping[str, Mapping[str, Any]] | None = None,
) -> Mapping[str, Mapping[str, Any]]:
    """By the name of each effect: how it was trained, and the names of all features that its rows have.

    `trained` has the indexes of those that were; what stayed as it was has the names that it had at the `start`, if any.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for effect in effects:
        names: Any = (start or {}).get(effect.name, {}).get(FEATURE_NAMES)
        if effect.name in trained:
            names = sorted({name for name, term in trained[effect.name].features if (name, term) != INTERCEPT})
        told = names is not None and len(names) <= NAMES_MAX
        found[effect.name] = {**effect.told, FEATURE_NAMES: names} if told else effect.told
    return found


def _factors(kind: Normalization, moments: ColumnMoments) -> Any:
    """What each feature is divided by; 1 for those that are the same in every row."""
    if kind is Normalization.NONE:
        return np.ones(len(moments.largest))
    found = (moments.largest if kind is Normalization.MAX_MAGNITUDE else moments.deviation).copy()
    found[found == 0] = 1.0
    return found
