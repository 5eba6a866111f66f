"""Whatever part of a training job is killed, at moments of chance: its model is the undisturbed one to the last bit, or the job
fails with a sentence, publishes nothing, and goes on when it is submitted again.

One job has several of them in its life: a job by torchrun, by TonY on YARN and by Spark each. AMBRY_TEST_SEED sets the seed.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ambry.ml import training
from ambry.ml.training.launchers.spark import SparkLauncher
from ambry.ml.training.launchers.spark_task import PREFIX
from ambry.ml.training.launchers.tony import TonyLauncher
from ambry.ml.training.launchers.torchrun import TorchrunLauncher
from deploy.directory_processes import end_processes
from deploy.engines import hadoop
from deploy.engines.jars import EngineError
from deploy.local_cluster import LocalCluster
from tests.support.clusters import running_cluster
from tests.support.kafka_broker import jars_or_skip
from tests.support.killed_job import AGAIN, WORKERS, KilledJob, told
from tests.support.killed_training import (
    SPARK_BEGINS,
    above,
    check_whole,
    processes_with,
    published,
    spark_on_yarn,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine
pytest.importorskip("torch", reason="torch is not installed; `make engines` does it")
pytest.importorskip("sklearn", reason="scikit-learn is not installed; `make engines` does it")

ROOT = Path(__file__).resolve().parents[2]
MASTER = "com.linkedin.tony.ApplicationMaster"
SPARK_MASTER = "org.apache.spark.deploy.yarn.ExecutorLauncher"
BEGINS_S = 120.0


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with running_cluster(tmp_path_factory.mktemp("kills"), datacenters=1, frontends=2, auth=True) as running:
        yield running


@pytest.fixture(scope="module")
def yarn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[hadoop.YarnCluster]:
    jars_or_skip("tony")
    try:
        with hadoop.yarn(tmp_path_factory.mktemp("yarn"), print, nodes=((), ())) as cluster:
            yield cluster
        # Also the master whose NodeManager was killed.
        assert not processes_with("", where=cluster.conf.parent)
    except EngineError as lacking:
        pytest.skip(str(lacking))


@pytest.fixture(scope="module")
def undisturbed(own: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    calm = KilledJob(own, TorchrunLauncher(), tmp_path_factory.mktemp("calm"), "calm", pace_s=0)
    digest = calm.run()
    with calm.connect() as client:
        check_whole(client, "calm", digest)
    return digest


def test_parts_of_a_job_by_torchrun(own: LocalCluster, tmp_path: Path, undisturbed: str) -> None:
    """A worker while sources are fetched, and the only frontend that it knows meanwhile; a worker as they train, a data node
    with the frontend; and at last torchrun itself.
    """
    job = KilledJob(own, TorchrunLauncher(), tmp_path, "by-torchrun", pace_s=0.05)
    job.endpoints = job.endpoints[:1]
    job.script.with_name("ballast").write_bytes(random.Random(1).randbytes(32 << 20))
    trees = tmp_path / "trees"

    def fetching() -> list[int]:
        """Those that hold, or wait for, the sources."""
        node = f"-u\0{tempfile.gettempdir()}/{PREFIX}"
        return processes_with(node, "python", where=trees) if any(trees.glob("*.zip")) else []

    with job.beside() as ended:
        pids = eventually(fetching, "a worker fetches the sources", timeout_s=BEGINS_S, interval_s=0.002)
        job.kill(job.chance.choice(pids), "a worker that fetches, or waits for who does,")
        eventually(lambda: fetching() and fetching() != pids, "they fetch again", timeout_s=BEGINS_S, interval_s=0.002)
        job.kill_server(own.frontends()[0].name)()
        worker = job.chance.randrange(WORKERS)
        job.kill(job.reach(3, 19)[worker], f"worker {worker}")
        assert [path.suffix for path in trees.iterdir() if path.is_dir()] == [""] and not any(trees.glob("*.zip"))
        job.reach(20, 39)
        bring_back = [job.kill_server(own.nodes()[1].name), job.kill_server(own.frontends()[0].name)]
        for each in bring_back:
            each()
        pids = job.reach(40, 58)
        job.kill(above(pids[0], "python"), "torchrun")
        with pytest.raises(training.LaunchFailed) as failed:
            ended()
    assert "SIGKILL" in failed.value.message and failed.value.message.endswith(AGAIN)
    with job.connect() as client:
        check_whole(client, job.name)
        assert job.run() == undisturbed, job.said
        check_whole(client, job.name, undisturbed)


def test_parts_of_a_job_on_tony(own: LocalCluster, tmp_path: Path, yarn: hadoop.YarnCluster, undisturbed: str) -> None:
    """Who submitted it, whose application goes on until the job is submitted again; then a worker, then the master, then all
    NodeManagers with a data node and a frontend.
    """
    jars = jars_or_skip("tony")
    job = KilledJob(own, TonyLauncher(jars=jars, hadoop_conf=yarn.conf), tmp_path, "on-tony", pace_s=0.1)
    process = job.submit("--engine", "tony", "--jars", str(jars), "--hadoop-conf", str(yarn.conf))
    left = job.reach(3, 19)
    job.kill_submitter(process, "as they train")
    with job.connect() as client:
        check_whole(client, job.name)
    with job.beside() as ended:
        eventually(lambda: not {*left} & {*processes_with(job.marks.once)}, "the first ones have ended", timeout_s=60)
        job.marks.forget()
        worker = job.chance.randrange(WORKERS)
        job.kill(job.reach(3, 19)[worker], f"worker {worker}")
        assert any("of this job, whose submitter was killed, was" in line for line in job.said)
        job.reach(20, 39)
        for pid in processes_with(MASTER, "java", where=yarn.conf.parent):
            job.kill(pid, "the master")
        job.reach(40, 55)
        bring_back = [job.kill_server(own.nodes()[2].name), job.kill_server(own.frontends()[1].name)]
        for node in yarn.node_managers:
            node.kill()
        job.say("-- the NodeManagers are killed")
        for each in (*bring_back, *(node.start for node in yarn.node_managers)):
            each()
        digest, failed = told(ended)
    job.check_right(digest, failed, undisturbed)


def test_parts_of_a_job_on_spark(own: LocalCluster, tmp_path: Path, undisturbed: str) -> None:
    """An executor, then a data node with a frontend: processes of a small cluster of Spark's own."""
    pytest.importorskip("pyspark", reason="pyspark is not installed; `make engines` does it")
    launcher = SparkLauncher(master=f"local-cluster[{WORKERS},1,1024]", settings=SPARK_BEGINS)
    job = KilledJob(own, launcher, tmp_path, "on-spark", pace_s=0.1)
    with job.beside() as ended:
        worker = job.chance.randrange(WORKERS)
        job.kill(above(job.reach(3, 39)[worker], "java"), f"the executor of worker {worker}")
        job.reach(40, 55)
        for each in [job.kill_server(own.nodes()[1].name), job.kill_server(own.frontends()[0].name)]:
            each()
        assert ended() == undisturbed
    assert any(line.endswith("; all workers are started again") for line in job.said), job.said
    with job.connect() as client:
        check_whole(client, job.name, undisturbed)


def test_parts_of_a_job_on_spark_on_yarn(
    own: LocalCluster, tmp_path: Path, yarn: hadoop.YarnCluster, undisturbed: str
) -> None:
    """The master is killed, then a worker with a data node, then a machine: a NodeManager with all that runs on it. The job
    ends well: three losses are its three restarts.
    """
    pytest.importorskip("pyspark", reason="pyspark is not installed; `make engines` does it")
    launcher = SparkLauncher(master="yarn", hadoop_conf=yarn.conf, settings=spark_on_yarn(tmp_path / "staging"))
    job = KilledJob(own, launcher, tmp_path, "on-spark-on-yarn", pace_s=0.1)
    lost, victim = job.chance.choice(yarn.node_managers), own.nodes()[1].name
    with job.beside() as ended:
        job.reach(3, 19)
        [master] = processes_with(SPARK_MASTER, "java", where=yarn.conf.parent)
        job.kill(master, "the master")
        pids = job.reach(20, 39)
        bring_back = job.kill_server(victim)
        job.kill(pids[1], "worker 1")
        bring_back()
        job.reach(40, 55)
        job.marks.forget(restarted=True)
        before = len(job.said)
        lost.kill()
        end_processes(yarn.conf.parent / lost.name)
        job.say(f"-- {lost.name} is killed with all that runs on it")
        lost.start()
        digest = ended()
    assert any(line.endswith("; all workers are started again") for line in job.said[before:]), job.said
    job.check_right(digest, "", undisturbed)


def test_who_submits_is_killed_at_all_times(own: LocalCluster, tmp_path: Path, undisturbed: str) -> None:
    """While it stores sources or starts workers, while they train, and while it publishes: by torchrun, one job.

    Its workers have processes of their own, which were left running.
    """
    job = KilledJob(own, TorchrunLauncher(), tmp_path, "submitter", pace_s=0.05)
    job.environ["HELPED"] = "1"
    with job.connect() as client:
        for when in ("as it begins", "as they train", "as it publishes"):
            process = job.submit()
            if when == "as it begins":
                time.sleep(job.chance.uniform(0.2, 4.0))
            elif when == "as they train":
                job.reach(3, 58)
            else:
                eventually(
                    lambda: b"parameters" in job.submitted.read_bytes(), "workers have ended", timeout_s=BEGINS_S
                )
                time.sleep(job.chance.uniform(0.0, 1.5))
            job.kill_submitter(process, when)
            eventually(lambda: not processes_with(job.marks.once), "nobody trains any more")
            check_whole(client, job.name, undisturbed if published(client, job.name) else "")
        print(*job.said, sep="\n")
        assert job.run() == undisturbed, job.said
        check_whole(client, job.name, undisturbed)
