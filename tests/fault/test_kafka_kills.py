"""Publisher, broker, frontend and data nodes are killed while blobs are put: what was acknowledged is on the topic, in order.

AMBRY_TEST_SEED sets the seed.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ambry import AmbryClient, AmbryError, RetryPolicy, Timeout
from ambry.streams.messages import change_id
from deploy.local_cluster import LocalCluster
from tests.support.clusters import running_cluster, seed_of
from tests.support.kafka_broker import KafkaProcess, running_kafka
from tests.support.waiting import eventually

pytestmark = pytest.mark.engine

TOPIC = "killed"
KEYS = 6
ROUNDS = 12


class Putter(threading.Thread):
    """Puts blobs, with names and without, until it is told to stop; keeps what was acknowledged."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.named: list[str] = []
        self.unnamed: list[str] = []
        self._client = AmbryClient(
            [url], timeout=Timeout(connect=1, read=5, total=8), retry=RetryPolicy(max_attempts=1)
        )
        self._ends = threading.Event()

    def run(self) -> None:
        number = 0
        while not self._ends.wait(0.005):
            number += 1
            try:
                if number % 3:
                    put = self._client.put(b"%d" % number, name=f"killed/{number % KEYS}")
                    self.named.append(str(put.id))
                else:
                    self.unnamed.append(str(self._client.put(b"%d" % number).id))
            except (AmbryError, OSError):
                continue  # May or may not have happened.

    def stop(self) -> None:
        self._ends.set()
        self.join(30)


def publisher(one: LocalCluster, broker: KafkaProcess, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as told:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "ambry.cli.main",
                "changes",
                "--follow",
                "--to",
                f"kafka://{broker.address}/{TOPIC}",
            ],
            env={**os.environ, "AMBRY_ENDPOINTS": one.frontends("dc1")[0].url},
            stderr=told,
        )


def test_whatever_is_killed_all_that_was_acknowledged_is_published_in_order(tmp_path: Path) -> None:
    chance = random.Random(seed_of("kafka kills"))
    log = tmp_path / "publisher.log"
    with running_kafka(tmp_path / "kafka") as broker, running_cluster(tmp_path, datacenters=1) as one:
        [frontend] = one.frontends("dc1")
        putter = Putter(frontend.url)
        process = publisher(one, broker, log)
        kills = dict.fromkeys(("publisher", "broker", "frontend", "node"), 0)
        try:
            putter.start()
            pause = threading.Event()
            for turn in range(ROUNDS):
                pause.wait(chance.uniform(0.2, 2.5))
                which = list(kills)[turn] if turn < len(kills) else chance.choice(("publisher", *kills))
                kills[which] += 1
                if which == "publisher":
                    process.kill()
                    process.wait()
                    process = publisher(one, broker, log)
                elif which == "broker":
                    broker.kill()
                    pause.wait(chance.uniform(0, 2))
                    broker.start()
                else:
                    member = frontend if which == "frontend" else chance.choice(one.nodes("dc1"))
                    one.kill(member.name, signal.SIGKILL)
                    pause.wait(chance.uniform(0, 1))
                    one.up()
                assert process.poll() is None, log.read_text()
            putter.stop()
            wanted = {*putter.named, *putter.unnamed}

            def all_there() -> bool:
                import json

                assert process.poll() is None, log.read_text()
                return wanted <= {json.loads(each.value()).get("id") for each in broker.messages(TOPIC)}

            eventually(all_there, "all that was acknowledged is on the topic", timeout_s=90, interval_s=1)
        finally:
            putter.stop()
            process.kill()
            process.wait()
        with AmbryClient(frontend.url) as client:
            told = list(client.changes())
        found = broker.messages(TOPIC)
        for key in (f"killed/{number}" for number in range(KEYS)):
            of_key = [dict(each.headers())["ambry-change"].decode() for each in found if each.key().decode() == key]
            assert list(dict.fromkeys(of_key)) == [change_id(each) for each in told if each.name == key]
        changes = [dict(each.headers())["ambry-change"] for each in found]
        print(f"{kills}; {len(changes)} messages, {len(changes) - len(set(changes))} of them again")
        assert len(wanted) > 100 and len(set(changes)) >= len(wanted)
