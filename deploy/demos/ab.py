"""An A/B test of two models: who sees which, what came of it, and the alias that follows the numbers."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np

from ambry.ml import models
from ambry.ml.experiments import Arm, Experiment, ExposureLog, evaluate, first_exposures, ramped, read_exposures
from ambry.ml.extras import needed
from deploy.demos.data import digits
from deploy.demos.stage import Stage

UNITS = np.arange(200_000)
UPPER = 32


def run(stage: Stage) -> None:
    """The whole demonstration."""
    small, large = _models(stage)
    experiment = _experiment(stage)
    _test(stage, experiment, small, large)


def _models(stage: Stage) -> tuple[Any, Any]:
    stage.step("Train two classifiers of digits, and publish them")
    data, target = digits()
    linear = needed("sklearn.linear_model", "'ambry[demos]'")
    half = len(data) // 2
    small = linear.LogisticRegression(max_iter=2_000).fit(data[:half, :UPPER], target[:half])
    large = linear.LogisticRegression(max_iter=2_000).fit(data[:half], target[:half])
    for estimator, note in ((small, "the upper half of the pixels"), (large, "all pixels")):
        weights = {"coef": estimator.coef_, "intercept": estimator.intercept_}
        made = models.publish(stage.dc1, "digits", weights, note=note)
        stage.say(f"{made}: {note}")
    models.promote(stage.dc1, "digits@1.0.0", why="the first")
    return small, large


def _experiment(stage: Stage) -> Experiment:
    stage.step("Split units, and ramp from 10 % to 50 %")
    arms = (Arm("small", 0.5, "digits@1.0.0"), Arm("large", 0.5, "digits@1.1.0"))
    experiment = Experiment(name="pixels", arms=arms, exposed=0.1, metrics=("right",))
    before, wide = experiment.arms_of(UNITS), ramped(experiment, 0.5)
    after = wide.arms_of(UNITS)
    stage.check("nobody of 200,000 moves to another arm or back", bool(np.all((before == -1) | (before == after))))
    stage.check("the same units in another process", _elsewhere() == [_name(wide.arm_of(unit)) for unit in range(20)])
    other = Experiment(name="another", arms=arms)
    correlation = float(np.corrcoef(ramped(wide, 1.0).arms_of(UNITS), other.arms_of(UNITS))[0, 1])
    stage.check("two experiments know nothing of each other", abs(correlation) < 0.02, f"r = {correlation:.4f}")
    return ramped(wide, 1.0)


def _elsewhere() -> list[str]:
    code = (
        "from ambry.ml.experiments import Arm, Experiment\n"
        "arms = (Arm('small', 0.5), Arm('large', 0.5))\n"
        "experiment = Experiment(name='pixels', arms=arms, exposed=0.5)\n"
        "print([getattr(experiment.arm_of(unit), 'name', '') for unit in range(20)])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # nosec B603 # our own code
    names: list[str] = [name.strip(" '") for name in told.stdout.strip()[1:-1].split(",")]
    return names


def _name(arm: Arm | None) -> str:
    return "" if arm is None else arm.name


def _test(stage: Stage, experiment: Experiment, small: Any, large: Any) -> None:
    stage.step("Serve the other half of the digits, and evaluate")
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
    own = {unit: _name(experiment.arm_of(unit)) for unit in seen}
    stage.check("in the arms that it assigns itself", own == {unit: each.arm for unit, each in seen.items()})
    rows = {"unit": list(right), "arm": [seen[unit].arm for unit in right], "right": list(right.values())}
    found = evaluate(experiment, rows, arm="arm")
    split = f"p = {found.sample_ratio_p:.2f} of {dict(found.counts)}"
    stage.check("the sample ratio is what it should be", found.sample_ratio_p > 0.01, split)
    effect = found.of("right", "large").effect
    stage.check("the challenger is better", effect.difference > 0 and effect.p < 1e-6, _told(effect))
    stage.check("also for who looks at it every day", effect.always_p < 1e-6, f"always-valid p = {effect.always_p:.0e}")
    _decide(stage, _told(effect))


def _decide(stage: Stage, why: str) -> None:
    stage.step("Promote the winner, and take it back")
    models.promote(stage.dc1, "digits@1.1.0", why=f"pixels: right {why}")
    stage.until("the winner in dc2", lambda: models.open(stage.dc2, "digits@champion").version == "1.1.0")
    stage.check(
        "the champion of both datacenters is the winner", models.open(stage.dc1, "digits@champion").version == "1.1.0"
    )
    models.roll_back(stage.dc1, "digits", why="to show that it can be")
    stage.check("the rollback is one move", models.open(stage.dc1, "digits@champion").version == "1.0.0")
    stage.check(
        "the numbers that decided are in the history", "p = " in stage.dc1.alias_history("digits", "champion")[1].why
    )


def _told(effect: Any) -> str:
    return f"{effect.control_mean:.3f} -> {effect.mean:.3f}, p = {effect.p:.0e}"
