"""Experiments: who sees which arm, what was seen, and what it did.

    from ambry.ml import experiments

    arms = (experiments.Arm("control", 0.5, "ranker@1.4.0"), experiments.Arm("treatment", 0.5, "ranker@2.0.0"))
    stored = experiments.start(client, experiments.Experiment(name="ranker-2", arms=arms, exposed=0.1))
    arm = stored.experiment.arm_of(member)
    with experiments.ExposureLog(client, "ranker-2") as log:
        log.record(member, arm.name, {"country": "de"})
    stored = experiments.ramp(client, "ranker-2", 0.5)
    rows = experiments.joined(experiments.read_exposures(client, "ranker-2"), outcomes, metrics=["clicks"])
    found = experiments.evaluate(stored.experiment, rows, arm="arm", metrics=["clicks"])
    experiments.decide(client, stored, found, arm="treatment")
    experiments.stop(client, "ranker-2")

Evaluating needs scipy and statsmodels: pip install 'ambry[experiments]'.
"""

from __future__ import annotations

from ambry.ml.experiments.decision import DecisionRefused, ExperimentDecision, ModelMove, decide, keep_report
from ambry.ml.experiments.document import Arm, Experiment, Holdout, LayerRange, check_ramp, parse_experiment, ramped
from ambry.ml.experiments.evaluation import ArmComparison, Evaluation, evaluate
from ambry.ml.experiments.exposures import Exposure, ExposureLog, first_exposures, read_exposures
from ambry.ml.experiments.following import ExperimentWatch
from ambry.ml.experiments.joining import joined
from ambry.ml.experiments.layers import StretchTaken
from ambry.ml.experiments.report import render_report
from ambry.ml.experiments.statistics import Effect
from ambry.ml.experiments.store import StoredExperiment, list_experiments
from ambry.ml.experiments.store import load_experiment as load
from ambry.ml.experiments.store import ramp_experiment as ramp
from ambry.ml.experiments.store import start_experiment as start
from ambry.ml.experiments.store import stop_experiment as stop

__all__ = [
    "Arm",
    "ArmComparison",
    "DecisionRefused",
    "Effect",
    "Evaluation",
    "Experiment",
    "ExperimentDecision",
    "ExperimentWatch",
    "Exposure",
    "ExposureLog",
    "Holdout",
    "LayerRange",
    "ModelMove",
    "StoredExperiment",
    "StretchTaken",
    "check_ramp",
    "decide",
    "evaluate",
    "first_exposures",
    "joined",
    "keep_report",
    "list_experiments",
    "load",
    "parse_experiment",
    "ramp",
    "ramped",
    "read_exposures",
    "render_report",
    "start",
    "stop",
]

list = list_experiments
"""Not among the names of `import *`, which would hide the builtin of who says so."""
