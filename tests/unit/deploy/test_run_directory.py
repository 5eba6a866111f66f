"""The directory of a run: gone at its end, and when it was killed with the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from deploy import run_directory as module
from deploy.directory_lock import locked
from deploy.run_directory import keep, remove_left, run_directory
from tests.support.waiting import eventually

ROOT = Path(__file__).resolve().parents[3]
RUNS = """
import subprocess, sys, time
from ambry.cli.interrupts import signals_interrupt
from deploy.run_directory import run_directory
with signals_interrupt(), run_directory("demo") as directory:
    (directory / "cluster" / "data").mkdir(parents=True)
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], cwd=directory / "cluster", start_new_session=True
    )
    print(directory, child.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def begun(temporary: Path) -> tuple[subprocess.Popen[str], Path, int]:
    """A run, its directory, and a process of it that works there and does not end with it."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
    run = subprocess.Popen(
        [sys.executable, "-c", RUNS],
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
        # What nohup ignores stays ignored, and these tests may run under it.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    assert run.stdout is not None
    directory, pid = run.stdout.readline().split()
    return run, Path(directory), int(pid)


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}/cwd").exists()


def test_it_is_gone_at_the_end_also_by_an_error(temporary: Path) -> None:
    with run_directory("kafka") as directory:
        assert directory.parent == temporary and directory.name.startswith("ambry-kafka-")
        (directory / "data").mkdir()
        (directory / "data" / "x").touch()
        (directory / "link").symlink_to(temporary)
    with pytest.raises(ValueError, match="bad"), run_directory("kafka"):
        raise ValueError("bad")
    assert not list(temporary.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_nothing(temporary: Path, number: signal.Signals) -> None:
    run, directory, pid = begun(temporary)
    with run:
        run.send_signal(number)
        run.wait(30)
    assert not directory.exists() and is_gone(pid)


def test_what_a_killed_run_left_goes_with_the_next_one_and_who_works_in_it_ends(temporary: Path) -> None:
    """A demonstration that was killed left its directory for ever."""
    run, directory, pid = begun(temporary)
    other, of_other, works = begun(temporary)
    with run, other:
        run.kill()
        run.wait(30)
        assert directory.exists() and not is_gone(pid)
        with run_directory("yarn") as mine:
            assert not directory.exists() and mine.exists()
            eventually(lambda: is_gone(pid), "who worked in it is gone")
            assert of_other.exists() and not is_gone(works)
        other.terminate()
        other.wait(30)
    assert not list(temporary.iterdir())


def test_others_and_those_that_have_not_begun_stay(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("killed", "running", "others"):
        (temporary / f"ambry-demo-{name}").mkdir()
        (temporary / f"ambry-demo-{name}" / ".ambry-run").touch()
    (temporary / "ambry-demo-begins").mkdir()
    (temporary / "ambry-of-a-user").mkdir()
    (temporary / "ambry-of-a-user" / "kafka.log").touch()
    (temporary / "elsewhere").mkdir()
    (temporary / "elsewhere" / ".ambry-run").touch()
    (temporary / "ambry-demo-linked").symlink_to(temporary / "elsewhere")
    stays = {"ambry-demo-begins", "ambry-of-a-user", "elsewhere", "ambry-demo-linked", "ambry-demo-running"}
    with locked(temporary / "ambry-demo-running"), monkeypatch.context() as patched:
        patched.setattr(os, "geteuid", lambda: 2**31)
        remove_left()
        assert {path.name for path in temporary.iterdir()} == stays | {"ambry-demo-killed", "ambry-demo-others"}
        patched.undo()
        remove_left()
    assert {path.name for path in temporary.iterdir()} == stays
    assert (temporary / "elsewhere" / ".ambry-run").exists()


def test_what_somebody_still_works_with_stays(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = temporary / "ambry-demo-killed"
    left.mkdir()
    for name in (".ambry-run", "data"):
        (left / name).touch()
    monkeypatch.setattr(module, "end_processes", lambda _: ["one that hangs on a disk"])
    remove_left()
    assert (left / "data").exists()
    monkeypatch.setattr(module, "end_processes", lambda _: [])
    monkeypatch.setattr(module.shutil, "rmtree", lambda path, **_: None)  # type: ignore[attr-defined]
    (left / "deep").mkdir()
    remove_left()
    assert {path.name for path in left.iterdir()} == {".ambry-run", "deep"}  # The next one goes on.


def test_what_is_to_be_looked_at_is_kept(temporary: Path) -> None:
    with run_directory("demo") as directory:
        (directory / "log").touch()
        keep(directory)
    remove_left()
    assert [path.name for path in directory.iterdir()] == ["log"]


def test_an_interrupt_of_the_end_does_not_leave_half(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []

    def impatient(directory: Path) -> list[object]:
        looks.append(directory)
        if len(looks) == 1:
            raise KeyboardInterrupt
        return []

    monkeypatch.setattr(module, "end_processes", impatient)
    with pytest.raises(KeyboardInterrupt), run_directory("demo") as directory:
        (directory / "x").touch()
    assert not directory.exists()
