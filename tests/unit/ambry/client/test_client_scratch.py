"""Directories that are gone in the end: those of killed processes, of living ones and of other machines."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ambry.client.scratch import scratch_directory

KILLED = """
import os, signal, sys
from pathlib import Path
from ambry.client.scratch import scratch_directory
with scratch_directory(sys.argv[1], Path(sys.argv[2])) as made:
    (made / "half").write_bytes(b"x" * 1000)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(kind: str, parent: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, kind, str(parent)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL


def test_what_killed_processes_left_goes_with_the_next_one_of_its_kind(tmp_path: Path) -> None:
    for kind in ("spark", "spark", "checkpoint"):
        killed(kind, tmp_path)
    with scratch_directory("model", tmp_path):
        assert len(list(tmp_path.glob("ambry-*/half"))) == 3 - 1, "the second one of a kind removed the first"
    with scratch_directory("spark", tmp_path) as made:
        assert list(made.iterdir()) == [] and made.stat().st_mode & 0o777 == 0o700
        assert [path.parent.name.split("-")[1] for path in tmp_path.glob("ambry-*/half")] == ["checkpoint"]
    with scratch_directory("checkpoint", tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_somebody_works_in_stays(tmp_path: Path) -> None:
    with scratch_directory("spark", tmp_path) as first, scratch_directory("spark", tmp_path) as second:
        with pytest.raises(KeyError), scratch_directory("spark", tmp_path):
            raise KeyError
        assert sorted(tmp_path.iterdir()) == sorted([first, second])
    assert list(tmp_path.iterdir()) == []


def test_what_another_machine_made_at_a_shared_place_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its lock may be seen there alone."""
    killed("spark", tmp_path)
    with monkeypatch.context() as other:
        other.setattr(socket, "gethostname", lambda: "other")
        with scratch_directory("spark", tmp_path):
            assert len(list(tmp_path.glob("ambry-spark-*/half"))) == 1
    with scratch_directory("spark", tmp_path):
        assert list(tmp_path.glob("ambry-spark-*/half")) == []


def test_a_place_that_may_be_written_and_not_read_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a hardened /tmp. What was left there is not seen, which is no reason to fail."""

    def denied(_: Path) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path))

    with monkeypatch.context() as hidden:
        hidden.setattr(Path, "iterdir", denied)
        with scratch_directory("spark", tmp_path) as made:
            assert made.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_disk_says_where(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space") as raised, scratch_directory("spark", tmp_path) as made:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert raised.value.filename == str(made)
    with pytest.raises(FileNotFoundError) as missing, scratch_directory("spark", tmp_path / "gone"):
        pass
    assert str(missing.value.filename).startswith(str(tmp_path / "gone" / "ambry-spark-"))
