"""The whole of Pro-ML on its engines: features, snapshots by Spark on YARN, GLMix, a network by TonY, a test, drift, and back.

Every step is told with the ids of what it takes and what it makes, and everything is done twice: the second time comes out at
the same ids. All work of the second time is done again, training from its first step on.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import numpy as np

from ambry import AlreadyExists, VersionRef
from ambry.errors import AmbryError
from ambry.ml import features, models, photon, snapshots, training
from ambry.ml.extras import needed
from ambry.ml.models.publishing import PublishedModel
from ambry.ml.places import version_of
from ambry.ml.provenance import code_text, commit_of
from ambry.ml.snapshots.writing import version_at
from ambry.ml.training.environments import list_packages, store_tree
from ambry.ml.training.launchers.spark import spark_conf
from ambry.ml.training.launchers.tony import TonyLauncher
from ambry.with_parent import with_parent
from deploy.demos import pigs
from deploy.demos.pig_trial import MODEL, lineage, try_models, watch_models
from deploy.demos.stage import DemonstrationFailed, Stage
from deploy.demos.trail import Trail, compare_stores, compare_walks
from deploy.engines.hadoop import yarn
from deploy.engines.jars import EngineError, fetch
from deploy.engines.processes import JAVA_OPTIONS

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("train_pigs.py")
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
LIBRARIES = (
    "prometheus_client",
    "torch",
    "pyspark",
    "pyarrow",
    "glum",
    "tabmat",
    "fastavro",
    "safetensors",
    "statsmodels",
    "pandas",
    "scipy",
)
DEFINITIONS, TABLE, SNAPSHOTS = "pig-features", "weighings", "pigs"
SPARK_TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True)
class Engines:
    """Where YARN's configuration, TonY's jars and the environment of workers are."""

    hadoop_conf: Path
    tony: Path
    environment: Path


def run(stage: Stage, *, twice: bool = True, ids: Path | None = None) -> None:
    """The whole demonstration. Raises DemonstrationFailed for what is not there, naming how to get it."""
    try:
        for library in LIBRARIES:
            needed(library)
    except ModuleNotFoundError as missing:
        stage.skip("the lifecycle", str(missing), missing.name or "torch")
        return
    try:
        jars = fetch("tony", stage.say)
        stage.step("Start YARN beside the store, and make the environment that workers get")
        with yarn(stage.directory / "yarn", stage.say) as cluster:
            engines = Engines(cluster.conf, jars, _environment(stage.directory / "environment"))
            stage.say(f"a ResourceManager at {cluster.url} with one node")
            first = walk(stage, engines)
            if not twice:
                _seconds(stage, first)
            else:
                click.echo("\nThe same once more, in the same store.")
                second = walk(stage, engines)
                stage.step("What the second time came out at")
                compare_walks(stage, first, second)
                _seconds(stage, first, second)
    except (EngineError, ModuleNotFoundError, AmbryError) as why:
        raise DemonstrationFailed(str(why)) from None
    if ids is not None:
        compare_stores(stage, first, ids)


def walk(stage: Stage, engines: Engines) -> Trail:
    """All steps, once."""
    trail = Trail(stage)
    definitions = _features(stage, trail)
    days = _snapshots(stage, trail, engines, definitions)
    network = _network(stage, trail, engines, days["training"])
    glmix = _glmix(stage, trail, days["training"])
    lineage(stage, trail, network, glmix)
    try_models(stage, trail, network, glmix, days["serving"])
    watch_models(stage, trail, network, glmix, days)
    trail.end_step()
    return trail


def _environment(root: Path) -> Path:
    """A virtual environment with ambry in it; large libraries are those of the node, as an administrator lays them."""
    venv.create(root, symlinks=True)
    [site] = root.glob("lib/*/site-packages")
    shutil.copytree(ROOT / "ambry", site / "ambry", ignore=shutil.ignore_patterns("__pycache__"))
    (site / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n", "utf-8")
    return root


def _features(stage: Stage, trail: Trail) -> features.LoadedFeatures:
    digest = hashlib.sha256(pigs.DEFINITIONS.encode()).hexdigest()
    trail.step("Publish the vocabularies and the typed features of a pig's weight", text=f"sha256:{digest}")
    metadata = features.FeatureMetadata.of([features.parse_definitions(pigs.DEFINITIONS, pigs.NAMESPACE)])
    features.publish(stage.dc1, DEFINITIONS, metadata)
    loaded = features.load(stage.dc1, DEFINITIONS)
    trail.out(
        "definitions", f"{loaded.place} sha256:{loaded.digest}", here=str(stage.dc1.head(VersionRef(DEFINITIONS)).id)
    )
    return loaded


def _snapshots(stage: Stage, trail: Trail, engines: Engines, definitions: features.LoadedFeatures) -> dict[str, str]:
    table = _table(stage)
    trail.step("Spark on YARN makes a snapshot of each day of a table", table=table, definitions=definitions.place)
    times = {day: NOON + timedelta(days=place) for place, day in enumerate(pigs.DAYS)}
    conf = spark_conf(
        master="yarn",
        workers=1,
        name="ambry-pigs",
        jars=Path(needed("pyspark").__file__).parent / "jars",
        settings={
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            **{f"spark.{who}.extraJavaOptions": " ".join(JAVA_OPTIONS) for who in ("driver", "executor", "yarn.am")},
            "spark.executor.cores": "2",
            "spark.executor.memoryOverhead": "512m",
            "spark.executorEnv.PYTHONPATH": str(ROOT),
            "spark.sql.shuffle.partitions": "2",
            "spark.yarn.stagingDir": f"file://{stage.directory / 'staging'}",
        },
    )
    written = stage.directory / "spark.json"
    written.write_text(json.dumps(conf), "utf-8")
    days = [f"{pigs.DAYS[day]}@{time.isoformat()}" for day, time in times.items()]
    _driver(stage, engines, str(written), table, definitions.place, SNAPSHOTS, *days)
    made: dict[str, str] = {}
    for day, time in times.items():
        version = made[day] = f"{SNAPSHOTS}@{version_at(time)}"
        with snapshots.open(stage.dc1, version) as snapshot:
            found = snapshot.table()
        stage.check(
            f"{day}: each value is that of pandas over the same table", same_rows(found, pigs.rows_of(day)), len(found)
        )
        info = stage.dc1.head(version_of(version))
        trail.out(f"snapshot {day}", f"{version} xxh3:{info.checksum}", here=str(info.id))
    return made


def _table(stage: Stage) -> str:
    """The raw table as the first version of a dataset, which it stays."""
    sink = io.BytesIO()
    pigs.weighings().to_parquet(sink, index=False)
    try:
        stage.dc1.create_dataset(TABLE, "MONOTONIC")
        stage.dc1.put_version(TABLE, sink.getvalue(), "1", content_type="application/vnd.apache.parquet")
    except AlreadyExists:
        if stage.dc1.get_bytes(VersionRef(TABLE, "1")) != sink.getvalue():
            raise DemonstrationFailed(f"{TABLE}@1 is another table") from None
    return f"{TABLE}@1"


def _driver(stage: Stage, engines: Engines, *arguments: str) -> None:
    """Run Spark's driver, a process of its own. Raises DemonstrationFailed with what it said last."""
    environment = {
        "AMBRY_ENDPOINTS": stage.dc1.endpoints[0],
        "AMBRY_KEY": stage.cluster.key or "",
        "HADOOP_CONF_DIR": str(engines.hadoop_conf),
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore::FutureWarning",  # Of pyspark, about pandas.
    }
    command = [sys.executable, "-m", "deploy.demos.spark_pigs", *arguments]
    log = stage.directory / "spark.log"
    with log.open("w") as sink:
        try:
            done = subprocess.run(
                with_parent(command, signal.SIGKILL),
                env={**os.environ, **environment},
                cwd=stage.directory,
                stdout=subprocess.PIPE,
                stderr=sink,
                text=True,
                timeout=SPARK_TIMEOUT_S,
                check=False,
                start_new_session=True,  # nosec B603 # our own interpreter and module
            )
        except subprocess.TimeoutExpired:
            raise DemonstrationFailed(f"Spark has not written the snapshots within {SPARK_TIMEOUT_S:.0f} s") from None
    if done.returncode:
        last = "\n".join(log.read_text("utf-8", "replace").splitlines()[-8:])
        raise DemonstrationFailed(f"Spark did not write the snapshots:\n{last}")
    stage.say(done.stdout.strip())


def same_rows(table: Any, rows: dict[str, Any]) -> bool:
    """Whether the table of a snapshot says what is said by column, to the last bit."""
    if set(table.column_names) != set(rows):
        return False
    return all(
        np.array_equal(np.array(table.column(name).combine_chunks().to_pylist()), value) for name, value in rows.items()
    )


def _network(stage: Stage, trail: Trail, engines: Engines, snapshot: str) -> PublishedModel:
    trail.step(
        "TonY on the same YARN trains a network of what is known of any pig", snapshot=snapshot, script=SCRIPT.name
    )
    said: list[str] = []
    wanted = training.WhatToRun(
        script=SCRIPT,
        arguments=[*(word for urn in pigs.FEATURES for word in ("--feature", urn)), "--response", pigs.WEIGHT],
        workers=2,
        venv=engines.environment,
        snapshot=snapshot,
        publish=MODEL,
        environ={
            "AMBRY_CACHE_DIR": str(stage.directory / "blobs"),
            "AMBRY_TRAIN_NODE_CACHE": str(stage.directory / "trees"),
        },
    )
    launcher = TonyLauncher(jars=engines.tony, hadoop_conf=engines.hadoop_conf)
    job = training.prepare_job(stage.dc1, wanted, said.append, launcher=launcher)
    try:
        # Else it would go on from its last checkpoint, and have nothing to do.
        ended = training.run_job(stage.dc1, job, launcher, fresh=True, tell=said.append, show=said.append)
    except training.LaunchFailed as failed:
        raise DemonstrationFailed("\n".join([str(failed), *said[-8:]])) from None
    begun = sum(f"of 2 begins at step 0 of {snapshot}" in line for line in said)
    stage.check("two workers begin at step 0", begun == 2, begun)
    trail.out("environment", f"sha256:{job.environment.sha256}", here=job.environment.id)
    trail.out("sources", f"sha256:{job.sources.sha256}", here=job.sources.id)
    trail.out("job", job.job)
    if ended.model is None:
        raise DemonstrationFailed(f"{job.job} has published nothing")
    _published(trail, "network", ended.model)
    return ended.model


def _glmix(stage: Stage, trail: Trail, snapshot: str) -> PublishedModel:
    trail.step("Photon's GLMix, with coefficients of each pig, is trained on the same snapshot", snapshot=snapshot)
    with snapshots.open(stage.dc1, snapshot) as opened:
        shards = {"features": pigs.FEATURES, "growth": [pigs.urn("week")]}
        rows = photon.examples_of_snapshot(opened, shards, pigs.WEIGHT, ids={"pig": pigs.PIG})
        definitions = opened.about.definitions
    effects = [
        photon.FixedEffect(l2=0.01),
        photon.RandomEffect(name="per-pig", entity="pig", shard="growth", l2=0.3),
    ]
    model = photon.train(rows, photon.Task.LINEAR, effects, name="pigs")
    made = models.publish(
        stage.dc1,
        MODEL,
        model,
        once=True,
        features=[*pigs.FEATURES, pigs.PIG],
        definitions=definitions,
        snapshot=snapshot,
        code=code_of(stage),
        metrics={"error": float(np.abs(model.scores(rows) - rows.response).mean())},
        note="a linear model with coefficients of each pig",
    )
    _published(trail, "glmix", made)
    return made


def code_of(stage: Stage) -> str:
    """What trains in this process, as a job's lineage says it: its sources, its packages, its commit."""
    sources = store_tree(stage.dc1, "sources", Path(__file__).parent, Path(__file__).name)
    commit = commit_of(Path(__file__).parent)
    return code_text(sources=sources.id, environment=list_packages(stage.dc1).id, git=commit)


def _published(trail: Trail, what: str, made: PublishedModel) -> None:
    parts = "".join(f"{part.path} {part.sha256}\n" for part in made.manifest.parts)
    error = made.manifest.metrics["error"]
    trail.stage.say(f"{made}: {made.manifest.note}; off by {error:.2f} kg where it was trained")
    digest = hashlib.sha256(parts.encode()).hexdigest()
    trail.out(f"{what}", f"{made} parts sha256:{digest}", here=f"manifest sha256:{made.digest}")


def _seconds(stage: Stage, *walks: Trail) -> None:
    for title in walks[0].seconds:
        stage.say(f"{''.join(f'{each.seconds[title]:6.1f} s' for each in walks)}  {title}")
    stage.say(f"{''.join(f'{sum(each.seconds.values()):6.1f} s' for each in walks)}  all of it")
