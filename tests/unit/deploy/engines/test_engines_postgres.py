"""PostgreSQL as an engine: which of those that are installed, and what is said where there is none."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.engines import postgres
from deploy.engines.jars import EngineError
from deploy.engines.postgres import LocalPostgres, as_user_with_parent, binaries_of


def test_the_newest_is_taken(tmp_path: Path) -> None:
    for version in ("9", "15", "17"):
        (tmp_path / version / "bin").mkdir(parents=True)
        (tmp_path / version / "bin" / "postgres").touch()
    (tmp_path / "18" / "bin").mkdir(parents=True)  # clients alone
    assert binaries_of(tmp_path) == tmp_path / "17" / "bin"


def test_where_there_is_none_there_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "INSTALLED", tmp_path)
    with pytest.raises(EngineError, match=r"no PostgreSQL in .*; `make engines` installs it"):
        LocalPostgres(tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_root_without_its_user_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "15" / "bin").mkdir(parents=True)
    (tmp_path / "15" / "bin" / "postgres").touch()
    monkeypatch.setattr(postgres, "INSTALLED", tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(postgres, "SYSTEM_USER", "nobody-of-that-name")
    with pytest.raises(EngineError, match="does not run as root, and there is no "):
        LocalPostgres(tmp_path / "x")


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="there is no setpriv (util-linux)")
def test_what_runs_as_another_user_ends_with_its_parent_also_with_one_that_is_gone() -> None:
    """Where this process died before the kernel was asked, the server lived on."""
    asked = "import ctypes; n = ctypes.c_int(); ctypes.CDLL(None).prctl(2, ctypes.byref(n)); print(n.value)"
    for parent, said in ((os.getpid(), f"{int(signal.SIGINT)}\n"), (os.getpid() + 1, "")):
        command = as_user_with_parent(["setpriv"], [sys.executable, "-c", asked], parent)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.stdout, done.stderr, done.returncode == 0) == (said, "", bool(said))


def test_the_first_message_is_that_of_the_protocol() -> None:
    message = b"\x00\x03\x00\x00user\x00ambry\x00database\x00postgres\x00\x00"
    assert bytes([0, 0, 0, len(message) + 4]) + message == postgres._STARTUP
