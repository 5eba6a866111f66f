"""Models of Photon ML's kind: generalised linear models with fixed and random effects (GLMix), in Photon's own files.

from ambry.ml import models, photon

rows = photon.read_examples("clicks/", ids=["memberId"])
effects = [photon.FixedEffect(l2=1.0), photon.RandomEffect(name="per-member", entity="memberId", l2=10.0, upper=1_000)]
model = photon.train(rows, photon.Task.LOGISTIC, effects)
photon.evaluate(model, rows, ["AUC", "AUC:memberId"])
models.publish(client, "clicks", model)
photon.open_scorer(client, "clicks").score({"memberId": "42"}, {("title", "engineer"): 1.0})

Needs `pip install 'ambry[photon]'`.
"""

from __future__ import annotations

from ambry.ml.photon.descent import Descent, descend
from ambry.ml.photon.effects import FixedEffect, Normalization, RandomEffect
from ambry.ml.photon.evaluators import evaluate, evaluator
from ambry.ml.photon.examples import INTERCEPT, Examples, FeatureIndex, examples_of
from ambry.ml.photon.glmix import train
from ambry.ml.photon.layout import read_model, write_model
from ambry.ml.photon.models import FixedModel, PhotonModel, RandomModel, Task
from ambry.ml.photon.reading import read_examples, write_examples
from ambry.ml.photon.serving import PhotonScorer, open_scorer
from ambry.ml.photon.snapshots import examples_of_snapshot

__all__ = [
    "INTERCEPT",
    "Descent",
    "Examples",
    "FeatureIndex",
    "FixedEffect",
    "FixedModel",
    "Normalization",
    "PhotonModel",
    "PhotonScorer",
    "RandomEffect",
    "RandomModel",
    "Task",
    "descend",
    "evaluate",
    "evaluator",
    "examples_of",
    "examples_of_snapshot",
    "open_scorer",
    "read_examples",
    "read_model",
    "train",
    "write_examples",
    "write_model",
]
