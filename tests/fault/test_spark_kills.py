"""Spark on YARN reads and writes versions and trains GLMix while everything that takes part is killed.

Executors, its master, the NodeManager, a data node, a frontend and the driver, each at a moment of its own: so many batches or
tasks after the step began as the seed says. An executor is killed while it holds tasks, and a driver also within its commit.
"""

from __future__ import annotations

import json
import os
import random
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from ambry import AmbryClient
from ambry.ml import models
from ambry.ml.training.launchers.spark_driver import lost_executor
from deploy.engines import hadoop
from deploy.engines.jars import EngineError
from deploy.local_cluster import LocalCluster
from tests.support.clusters import running_cluster, seed_of
from tests.support.kafka_broker import jars_or_skip
from tests.support.spark_driver import BATCH_ROWS, ROWS
from tests.support.spark_here import QUICK_JAVA
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine
pyspark = pytest.importorskip("pyspark", reason="pyspark is not installed; pip install 'ambry[spark]' does it")
pytest.importorskip("glum", reason="pip install 'ambry[photon]'")
pytest.importorskip("statsmodels", reason="pip install statsmodels, which has the tables")

from tests.support.dying_commits import MOMENTS  # noqa: E402  # which is a source of Spark's

ROOT = Path(__file__).resolve().parents[2]
BATCHES = ROWS // BATCH_ROWS
WHOLE = [
    ROWS,
    ROWS,
    ROWS * (ROWS - 1) // 2,
    sum(each % 7 for each in range(ROWS)),
    max(f"m{each}" for each in range(ROWS)),
]
STEP_S = 900.0
"""At most, on a machine that does much else."""
SETTLED_S = 0.3


class DriverOnYarn:
    """tests.support.spark_driver, with executors on YARN."""

    def __init__(self, directory: Path, hadoop_conf: Path, options: dict[str, str]) -> None:
        self.outlived: set[str] = set()
        """Executors whose NodeManager was killed."""
        self.marks = directory / "marks"
        self.marks.mkdir(parents=True)
        jars = Path(str(pyspark.__file__)).parent / "jars"
        conf = {
            "spark.master": "yarn",
            "spark.yarn.jars": f"local:{jars}/*",
            "spark.yarn.am.memory": "384m",
            # The last one that YARN begins takes with it what all of them are begun with, also where it ends as no failure.
            "spark.yarn.maxAppAttempts": str(hadoop.MASTERS_MAX),
            "spark.hadoop.yarn.resourcemanager.am.max-attempts": str(hadoop.MASTERS_MAX),
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.memory": "512m",
            "spark.executor.instances": "2",
            "spark.executor.memory": "512m",
            "spark.executor.memoryOverhead": "768m",
            "spark.executor.maxNumFailures": "40",
            "spark.executorEnv.PYTHONPATH": str(ROOT),
            "spark.executorEnv.AMBRY_ENDPOINTS": options["endpoints"],
            "spark.executorEnv.AMBRY_KEY_FILE": options["key_file"],
            **dict.fromkeys(
                (f"spark.{part}.extraJavaOptions" for part in ("driver", "executor", "yarn.am")), QUICK_JAVA
            ),
            "spark.ui.liveUpdate.period": "0",
            "spark.ui.retainedJobs": "10000",
            "spark.sql.shuffle.partitions": "2",
            "spark.sql.execution.arrow.maxRecordsPerBatch": str(BATCH_ROWS),
            "spark.task.maxFailures": "6",
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.local.dir": str(directory / "local"),
        }
        told = {"conf": conf, "options": options, "marks": str(self.marks)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.spark_driver", json.dumps(told)],
            env={
                **os.environ,
                "HADOOP_CONF_DIR": str(hadoop_conf),
                "AMBRY_ENDPOINTS": options["endpoints"],
                "AMBRY_KEY_FILE": options["key_file"],
                "PYSPARK_PYTHON": sys.executable,
                "PYSPARK_DRIVER_PYTHON": sys.executable,
                "PYTHONPATH": str(ROOT),
            },
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(directory / "driver.log").open("wb"),
            text=True,
        )
        self.application = str(self.said()["ready"])

    def said(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                found: dict[str, Any] = json.loads(line)
                return found
        raise AssertionError(f"the driver ended with {self.process.wait()}")

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Until it holds, or the step has ended, which may have failed."""
        assert self.process.stdout is not None
        said = [self.process.stdout]
        eventually(lambda: condition() or select.select(said, [], [], 0)[0], what, timeout_s=STEP_S)

    def begin(self, step: str, *words: str) -> Path:
        """Returns what grows by a byte with each batch."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{' '.join([step, *words])}\n")
        self.process.stdin.flush()
        return self.marks / f"{step}-{words[0]}"

    def state(self) -> dict[str, Any]:
        """Of the last moments."""
        found: dict[str, Any] = json.loads((self.marks / "state.json").read_text())
        return found

    def renewed(self) -> None:
        """Wait until executors that outlived their NodeManager have others in their place."""

        def others() -> bool:
            held = set(self.state()["executors"]) - {"driver"}
            return bool(held) and held.isdisjoint(self.outlived)

        if self.outlived:
            eventually(others, "a master has begun other executors", timeout_s=STEP_S)
        self.outlived.clear()

    def executors(self) -> dict[str, int]:
        """The JVMs of this application's executors, and no shell around them, by the numbers that Spark gives them."""
        return {
            words[words.index("--executor-id") + 1]: pid
            for pid, words in commands()
            if words[0].endswith("java") and self._is_executor(words)
        }

    def _is_executor(self, words: list[str]) -> bool:
        return self.application in words and any("ExecutorBackend" in word for word in words)

    def kill_master(self) -> None:
        """YARN begins another one, whose executors are others too."""

        def found() -> list[int]:
            return [
                pid
                for pid, words in commands()
                if words[0].endswith("java")
                and any("ExecutorLauncher" in word for word in words)
                and any(self.application in word for word in words)
            ]

        for pid in eventually(found, "the application has a master", timeout_s=STEP_S):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def kill_busy(self, chance: random.Random) -> None:
        """An executor that holds tasks: what it has when it is stopped, and is given until then, it does not end."""
        number, pid = chance.choice(eventually(self._known, "an executor is known to the driver", timeout_s=STEP_S))
        os.kill(pid, signal.SIGSTOP)
        try:
            # What it had told before it stopped is known by then.
            known = time.time() + SETTLED_S
            self.wait(lambda: self._holds(number, known), f"executor {number} holds tasks")
        finally:
            os.kill(pid, signal.SIGKILL)

    def _known(self) -> list[tuple[str, int]]:
        """One that has just started is given no task until it has said so to the driver."""
        known = self.state()["executors"]
        return sorted((number, pid) for number, pid in self.executors().items() if number in known)

    def _holds(self, number: str, since: float) -> bool:
        state = self.state()
        return bool(state["at"] > since and state["executors"].get(number, [0])[0] > 0)

    def kill(self) -> None:
        """The driver and its JVM, as a machine takes them along."""
        if self.process.poll() is not None:
            return
        below = [pid for pid, words in commands() if words[0].endswith("java") and parent_of(pid) == self.process.pid]
        for pid in [self.process.pid, *below]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(60)


def commands() -> Iterator[tuple[int, list[str]]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if words := (entry / "cmdline").read_text(errors="replace").split("\0"):
                    yield int(entry.name), words


def parent_of(pid: int) -> int:
    return int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])


def far(driver: DriverOnYarn, mark: Path, batches: int) -> None:
    driver.wait(lambda: mark.exists() and mark.stat().st_size >= batches, f"{batches} batches are done")


@pytest.fixture
def own(tmp_path: Path) -> Iterator[LocalCluster]:
    with running_cluster(tmp_path, datacenters=1, frontends=2, auth=True) as running:
        yield running


def test_what_is_killed_changes_nothing_and_drivers_leave_nothing(own: LocalCluster, tmp_path: Path) -> None:
    jars_or_skip("hadoop")
    chance = random.Random(seed_of("spark on yarn"))
    key = tmp_path / "key"
    key.touch(0o600)
    key.write_text(str(own.key))
    urls = [each.url for each in own.frontends()]
    options = {"endpoints": ",".join(urls), "key_file": str(key)}
    try:
        with hadoop.yarn(tmp_path / "yarn", print) as yarn, AmbryClient(urls, key=own.key) as client:
            driver = DriverOnYarn(tmp_path / "driver", yarn.conf, options)
            try:
                killed(own, client, yarn, driver, chance)
                begun_again = within_commit(client, driver, chance)
            finally:
                driver.kill()
            driver = DriverOnYarn(tmp_path / "again", yarn.conf, options)
            try:
                begun_again(driver)
                far(driver, driver.begin("write", "driver"), chance.randrange(BATCHES // 2, BATCHES * 3 // 4))
            finally:
                driver.kill()
            leaves_nothing(client, "driver")
    except EngineError as lacking:
        pytest.skip(str(lacking))


def killed(
    own: LocalCluster, client: AmbryClient, yarn: hadoop.YarnCluster, driver: DriverOnYarn, chance: random.Random
) -> None:
    def executor() -> None:
        driver.kill_busy(chance)

    def node_manager() -> None:
        """What ran on it runs on without its files, and counts no more."""
        yarn.node_managers[0].kill()
        # Also those that have just begun.
        driver.outlived = {*driver.state()["executors"], *driver.executors()}
        yarn.node_managers[0].start()

    down: list[str] = []

    def member(among: Sequence[Any]) -> Callable[[], None]:
        def kill() -> None:
            down.append(chance.choice(among).name)
            own.kill(down[-1])

        return kill

    node, frontend = member(own.nodes()), member(own.frontends())
    # Both of them are killed in the training, too.
    first, second = chance.sample([(frontend, chance.choice([driver.kill_master, node_manager])), (frontend,)], 2)
    for step, dataset, kills in (
        ("write", "nodes", (executor, node)),
        ("read", "nodes", (node,)),
        ("write", "frontends", first),
        ("read", "frontends", second),
    ):
        mark = driver.begin(step, dataset)
        for moment, kill in zip(sorted(chance.sample(range(1, BATCHES // 2), len(kills))), kills, strict=True):
            far(driver, mark, moment)
            kill()
        said = driver.said()
        if node_manager in kills and "failed" in said:
            failed(client, driver, said, dataset if step == "write" else "")
            driver.renewed()
            driver.begin(step, dataset)
            said = driver.said()
        expected = {"wrote": dataset} if step == "write" else {"read": WHOLE}
        assert expected.items() <= said.items(), (step, dataset, said)
        # A busy executor takes its tasks with it.
        assert said["failed_tasks"] or executor not in kills, (step, dataset, said)
        driver.renewed()
        while down:
            own.start(down.pop())
        assert len(list(client.versions(dataset))) == 1 and not list(client.list(f"{dataset}.commits/"))
    calm = trained(client, driver, "calm")
    held = driver.state()["executors"]
    assert sum(done > 0 for name, (_, done) in held.items() if name != "driver") == 2, held
    moments = chance.sample(range(1, calm["tasks_done"] * 3 // 4), 5)
    said = trained(client, driver, "without-files", {moments.pop(): node_manager})
    assert said.get("trained", calm["trained"]) == calm["trained"], (calm, said)
    driver.renewed()
    all_others = (node, executor, driver.kill_master, frontend)
    said = trained(client, driver, "stormy", dict(zip(sorted(moments), all_others, strict=True)))
    assert said["failed_tasks"] and said["trained"] == calm["trained"], (calm, said)
    assert models.open(client, "stormy").load().described == models.open(client, "calm").load().described
    while down:
        own.start(down.pop())


def trained(
    client: AmbryClient,
    driver: DriverOnYarn,
    model: str,
    kills: Mapping[int, Callable[[], None]] = MappingProxyType({}),
) -> dict[str, Any]:
    """GLMix on both executors, as statsmodels has it. So many tasks after it began, each is killed; it may fail of the last."""
    began = driver.state()["done"]
    driver.begin("train", model, "dietox")
    for moment, kill in kills.items():
        after(driver, began + moment)
        kill()
        assert model not in [each.name for each in client.datasets()]
    said = driver.said()
    if driver.outlived and "failed" in said:
        failed(client, driver, said, model)
        return said
    assert said["converged"] and said["difference"] <= said["tolerance"], said
    assert [each.version for each in client.versions(model)] == ["1.0.0"]
    return said


def failed(client: AmbryClient, driver: DriverOnYarn, said: dict[str, Any], dataset: str) -> None:
    """Executors that outlive their NodeManager have lost their files, and end when others are in their place. A task that fails
    too often for it ends a job: with a sentence that names one of them, and nothing is published."""
    sentence = lost_executor(said["failed"])
    print(f"a job failed: {sentence}\n{said['failed']}")
    named = re.match(r"executor (\d+) ", sentence)
    assert named and named[1] in driver.outlived, (sentence, driver.outlived)
    assert dataset not in [each.name for each in client.datasets()]


def within_commit(client: AmbryClient, driver: DriverOnYarn, chance: random.Random) -> Callable[[DriverOnYarn], None]:
    """Kill the driver within its commit. Returns what is to be so when another one writes the same."""
    when = chance.choice(MOMENTS)
    print(f"the driver is killed {when}")
    mark = driver.begin("commit", "twice", *when.split())
    driver.wait(mark.exists, f"the commit stands {when}")
    driver.kill()
    os.kill(int(mark.read_text()), signal.SIGKILL)
    is_there = when != "before put_version"
    assert len(list(client.versions("twice"))) == is_there

    def begun_again(other: DriverOnYarn) -> None:
        other.begin("publish", "twice")
        said = other.said()
        assert "never written over" in said["failed"] if is_there else said["wrote"] == "twice", said
        assert len(list(client.versions("twice"))) == 1
        other.begin("read", "twice")
        assert other.said()["read"] == WHOLE
        # The rows of whoever was killed are those of its version, or go by themselves.
        assert len(list(client.list("twice.commits/"))) == (when != "after delete")

    return begun_again


def leaves_nothing(client: AmbryClient, dataset: str) -> None:
    assert dataset not in [each.name for each in client.datasets()]
    left = [client.head(each.ref) for each in client.list(f"{dataset}.parts/")]
    assert all(each.expires is not None for each in left)
    print(f"{len(left)} parts of the killed driver go by themselves")


def after(driver: DriverOnYarn, tasks: int) -> None:
    driver.wait(lambda: driver.state()["done"] >= tasks, f"{tasks} tasks are done")
