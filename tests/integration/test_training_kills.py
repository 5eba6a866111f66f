"""Whatever part of a training job is killed, at moments of chance: its model is the undisturbed one to the last bit, or the job
fails with a sentence, publishes nothing, and goes on when it is submitted again.

One job has several of them in its life: a job by torchrun, TonY on YARN and Spark on YARN each. AMBRY_TEST_SEED sets the seed.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from ambry import AmbryClient
from ambry.ml import training
from ambry.ml.training.launchers import Launcher
from ambry.ml.training.launchers.tony import TonyLauncher
from ambry.ml.training.launchers.torchrun import TorchrunLauncher
from deploy.engines import hadoop
from deploy.engines.jars import EngineError
from deploy.local_cluster import LocalCluster
from tests.support.clusters import running_cluster, seed_of
from tests.support.kafka_broker import jars_or_skip
from tests.support.killed_training import Marks, check_whole, moment_of, processes_of, write_script
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine
pytest.importorskip("torch", reason="torch is not installed; `make libraries` does it")
pytest.importorskip("sklearn", reason="scikit-learn is not installed; `make libraries` does it")

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 2
AGAIN = "submit the job again to go on from its newest checkpoint"
MASTER = b"com.linkedin.tony.ApplicationMaster"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with running_cluster(tmp_path_factory.mktemp("kills"), datacenters=1, frontends=2, auth=True) as running:
        yield running


@pytest.fixture(scope="module")
def yarn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[hadoop.YarnCluster]:
    jars_or_skip("tony")
    try:
        with hadoop.yarn(tmp_path_factory.mktemp("yarn"), print) as cluster:
            yield cluster
    except EngineError as lacking:
        pytest.skip(str(lacking))


class KilledJob:
    """A job that is submitted as often as it takes, and whose parts the test kills meanwhile."""

    def __init__(self, own: LocalCluster, launcher: Launcher, directory: Path, name: str, *, pace_s: float) -> None:
        self.chance = random.Random(f"{seed_of(f'{name} is killed')} {name}")
        self.name = name
        self.said: list[str] = []
        self.marks = Marks(directory / "mark", WORKERS)
        self._own, self._launcher, self._directory = own, launcher, directory
        self.endpoints = [member.url for member in own.frontends()]
        self.script = write_script(directory / "src" / "train.py")
        self.environ = {
            "PYTHONPATH": str(ROOT),
            "AMBRY_CACHE_DIR": str(directory / "cache"),
            "AMBRY_TRAIN_NODE_CACHE": str(directory / "trees"),
            "OMP_NUM_THREADS": "1",
            "PACE_S": str(pace_s),
        }

    def connect(self) -> AmbryClient:
        return AmbryClient(self.endpoints, key=self._own.key)

    def run(self) -> str:
        """The digest of the parameters that are published. Raises LaunchFailed."""
        wanted = training.WhatToRun(
            script=self.script,
            sources=self.script.parent,
            arguments=("--once", str(self.marks.once)),
            workers=WORKERS,
            name=self.name,
            publish=f"{self.name}-model",
            python=sys.executable,
            environ=self.environ,
        )
        with self.connect() as client:
            job = training.prepare_job(client, wanted, self._say)
            ended = training.run_job(client, job, self._launcher, max_restarts=3, tell=self._say, show=self._say)
        assert ended.model is not None
        return str(ended.model.manifest.params["parameters"])

    def _say(self, line: str) -> None:
        self.said.append(line)

    def submit(self) -> subprocess.Popen[bytes]:
        """The same as a command, for who submits to be killed."""
        raise NotImplementedError

    @contextmanager
    def beside(self) -> Iterator[Callable[[], str]]:
        """The job runs until the end; what waits for that, and gives the digest. Raises LaunchFailed there."""
        # What this thread starts again lives longer than one that is made for it: processes end with theirs.
        with ThreadPoolExecutor(1) as thread:
            future = thread.submit(self.run)
            self._over = future.done
            try:
                yield future.result
            finally:
                print(*self.said, future.exception(), sep="\n")

    def reach(self, first: int, last: int) -> list[int]:
        """Wait for a moment of chance, of new workers; all their processes."""
        moment = moment_of(self.chance, first, last)
        found = self.marks.reach(moment, self._over)
        self.say(f"-- {moment}" + ("" if found else ", which nobody came to"))
        return found

    def say(self, line: str) -> None:
        self.said.append(line)

    def kill_server(self, name: str) -> Callable[[], object]:
        self._own.kill(name)
        self.say(f"-- {name} is killed")
        return lambda: self._own.start(name)

    def kill(self, pid: int, what: str) -> None:
        self.marks.forget(restarted=True)
        os.kill(pid, signal.SIGKILL)
        self.say(f"-- {what} (process {pid}) is killed")


@pytest.fixture(scope="module")
def undisturbed(own: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    calm = KilledJob(own, TorchrunLauncher(), tmp_path_factory.mktemp("calm"), "calm", pace_s=0)
    digest = calm.run()
    with calm.connect() as client:
        check_whole(client, "calm", digest)
    return digest


def test_parts_of_a_job_by_torchrun(own: LocalCluster, tmp_path: Path, undisturbed: str) -> None:
    """A worker, a data node, the only frontend that it knows, and at last torchrun itself."""
    job = KilledJob(own, TorchrunLauncher(), tmp_path, "by-torchrun", pace_s=0.05)
    job.endpoints = job.endpoints[:1]
    with job.beside() as ended:
        worker = job.chance.randrange(WORKERS)
        job.kill(job.reach(3, 19)[worker], f"worker {worker}")
        job.reach(20, 39)
        bring_back = [job.kill_server(own.nodes()[1].name), job.kill_server(own.frontends()[0].name)]
        for each in bring_back:
            each()
        pids = job.reach(40, 58)
        job.kill(parent_of(pids[0]), "torchrun")
        with pytest.raises(training.LaunchFailed) as failed:
            ended()
    assert "SIGKILL" in failed.value.message and failed.value.message.endswith(AGAIN)
    with job.connect() as client:
        check_whole(client, job.name)
        assert job.run() == undisturbed, job.said
        check_whole(client, job.name, undisturbed)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_parts_of_a_job_on_tony(own: LocalCluster, tmp_path: Path, yarn: hadoop.YarnCluster, undisturbed: str) -> None:
    """A worker, then the master, then the NodeManager with a data node and a frontend."""
    launcher = TonyLauncher(jars=jars_or_skip("tony"), hadoop_conf=yarn.conf)
    job = KilledJob(own, launcher, tmp_path, "on-tony", pace_s=0.2)
    with job.beside() as ended:
        worker = job.chance.randrange(WORKERS)
        job.kill(job.reach(3, 19)[worker], f"worker {worker}")
        job.reach(20, 39)
        for pid in processes_of(yarn.conf.parent, MASTER):
            job.kill(pid, "the master")
        job.reach(40, 55)
        bring_back = [job.kill_server(own.nodes()[2].name), job.kill_server(own.frontends()[1].name)]
        yarn.node_managers[0].kill()
        job.say("-- the NodeManager is killed")
        for each in (*bring_back, yarn.node_managers[0].start):
            each()
        digest = failed = ""
        try:
            digest = ended()
        except training.LaunchFailed as error:
            failed = error.message
    with job.connect() as client:
        if failed:
            assert failed.endswith(AGAIN)
            check_whole(client, job.name)
            digest = job.run()
        assert digest == undisturbed, job.said
        check_whole(client, job.name, undisturbed)
    eventually(lambda: not processes_of(yarn.conf.parent, b"--once"), "nobody trains any more", timeout_s=60)
