"""Ctrl-C while the server says nothing: the command ends, and what came is kept."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import ambry
from ambry import AmbryClient
from tests.support.content import content
from tests.support.named_frontend import LosingLink

MIB = 1 << 20
PATIENCE_S = 3600
"""Of the client with its server: only an interruption ends the command."""


class SilentLink(LosingLink):
    """Passes so many bytes of answers on, and then nothing more."""

    def __init__(self, url: str, passes: int) -> None:
        super().__init__(url)
        self._left = passes
        self.silent = threading.Event()
        self.over = threading.Event()
        self.alter = self._pass

    def _pass(self, data: bytes) -> bytes:
        self._left -= len(data)
        if self._left < 0:
            self.silent.set()
            self.over.wait()
        return data


@pytest.mark.parametrize(
    ("args", "passes"),
    [
        (["get", "left/big", "-o", "out"], 17 * MIB),
        (["get", "left/big", "left/other", "--output-dir", "."], 17 * MIB),
        (["cp", "ambry://default/default/left/big", "out"], 17 * MIB),
        (["cp", "-r", "ambry://default/default/left/", "folder"], 17 * MIB),
        (["cache", "get", "left/big", "--cache-dir", "kept"], 17 * MIB),
        (["put", "local", "--name", "left/put"], 1000),
        (["cp", "local", "ambry://default/default/left/put"], 1000),
    ],
    ids=lambda each: each[0] + str(len(each)) if isinstance(each, list) else "",
)
def test_an_interrupted_command_ends_while_the_server_is_silent(
    here: Path, url: str, args: list[str], passes: int
) -> None:
    """It waited for all attempts of all sections: for minutes, and also after a second Ctrl-C."""
    with AmbryClient(url) as client:
        if not client.exists("left/big"):
            for name in ("left/big", "left/other"):
                client.put(content(5, 24 * MIB), name=name)
    (here / "local").write_bytes(content(6, 24 * MIB))
    with SilentLink(url, passes) as link:
        env = {
            **os.environ,
            "AMBRY_ENDPOINTS": link.url,
            "PYTHONPATH": str(Path(ambry.__file__).parents[1]),
        }
        command = subprocess.Popen(
            [sys.executable, "-m", "ambry.cli.main", *args, "--timeout", str(PATIENCE_S)],
            cwd=here,
            env=env,
            stderr=subprocess.PIPE,
        )
        try:
            while not link.silent.wait(0.1):
                assert command.poll() is None, command.communicate()
            command.send_signal(signal.SIGINT)
            _, errors = command.communicate(timeout=120)
        finally:
            command.kill()
            link.over.set()
        assert command.returncode == 130 and b"Traceback" not in errors and b"retrying" not in errors
        assert b"the same command goes on from there" in errors
        assert not (here / "out").exists()
