"""What gathers beside a file, and what was left of it. Whole files and directories: tests/unit/ambry/ml/test_ml_files.py."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ambry.client.changes import TokenFile
from ambry.client.locked_parts import locked_part, naming, remove_left, shared_part
from ambry.client.secret_file import NewSecretFile
from ambry.errors import Unavailable

KILLED = """
import os, signal, sys
from pathlib import Path
from ambry.client import state_file
os.fsync = lambda number: os.kill(os.getpid(), signal.SIGKILL)
state_file.replace_text(Path("token"), "half")
"""
FULL = """
import resource, signal
from pathlib import Path
from ambry.client.secret_file import NewSecretFile
from ambry.client.state_file import replace_text
resource.setrlimit(resource.RLIMIT_FSIZE, (4, 4))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def secret(path, text):
    with NewSecretFile(path) as file:
        file.write(text)
for write in (replace_text, secret):
    try:
        write(Path("x"), "more than that")
    except OSError as error:
        print(error.strerror, error.filename)
"""


def test_an_error_of_something_else_keeps_its_name() -> None:
    for error in (
        FileNotFoundError(2, "gone", "/elsewhere"),
        ConnectionResetError(104, "reset"),
        OSError("no number"),
        Unavailable("away"),
    ):
        with pytest.raises(type(error)) as raised, naming(Path("x"), Path(".x.part")):
            raise error
        assert raised.value is error


def test_a_part_that_somebody_takes_for_one_that_was_left_is_made_anew(tmp_path: Path) -> None:
    """It may be looked at between being made and being locked."""
    ours, names = re.compile(r"x\.\d"), iter(range(9))

    def make(path: Path) -> None:
        path.touch()
        if path.name == "x.0":
            remove_left(tmp_path, ours)

    with locked_part(tmp_path / "x", lambda: tmp_path / f"x.{next(names)}", make) as part:
        remove_left(tmp_path, ours)
        assert part.name == "x.1" and part.exists()
        part.rename(tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_what_another_user_made_and_what_is_a_link_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = re.compile(r"x\..*")
    (tmp_path / "kept").touch()
    (tmp_path / "x.1").symlink_to("kept")
    (tmp_path / "x.2").touch()
    with monkeypatch.context() as other:
        other.setattr(os, "geteuid", lambda: os.getuid() + 1)
        remove_left(tmp_path, ours)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "x.1", "x.2"]
    remove_left(tmp_path, ours)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kept", "x.1"]
    remove_left(tmp_path / "gone", ours)


def test_what_cannot_be_locked_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no descriptor was free it was made without a lock, and taken for what a dead process had left."""

    def full(*_: object) -> None:
        raise OSError(errno.EMFILE, "too many open files")

    with monkeypatch.context() as exhausted:
        exhausted.setattr("ambry.client.locked_parts.os.open", full)
        with (
            pytest.raises(OSError, match="too many open files"),
            locked_part(None, lambda: tmp_path / "x.1", Path.mkdir),
        ):
            pass
    assert list(tmp_path.iterdir()) == []


def test_where_there_are_no_locks_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(95, "not supported")

    monkeypatch.setattr("fcntl.flock", none)
    (tmp_path / "x.1").touch()
    with locked_part(tmp_path / "x", lambda: tmp_path / "x.2", Path.touch) as part:
        remove_left(tmp_path, re.compile(r"x\..*"))
        assert part.exists() and (tmp_path / "x.1").exists()
    assert not part.exists()


def test_what_a_killed_process_left_beside_a_token_goes_when_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kill in that moment left a file, for ever."""
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "-c", KILLED], timeout=60, check=False)
    [left] = tmp_path.iterdir()
    assert re.fullmatch(r"token\.[0-9a-f]{32}\.new", left.name)
    assert TokenFile(Path("token")).read() is None and not left.exists()


def test_of_a_full_disk_a_token_and_a_key_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was `No space left on device` alone."""
    monkeypatch.chdir(tmp_path)
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, timeout=60)
    assert done.stdout == "File too large x\n" * 2, done.stderr
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError), NewSecretFile(tmp_path / "gone/x"):
        pass


@pytest.mark.parametrize("locks", [True, False])
def test_what_is_gathered_together_goes_with_the_last_one_that_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: bool
) -> None:
    """On a file system without locks nobody is known to be at it."""
    if not locks:

        def none(handle: int, operation: int) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr("ambry.client.locked_parts.fcntl.flock", none)
    part = tmp_path / ".ambry-x"
    with shared_part(part):
        with shared_part(part):
            (part / "y").write_bytes(b"y")
            remove_left(tmp_path, re.compile(r"\.ambry-x"))
            assert (part / "y").exists(), "somebody is at it"
        assert part.is_dir() is locks
    assert not part.exists()


def test_what_is_gathered_together_stays_after_an_error_if_there_is_anything(tmp_path: Path) -> None:
    part = tmp_path / ".ambry-x"
    with pytest.raises(KeyboardInterrupt), shared_part(part):
        raise KeyboardInterrupt
    assert not part.exists()
    with pytest.raises(KeyboardInterrupt), shared_part(part):
        (part / "y").write_bytes(b"y")
        raise KeyboardInterrupt
    assert (part / "y").exists()
    remove_left(tmp_path, re.compile(r"\.ambry-x"))
    assert not part.exists()
