"""A real Kafka broker for tests: its own process on loopback, killed and started again, gone at the end.

AMBRY_KAFKA_JARS names the folder with its jars (docs/testing.md); tests skip where there is none, or no Java.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import eventually

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
num.partitions=4
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.coordinator.rebalance.protocols=classic,consumer
auto.create.topics.enable=false
"""
LOG4J = """\
<Configuration><Appenders><Console name="c"><PatternLayout pattern="%d %p %m%n"/></Console></Appenders>
<Loggers><Root level="warn"><AppenderRef ref="c"/></Root></Loggers></Configuration>
"""


def jars_or_skip(variable: str = "AMBRY_KAFKA_JARS") -> Path:
    """The folder with jars that the environment names."""
    if shutil.which("java") is None:
        pytest.skip("there is no java: apt-get install default-jdk-headless")
    named = os.environ.get(variable)
    if not named:
        pytest.skip(f"{variable} names no folder with jars; docs/testing.md says how they are fetched")
    return Path(named)


class KafkaProcess:
    """One broker, whose data outlives its processes."""

    def __init__(self, directory: Path, jars: Path) -> None:
        self._directory = directory
        self._jars = jars
        self._process: subprocess.Popen[bytes] | None = None
        self.port, controller = _free_ports(2)
        self.address = f"127.0.0.1:{self.port}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "log4j2.xml").write_text(LOG4J)
        said = PROPERTIES.format(port=self.port, controller=controller, data=directory / "data")
        (directory / "server.properties").write_text(said)
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        subprocess.run(
            [*self._java(), "kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(self._properties)],
            check=True,
            capture_output=True,
            timeout=120,
        )

    @property
    def _properties(self) -> Path:
        return self._directory / "server.properties"

    def _java(self) -> list[str]:
        options = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return ["java", *options, f"-Dlog4j2.configurationFile={self._directory}/log4j2.xml", "-cp", f"{self._jars}/*"]

    def start(self) -> None:
        """Ready on return."""
        with (self._directory / "kafka.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._java(), "kafka.Kafka", str(self._properties)], stdout=log, stderr=log, start_new_session=True
            )
        admin = confluent("admin").AdminClient({"bootstrap.servers": self.address, "log_level": 0})

        def answers() -> bool:
            assert self._process is not None and self._process.poll() is None, (
                self._directory / "kafka.log"
            ).read_text()
            try:
                return bool(admin.list_topics(timeout=2).brokers)
            except Exception as error:
                raise AssertionError(str(error)) from error

        eventually(answers, "Kafka answers", timeout_s=90)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Dead on return."""
        if self._process is not None:
            self._process.send_signal(number)
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(30)
            self._process = None

    def messages(self, topic: str) -> list[Any]:
        """All that is in a topic now, partition by partition."""
        kafka = confluent()
        consumer = kafka.Consumer(
            {
                "bootstrap.servers": self.address,
                "group.id": uuid.uuid4().hex,
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        try:
            places = list(consumer.list_topics(topic, timeout=20).topics[topic].partitions)
            consumer.assign([kafka.TopicPartition(topic, place, 0) for place in places])
            found, open_places = [], set(places)
            while open_places:
                message = consumer.poll(30)
                assert message is not None, f"nothing came of {topic} for 30 s"
                if message.error() is None:
                    found.append(message)
                else:
                    assert message.error().name() == "_PARTITION_EOF", message.error()
                    open_places.discard(message.partition())
            return sorted(found, key=lambda each: (each.partition(), each.offset()))
        finally:
            consumer.close()


def confluent(module: str = "") -> Any:
    """confluent_kafka, or the test is skipped."""
    return pytest.importorskip(
        "confluent_kafka" + (f".{module}" if module else ""), reason="pip install 'ambry[kafka]'"
    )


@contextlib.contextmanager
def running_kafka(directory: Path) -> Iterator[KafkaProcess]:
    """A ready broker, gone afterwards with its data."""
    confluent()
    broker = KafkaProcess(directory, jars_or_skip())
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()
        shutil.rmtree(directory, ignore_errors=True)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
