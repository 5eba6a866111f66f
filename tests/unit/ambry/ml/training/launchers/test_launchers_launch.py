"""Processes of launchers: read to their end, and gone with all that they started."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from ambry.ml.training.launchers.launch import LauncherEnded, output_of
from ambry.ml.training.launchers.printed import LINE_CHARACTERS_MAX
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


def test_who_forked_and_keeps_the_pipe_is_not_waited_for(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        f"open({str(pid)!r}, 'w').write(str(child.pid))\n"
        "print('trained', end='')\n"
    )
    lines: list[str] = []

    def read() -> None:
        lines.extend(run(code))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        reader.join(30)
        assert not reader.is_alive(), "the launcher has ended, and its output is still waited for"
    finally:
        os.kill(int(pid.read_text()), signal.SIGKILL)
    assert lines == ["trained"]


def test_a_line_without_end_comes_in_pieces() -> None:
    size = 40 * LINE_CHARACTERS_MAX + 17
    pieces = run(f"import sys; sys.stdout.write('\u00e9' * {size} + '\\nend')")
    assert max(map(len, pieces)) == LINE_CHARACTERS_MAX
    assert "".join(pieces[:-1]) == "\u00e9" * size and pieces[-1] == "end"


def test_carriage_returns_end_lines_and_what_is_no_text_is_replaced() -> None:
    code = r"import sys; sys.stdout.buffer.write(b'1%\r2%\r\n\n\xff\n')"
    assert run(code) == ["1%", "2%", "", "\ufffd"]


def test_a_signal_without_a_name_is_told_by_its_number() -> None:
    with pytest.raises(LauncherEnded, match=f"was ended by signal {signal.SIGRTMIN + 3}"):
        run(f"import os; os.kill(os.getpid(), {signal.SIGRTMIN + 3})")
