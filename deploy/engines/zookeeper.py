"""Apache ZooKeeper: one server of its own, on loopback, with its data in a directory of its own."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

from deploy.engines.jars import Tell, fetch
from deploy.engines.processes import EngineProcess, free_ports, java
from deploy.local_layout import HOST

PROPERTIES = """\
tickTime=2000
dataDir={data}
clientPort={port}
clientPortAddress=127.0.0.1
admin.enableServer=false
4lw.commands.whitelist=srvr
autopurge.purgeInterval=1
"""
OPTIONS = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true")


class LocalZooKeeper(EngineProcess):
    """`address` is what clients connect to. Its data outlives its processes: it may be killed and started again."""

    def __init__(self, directory: Path, jars: Path) -> None:
        """Raises EngineError."""
        (self.port,) = free_ports(1)
        self.address = f"{HOST}:{self.port}"
        directory.mkdir(parents=True, exist_ok=True)
        properties = directory / "zoo.cfg"
        properties.write_text(PROPERTIES.format(data=directory / "zookeeper-data", port=self.port), "utf-8")
        main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        command = java(jars, main, str(properties), scratch=directory / "tmp", options=OPTIONS, heap="128m")
        super().__init__("zookeeper", command, directory, self._serves)

    def _serves(self) -> bool:
        """Whether it takes requests: `srvr` names its mode only then (ZooKeeper administrator's guide, four letter words)."""
        try:
            with socket.create_connection((HOST, self.port), timeout=2) as asked:
                asked.sendall(b"srvr")
                with asked.makefile("rb") as said:
                    return b"Mode: standalone" in said.read(4096)
        except OSError:
            return False


@contextlib.contextmanager
def zookeeper(directory: Path, tell: Tell) -> Iterator[LocalZooKeeper]:
    """A server that takes requests, in a directory of the caller's. Raises EngineError."""
    with LocalZooKeeper(directory, fetch("zookeeper", tell)) as server:
        yield server
