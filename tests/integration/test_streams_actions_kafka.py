"""Actions of members over the whole way: put, feed, Kafka, job, snapshot. The job is killed, and it is what a batch computes.

By both jobs: `ambry stream actions` (Quix Streams) and deploy/streams/ActionsJob.java (Samza).
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ambry import AmbryClient
from ambry.ml import features, snapshots
from ambry.streams.actions import read_members
from ambry.streams.target import KafkaTarget
from ambry.streams.windows import Days, over_files, windows
from deploy.demos.data import ARTICLE
from deploy.local_cluster import LocalCluster
from tests.support.clusters import running_cluster, seed_of
from tests.support.kafka_broker import KafkaProcess, jars_or_skip, running_kafka
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine

URN = "urn:li:(flagship,historicalActionsInFeed,1,0)"
FEED = "changes"
MEMBERS = 40
SAMZA_JOB = Path(__file__).resolve().parents[2] / "deploy/streams/ActionsJob.java"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaProcess]:
    with running_kafka(tmp_path_factory.mktemp("kafka") / "broker") as running:
        yield running


@pytest.fixture(scope="module")
def one(broker: KafkaProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with running_cluster(tmp_path_factory.mktemp("actions"), datacenters=1) as running:
        yield running


@pytest.fixture
def client(one: LocalCluster) -> Iterator[AmbryClient]:
    with AmbryClient(one.frontends("dc1")[0].url) as made:
        yield made


def ambry(one: LocalCluster, log: Path, *words: str) -> subprocess.Popen[bytes]:
    with log.open("ab") as told:
        return subprocess.Popen(
            [sys.executable, "-m", "ambry.cli.main", *words],
            env={**os.environ, "AMBRY_ENDPOINTS": one.frontends("dc1")[0].url, "NO_COLOR": "1"},
            stdout=told,
            stderr=told,
        )


def put_actions(client: AmbryClient, chance: random.Random, name: str) -> None:
    now = datetime.now(UTC)
    lines = [
        {
            "member": chance.randrange(MEMBERS),
            "action": chance.choice(("Click", "Click", "Share", "Comment", "Wave")),
            "at": int((now - timedelta(hours=chance.randrange(24 * 40))).timestamp() * 1000),
        }
        for _ in range(chance.randrange(1, 60))
    ]
    client.put("".join(json.dumps(line) + "\n" for line in lines).encode(), name=name)


def batch(client: AmbryClient, folder: str) -> dict[int, Days]:
    """The whole log at once."""
    return over_files((str(each.id), client.get_bytes(each.id)) for each in client.list(folder) if each.id is not None)


Job = Callable[[LocalCluster, KafkaProcess, Path, str, str], subprocess.Popen[bytes]]
"""Starts one that reads FEED and a folder, and writes a topic; its log and state are in a directory."""


@pytest.fixture(scope="module")
def quix() -> Job:
    pytest.importorskip("quixstreams", reason="quixstreams is not installed; `make engines` does it")

    def start(
        one: LocalCluster, broker: KafkaProcess, directory: Path, topic: str, folder: str
    ) -> subprocess.Popen[bytes]:
        words = ["--folder", folder, "--keep", str(directory / "kept")]
        return ambry(one, directory / "log", "stream", "actions", f"kafka://{broker.address}/{FEED}", topic, *words)

    return start


@pytest.fixture(scope="module")
def samza(tmp_path_factory: pytest.TempPathFactory) -> Job:
    jars = jars_or_skip("samza")
    if shutil.which("javac") is None:
        pytest.skip("there is no javac; `make engines` installs it")
    classes = tmp_path_factory.mktemp("classes")
    subprocess.run(["javac", "-d", str(classes), "-cp", f"{jars}/*", str(SAMZA_JOB)], check=True, timeout=120)

    def start(
        one: LocalCluster, broker: KafkaProcess, directory: Path, topic: str, folder: str
    ) -> subprocess.Popen[bytes]:
        java = ["java", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        java += ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{classes}:{jars}/*"]
        with (directory / "log").open("ab") as told:
            return subprocess.Popen(
                [*java, "ActionsJob", broker.address, FEED, topic, folder, str(directory / "kept")],
                env={**os.environ, "AMBRY_ENDPOINTS": one.frontends("dc1")[0].url},
                stdout=told,
                stderr=told,
                cwd=directory,
            )

    return start


@pytest.mark.parametrize("engine", ["quix", "samza"])
def test_a_job_that_is_killed_and_told_everything_twice_ends_with_what_a_batch_computes(
    one: LocalCluster,
    client: AmbryClient,
    broker: KafkaProcess,
    tmp_path: Path,
    engine: str,
    request: pytest.FixtureRequest,
) -> None:
    start: Job = request.getfixturevalue(engine)
    chance = random.Random(seed_of("actions"))
    log, kafka, folder = tmp_path / "log", f"kafka://{broker.address}", f"actions/{engine}/"
    target = KafkaTarget(brokers=(broker.address,), topic=f"member-actions-{engine}")

    def job() -> subprocess.Popen[bytes]:
        return start(one, broker, tmp_path, target.topic, folder)

    publisher = ambry(one, log, "changes", "--to", f"{kafka}/{FEED}", "--follow")
    working, dataset = job(), f"members-{engine}"
    pause = threading.Event()
    try:
        for turn in range(60):
            put_actions(client, chance, f"{folder}{turn}.jsonl")
            client.put(b"no actions", name=f"others/{turn}")
            if turn == 20:
                eventually(lambda: read_members(target), f"the job counts: {log}", timeout_s=60, interval_s=0.5)
            if turn in (25, 40, 50):
                pause.wait(chance.uniform(0, 2))
                working.kill()
                working.wait()
                if turn == 40:  # As on another machine: what was kept comes from Kafka.
                    shutil.rmtree(tmp_path / "kept")
                working = job()
        # All of it once more, as after a token that was lost.
        again = ambry(one, log, "changes", "--to", f"{kafka}/{FEED}", "--state", str(tmp_path / "another"))
        assert again.wait(60) == 0, log.read_text()
        wanted = batch(client, folder)
        eventually(lambda: read_members(target) == wanted, "the job is where the batch is", timeout_s=120, interval_s=1)
        put_actions(client, chance, f"{folder}last.jsonl")
        wanted = batch(client, folder)
        eventually(lambda: read_members(target) == wanted, "and goes on", timeout_s=60, interval_s=0.5)
        assert working.poll() is None and publisher.poll() is None, log.read_text()

        metadata = features.FeatureMetadata.of([features.parse_definitions(ARTICLE, "flagship")])
        features.publish(client, "definitions", metadata)
        now = datetime.now(UTC)
        words = [
            "--definitions",
            "definitions",
            "--feature",
            URN,
            "--days",
            "1",
            "--days",
            "30",
            "--as-of",
            now.isoformat(),
        ]
        assert ambry(one, log, "stream", "snapshot", f"{kafka}/{target.topic}", dataset, *words).wait(60) == 0, (
            log.read_text()
        )
        with snapshots.open(client, dataset) as snapshot:
            kind = snapshot.resolve(URN)
            table = snapshot.table()
            rows = zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True)
            found = {
                member: {
                    (kind.axes[0].decode(each["feedActions"]), each["numberOfDays"]): each["value"] for each in row
                }
                for member, row in rows
            }
        expected = {member: windows(days, now, (1, 30)) for member, days in wanted.items()}
        for cells in expected.values():
            for length in (1, 30):
                if times := cells.pop(("Wave", length), 0):
                    cells["OUT_OF_VOCAB", length] = times
        assert found == expected
    finally:
        working.terminate()
        publisher.kill()
        publisher.wait()
        try:
            working.wait(30)
        finally:
            working.kill()
