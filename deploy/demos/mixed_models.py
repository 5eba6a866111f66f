"""Mixed models on real data that statsmodels ships, fitted by statsmodels, which GLMix has to come out as."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ambry.ml.extras import needed
from ambry.ml.photon.effects import FixedEffect, ModelEffect, RandomEffect
from ambry.ml.photon.examples import INTERCEPT, Examples, Feature, examples_of
from ambry.ml.photon.models import PhotonModel, Task
from deploy.demos.data import marriages

NOTHING = "nothing"
"""A shard without features: an effect over it is its intercept."""
FIXED_SD = 1e6
"""What the Bayesian fits know of fixed effects: nothing."""


@dataclass(frozen=True, slots=True)
class MixedModel:
    """Rows, effects with the penalties that the reference's variances are, and what the reference has found."""

    name: str
    examples: Examples
    task: Task
    effects: tuple[ModelEffect, ...]
    fixed: Mapping[Feature, float]
    random: Mapping[str, float]
    tolerance: float

    def difference(self, model: PhotonModel) -> float:
        """By how much a coefficient of a model differs from the reference at most."""
        fixed, random = model.fixed["global"], model.random["per-entity"]
        own = dict(zip(fixed.index.features, fixed.means.tolist(), strict=True))
        there = {entity: random.of(entity).get(INTERCEPT, 0.0) for entity in random.entities}
        if own.keys() != self.fixed.keys() or there.keys() != self.random.keys():
            return float("inf")
        return float(
            max(
                *(abs(own[feature] - value) for feature, value in self.fixed.items()),
                *(abs(there[entity] - value) for entity, value in self.random.items()),
            )
        )


def dietox() -> MixedModel:
    """Weights of 72 pigs over time: a linear model with an intercept of each, against the BLUPs of MixedLM."""
    data = _shipped("regression", "dietox.csv").dropna(subset=["Weight", "Time"])
    mixed = needed("statsmodels.regression.mixed_linear_model").MixedLM
    found = mixed.from_formula("Weight ~ Time", groups="Pig", data=data).fit(reml=True, method="bfgs", gtol=1e-10)
    variance = float(found.cov_re.iloc[0, 0])
    return MixedModel(
        name="dietox",
        examples=_rows(data, ["Time"], data.Weight, data.Pig),
        task=Task.LINEAR,
        effects=_effects(float(found.scale) / variance),
        fixed={INTERCEPT: float(found.fe_params["Intercept"]), ("Time", ""): float(found.fe_params["Time"])},
        random={str(pig): float(value.iloc[0]) for pig, value in found.random_effects.items()},
        tolerance=1e-6,
    )


def fair() -> MixedModel:
    """Affairs of 6,366 women: a logistic model with an intercept of each occupation, against a Bayesian MAP."""
    data = marriages()
    columns = ["age", "yrs_married", "religious", "rate_marriage"]
    response = (data.affairs > 0).astype(float)
    return _bayes("fair", "Binomial", Task.LOGISTIC, data, columns, response, data.occupation.astype(int))


def epil() -> MixedModel:
    """Seizures of 59 patients: a Poisson model with an intercept of each, against a Bayesian MAP."""
    data = _shipped("genmod", "epil.csv")
    data["treated"] = (data.trt != "placebo").astype(float)
    return _bayes("epil", "Poisson", Task.POISSON, data, ["lbase", "lage", "treated", "V4"], data.y, data.subject)


ALL = (dietox, fair, epil)


def _bayes(name: str, kind: str, task: Task, data: Any, columns: list[str], response: Any, entities: Any) -> MixedModel:
    """Against the mode that Laplace's approximation finds, at the variance that it finds."""
    module = needed("statsmodels.genmod.bayes_mixed_glm")
    ids, codes = np.unique(entities.to_numpy(), return_inverse=True)
    fixed = np.column_stack([np.ones(len(data)), data[columns].to_numpy(float)])
    random = np.eye(len(ids))[codes]
    made = getattr(module, f"{kind}BayesMixedGLM")(
        response.to_numpy(float), fixed, random, ident=np.zeros(len(ids), int), vcp_p=1, fe_p=FIXED_SD
    )
    with warnings.catch_warnings():
        # It looks for more digits than there are, and says so.
        warnings.simplefilter("ignore")
        found = made.fit_map(method="BFGS", minim_opts={"gtol": 1e-9, "maxiter": 5_000})
    return MixedModel(
        name=name,
        examples=_rows(data, columns, response, entities),
        task=task,
        effects=_effects(1 / float(np.exp(found.vcp_mean[0])) ** 2),
        fixed=dict(zip([INTERCEPT, *((column, "") for column in columns)], found.fe_mean.tolist(), strict=True)),
        random={str(id): float(value) for id, value in zip(ids, found.vc_mean, strict=True)},
        tolerance=1e-5,
    )


def _rows(data: Any, columns: list[str], response: Any, entities: Any) -> Examples:
    names: list[Feature] = [(column, "") for column in columns]
    told: list[Mapping[Feature, float]] = [
        dict(zip(names, row, strict=True)) for row in data[columns].to_numpy(float).tolist()
    ]
    shards: dict[str, list[Mapping[Feature, float]]] = {"features": told, NOTHING: [{} for _ in told]}
    return examples_of(shards, response.to_numpy(float), ids={"entity": entities.tolist()})


def _effects(l2: float) -> tuple[ModelEffect, ...]:
    return FixedEffect(), RandomEffect(name="per-entity", entity="entity", shard=NOTHING, l2=l2)


def _shipped(package: str, name: str) -> Any:
    """A table of statsmodels' own tests, which it installs."""
    root = Path(needed("statsmodels").__file__).parent
    return needed("pandas").read_csv(root / package / "tests" / "results" / name)
