"""Experiments: who sees which arm, what was seen, and what it did.

    from ambry.ml import experiments

    arms = (experiments.Arm("control", 0.5), experiments.Arm("treatment", 0.5))
    experiment = experiments.Experiment(name="ranker-2", arms=arms)
    arm = experiment.arm_of(member)
    with experiments.ExposureLog(client, "ranker-2") as log:
        log.record(member, arm.name)
    found = experiments.evaluate(experiment, outcomes, metrics=["clicks"])
    found.trustworthy, found.of("clicks", "treatment").effect

Evaluating needs scipy and statsmodels: pip install 'ambry[experiments]'.
"""

from __future__ import annotations

from ambry.ml.experiments.document import Arm, Experiment, Holdout, LayerRange, check_ramp, parse_experiment, ramped
from ambry.ml.experiments.evaluation import ArmComparison, Evaluation, evaluate
from ambry.ml.experiments.exposures import Exposure, ExposureLog, first_exposures, read_exposures
from ambry.ml.experiments.statistics import Effect

__all__ = [
    "Arm",
    "ArmComparison",
    "Effect",
    "Evaluation",
    "Experiment",
    "Exposure",
    "ExposureLog",
    "Holdout",
    "LayerRange",
    "check_ramp",
    "evaluate",
    "first_exposures",
    "parse_experiment",
    "ramped",
    "read_exposures",
]
