"""A cluster with a real Kafka broker beside it, and commands that know of both."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ambry import AmbryClient
from deploy.local_cluster import LocalCluster
from tests.support.clusters import running_cluster
from tests.support.kafka_broker import KafkaProcess, running_kafka


@dataclass(frozen=True, slots=True)
class KafkaCluster:
    """One data center with one frontend, and one broker."""

    cluster: LocalCluster
    broker: KafkaProcess

    @property
    def url(self) -> str:
        """Of the frontend."""
        return self.cluster.frontends("dc1")[0].url

    def client(self) -> AmbryClient:
        """One more, to be closed."""
        return AmbryClient(self.url)

    def topic(self, name: str) -> str:
        """As `--to` takes it."""
        return f"kafka://{self.broker.address}/{name}"

    def ambry(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A whole command."""
        line = [sys.executable, "-m", "ambry.cli.main", *words]
        return subprocess.run(line, capture_output=True, text=True, timeout=120, env=self._environment, check=False)

    def start(self, log: Path, *words: str) -> subprocess.Popen[bytes]:
        """A command that goes on; what it says is in `log`, behind what is there."""
        line = [sys.executable, "-m", "ambry.cli.main", *words]
        with log.open("ab") as told:
            return subprocess.Popen(line, env=self._environment, stdout=told, stderr=told)

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "AMBRY_ENDPOINTS": self.url, "NO_COLOR": "1"}


@contextlib.contextmanager
def running_kafka_cluster(directory: Path, kind: type[KafkaProcess] = KafkaProcess) -> Iterator[KafkaCluster]:
    """Both ready, and down afterwards."""
    with running_kafka(directory / "kafka", kind) as broker, running_cluster(directory, datacenters=1) as cluster:
        yield KafkaCluster(cluster, broker)


@contextlib.contextmanager
def ended(*processes: subprocess.Popen[bytes]) -> Iterator[None]:
    """Killed at the end, if they have not ended."""
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()
