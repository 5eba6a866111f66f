"""Two models of a pig's weight beside each other: what they were made from, which is better, and what comes when others do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from ambry import AlreadyExists, BlobId
from ambry.ml import experiments, health, models
from ambry.ml.experiments import Arm, Experiment, ExposureLog, StoredExperiment
from ambry.ml.models.publishing import PublishedModel
from ambry.ml.places import version_of
from ambry.ml.serving import InferenceRequest, ScoringService
from deploy.demos import pigs
from deploy.demos.stage import Stage
from deploy.demos.trail import Trail

MODEL, TEST = "pig-weights", "pig-models"
CHAMPION = f"{MODEL}@champion"
FUNCTION = "deploy.demos.pigs:make"
POLL_S = 0.1
FEW = health.parse_thresholds("values_min = 50")
"""A day of the last litters has 77 weighings."""


def lineage(stage: Stage, trail: Trail, *made: PublishedModel) -> None:
    """All that models were made from is in the store, and opens by its id."""
    trail.step("What both were made from", **{f"model_{place}": str(each) for place, each in enumerate(made, 1)})
    for each in made:
        manifest = models.open(stage.dc1, str(each)).manifest
        told = dict(word.split(":", 1) for word in manifest.code.split())
        snapshot = stage.dc1.head(version_of(manifest.snapshot))
        sizes = {name: stage.dc1.head(BlobId.parse(told[name])).size for name in ("sources", "environment")}
        stage.check(
            f"{each} was made from {manifest.snapshot}, by {told.get('job', 'this process')}",
            snapshot.size and manifest.definitions and all(sizes.values()),
            ", ".join(f"{name} of {size:,} bytes" for name, size in sizes.items()),
        )


def try_models(stage: Stage, trail: Trail, network: PublishedModel, glmix: PublishedModel, serving: str) -> None:
    """The network serves; the test says whether GLMix is better, and that moves the alias."""
    trail.step(
        "The network serves, and half of the weighings that come are scored by GLMix",
        network=str(network),
        glmix=str(glmix),
        snapshot=serving,
    )
    checked = health.promote_checked(stage.dc1, str(network), serving, why="the first")
    stage.check("what it will be asked for is what it was trained on", checked.report.healthy, checked.page.name)
    stored = started(stage, Experiment(
        name=TEST, arms=(Arm("network", 0.5, str(network)), Arm("glmix", 0.5, str(glmix))), metrics=("error",)
    ))  # fmt: skip
    digest = hashlib.sha256(stored.experiment.encode()).hexdigest()
    trail.out("experiment", f"{stored} sha256:{digest}", here=str(stored.id))
    rows = pigs.rows_of("serving")
    outcomes: dict[str, list[Any]] = {"unit": [], "error": []}
    arms: dict[int, str] = {}
    log = ExposureLog(stage.dc1, TEST)
    with ScoringService(stage.dc1, MODEL, experiment=str(stored), exposures=log, function=FUNCTION) as service:
        for request, unit, weight in requests(rows):
            scored = service.score(request)
            arms[unit] = scored.arm
            outcomes["unit"].append(unit)
            outcomes["error"].append(abs(float(scored.outputs["weight"][0]) - weight))
    own = {unit: getattr(stored.experiment.arm_of(unit), "name", "") for unit in arms}
    stage.check("each is scored by the arm that the document gives it", arms == own, f"{len(arms)} weighings")
    joined = experiments.joined(experiments.read_exposures(stage.dc1, TEST), outcomes, metrics=["error"])
    found = experiments.evaluate(stored.experiment, joined, arm="arm")
    stage.check("the split is what it should be", found.trustworthy, dict(found.counts))
    effect = found.of("error", "glmix").effect
    stage.check(
        "GLMix is nearer to the scales, whenever one looks",
        effect.difference < 0 and effect.always_p < found.alpha,
        f"off by {effect.control_mean:.2f} -> {effect.mean:.2f} kg, always-valid p {effect.always_p:.1e}",
    )
    decided = experiments.decide(stage.dc1, stored, found, arm="glmix", lower_is_better=True, why="as planned")
    trail.out("evaluation", decided.report.name, here=str(stage.dc1.head(decided.report).id))
    now = models.open(stage.dc1, CHAMPION)
    stage.check("the numbers have moved the alias", now.version == glmix.version, f"{CHAMPION} is {now}")
    trail.out("champion", str(now))


def started(stage: Stage, experiment: Experiment) -> StoredExperiment:
    """The experiment, exposed to everybody; the one that is there where it was started before."""
    try:
        return experiments.start(stage.dc1, experiment)
    except AlreadyExists:
        stored = experiments.load(stage.dc1, f"{experiment.name}@1")
        stage.check("the experiment that was started before is this one", stored.experiment == experiment, stored)
        return stored


def requests(rows: dict[str, Any]) -> Iterator[tuple[InferenceRequest, int, float]]:
    """A request for each row, its unit, and the weight that the scales showed."""
    names = [name for name in rows if name not in (pigs.ENTITY, "weight")]
    for row, unit in enumerate(rows[pigs.ENTITY].tolist()):
        inputs = {name: rows[name][row : row + 1] for name in names}
        yield InferenceRequest(inputs, parameters={"unit": unit}), unit, float(rows["weight"][row])


def watch_models(
    stage: Stage, trail: Trail, network: PublishedModel, glmix: PublishedModel, days: dict[str, str]
) -> None:
    """On the day that other litters come, the features are not those of the training, and the alias goes back."""
    trail.step("GLMix serves, and the pigs of the last litters come", serving=days["serving"], later=days["later"])
    with ScoringService(stage.dc1, MODEL, function=FUNCTION, poll_s=POLL_S) as service:
        serving = service.serving()["champion"]
        stage.check("the service scores by GLMix", serving.version == glmix.version, serving)
        alike = health.check_model(stage.dc1, CHAMPION, days["serving"], thresholds=FEW)
        stage.check("the pigs that it knows are those of its training", alike.healthy, alike.faults[:1])
        later = health.check_model(stage.dc1, CHAMPION, days["later"], thresholds=FEW)
        strange = [fault for fault in later.faults if fault.startswith("pig")]
        stage.check("those that come are not", strange, strange[:1])
        before, after = (error_of(service, day) for day in ("serving", "later"))
        stage.check("and GLMix is further from the scales", after > before, f"off by {before:.2f} -> {after:.2f} kg")
        models.roll_back(stage.dc1, MODEL, why="; ".join(sorted(strange))[:200])
        stage.until("the service hears of it", lambda: service.serving()["champion"].version == network.version)
        stage.check("rolled back, the service scores by the network", True, service.serving()["champion"])
        network_after = error_of(service, "later")
        stage.say(f"of these pigs, too, which it never saw, it is off by {network_after:.2f} kg")
    stage.until("dc2 hears of it", lambda: models.open(stage.dc2, CHAMPION).version == network.version)
    moves = stage.dc1.alias_history(MODEL, "champion")
    stage.check("why it went back is in the history of the alias", moves[0].why.startswith("pig"), moves[0].why[:80])
    trail.out("champion at the end", str(models.open(stage.dc2, CHAMPION)))


def error_of(service: ScoringService, day: str) -> float:
    """By how many kg the model that serves is off, on average over a day."""
    rows = pigs.rows_of(day)
    inputs = {name: value for name, value in rows.items() if name not in (pigs.ENTITY, "weight")}
    scored = service.score(InferenceRequest(inputs))
    return float(np.abs(scored.outputs["weight"] - rows["weight"]).mean())
