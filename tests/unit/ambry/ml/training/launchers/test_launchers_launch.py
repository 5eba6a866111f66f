"""Processes of launchers: read to their end, and gone with all that they started."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from ambry.ml.training.launchers.launch import LauncherEnded, output_of
from tests.support.waiting import eventually


def run(code: str) -> list[str]:
    return list(output_of([sys.executable, "-c", code], os.environ))


def test_lines_come_as_they_are_printed_on_both_streams() -> None:
    assert run("import sys; print('one', flush=True); print('two', file=sys.stderr)") == ["one", "two"]


def test_how_it_ended_is_told_with_its_last_lines() -> None:
    with pytest.raises(LauncherEnded, match="ended with exit code 3") as found:
        run("print('last words'); raise SystemExit(3)")
    assert (found.value.code, found.value.lines) == (3, ("last words",))
    with pytest.raises(LauncherEnded, match="was ended by SIGKILL"):
        run("import os; os.kill(os.getpid(), 9)")


def test_whoever_stops_to_read_ends_all_that_was_started(tmp_path: Path) -> None:
    code = (
        "import subprocess, sys, time\n"
        "deaf = 'import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)'\n"
        "child = subprocess.Popen([sys.executable, '-c', deaf])\n"
        "print(child.pid, flush=True)\n"
        "signal = __import__('signal'); signal.signal(15, lambda *_: sys.exit(0))\n"
        "time.sleep(600)\n"
    )
    lines = output_of([sys.executable, "-c", code], os.environ)
    child = int(next(lines))
    lines.close()  # type: ignore[attr-defined]

    def gone() -> bool:
        try:
            return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    eventually(gone, "the child of the launcher is gone")
