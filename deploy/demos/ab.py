"""An A/B test of two models: who sees which, what came of it, and the alias that follows the numbers."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np

from ambry.ml import experiments, models
from ambry.ml.experiments import (
    Arm,
    Evaluation,
    Experiment,
    ExposureLog,
    StoredExperiment,
    evaluate,
    first_exposures,
    read_exposures,
)
from ambry.ml.extras import needed
from deploy.demos.data import digits
from deploy.demos.stage import Stage, environment

UNITS = np.arange(200_000)
ASKED = 2_000
"""Units that another process is asked for."""
UPPER = 32


def run(stage: Stage) -> None:
    """The whole demonstration."""
    small, large = _models(stage)
    stored = _experiment(stage)
    _test(stage, stored, small, large)


def _models(stage: Stage) -> tuple[Any, Any]:
    stage.step("Train two classifiers of digits, and publish them")
    data, target = digits()
    linear = needed("sklearn.linear_model")
    half = len(data) // 2
    small = linear.LogisticRegression(max_iter=2_000).fit(data[:half, :UPPER], target[:half])
    large = linear.LogisticRegression(max_iter=2_000).fit(data[:half], target[:half])
    for estimator, note in ((small, "the upper half of the pixels"), (large, "all pixels")):
        weights = {"coef": estimator.coef_, "intercept": estimator.intercept_}
        made = models.publish(stage.dc1, "digits", weights, note=note)
        stage.say(f"{made}: {note}")
    models.promote(stage.dc1, "digits@1.0.0", why="the first")
    return small, large


def _experiment(stage: Stage) -> StoredExperiment:
    stage.step("Split units, and ramp from 10 % to 50 % and to all")
    arms = (Arm("small", 0.5, "digits@1.0.0"), Arm("large", 0.5, "digits@1.1.0"))
    narrow = experiments.start(stage.dc1, Experiment(name="pixels", arms=arms, exposed=0.1, metrics=("right",)))
    wide = experiments.ramp(stage.dc1, "pixels", 0.5)
    before, after = narrow.experiment.arms_of(UNITS), wide.experiment.arms_of(UNITS)
    told = f"{(before >= 0).mean():.1%} -> {(after >= 0).mean():.1%}"
    stage.check(
        "nobody of 200,000 moves to another arm or back", bool(np.all((before == -1) | (before == after))), told
    )
    stage.until("the experiment in dc2", lambda: experiments.load(stage.dc2, "pixels@2").place == wide.place)
    own = [_name(wide.experiment.arm_of(unit)) for unit in range(ASKED)]
    stage.check("another process that reads it in dc2 assigns the same units", _elsewhere(stage) == own, f"{ASKED:,}")
    whole = experiments.ramp(stage.dc1, "pixels", 1.0)
    other = Experiment(name="another", arms=arms)
    correlation = float(np.corrcoef(whole.experiment.arms_of(UNITS), other.arms_of(UNITS))[0, 1])
    stage.check("two experiments know nothing of each other", abs(correlation) < 0.02, f"r = {correlation:.4f}")
    return whole


def _elsewhere(stage: Stage) -> list[str]:
    code = (
        "import json\n"
        "from ambry import AmbryClient\n"
        "from ambry.ml import experiments\n"
        "with AmbryClient.from_env() as client:\n"
        "    experiment = experiments.load(client, 'pixels@2').experiment\n"
        f"print(json.dumps([getattr(experiment.arm_of(unit), 'name', '') for unit in range({ASKED})]))"
    )
    [frontend] = stage.cluster.frontends("dc2")
    with environment(AMBRY_ENDPOINTS=frontend.url, AMBRY_KEY=stage.cluster.key or ""):
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # nosec B603 # our own code
    names: list[str] = json.loads(told.stdout)
    return names


def _name(arm: Arm | None) -> str:
    return "" if arm is None else arm.name


def _test(stage: Stage, stored: StoredExperiment, small: Any, large: Any) -> None:
    stage.step("Serve the other half of the digits, and evaluate")
    experiment = stored.experiment
    data, target = digits()
    half = len(data) // 2
    right = {}
    with ExposureLog(stage.dc1, "pixels") as log:
        for unit in range(half, len(data)):
            arm = experiment.arm_of(unit)
            if arm is None:
                continue
            log.record(unit, arm.name)
            row = data[unit : unit + 1, :UPPER] if arm.name == "small" else data[unit : unit + 1]
            guess = (small if arm.name == "small" else large).predict(row)[0]
            right[unit] = int(guess == target[unit])
    stage.until("the exposures in dc2", lambda: len(list(read_exposures(stage.dc2, "pixels"))) == len(right))
    seen = first_exposures(read_exposures(stage.dc2, "pixels"))
    stage.check("the other datacenter saw every exposure", set(seen) == set(right), len(seen))
    stage.until("all of the experiment in dc2", lambda: experiments.load(stage.dc2, "pixels").place == stored.place)
    there = experiments.load(stage.dc2, "pixels").experiment
    own = {unit: _name(there.arm_of(unit)) for unit in seen}
    stage.check("in the arms that it assigns itself", own == {unit: each.arm for unit, each in seen.items()})
    rows = {"unit": list(right), "arm": [seen[unit].arm for unit in right], "right": list(right.values())}
    found = evaluate(experiment, rows, arm="arm")
    split = f"p = {found.sample_ratio_p:.2f} of {dict(found.counts)}"
    stage.check("the sample ratio is what it should be", found.sample_ratio_p > 0.01, split)
    effect = found.of("right", "large").effect
    stage.check("the challenger is better", effect.difference > 0 and effect.p < 1e-6, _told(effect))
    stage.check("also for who looks at it every day", effect.always_p < 1e-6, f"always-valid p = {effect.always_p:.0e}")
    _decide(stage, stored, found)


def _decide(stage: Stage, stored: StoredExperiment, found: Evaluation) -> None:
    stage.step("Promote the winner, and take it back")
    experiments.decide(stage.dc1, stored, found, arm="large", why="as planned")
    stage.until("the winner in dc2", lambda: models.open(stage.dc2, "digits@champion").version == "1.1.0")
    champion = models.open(stage.dc1, "digits@champion")
    stage.check("the champion of both datacenters is the winner", champion.version == "1.1.0", champion)
    why = stage.dc1.alias_history("digits", "champion")[0].why
    stage.check("the numbers that decided are in the history", "always-valid p" in why, why)
    models.roll_back(stage.dc1, "digits", why="to show that it can be")
    stage.check("the rollback is one move", models.open(stage.dc1, "digits@champion").version == "1.0.0")
    stage.until("the rollback in dc2", lambda: models.open(stage.dc2, "digits@champion").version == "1.0.0")


def _told(effect: Any) -> str:
    return f"{effect.control_mean:.3f} -> {effect.mean:.3f}, p = {effect.p:.0e}"
