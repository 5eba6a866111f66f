"""ZooKeeper as an engine: ready is what says so, not what listens."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from deploy.engines.zookeeper import LocalZooKeeper


@pytest.mark.parametrize(
    ("said", "ready"),
    [
        (b"Zookeeper version: 3.9.5\nMode: standalone\nNode count: 5\n", True),
        (b"This ZooKeeper instance is not currently serving requests\n", False),
        (b"", False),
    ],
)
def test_it_is_ready_when_it_says_that_it_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bytes, ready: bool
) -> None:
    (tmp_path / "java").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    server = LocalZooKeeper(tmp_path / "x", tmp_path)
    written = (tmp_path / "x" / "zoo.cfg").read_text()
    assert f"clientPort={server.port}\n" in written and "clientPortAddress=127.0.0.1\n" in written
    assert not server._serves()  # nobody listens
    with socket.create_server(("127.0.0.1", server.port)) as listening:

        def answer() -> None:
            with listening.accept()[0] as asked:
                assert asked.recv(4) == b"srvr"
                asked.sendall(said)

        worker = threading.Thread(target=answer)
        worker.start()
        assert server._serves() is ready
        worker.join(60)
