"""Publisher, broker, frontend and data nodes are killed while blobs are put: what was acknowledged is on the topic, in order.

AMBRY_TEST_SEED sets the seed.
"""

from __future__ import annotations

import json
import random
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from ambry import AmbryClient, AmbryError, RetryPolicy, Timeout
from ambry.streams.messages import change_id
from tests.support.clusters import seed_of
from tests.support.kafka_cluster import running_kafka_cluster
from tests.support.waiting import settled

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


def changes_of_names(client: AmbryClient) -> dict[str, list[str]]:
    """By name, its changes as the feed tells them now, each where it is first."""
    told: dict[str, dict[str, None]] = {f"killed/{number}": {} for number in range(KEYS)}
    for each in client.changes():
        if each.name in told:
            told[each.name][change_id(each)] = None
    return {name: list(changes) for name, changes in told.items()}


def complaints(client: AmbryClient, messages: list[Any], acknowledged: set[str]) -> list[str]:
    """What the topic lacks or says in another order than the feed. What was told late is out of order, and says so."""
    found = [(each.key().decode(), dict(each.headers())["ambry-change"].decode(), each) for each in messages]
    said = [json.loads(each.value()) for each in messages]
    lacking = acknowledged - {each.get("id") for each in said}
    late = {change for (_, change, _), value in zip(found, said, strict=True) if value.get("late")}
    wrong = [f"{len(lacking)} blobs that were acknowledged are not there"] if lacking else []
    # A put that nobody acknowledged may land after all, also after the last one: the feed says which did.
    for name, changes in changes_of_names(client).items():
        of_name = [change for key, change, _ in found if key == name]
        if missing := set(changes) - set(of_name):
            wrong.append(f"{name}: {len(missing)} of {len(changes)} changes are not there")
        elif changes and of_name[-1] != changes[-1]:
            wrong.append(f"{name}: the last message is not the last change")
        in_order = [change for change in dict.fromkeys(of_name) if change in changes and change not in late]
        if in_order != [change for change in changes if change not in late]:
            wrong.append(f"{name}: the order is another one")
    return wrong


def test_whatever_is_killed_all_that_was_acknowledged_is_published_in_order(tmp_path: Path) -> None:
    chance = random.Random(seed_of("kafka kills"))
    log = tmp_path / "publisher.log"
    with running_kafka_cluster(tmp_path) as here, here.client() as client:
        words = ("changes", "--follow", "--to", here.topic(TOPIC))
        putter, process = Putter(here.url), here.start(log, *words)
        kills = dict.fromkeys(("publisher", "broker", "frontend", "node"), 0)
        try:
            putter.start()
            pause = threading.Event()
            for turn in range(ROUNDS):
                pause.wait(chance.uniform(0.2, 1.5))
                which = list(kills)[turn] if turn < len(kills) else chance.choice(("publisher", *kills))
                kills[which] += 1
                if which == "publisher":
                    process.kill()
                    process.wait()
                    process = here.start(log, *words)
                elif which == "broker":
                    here.broker.kill()
                    pause.wait(chance.uniform(0, 2))
                    here.broker.start()
                else:
                    cluster = here.cluster
                    members = cluster.frontends("dc1") if which == "frontend" else cluster.nodes("dc1")
                    cluster.kill(chance.choice(members).name, signal.SIGKILL)
                    pause.wait(chance.uniform(0, 1))
                    cluster.up()
                assert process.poll() is None, log.read_text()
            putter.stop()
            wanted = {*putter.named, *putter.unnamed}
            settled(
                lambda: complaints(client, here.broker.messages(TOPIC), wanted),
                f"the topic says what was acknowledged and what the feed says: {log}",
                timeout_s=90,
                interval_s=1,
            )
            assert process.poll() is None, log.read_text()
        finally:
            putter.stop()
            process.kill()
            process.wait()
        changes = [dict(each.headers())["ambry-change"] for each in here.broker.messages(TOPIC)]
        print(f"{kills}; {len(changes)} messages, {len(changes) - len(set(changes))} of them again")
        assert len(wanted) > 100 and len(set(changes)) >= len(wanted)
