"""A broker that asks for TLS and a password (SCRAM-SHA-512 or PLAIN) beside its open listener."""

from __future__ import annotations

from pathlib import Path

from deploy.demos.kafka import KafkaProcess
from deploy.engines.processes import free_ports
from tests.support.certificates import Authority

USER, PASSWORD = "publisher", "of-the-test-alone"
_SECURE = """\
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},SECURE://127.0.0.1:{secure}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SECURE://127.0.0.1:{secure}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL
sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
listener.name.secure.sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
 user_{user}="{password}";
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location={keystore}
"""


class SecuredKafka(KafkaProcess):
    """`secure` is where clients are asked who they are; `ca` is who vouches for the broker."""

    formatting = ("--add-scram", f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]")

    def __init__(self, directory: Path, jars: Path, authority: Authority) -> None:
        [port] = free_ports(1)
        self.secure, self._secure_port, self.ca = f"127.0.0.1:{port}", port, authority.ca
        issued = authority.issue("broker")
        self._keystore = issued.key.with_suffix(".keystore")
        self._keystore.touch(0o600)
        self._keystore.write_bytes(issued.key.read_bytes() + issued.cert.read_bytes())
        super().__init__(directory, jars)

    def properties(self, controller: int, data: Path) -> str:
        secure = _SECURE.format(
            port=self.port,
            controller=controller,
            secure=self._secure_port,
            user=USER,
            password=PASSWORD,
            keystore=self._keystore,
        )
        # Of a key that stands twice, Java takes the last.
        return super().properties(controller, data) + secure
