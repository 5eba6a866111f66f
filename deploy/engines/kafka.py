"""Apache Kafka: one broker that is its own controller (KRaft), on loopback, with its data in a directory of its own."""

from __future__ import annotations

import contextlib
import socket
import struct
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path

from deploy.engines.jars import EngineError, Tell, fetch
from deploy.engines.processes import EngineProcess, free_ports, java, make_storage
from deploy.local_layout import HOST
from deploy.local_processes import taken

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
# One that was killed is let in again when its former session is over, after 9 s where nobody says otherwise.
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
# The same of members of consumer groups, which may ask for less than 6 s.
group.min.session.timeout.ms=1000
"""
LOG4J = """\
<Configuration><Appenders><Console name="c"><PatternLayout pattern="%d %p %m%n"/></Console></Appenders>
<Loggers><Root level="warn"><AppenderRef ref="c"/></Root></Loggers></Configuration>
"""
_API_VERSIONS = struct.pack(">hhi", 18, 0, 1) + struct.pack(">h", -1)
"""The request that every broker answers (Kafka protocol, ApiVersions v0): key, version, correlation id, no client id."""


class LocalKafka(EngineProcess):
    """`address` is what clients connect to. Its data outlives its processes: it may be killed and started again."""

    formatting: tuple[str, ...] = ()
    """Further words for the tool that lays out its data, such as users."""

    def properties(self, controller: int, data: Path) -> str:
        """Its server.properties."""
        return PROPERTIES.format(port=self.port, controller=controller, data=data)

    def __init__(self, directory: Path, jars: Path, *, port: int | None = None) -> None:
        """Lays out a fresh broker in a directory that is not there yet, or opens the one that is. Raises EngineError."""
        chosen, controller = free_ports(2)
        self.port = port or chosen
        if taken([self.port]):
            raise EngineError(f"port {self.port} is somebody else's; end who has it, or name another one")
        self.address = f"{HOST}:{self.port}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "log4j2.xml").write_text(LOG4J, "utf-8")
        properties = directory / "server.properties"
        properties.touch(0o600)
        properties.write_text(self.properties(controller, directory / "data"), "utf-8")
        scratch = directory / "tmp"
        options = [f"-Dlog4j2.configurationFile={directory / 'log4j2.xml'}"]
        if not (directory / "data" / "meta.properties").is_file():
            cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            # By "=": one of 64 begins with "-", which stands for an option otherwise.
            words = ["format", f"--cluster-id={cluster}", "-c", str(properties), *self.formatting]
            make_storage("Kafka", java(jars, "kafka.tools.StorageTool", *words, scratch=scratch, options=options))
        command = java(jars, "kafka.Kafka", str(properties), scratch=scratch, options=options)
        super().__init__("kafka", command, directory, self._answers)

    def _answers(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port), timeout=2) as asked:
                asked.sendall(struct.pack(">i", len(_API_VERSIONS)) + _API_VERSIONS)
                return len(asked.recv(10)) == 10
        except OSError:
            return False


@contextlib.contextmanager
def kafka(directory: Path, tell: Tell, *, port: int | None = None) -> Iterator[LocalKafka]:
    """A broker that answers, in a directory of the caller's. Raises EngineError."""
    with LocalKafka(directory, fetch("kafka", tell), port=port) as broker:
        yield broker
