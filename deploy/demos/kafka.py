"""A Kafka broker of one's own, on loopback: for the demonstration, and for tests, which kill it.

AMBRY_KAFKA_JARS names the folder with its jars (docs/testing.md).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

from ambry.ml.extras import needed
from deploy.local_processes import DIE_WITH_PARENT, wait_until

JARS = "AMBRY_KAFKA_JARS"
READY_TIMEOUT_S = 90.0
END_TIMEOUT_S = 30.0
SILENCE_S = 30.0
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


class KafkaUnavailable(Exception):
    """There cannot be a broker here; the message says what to do."""


def kafka_jars() -> Path:
    """The folder with the jars. Raises KafkaUnavailable."""
    if shutil.which("java") is None:
        raise KafkaUnavailable("there is no java: apt-get install default-jdk-headless")
    named = os.environ.get(JARS)
    if not named or not any(Path(named).glob("kafka*.jar")):
        raise KafkaUnavailable(
            f"{JARS} names no folder with the jars of Kafka; docs/testing.md says how they are fetched"
        )
    return Path(named)


class KafkaProcess:
    """One broker, whose data outlives its processes; it dies with this process."""

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
            timeout=120,  # nosec B603 # as below
        )

    @property
    def _properties(self) -> Path:
        return self._directory / "server.properties"

    def _java(self) -> list[str]:
        options = ["-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        return [
            shutil.which("java") or "java",
            *options,
            f"-Dlog4j2.configurationFile={self._directory}/log4j2.xml",
            "-cp",
            f"{self._jars}/*",
        ]

    def start(self) -> None:
        """Ready on return. Raises KafkaUnavailable, ModuleNotFoundError."""
        with (self._directory / "kafka.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", "-c", DIE_WITH_PARENT, str(os.getpid())),
                    *(*self._java(), "kafka.Kafka", str(self._properties)),
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,  # nosec B603 # java of this machine, with our own configuration
            )
        kafka = needed("confluent_kafka")
        admin = needed("confluent_kafka.admin").AdminClient({"bootstrap.servers": self.address, "log_level": 0})

        def answers() -> bool:
            if self._process is None or self._process.poll() is not None:
                raise KafkaUnavailable(f"Kafka ended: {(self._directory / 'kafka.log').read_text()[-2000:]}")
            try:
                return bool(admin.list_topics(timeout=2).brokers)
            except kafka.KafkaException:
                return False

        if not wait_until(answers, READY_TIMEOUT_S, 0.1):
            raise KafkaUnavailable(f"Kafka does not answer at {self.address} after {READY_TIMEOUT_S:.0f} s")

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Dead on return."""
        if self._process is not None:
            self._process.send_signal(number)
            try:
                self._process.wait(END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(END_TIMEOUT_S)
            self._process = None

    def messages(self, topic: str) -> list[Any]:
        """All that is in a topic now, partition by partition. Raises KafkaUnavailable."""
        kafka = needed("confluent_kafka")
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
                message = consumer.poll(SILENCE_S)
                if message is None:
                    raise KafkaUnavailable(f"nothing came of {topic} for {SILENCE_S:.0f} s")
                if message.error() is None:
                    found.append(message)
                elif message.error().name() == "_PARTITION_EOF":
                    open_places.discard(message.partition())
            return sorted(found, key=lambda each: (each.partition(), each.offset()))
        finally:
            consumer.close()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
