"""How fast the change feed goes to Kafka, and how late it is there.

    python -m tests.bench.streams [--changes 60000] [--seconds 20] [--dir DIRECTORY]

Three data nodes, a frontend, a broker and `ambry changes --to kafka://...` as people start them, on one machine. First it
catches up with all there is: from the start of the command to its end, the interpreter's start included. Then it follows while
RATE blobs a second are put: from the acknowledgement of a put until a consumer has its message. AMBRY_KAFKA_JARS as in
docs/testing.md. Exit codes: as tests.bench.run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from ambry.client.sync.client import AmbryClient
from ambry.ml.extras import needed
from deploy.engines.jars import EngineError
from deploy.local_cluster import LocalCluster
from tests.bench import report
from tests.bench.child import BenchFailed, exit_code_of
from tests.bench.scratch import scratch
from tests.support.kafka_broker import KafkaProcess, running_kafka

CHANGES = 60_000
NAMES = 2_000
"""Of them so many are names, and as many their blobs."""
CATCH_UP_MIN = 5_000
"""Changes a second."""
RATE = 500
LAG_MS_MAX = 200.0
"""At p99, with RATE changes a second."""
BATCH = 25
DISK_BYTES = 4 << 30


def fill(client: AmbryClient, changes: int) -> int:
    """How many changes there are to be told."""
    for number in range(min(NAMES, changes // 2)):
        client.put(b"%d" % number, name=f"bench/{number}")
    left = changes - 2 * min(NAMES, changes // 2)
    for begin in range(0, left, 1_000):
        made = client.put_many([b"%d" % number for number in range(begin, min(left, begin + 1_000))])
        if not all(each.ok for each in made):
            raise BenchFailed("not all blobs were stored")
    return changes


def publisher(cluster: LocalCluster, broker: KafkaProcess, topic: str, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ambry.cli.main", "changes", "--to", f"kafka://{broker.address}/{topic}", *options],
        env={**os.environ, "AMBRY_ENDPOINTS": cluster.frontends()[0].url},
        stderr=subprocess.PIPE,
        text=True,
    )


def catch_up(cluster: LocalCluster, broker: KafkaProcess, changes: int, topic: str) -> float:
    """Changes a second."""
    before = time.perf_counter()
    with publisher(cluster, broker, topic) as process:
        told = process.communicate(timeout=600)[1]
    elapsed_s = time.perf_counter() - before
    found = len({dict(each.headers())["ambry-change"] for each in broker.messages(topic)})
    if process.returncode or found < changes:
        raise BenchFailed(f"{found} of {changes} changes are on the topic: {told}")
    return found / elapsed_s


class Arrivals(threading.Thread):
    """Notes when the put of each blob is read from the topic."""

    def __init__(self, broker: KafkaProcess, topic: str) -> None:
        super().__init__(daemon=True)
        self.at: dict[str, float] = {}
        self.ends = threading.Event()
        kafka = needed("confluent_kafka")
        self._consumer: Any = kafka.Consumer(
            {"bootstrap.servers": broker.address, "group.id": "bench", "fetch.wait.max.ms": 50}
        )
        places = list(self._consumer.list_topics(topic, timeout=20).topics[topic].partitions)
        self._consumer.assign([kafka.TopicPartition(topic, place, 0) for place in places])

    def run(self) -> None:
        while not self.ends.is_set():
            for message in self._consumer.consume(500, 0.005):
                if message.error() is None:
                    said = json.loads(message.value())
                    if said["type"] == "blob.put":
                        self.at.setdefault(said["id"], time.perf_counter())
        self._consumer.close()


def lags_ms(client: AmbryClient, cluster: LocalCluster, broker: KafkaProcess, seconds: float) -> list[float]:
    """Of each blob, sorted."""
    with publisher(cluster, broker, "following", "--since", "now", "--follow") as process:
        try:
            _until(lambda: _reaches(client, broker), "the follower publishes")
            arrivals = Arrivals(broker, "following")
            arrivals.start()
            acknowledged: dict[str, float] = {}
            begin = time.perf_counter()
            for turn in range(int(seconds * RATE / BATCH)):
                time.sleep(max(0.0, begin + turn * BATCH / RATE - time.perf_counter()))
                made = client.put_many([b"%d/%d" % (turn, number) for number in range(BATCH)])
                now = time.perf_counter()
                acknowledged.update((str(each.id), now) for each in made if each.ok)
            put_s = time.perf_counter() - begin
            _until(lambda: acknowledged.keys() <= arrivals.at.keys(), "all blobs are on the topic")
            arrivals.ends.set()
            arrivals.join(30)
            if len(acknowledged) / put_s < 0.9 * RATE:
                raise BenchFailed(f"{len(acknowledged) / put_s:.0f} blobs a second were put, and {RATE} were to be")
            return sorted((arrivals.at[blob] - at) * 1000 for blob, at in acknowledged.items())
        finally:
            process.kill()


def _reaches(client: AmbryClient, broker: KafkaProcess) -> bool:
    client.put(b"hello")
    try:
        return bool(broker.messages("following"))
    except (KeyError, EngineError):
        return False


def _until(holds: Any, what: str) -> None:
    deadline = time.perf_counter() + 90
    while not holds():
        if time.perf_counter() > deadline:
            raise BenchFailed(f"{what}: not within 90 s")
        time.sleep(0.2)


def bench(arguments: argparse.Namespace, out: Console) -> int:
    with (
        scratch(arguments.dir, needed_bytes=DISK_BYTES) as directory,
        running_kafka(Path(directory) / "kafka") as broker,
        LocalCluster(directory / "cluster", datacenters=1, frontends=1, port_base=0, partitions=4) as cluster,
        AmbryClient([cluster.frontends()[0].url]) as client,
    ):
        changes = fill(client, arguments.changes)
        rates = sorted(
            catch_up(cluster, broker, changes, f"catching-up-{number}") for number in range(arguments.rounds)
        )
        lags = lags_ms(client, cluster, broker, arguments.seconds)
    rate, p50, p99 = rates[len(rates) // 2], lags[len(lags) // 2], lags[int(len(lags) * 0.99)]
    fast, prompt = rate >= CATCH_UP_MIN, p99 <= LAG_MS_MAX
    out.print(
        f"{changes:,} changes caught up with at {rate:,.0f} a second ({rates[0]:,.0f} to {rates[-1]:,.0f}; at least "
        f"{CATCH_UP_MIN:,}: {'held' if fast else 'MISSED'})"
    )
    out.print(
        f"{len(lags):,} blobs at {RATE} a second are on the topic after {p50:.0f} ms in the median, {p99:.0f} at p99, "
        f"{lags[-1]:.0f} at most (p99 at most {LAG_MS_MAX:g}: {'held' if prompt else 'MISSED'})"
    )
    return 0 if fast and prompt else 1


def main(words: Sequence[str] | None = None) -> int:
    parser = report.options("tests.bench.streams", "Measure the change feed on Kafka.")
    parser.add_argument("--changes", type=int, default=CHANGES, help=f"to catch up with (default {CHANGES})")
    parser.add_argument("--seconds", type=float, default=20.0, help="to follow for (default 20)")
    arguments = parser.parse_args(words)
    return exit_code_of(lambda: bench(arguments, report.console()))


if __name__ == "__main__":
    raise SystemExit(main())
