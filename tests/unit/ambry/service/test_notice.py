"""What a service manager is told: over a socket in a directory, over an abstract one, and nothing where there is none."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from ambry.service.notice import READY, VARIABLE, tell_manager


@pytest.mark.parametrize("abstract", [False, True])
def test_the_manager_hears_it(abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + path if abstract else path)
        manager.settimeout(10)
        monkeypatch.setenv(VARIABLE, "@" + path if abstract else path)
        tell_manager(READY)
        assert manager.recv(64) == b"READY=1"


@pytest.mark.parametrize("address", ["", "nowhere", "/nowhere/at/all"])
def test_without_one_nothing_happens(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, address)
    tell_manager(READY)
