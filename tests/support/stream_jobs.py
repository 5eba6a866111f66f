"""The two jobs of actions as processes, what they count, and what a batch over the same files counts."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import pytest

from ambry import AmbryClient
from ambry.streams.windows import Days, added, over_files
from tests.support.kafka_broker import jars_or_skip
from tests.support.kafka_cluster import KafkaCluster

FEED = "changes"
"""The topic of changes where nobody says another one."""
MEMBERS = 40
SHORT_SESSION = "session.timeout.ms=3000\nheartbeat.interval.ms=500\n"
"""One that was killed is in nobody's way for longer."""
SAMZA_JOB = Path(__file__).resolve().parents[2] / "deploy/streams/ActionsJob.java"
QUIET = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]


class StreamJob(Protocol):
    """Starts a job that reads changes and a folder, and writes a topic; its log and what it keeps are in a directory."""

    def __call__(
        self, here: KafkaCluster, directory: Path, topic: str, folder: str, *, changes: str = FEED, kept: str = "kept"
    ) -> subprocess.Popen[bytes]: ...


def quix_job() -> StreamJob:
    """That of Quix Streams."""
    pytest.importorskip("quixstreams", reason="quixstreams is not installed; `make engines` does it")

    def start(
        here: KafkaCluster, directory: Path, topic: str, folder: str, *, changes: str = FEED, kept: str = "kept"
    ) -> subprocess.Popen[bytes]:
        settings = directory / "client.properties"
        settings.write_text(SHORT_SESSION, "utf-8")
        words = ["--folder", folder, "--keep", str(directory / kept), "--kafka-config", str(settings)]
        return here.start(directory / "log", "stream", "actions", here.topic(changes), topic, *words)

    return start


def samza_classes(directory: Path, *more: Path) -> str:
    """The class path of the job in Java, and of `more` sources, which are compiled into a directory."""
    jars = jars_or_skip("samza")
    if shutil.which("javac") is None:
        pytest.skip("there is no javac; `make engines` installs it")
    line = ["javac", "-d", str(directory), "-cp", f"{jars}/*", str(SAMZA_JOB), *map(str, more)]
    subprocess.run(line, check=True, timeout=120)
    return f"{directory}:{jars}/*"


def samza_job(class_path: str) -> StreamJob:
    """That of Samza."""

    def start(
        here: KafkaCluster, directory: Path, topic: str, folder: str, *, changes: str = FEED, kept: str = "kept"
    ) -> subprocess.Popen[bytes]:
        words = [here.broker.address, changes, topic, folder, str(directory / kept)]
        with (directory / "log").open("ab") as told:
            return subprocess.Popen(
                ["java", *QUIET, "-cp", class_path, "ActionsJob", *words],
                # Nobody listens at the first one.
                env={**os.environ, "AMBRY_ENDPOINTS": f"http://127.0.0.1:1, {here.url}/"},
                stdout=told,
                stderr=told,
                cwd=directory,
            )

    return start


def actions_file(chance: random.Random) -> bytes:
    """Up to 60 actions of the last 40 days."""
    now = datetime.now(UTC)
    lines = [
        {
            "member": chance.randrange(MEMBERS),
            "action": chance.choice(("Click", "Click", "Share", "Comment", "Wave")),
            "at": int((now - timedelta(hours=chance.randrange(24 * 40))).timestamp() * 1000),
        }
        for _ in range(chance.randrange(1, 60))
    ]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


@dataclass
class FolderBatch:
    """All files below a name at once; what was read once is not read again."""

    client: AmbryClient
    folder: str
    _read: dict[str, bytes] = field(default_factory=dict)

    def days(self) -> dict[int, Days]:
        """Of each member. Raises AmbryError."""
        ids = [str(each.id) for each in self.client.list(self.folder) if each.id is not None]
        for id in ids:
            if id not in self._read:
                self._read[id] = self.client.get_bytes(id)
        return over_files((id, self._read[id]) for id in ids)


def states_of_members(here: KafkaCluster, topic: str) -> dict[int, list[Days]]:
    """All that a job may ever have said of each member: its days after each file, in the order of the topic by member."""
    states: dict[int, list[Days]] = {}
    taken: set[tuple[int, str]] = set()
    for message in here.broker.messages(f"{topic}-by-member"):
        part = json.loads(message.value())
        member = part["member"]
        if (member, part["file"]) not in taken:
            taken.add((member, part["file"]))
            before = states.setdefault(member, [])
            before.append(added(before[-1] if before else {}, part["days"]))
    return states
