"""Actions of members over the whole way: put, feed, Kafka, job, snapshot. Whatever is killed, it is what a batch computes.

By both jobs: `ambry stream actions` (Quix Streams) and deploy/streams/ActionsJob.java (Samza). AMBRY_TEST_SEED sets the seed.
"""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ambry import AmbryClient, AmbryError, RetryPolicy, Timeout
from ambry.ml import features, snapshots
from ambry.streams.actions import read_members
from ambry.streams.target import KafkaTarget
from ambry.streams.windows import Days, windows
from deploy.demos.data import ARTICLE
from tests.support.clusters import seed_of
from tests.support.kafka_cluster import KafkaCluster, ended, running_kafka_cluster
from tests.support.stream_jobs import (
    FEED,
    FolderBatch,
    StreamJob,
    actions_file,
    quix_job,
    samza_classes,
    samza_job,
    states_of_members,
)
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine

URN = "urn:li:(flagship,historicalActionsInFeed,1,0)"
LENGTHS = (1, 30)
MORE_KILLS = 2
"""Beyond one of each."""

Cells = dict[tuple[str, int], int]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    with running_kafka_cluster(tmp_path_factory.mktemp("actions")) as running:
        with running.client() as client:
            metadata = features.FeatureMetadata.of([features.parse_definitions(ARTICLE, "flagship")])
            features.publish(client, "definitions", metadata)
        yield running


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> str:
    return samza_classes(tmp_path_factory.mktemp("classes"))


@pytest.fixture(params=["quix", "samza"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def start(engine: str, request: pytest.FixtureRequest) -> StreamJob:
    return quix_job() if engine == "quix" else samza_job(request.getfixturevalue("classes"))


def expected(days: Mapping[str, Mapping[str, int]], as_of: datetime) -> Cells:
    """Of a snapshot's row: what the vocabulary does not have is one action."""
    cells = windows(days, as_of, LENGTHS)
    for length in LENGTHS:
        if times := cells.pop(("Wave", length), 0):
            cells["OUT_OF_VOCAB", length] = times
    return cells


def rows_of(client: AmbryClient, dataset: str, version: str) -> list[tuple[int, Cells]]:
    with snapshots.open(client, f"{dataset}@{version}") as snapshot:
        kind, table = snapshot.resolve(URN), snapshot.table()
        rows = zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True)
        return [
            (
                member,
                {(str(kind.axes[0].decode(each["feedActions"])), each["numberOfDays"]): each["value"] for each in row},
            )
            for member, row in rows
        ]


class Way:
    """The whole way for one job: what goes on at a time, and what is known of it."""

    def __init__(self, here: KafkaCluster, directory: Path, start: StreamJob, jobs: int, chance: random.Random) -> None:
        name = directory.name
        self.folder, self.dataset = f"{name}/", f"members-{name}"
        self.target = KafkaTarget(brokers=(here.broker.address,), topic=f"actions-{name}")
        self.log = directory / "log"
        self.put: list[str] = []
        """Names that were acknowledged."""
        self.snapshots: list[tuple[subprocess.Popen[bytes], datetime]] = []
        self._here, self._directory, self._start, self._chance = here, directory, start, chance
        # No put is tried twice: a name that is put again is another file.
        once = {"timeout": Timeout(connect=1, read=5, total=8), "retry": RetryPolicy(max_attempts=1)}
        self.client = AmbryClient([here.url], **once)  # type: ignore[arg-type]
        self.batch = FolderBatch(self.client, self.folder)
        self.publisher = self.publishing()
        self.jobs = [self.working(number) for number in range(jobs)]

    def publishing(self) -> subprocess.Popen[bytes]:
        state = str(self._directory / "token")
        return self._here.start(self.log, "changes", "--to", self._here.topic(FEED), "--follow", "--state", state)

    def working(self, number: int) -> subprocess.Popen[bytes]:
        return self._start(self._here, self._directory, self.target.topic, self.folder, kept=f"kept-{number}")

    def put_some(self, count: int) -> None:
        for _ in range(count):
            name = f"{self.folder}{len(self.put)}-{self._chance.randrange(1 << 30)}.jsonl"
            try:
                self.client.put(actions_file(self._chance), name=name)
                self.client.put(b"no actions", name=f"others/{name}")
                self.put.append(name)
            except (AmbryError, OSError):
                continue  # May or may not have happened.

    def snapshot(self) -> subprocess.Popen[bytes]:
        as_of = datetime.now(UTC)
        words = [self._here.topic(self.target.topic), self.dataset, "--definitions", "definitions", "--feature", URN]
        words += [word for length in LENGTHS for word in ("--days", str(length))]
        process = self._here.start(self.log, "stream", "snapshot", *words, "--as-of", as_of.isoformat())
        self.snapshots.append((process, as_of))
        return process

    def counted(self) -> bool:
        """Whether the job is where a batch over the files is."""
        if any(each.poll() is not None for each in (*self.jobs, self.publisher)):
            pytest.fail(f"the job or the publisher ended:\n{self.log.read_text()}")
        try:
            names = {str(each.name) for each in self.client.list(self.folder)}
            return set(self.put) <= names and read_members(self.target) == self.batch.days()
        except AmbryError as error:
            raise AssertionError(str(error)) from error

    def kill(self, which: str, turn: int) -> None:
        """At a moment of chance, and what was killed is there again a moment later."""
        pause, cluster = threading.Event(), self._here.cluster
        pause.wait(self._chance.uniform(0, 1.5))
        if which == "job":
            number = self._chance.randrange(len(self.jobs))
            self.jobs[number].kill()
            self.jobs[number].wait()
            if turn % 2:  # As on another machine: what was kept comes from Kafka.
                shutil.rmtree(self._directory / f"kept-{number}", ignore_errors=True)  # It may have made none yet.
            self.jobs[number] = self.working(number)
        elif which == "publisher":
            self.publisher.kill()
            self.publisher.wait()
            self.publisher = self.publishing()
        elif which == "snapshot":
            self.snapshots[-1][0].kill()
        elif which == "broker":
            self._here.broker.kill()
            self.put_some(3)
            pause.wait(self._chance.uniform(0, 3))
            self._here.broker.start()
        else:
            nodes = [each.name for each in cluster.nodes("dc1")]
            frontends = [each.name for each in cluster.frontends("dc1")]
            cluster.kill(self._chance.choice(frontends if which == "frontend" else nodes), signal.SIGKILL)
            self.put_some(3)
            pause.wait(self._chance.uniform(0, 1))
            cluster.up()

    def close(self) -> None:
        self.client.close()


def test_whatever_is_killed_a_job_ends_with_what_a_batch_computes_and_every_snapshot_is_whole(
    here: KafkaCluster, tmp_path: Path, engine: str, start: StreamJob
) -> None:
    chance = random.Random(seed_of("actions kills"))
    # Two processes of one share the partitions; Samza's is one.
    way = Way(here, tmp_path, start, 2 if engine == "quix" else 1, chance)
    kinds = ["job", "broker", "node", "frontend", "publisher", "snapshot"]
    kills = chance.sample(kinds, k=len(kinds)) + chance.choices(["job", "broker"], k=MORE_KILLS)
    try:
        way.put_some(5)
        eventually(lambda: read_members(way.target), f"the job counts: {way.log}", timeout_s=60, interval_s=0.3)
        for turn, which in enumerate(kills):
            way.put_some(8)
            way.snapshot()
            way.kill(which, turn)
        eventually(way.counted, f"the job is where the batch is: {way.log}", timeout_s=120, interval_s=0.5)
        # All of it once more, as after a token that was lost.
        again = here.ambry("changes", "--to", here.topic(FEED), "--state", str(tmp_path / "another"))
        assert again.returncode == 0, again.stderr
        way.put_some(1)
        eventually(way.counted, f"and goes on: {way.log}", timeout_s=60, interval_s=0.3)
        members, states = way.batch.days(), states_of_members(here, way.target.topic)
        assert way.snapshot().wait(60) == 0, way.log.read_text()
        written = check_snapshots(way, states)
        last = str(int(way.snapshots[-1][1].timestamp() * 1000))
        assert dict(rows_of(way.client, way.dataset, last)) == {
            member: expected(days, way.snapshots[-1][1]) for member, days in members.items()
        }
        print(f"{kills}; {len(way.put)} files, {written} versions of {len(way.snapshots)} snapshots")
        assert len(way.put) > 40
        assert "Traceback" not in way.log.read_text()
    finally:
        with ended(*way.jobs, way.publisher, *(process for process, _ in way.snapshots)):
            way.close()


def check_snapshots(way: Way, states: Mapping[int, list[Days]]) -> int:
    """Every version is whole, each of its rows is what the job once said of that member, and no snapshot is there twice."""
    versions = {entry.version: entry for entry in way.client.versions(way.dataset)}
    asked = {str(int(as_of.timestamp() * 1000)): (process.wait(60), as_of) for process, as_of in way.snapshots}
    assert versions.keys() <= asked.keys()
    for version, (code, as_of) in asked.items():
        if version not in versions:
            assert code != 0, f"{version} was said to be written, and is not there"
            continue
        rows = rows_of(way.client, way.dataset, version)
        assert rows and len(dict(rows)) == len(rows)
        for member, cells in rows:
            assert cells in [expected(days, as_of) for days in states[member]], (version, member)
    return len(versions)


def test_what_kafka_dropped_before_a_job_read_it_ends_the_job(
    here: KafkaCluster, tmp_path: Path, engine: str, start: StreamJob
) -> None:
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import AdminClient

    chance, log = random.Random(1), tmp_path / "log"
    changes, topic = f"dropped-{engine}", f"members-dropped-{engine}"
    target = KafkaTarget(brokers=(here.broker.address,), topic=topic)
    publish = ("changes", "--to", here.topic(changes), "--state", str(tmp_path / "token"))
    with here.client() as client:
        batch = FolderBatch(client, f"{changes}/")
        client.put(actions_file(chance), name=f"{changes}/1")
        assert here.ambry(*publish).returncode == 0
        working = start(here, tmp_path, topic, f"{changes}/", changes=changes)
        with ended(working):
            eventually(lambda: read_members(target) == batch.days(), f"it counts: {log}", timeout_s=60, interval_s=0.3)
            working.terminate()
            assert working.wait(60) in (0, 143), log.read_text()
        for number in range(2, 60):
            client.put(actions_file(chance), name=f"{changes}/{number}")
        assert here.ambry(*publish).returncode == 0
    # As when the job was away for longer than retention.ms.
    ends = {each.partition(): each.offset() + 1 for each in here.broker.messages(changes)}
    places = [TopicPartition(changes, partition, offset) for partition, offset in ends.items()]
    admin = AdminClient({"bootstrap.servers": here.broker.address})
    for future in admin.delete_records(places).values():
        future.result(20)
    for _ in range(2):  # And so does the next start.
        working = start(here, tmp_path, topic, f"{changes}/", changes=changes)
        with ended(working):
            assert working.wait(60) == (2 if engine == "quix" else 1), log.read_text()
    said = log.read_text()
    assert said.count("retention dropped messages") == 2 and "Traceback" not in said
