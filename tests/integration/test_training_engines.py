"""One script on every engine, unchanged, with the outcome of an undisturbed run where a worker and a data node are killed.

torch, TensorFlow and Spark where they are installed, and TonY on a YARN of our own; what is not there is skipped, and said.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from ambry import AmbryClient
from ambry.ml import training
from ambry.ml.training.launchers import Launcher
from ambry.ml.training.launchers.spark import SparkLauncher
from ambry.ml.training.launchers.tony import TonyLauncher
from ambry.ml.training.launchers.torchrun import TorchrunLauncher
from ambry.tensorboard import open_by_fsspec
from deploy.engines import hadoop
from deploy.engines.jars import EngineError
from deploy.local_cluster import LocalCluster
from tests.support import launcher_golden
from tests.support.clusters import running_cluster
from tests.support.kafka_broker import jars_or_skip
from tests.support.killed_training import SPARK_BEGINS, spark_on_yarn
from tests.support.tensorboard_program import tensorboard
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine
pytest.importorskip("torch", reason="torch is not installed; `make engines` does it")
pytest.importorskip("sklearn", reason="sklearn is not installed; `make engines` does it")

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "deploy/demos/train_digits.py"
SCRIPT_TF = ROOT / "deploy/demos/train_digits_tf.py"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with running_cluster(tmp_path_factory.mktemp("engines"), datacenters=1, auth=True) as running:
        yield running


@pytest.fixture
def client(own: LocalCluster) -> Iterator[AmbryClient]:
    with AmbryClient([own.frontends()[0].url], key=own.key) as made:
        yield made


def outcome(
    client: AmbryClient,
    launcher: Launcher,
    directory: Path,
    name: str,
    *arguments: str,
    script: Path = SCRIPT,
    python: str = sys.executable,
    workers: int = 2,
    env: Path | None = None,
    steps: int = 60,
) -> tuple[Any, list[str]]:
    """The digest of the parameters, and what was said. With `env`, the environment goes along."""
    said: list[str] = []
    environ = {
        "AMBRY_CACHE_DIR": str(directory / "cache"),
        "AMBRY_TRAIN_NODE_CACHE": str(directory / "trees"),
        "OMP_NUM_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "2",
        # Half of what importing TensorFlow takes is Keras, which the script does not use; so it is looked for when it is used.
        "TF_USE_LEGACY_KERAS": "1",
    }
    if env is None:
        environ["PYTHONPATH"] = str(ROOT)
    wanted = training.WhatToRun(
        script=script,
        arguments=("--steps", str(steps), *arguments),
        workers=workers,
        name=name,
        publish=f"{name}-model",
        python="" if env else python,
        venv=env,
        environ=environ,
    )
    job = training.prepare_job(client, wanted, said.append)
    ended = training.run_job(client, job, launcher, max_restarts=3, tell=said.append, show=said.append)
    assert ended.model is not None and ended.step == steps
    assert env is None or (directory / "trees" / job.environment.sha256 / "pyvenv.cfg").is_file()
    return ended.model.manifest.params["parameters"], said


@pytest.fixture(scope="module")
def undisturbed(own: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the parameters of a run by torchrun that nobody disturbed."""
    with AmbryClient([own.frontends()[0].url], key=own.key) as client:
        digest, _ = outcome(client, TorchrunLauncher(), tmp_path_factory.mktemp("calm"), "undisturbed")
    return str(digest)


def check(
    own: LocalCluster,
    client: AmbryClient,
    launcher: Launcher,
    directory: Path,
    engine: str,
    undisturbed: str,
    env: Path | None = None,
) -> list[str]:
    """What was said of a job that lost a worker and a data node at step 35."""
    victim, name = own.nodes()[1].name, f"killed-by-{engine}-{directory.name}"
    arguments = ("--die-at", "35", "--once", str(directory / "once"), "--also-kill", str(own.pid(victim)))
    try:
        digest, said = outcome(client, launcher, directory, name, *arguments, env=env)
    finally:
        own.start(victim)
    assert digest == undisturbed, said
    text = "\n".join(said)
    assert f"begins at step 0, by {engine}" in text and f"worker 0 of 2 begins at step 30, by {engine}" in text
    assert "all workers are started again" in text
    assert steps_in_tensorboard(own, f"ambry://default/default/training/{name}/tensorboard") == {
        "loss": [10, 20, 30, 40, 50, 60]
    }
    return said


def steps_in_tensorboard(own: LocalCluster, place: str) -> dict[str, list[int]]:
    """What TensorBoard, unmodified, reads of a job's runs in the store, of all files in the order of their making."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("AMBRY_ENDPOINTS", own.frontends()[0].url)
        environ.setenv("AMBRY_KEY", own.key or "")
        open_by_fsspec()
        found = accumulator.EventAccumulator(place)
        found.Reload()
        return {tag: [each.step for each in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_spark_on_one_machine(own: LocalCluster, client: AmbryClient, tmp_path: Path, undisturbed: str) -> None:
    pytest.importorskip("pyspark", reason="pyspark is not installed; `make engines` does it")
    check(own, client, SparkLauncher(settings=SPARK_BEGINS), tmp_path, "spark", undisturbed)


def test_a_script_that_fails_on_spark_is_a_sentence(client: AmbryClient, tmp_path: Path) -> None:
    pytest.importorskip("pyspark", reason="pyspark is not installed; `make engines` does it")
    (tmp_path / "bad.py").write_text("raise ValueError('no such column')")
    wanted = training.WhatToRun(
        script=tmp_path / "bad.py", workers=2, environ={"AMBRY_TRAIN_NODE_CACHE": str(tmp_path)}
    )
    job = training.prepare_job(client, wanted, lambda _: None)
    with pytest.raises(training.LaunchFailed, match=r"worker \d ended with exit code 1: ValueError: no such column; "):
        training.run_job(
            client, job, SparkLauncher(settings=SPARK_BEGINS), max_restarts=0, tell=lambda _: None, show=lambda _: None
        )


@pytest.fixture(scope="module")
def yarn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, hadoop.YarnCluster]]:
    """TonY's jars, and a YARN of our own, of two nodes with HDFS, as clusters have it.

    Where this user may do so, the nodes see neither TonY's jars nor what a submitter has in its temporary directory.
    """
    jars = jars_or_skip("tony")
    of_submitter = tmp_path_factory.mktemp("submitter")
    within: list[str] = []
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0:
        hide = 'mount -t tmpfs none "$0" && mount -t tmpfs none "$1" && shift && exec "$@"'
        within = ["unshare", "--mount", "sh", "-c", hide, str(jars), str(of_submitter)]
    before, tempfile.tempdir = tempfile.tempdir, str(of_submitter)
    try:
        with hadoop.hdfs(tmp_path_factory.mktemp("hdfs"), print) as files:
            root = tmp_path_factory.mktemp("yarn")
            with hadoop.yarn(root, print, files=files.url, nodes=(within, within)) as cluster:
                yield jars, cluster
    except EngineError as lacking:
        pytest.skip(str(lacking))
    finally:
        tempfile.tempdir = before


def test_tony_on_two_nodes_in_an_environment_that_travels(
    own: LocalCluster, client: AmbryClient, tmp_path: Path, undisturbed: str, yarn: tuple[Path, hadoop.YarnCluster]
) -> None:
    """Two workers are on two nodes, of which neither sees the files of who submits.

    A virtual environment with ambry in it; the large libraries are those of the node, as an administrator lays them."""
    root = tmp_path / "env"
    venv.create(root, symlinks=True)
    [site] = root.glob("lib/*/site-packages")
    shutil.copytree(ROOT / "ambry", site / "ambry", ignore=shutil.ignore_patterns("__pycache__"))
    (site / "libraries.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    # Of one node's 6 GiB it takes more than the half: two workers do not fit on one.
    launcher = TonyLauncher(jars=yarn[0], hadoop_conf=yarn[1].conf, settings={"tony.worker.memory": "3g"})
    said = check(own, client, launcher, tmp_path, "tony", undisturbed, root)
    # TensorBoard itself, on all jobs at once.
    environ = {"AMBRY_ENDPOINTS": own.frontends()[0].url, "AMBRY_KEY": own.key or ""}
    with tensorboard("ambry://default/default/training", tmp_path / "tensorboard.log", environ) as shown:
        run = f"killed-by-tony-{tmp_path.name}/tensorboard"
        # It shows what it has read by then.
        eventually(lambda: len(shown.scalars(run, "loss")) >= 6, "it has read the job's runs", timeout_s=120)
        assert [step for step, _ in shown.scalars(run, "loss")] == [10, 20, 30, 40, 50, 60] and run in shown.runs()
    [application] = {found[0] for line in said if (found := re.search(r"application_\d+_\d+", line))}
    for node in ("nodemanager", "nodemanager-2"):
        assert list((yarn[1].conf.parent / node / "logs" / application).glob("container_*/stdout")), node


def test_one_worker_by_tony_beside_a_script_that_fails(
    client: AmbryClient, tmp_path: Path, undisturbed: str, yarn: tuple[Path, hadoop.YarnCluster]
) -> None:
    """Two jobs at once, since most of what each of them takes is waiting: the one that fails is a sentence."""
    launcher = TonyLauncher(jars=yarn[0], hadoop_conf=yarn[1].conf)
    (tmp_path / "bad.py").write_text("raise ValueError('no such column')")
    environ = {"AMBRY_TRAIN_NODE_CACHE": str(tmp_path / "trees")}
    wanted = training.WhatToRun(script=tmp_path / "bad.py", workers=2, environ=environ, python=sys.executable)
    bad = training.prepare_job(client, wanted, lambda _: None)
    with ThreadPoolExecutor(1) as beside:
        alone = beside.submit(outcome, client, launcher, tmp_path, "alone", workers=1, steps=20)
        with pytest.raises(
            training.LaunchFailed,
            match=r"application_\w+ failed: ValueError: no such column; it saved no checkpoint: mend",
        ):
            training.run_job(client, bad, launcher, max_restarts=0, tell=lambda _: None, show=lambda _: None)
        digest, said = alone.result()
    assert digest != undisturbed and any("worker 0 of 1 begins at step 0, by tony" in line for line in said), said


def test_spark_on_yarn(
    own: LocalCluster, client: AmbryClient, tmp_path: Path, undisturbed: str, yarn: tuple[Path, hadoop.YarnCluster]
) -> None:
    """What is killed there beside, its master and a whole machine: tests/fault/test_training_kills.py."""
    pytest.importorskip("pyspark", reason="pyspark is not installed; `make engines` does it")
    launcher = SparkLauncher(master="yarn", hadoop_conf=yarn[1].conf, settings=spark_on_yarn(tmp_path / "staging"))
    check(own, client, launcher, tmp_path, "spark", undisturbed)


def test_what_launchers_hand_to_workers_is_as_it_was_taken_down(
    tmp_path: Path, yarn: tuple[Path, hadoop.YarnCluster]
) -> None:
    """By torchrun, Spark and TonY, of one, two and three processes: what `make test` holds `roles` and our tony.xml by."""
    pytest.importorskip("pyspark", reason="pyspark is not installed; `make engines` does it")
    with ThreadPoolExecutor(1) as beside:
        of_others = beside.submit(
            lambda: launcher_golden.take_torchrun(tmp_path) | launcher_golden.take_spark(tmp_path)
        )
        taken = launcher_golden.take_tony(tmp_path, yarn[0], yarn[1].conf) | of_others.result()
    assert launcher_golden.compare_or_take(taken) == []


def tensorflow() -> str:
    """A Python that has TensorFlow: this one, or the one that AMBRY_TENSORFLOW_PYTHON names."""
    if find_spec("tensorflow"):
        return sys.executable
    if not (named := os.environ.get("AMBRY_TENSORFLOW_PYTHON")):
        pytest.skip("tensorflow is not installed; `make engines` does it, or name a Python that has it")
    return named


@pytest.fixture(scope="module")
def calm_tensorflow() -> list[str]:
    """The digest of the parameters of a run that nobody disturbed, of whichever engine was first."""
    return []


def test_tensorflow_by_tony_alone_and_with_chief_worker_and_evaluator(
    own: LocalCluster,
    client: AmbryClient,
    tmp_path: Path,
    yarn: tuple[Path, hadoop.YarnCluster],
    calm_tensorflow: list[str],
) -> None:
    settings = {"tony.chief.instances": "1", "tony.worker.instances": "1", "tony.evaluator.instances": "1"}
    settings |= {f"tony.{task}.memory": "1g" for task in ("chief", "worker", "evaluator")}
    launcher = TonyLauncher(jars=yarn[0], hadoop_conf=yarn[1].conf, framework="tensorflow", settings=settings)
    single = TonyLauncher(jars=yarn[0], hadoop_conf=yarn[1].conf, framework="tensorflow")
    said: dict[str, Any] = {"script": SCRIPT_TF, "python": tensorflow()}
    with ThreadPoolExecutor(1) as beside:  # A single node, while the others of the next job begin.
        alone = beside.submit(outcome, client, single, tmp_path, "tf-alone", workers=1, steps=20, **said)
        evaluated = check_tensorflow(own, client, launcher, tmp_path, "tony", calm_tensorflow)
        digest, of_one = alone.result()
    assert any("evaluator 0: evaluated step 60: accuracy 0.9" in line for line in evaluated), evaluated
    assert digest not in calm_tensorflow and any("worker 0 of 1 begins at step 0, by tony" in each for each in of_one)


def test_tensorflow_on_spark(
    own: LocalCluster, client: AmbryClient, tmp_path: Path, calm_tensorflow: list[str]
) -> None:
    pytest.importorskip("pyspark", reason="pyspark is not installed; `make engines` does it")
    check_tensorflow(own, client, SparkLauncher(settings=SPARK_BEGINS), tmp_path, "spark", calm_tensorflow)


def check_tensorflow(
    own: LocalCluster, client: AmbryClient, launcher: Launcher, directory: Path, engine: str, calm: list[str]
) -> list[str]:
    """What was said of a job that nobody disturbed, of this engine or an earlier one."""
    script: dict[str, Any] = {"script": SCRIPT_TF, "python": tensorflow()}
    before: list[str] = []
    if not calm:
        digest, before = outcome(client, launcher, directory, f"tf-calm-{engine}", **script)
        calm.append(digest)
    victim = own.nodes()[1].name
    arguments = ("--die-at", "35", "--once", str(directory / "once"), "--also-kill", str(own.pid(victim)))
    try:
        killed, said = outcome(client, launcher, directory, f"tf-killed-{engine}", *arguments, **script)
    finally:
        own.start(victim)
    text = "\n".join(said)
    assert calm == [killed] and f"begins at step 30, by {engine}" in text and "are started again" in text, said
    return before
