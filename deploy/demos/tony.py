"""Training as TonY does it: a gang of workers, killed in the middle with a data node, ends as if nothing had been.

By torchrun on this machine, and by TonY itself on a YARN of the demonstration's own, where Java and Maven are.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ambry.ml import models, training
from ambry.ml.extras import needed
from ambry.ml.training.launchers import Launcher
from ambry.ml.training.launchers.tony import TonyLauncher
from ambry.ml.training.launchers.torchrun import TorchrunLauncher
from ambry.tensorboard import open_by_fsspec
from deploy.demos.stage import Stage, environment
from deploy.engines.hadoop import yarn
from deploy.engines.jars import EngineError, fetch

SCRIPT = Path(__file__).with_name("train_digits.py")
DIES_AT, RESUMES_AT = 35, 30


def run(stage: Stage) -> None:
    """The whole demonstration."""
    try:
        for library in ("torch", "sklearn"):
            needed(library)
    except ModuleNotFoundError as missing:
        stage.skip("training", str(missing), missing.name or "torch")
        return
    stage.step("Train digits by torchrun: two workers, a checkpoint of torch in the store every 10 steps")
    calm, _ = _job(stage, TorchrunLauncher(), "calm")
    digest = calm.model.manifest.params["parameters"]
    stage.say(f"{calm.model}, accuracy {calm.model.manifest.metrics['accuracy']:.3f}, parameters {digest[:16]}...")
    _killed(stage, TorchrunLauncher(), "torchrun", digest)
    _lineage(stage, calm)
    _tensorboard(stage, calm)
    _tony(stage, digest)


def _job(stage: Stage, launcher: Launcher, name: str, *arguments: str) -> tuple[Any, list[str]]:
    """The same script each time; the job as it ended, and what was said."""
    said: list[str] = []
    wanted = training.WhatToRun(
        script=SCRIPT,
        arguments=arguments,
        workers=2,
        name=name,
        publish="digits",
        python=sys.executable,
        environ={
            "AMBRY_CACHE_DIR": str(stage.directory / "blobs"),
            "AMBRY_TRAIN_NODE_CACHE": str(stage.directory / "trees"),
            "PYTHONPATH": str(Path(training.__file__).parents[3]),
        },
    )
    job = training.prepare_job(stage.dc1, wanted, said.append, launcher=launcher)
    return training.run_job(stage.dc1, job, launcher, tell=said.append, show=said.append), said


def _killed(stage: Stage, launcher: Launcher, engine: str, digest: str) -> None:
    victim = stage.cluster.nodes("dc1")[1].name
    stage.step(f"The same by {engine}, and at step {DIES_AT} SIGKILL to a worker and to the data node {victim}")
    once = stage.directory / f"died-by-{engine}"
    arguments = ("--die-at", str(DIES_AT), "--once", str(once), "--also-kill", str(stage.cluster.pid(victim)))
    try:
        ended, said = _job(stage, launcher, f"killed-by-{engine}", *arguments)
    finally:
        stage.cluster.start(victim)
    resumed = any(f"worker 0 of 2 begins at step {RESUMES_AT}, by {engine}" in line for line in said)
    found = ended.model.manifest.params["parameters"]
    stage.check(f"it goes on at step {RESUMES_AT}", once.exists() and resumed)
    stage.check(
        "it ends with the parameters of the undisturbed run, to the last bit", found == digest, f"{found[:16]}..."
    )


def _lineage(stage: Stage, calm: Any) -> None:
    stage.step("What the model was made from")
    manifest = models.open(stage.dc1, str(calm.model)).manifest
    made = manifest.params["training"]
    stage.say(manifest.code)
    stage.check("it names its job and script", (made["job"], made["script"]) == ("calm", SCRIPT.name))
    archive = stage.dc1.get_bytes(made["sources"])
    stage.check("its sources are in the store", SCRIPT.name.encode() in archive, f"{len(archive):,} bytes")
    packages = stage.dc1.get_bytes(made["environment"]).decode().splitlines()
    stage.check(
        "and so are the names of its packages", any(line.startswith("torch==") for line in packages), len(packages)
    )


def _tensorboard(stage: Stage, calm: Any) -> None:
    stage.step("TensorBoard reads the run from the store, unmodified")
    try:
        reader = needed("tensorboard.backend.event_processing.event_accumulator")
    except ModuleNotFoundError as missing:
        stage.skip("TensorBoard", str(missing), "tensorboard")
        return
    with environment(AMBRY_ENDPOINTS=",".join(stage.dc1.endpoints), AMBRY_KEY=stage.cluster.key or ""):
        open_by_fsspec()
        found = reader.EventAccumulator(f"{calm.job.folder}/tensorboard")
        found.Reload()
    steps = [each.step for each in found.Scalars("loss")]
    stage.check("it has a point for each checkpoint", steps == [10, 20, 30, 40, 50, 60], steps)


def _tony(stage: Stage, digest: str) -> None:
    try:
        jars = fetch("tony", stage.say)
        with yarn(stage.directory / "yarn", stage.say) as cluster:
            _killed(stage, TonyLauncher(jars=jars, hadoop_conf=cluster.conf), "tony", digest)
    except EngineError as lacking:
        stage.skip("TonY", str(lacking), "tony")
