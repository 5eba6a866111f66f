"""Streams: what is put in one datacenter is on Kafka by the feed of the other, and a feature follows it; publisher, broker and
job are killed meanwhile.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ambry.ml import features, snapshots
from ambry.ml.extras import needed, to_install
from ambry.streams.actions import publish_snapshot, read_members
from ambry.streams.messages import change_id
from ambry.streams.target import KafkaTarget
from ambry.streams.windows import over_files, windows
from ambry.with_parent import with_parent
from deploy.demos.data import ARTICLE
from deploy.demos.kafka import KafkaProcess
from deploy.demos.stage import DemonstrationFailed, Stage
from deploy.engines.jars import EngineError, fetch

URN = "urn:li:(flagship,historicalActionsInFeed,1,0)"
TOPIC = "changes"
MEMBERS = 200
FILES = 60
LENGTHS = (1, 7, 30)


def run(stage: Stage) -> None:
    """The whole demonstration."""
    try:
        needed("confluent_kafka")
        jars = fetch("kafka", stage.say)
        stage.step("Start Kafka beside the store")
        broker = KafkaProcess(stage.directory / "kafka", jars)
        broker.start()
    except (EngineError, ModuleNotFoundError) as lacking:
        raise DemonstrationFailed(str(lacking)) from None
    stage.say(f"a broker at {broker.address}")
    work = _Work(stage, broker)
    try:
        _publish(stage, broker, work)
        _count(stage, broker, work)
    finally:
        work.end()
        broker.stop()


class _Work:
    """The publisher, and the job if there is one, as processes that can be killed."""

    def __init__(self, stage: Stage, broker: KafkaProcess) -> None:
        self._stage = stage
        self._words: dict[str, tuple[str, ...]] = {}
        self._words["publisher"] = ("changes", "--follow", "--to", f"kafka://{broker.address}/{TOPIC}")
        settings = stage.directory / "client.properties"
        settings.write_text("session.timeout.ms=3000\nheartbeat.interval.ms=500\n", "utf-8")
        self._words["job"] = (
            *("stream", "actions", f"kafka://{broker.address}/{TOPIC}", "member-actions"),
            *("--folder", "actions/", "--keep", str(stage.directory / "kept"), "--kafka-config", str(settings)),
        )
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """At the second datacenter."""
        cluster = self._stage.cluster
        environment = {"AMBRY_ENDPOINTS": cluster.frontends("dc2")[0].url, "AMBRY_KEY": cluster.key or ""}
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                with_parent([sys.executable, "-m", "ambry.cli.main", *self._words[name]], signal.SIGKILL),
                env={**os.environ, **environment},
                stdout=log,
                stderr=log,  # nosec B603 # our own interpreter and module
            )

    def kill(self, name: str) -> None:
        """SIGKILL, and started again."""
        self._running[name].kill()
        self._running[name].wait()
        self.start(name)

    def goes_on(self, name: str) -> bool:
        return self._running[name].poll() is None

    def log(self, name: str) -> Path:
        return self._stage.directory / f"{name}.log"

    def end(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()


def _put(stage: Stage, chance: random.Random, numbers: range) -> None:
    now = datetime.now(UTC)
    for number in numbers:
        lines = [
            {
                "member": chance.randrange(MEMBERS),
                "action": chance.choice(("Click", "Click", "Comment", "Share")),
                "at": int((now - timedelta(hours=chance.randrange(24 * 45))).timestamp() * 1000),
            }
            for _ in range(200)
        ]
        stage.dc1.put("".join(json.dumps(line) + "\n" for line in lines).encode(), name=f"actions/{number:03}.jsonl")
        stage.dc1.put(b"%d" % number, name=f"latest/{number % 3}")


def _publish(stage: Stage, broker: KafkaProcess, work: _Work) -> None:
    stage.step(
        f"Put {FILES} files of actions in dc1, publish the feed of dc2, and kill the publisher and the broker meanwhile"
    )
    chance = random.Random(7)  # nosec B311 # a demonstration's data
    work.start("publisher")
    for turn in range(4):
        _put(stage, chance, range(turn * FILES // 4, (turn + 1) * FILES // 4))
        if turn == 1:
            stage.until("the publisher reaches Kafka", lambda: len(_messages(broker)) > 0)
        if turn in (1, 3):
            work.kill("publisher")
        if turn == 2:
            broker.kill()
            broker.start()
    wanted = {str(each.id) for each in stage.dc1.list("actions/")}
    stage.until("all files on the topic", lambda: wanted <= {_said(each).get("id") for each in _messages(broker)})
    stage.check("the publisher, killed twice, goes on", work.goes_on("publisher"))
    messages = _messages(broker)
    told = list(stage.dc2.changes())
    names = sorted({each.name for each in told if each.name and not each.name.startswith(".changes/")})
    in_order = all(
        list(dict.fromkeys(_change(each) for each in messages if each.key().decode() == name))
        == [change_id(each) for each in told if each.name == name]
        for name in names
    )
    stage.check("each name's changes are on the topic as the feed tells them", in_order, f"{len(names)} names")
    again = sum(times - 1 for times in Counter(_change(each) for each in messages).values())
    stage.say(f"{len(messages):,} messages, {again:,} of them a second time, known by ambry-change")


def _count(stage: Stage, broker: KafkaProcess, work: _Work) -> None:
    stage.step("Count the actions of each member as they come, and kill the job meanwhile")
    if find_spec("quixstreams") is None:
        stage.skip("the job that counts", f"pip install {to_install('quixstreams')}", "quixstreams")
        return
    work.start("job")
    target = KafkaTarget(brokers=(broker.address,), topic="member-actions")
    stage.until("the job counts", lambda: bool(read_members(target)))
    work.kill("job")
    _put(stage, random.Random(8), range(FILES, FILES + 10))  # nosec B311 # a demonstration's data
    files = [(str(each.id), stage.dc1.get_bytes(each.id)) for each in stage.dc1.list("actions/") if each.id is not None]
    batch = over_files(files)
    stage.until("the job has what a batch over all files computes", lambda: read_members(target) == batch)
    actions = sum(times for days in batch.values() for day in days.values() for times in day.values())
    stage.check(
        "the job, killed once, is where a batch over the log is", True, f"{actions:,} actions of {len(batch)} members"
    )
    stage.step("Publish the windows in dc2, and read them in dc1")
    metadata = features.FeatureMetadata.of([features.parse_definitions(ARTICLE, "flagship")])
    features.publish(stage.dc2, "definitions", metadata)
    now = datetime.now(UTC)
    loaded = features.load(stage.dc2, "definitions")
    written = publish_snapshot(
        stage.dc2, "members", read_members(target), URN, metadata=loaded, as_of=now, lengths=LENGTHS
    )
    stage.until("the snapshot in dc1", lambda: stage.dc1.head(written.id).size == written.size)
    with snapshots.open(stage.dc1, "members") as snapshot:
        axes, table = snapshot.resolve(URN).axes, snapshot.table()
        found = {
            member: {(axes[0].decode(cell["feedActions"]), cell["numberOfDays"]): cell["value"] for cell in cells}
            for member, cells in zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True)
        }
    expected = {member: windows(days, now, LENGTHS) for member, days in batch.items()}
    stage.check(
        "each member's windows are those of the batch", found == expected, f"{written.rows} rows, {written.version}"
    )


def _messages(broker: KafkaProcess) -> list[Any]:
    try:
        return broker.messages(TOPIC)
    except (EngineError, KeyError):
        return []


def _said(message: Any) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(message.value())
    return said


def _change(message: Any) -> str:
    return str(dict(message.headers())["ambry-change"].decode())
