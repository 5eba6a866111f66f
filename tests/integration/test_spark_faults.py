"""Spark on YARN reads and writes versions and trains GLMix while executors, a data node, a frontend and the driver are killed.

Each at a moment of its own: so many batches or tasks after the step began as the seed says. An executor is killed while it
holds tasks.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ambry import AmbryClient
from ambry.ml import models
from deploy.engines import hadoop
from deploy.engines.jars import EngineError
from deploy.local_cluster import LocalCluster
from tests.support.clusters import running_cluster, seed_of
from tests.support.kafka_broker import jars_or_skip
from tests.support.spark_driver import BATCH_ROWS, ROWS
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine
pyspark = pytest.importorskip("pyspark", reason="pyspark is not installed; pip install 'ambry[spark]' does it")
pytest.importorskip("glum", reason="pip install 'ambry[photon]'")
pytest.importorskip("statsmodels", reason="pip install statsmodels, which has the tables")

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
        self.marks = directory / "marks"
        self.marks.mkdir()
        jars = Path(str(pyspark.__file__)).parent / "jars"
        conf = {
            "spark.master": "yarn",
            "spark.yarn.jars": f"local:{jars}/*",
            "spark.yarn.am.memory": "384m",
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

    def executors(self) -> dict[str, int]:
        """The JVMs of this application's executors, and no shell around them, by the numbers that Spark gives them."""
        return {
            words[words.index("--executor-id") + 1]: pid
            for pid, words in commands()
            if words[0].endswith("java") and self._is_executor(words)
        }

    def _is_executor(self, words: list[str]) -> bool:
        return self.application in words and any("ExecutorBackend" in word for word in words)

    def kill_busy(self, chance: random.Random) -> None:
        """An executor that holds tasks: what it has when it is stopped, and is given until then, it does not end."""
        number, pid = chance.choice(eventually(self._known, "an executor is known to the driver", timeout_s=STEP_S))
        os.kill(pid, signal.SIGSTOP)
        try:
            # What it had told before it stopped is known by then.
            known = time.time() + SETTLED_S
            eventually(lambda: self._holds(number, known), f"executor {number} holds tasks", timeout_s=STEP_S)
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


def far(mark: Path, batches: int) -> None:
    eventually(
        lambda: mark.exists() and mark.stat().st_size >= batches, f"{batches} batches are done", timeout_s=STEP_S
    )


@pytest.fixture
def own(tmp_path: Path) -> Iterator[LocalCluster]:
    with running_cluster(tmp_path, datacenters=1, frontends=2, auth=True) as running:
        yield running


def test_what_is_killed_changes_nothing_and_the_driver_leaves_nothing(own: LocalCluster, tmp_path: Path) -> None:
    jars_or_skip("hadoop")
    chance = random.Random(seed_of("spark on yarn"))
    key = tmp_path / "key"
    key.touch(0o600)
    key.write_text(str(own.key))
    urls = [each.url for each in own.frontends()]
    options = {"endpoints": ",".join(urls), "key_file": str(key)}
    try:
        with hadoop.yarn(tmp_path / "yarn", print) as yarn, AmbryClient(urls, key=own.key) as client:
            driver = DriverOnYarn(tmp_path, yarn.conf, options)
            try:
                killed(own, client, driver, chance)
            finally:
                driver.kill()
    except EngineError as lacking:
        pytest.skip(str(lacking))


def killed(own: LocalCluster, client: AmbryClient, driver: DriverOnYarn, chance: random.Random) -> None:
    def executor() -> None:
        driver.kill_busy(chance)

    def member(name: str) -> Callable[[], object]:
        return lambda: own.kill(name)

    node, frontend = own.nodes()[1].name, own.frontends()[1].name
    for dataset, kill, down in (
        ("executors", executor, ""),
        ("nodes", member(node), node),
        ("frontends", member(frontend), frontend),
    ):
        for step, expected in (("write", {"wrote": dataset}), ("read", {"read": WHOLE})):
            far(driver.begin(step, dataset), chance.randrange(1, BATCHES // 2))
            kill()
            said = driver.said()
            assert expected.items() <= said.items(), (step, dataset, said)
            # A busy executor takes its tasks with it.
            assert said["failed_tasks"] or kill is not executor, (step, dataset, said)
            if down:
                own.start(down)
        assert len(list(client.versions(dataset))) == 1 and not list(client.list(f"{dataset}.commits/"))
    trained(own, client, driver, chance)
    far(driver.begin("write", "driver"), chance.randrange(BATCHES // 2, BATCHES * 3 // 4))
    driver.kill()
    assert "driver" not in [each.name for each in client.datasets()]
    left = [client.head(each.ref) for each in client.list("driver.parts/")]
    assert all(each.expires is not None for each in left)
    print(f"{len(left)} parts of the killed driver go by themselves")


def trained(own: LocalCluster, client: AmbryClient, driver: DriverOnYarn, chance: random.Random) -> None:
    """GLMix on both executors: as statsmodels has it, and the same bits when executors, a data node and a frontend die."""
    driver.begin("train", "calm", "dietox")
    calm = driver.said()
    assert calm["converged"] and calm["difference"] <= calm["tolerance"], calm
    held = driver.state()["executors"]
    assert sum(done > 0 for name, (_, done) in held.items() if name != "driver") == 2, held
    down: list[str] = []
    for model, table, kills in (("stormy", "dietox", 2), ("counts", "epil", 1)):
        began = driver.state()["done"]
        driver.begin("train", model, table)
        moments = sorted(chance.randrange(1, calm["tasks_done"] * 3 // 4) for _ in range(kills))
        for moment, members in zip(moments, chance.sample([own.nodes(), own.frontends()], kills), strict=True):
            after(driver, began + moment)
            for each in down:
                own.start(each)
            down = [chance.choice(members).name]
            own.kill(down[0])
            driver.kill_busy(chance)
            assert model not in [each.name for each in client.datasets()]
        said = driver.said()
        assert said["converged"] and said["difference"] <= said["tolerance"], said
        assert said["failed_tasks"] >= kills, said
        assert table != "dietox" or said["trained"] == calm["trained"], (calm, said)
        assert [each.version for each in client.versions(model)] == ["1.0.0"]
    for each in down:
        own.start(each)
    assert models.open(client, "stormy").load().described == models.open(client, "calm").load().described


def after(driver: DriverOnYarn, tasks: int) -> None:
    eventually(lambda: driver.state()["done"] >= tasks, f"{tasks} tasks are done", timeout_s=STEP_S)
