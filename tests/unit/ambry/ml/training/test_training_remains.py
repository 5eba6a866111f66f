"""Directories of jobs whose owner lives, and of those that were killed."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ambry.ml.training.remains import STAGED, empty, held_directory, left_behind, remove_left_behind

KILLED = """\
import os, signal
from ambry.ml.training.remains import held_directory
with held_directory() as made:
    (made / "key").write_text("secret")
    print(made, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What a process left that was killed."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return Path(done.stdout.strip())


def test_what_a_killed_process_left_goes_and_what_somebody_has_stays(killed: Path, tmp_path: Path) -> None:
    (tmp_path / "ambry-train-of-an-earlier-release").mkdir()
    (tmp_path / "ambry-train-link").symlink_to(killed)
    with held_directory() as held:
        assert (killed / "key").is_file() and held.stat().st_mode & 0o777 == 0o700
        assert list(left_behind()) == [killed]
        remove_left_behind()
        assert not killed.exists() and held.is_dir()
    assert not held.exists()
    assert (tmp_path / "ambry-train-of-an-earlier-release").is_dir()


def test_what_names_something_elsewhere_stays_without_its_secrets(killed: Path) -> None:
    for name in ("src", "conf"):
        (killed / name).mkdir()
        (killed / name / "key").touch()
    (killed / STAGED).write_text("{}")
    remove_left_behind()
    assert {path.name for path in killed.iterdir()} == {STAGED, "conf", "held.lock"}
    (killed / STAGED).unlink()
    empty(killed)
    assert not killed.exists()


def test_a_full_disk_keeps_no_secret_and_the_application_keeps_its_name(
    killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of its name was to be made first, and could not: the sources with the key stayed, without a word."""
    name = "application_1795847266519_0001"
    (killed / STAGED).write_text("{}")
    (killed / f"{name}-tony-src.zip").write_text("secret")

    def full(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "touch", full)
    for _ in range(2):
        remove_left_behind()
        assert {path.name for path in killed.iterdir()} == {STAGED, "held.lock", name}
        assert (killed / name).read_bytes() == b""


def test_the_lock_goes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that was killed while it removed its key could leave that without a lock, which nobody takes for left."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: list[list[str]] = []

    def killed_here(path: Path) -> None:
        seen.append(sorted(each.name for each in path.iterdir()))

    with held_directory() as held:
        (held / "key").write_text("secret")
        monkeypatch.setattr("ambry.ml.training.remains.remove_tree", killed_here)
    assert seen == [["held.lock"]]
