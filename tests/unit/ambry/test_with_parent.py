from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ambry.with_parent import with_parent
from tests.support.waiting import eventually

CHILD = """
import os, pathlib, signal, sys, time
mark = pathlib.Path(sys.argv[1])
signal.signal(signal.SIGTERM, lambda *_: (mark.with_suffix(".asked").touch(), os._exit(0)))
mark.write_text(str(os.getpid()))
time.sleep(60)
"""
PARENT = """
import signal, subprocess, sys, time
from ambry.with_parent import with_parent
subprocess.Popen(with_parent([sys.executable, "-c", sys.argv[1], sys.argv[2]], signal.Signals(int(sys.argv[3]))))
time.sleep(60)
"""


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_program_ends_with_who_started_it(tmp_path: Path, number: signal.Signals) -> None:
    mark = tmp_path / "mark"
    with subprocess.Popen([sys.executable, "-c", PARENT, CHILD, str(mark), str(int(number))]) as parent:
        child = int(eventually(lambda: mark.read_text() if mark.exists() else "", "the child runs"))
        assert not is_gone(child)
        parent.kill()
    eventually(lambda: is_gone(child), "the child is gone")
    assert mark.with_suffix(".asked").exists() == (number == signal.SIGTERM)


def test_who_lost_its_parent_before_it_began_does_nothing() -> None:
    command = with_parent([sys.executable, "-c", "print('ran')"], signal.SIGKILL)
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "ran\n"
    command[5] = "1"
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == ""
