"""Who works in a directory, with small programs in the place of containers."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from deploy import directory_processes
from deploy.directory_processes import end_processes, processes_of
from deploy.local_processes import Process
from tests.support.waiting import eventually

WAITS = "import time; time.sleep(600)"
STARTS = f"""
import os, subprocess, sys, time
words = [sys.executable, "-c", {WAITS!r}]
child = subprocess.Popen(words, cwd="/", env={{}}, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
open(sys.argv[1], "w").write(str(child.pid))
time.sleep(600)
"""
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a program in a session of its own, as a container is; all of them are ended."""
    with contextlib.ExitStack() as running:

        def start(
            cwd: Path, code: str = WAITS, *words: str, env: Mapping[str, str] | None = None, output: Path | None = None
        ) -> subprocess.Popen[bytes]:
            with (output or Path(os.devnull)).open("ab") as sink:
                process = subprocess.Popen(
                    [sys.executable, "-c", code, *words],
                    cwd=cwd,
                    env={**os.environ, **(env or {})},
                    stdout=sink,
                    stderr=sink,
                    start_new_session=True,
                )
            running.enter_context(process)
            running.callback(process.kill)
            return process

        yield start


def pids(found: Sequence[Process]) -> list[int]:
    return [each.pid for each in found]


def test_who_works_in_a_directory_ends_and_nobody_else(tmp_path: Path, start: Start) -> None:
    local, beside = tmp_path / "local", tmp_path / "local-beside"
    (local / "container").mkdir(parents=True)
    beside.mkdir()
    inside, outside = start(local / "container"), start(beside)
    assert pids(processes_of(local)) == [inside.pid]
    assert end_processes(local) == [] and inside.wait(30) == -signal.SIGKILL
    assert outside.poll() is None and pids(processes_of(beside)) == [outside.pid]


def test_a_directory_that_is_gone_has_its_processes_still(tmp_path: Path, start: Start) -> None:
    """YARN's was removed while the Java of a container ran on in it for 70 minutes."""
    container = tmp_path / "local" / "container"
    container.mkdir(parents=True)
    inside = start(container)
    shutil.rmtree(tmp_path / "local")
    assert end_processes(tmp_path / "local") == [] and inside.wait(30) == -signal.SIGKILL


def test_who_went_elsewhere_is_known_by_where_he_writes_or_what_he_was_told(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    local, logs = tmp_path / "node" / "local", tmp_path / "node" / "logs"
    for made in (local, logs):
        made.mkdir(parents=True)
    start(tmp_path, output=tmp_path / "elsewhere", env={"LOCAL_DIRS": f"{tmp_path}/node-2/local"})
    start(tmp_path, env={"HADOOP_CONF_DIR": str(tmp_path / "node" / "conf")})  # A client of the same YARN.
    wanted = [
        start(tmp_path, output=logs / "stdout"),
        start(tmp_path, env={"LOCAL_DIRS": f"/elsewhere,{local}"}),
        start(tmp_path, env={"SPARK_EXECUTOR_DIRS": f"/elsewhere:{local}"}),
    ]
    (tmp_path / "link").symlink_to("node")  # As /tmp may be one.
    wanted.append(start(tmp_path, env={"LOCAL_DIRS": f"{tmp_path}/link/local"}))
    wanted.append(start(tmp_path, env={"LOCAL_DIRS": "node/local"}))
    start(tmp_path, env={"LOCAL_DIRS": "local"})
    monkeypatch.chdir(tmp_path / "node")  # Where we are says nothing of them.
    assert sorted(pids(processes_of(tmp_path / "node"))) == sorted(each.pid for each in wanted)


def test_whom_they_started_ends_too_wherever_it_went(tmp_path: Path, start: Start) -> None:
    local, mark = tmp_path / "local", tmp_path / "mark"
    local.mkdir()
    start(local, STARTS, str(mark))
    child = int(eventually(lambda: mark.read_text() if mark.exists() else "", "the child runs"))
    assert child in pids(processes_of(local))
    assert end_processes(local) == []
    eventually(lambda: not Path(f"/proc/{child}/cwd").exists(), "the child is gone")


def test_who_asks_and_who_sits_at_a_terminal_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert os.getpid() not in pids(processes_of(tmp_path))
    ours, theirs = os.openpty()
    code = "import fcntl, termios, time; fcntl.ioctl(0, termios.TIOCSCTTY, 0); print(flush=True); time.sleep(600)"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, cwd=tmp_path, start_new_session=True) as shell:
        try:
            assert shell.stdout is not None and shell.stdout.readline() == b"\n"
            assert not processes_of(tmp_path) and not end_processes(tmp_path)
            assert shell.poll() is None
        finally:
            shell.kill()
            os.close(ours)
            os.close(theirs)


def test_processes_of_others_stay(tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = start(tmp_path)
    monkeypatch.setattr(os, "getuid", lambda: 2**31)
    assert processes_of(tmp_path) == [] == end_processes(tmp_path)
    assert inside.poll() is None


def test_who_begins_meanwhile_ends_too(tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that its NodeManager was just beginning came after the look."""
    late: list[subprocess.Popen[bytes]] = []
    first = start(tmp_path)

    def look(directory: Path) -> list[Process]:
        found = processes_of(directory)
        if len(late) < 3:
            late.append(start(tmp_path))
        return found

    monkeypatch.setattr(directory_processes, "processes_of", look)
    assert end_processes(tmp_path) == []
    assert [each.wait(30) for each in (first, *late)] == [-signal.SIGKILL] * 4


LATE = f"""
import os, subprocess, sys, time
while os.getppid() == int(sys.argv[1]):
    time.sleep(0.01)
time.sleep(0.3)
print(subprocess.Popen([sys.executable, "-c", {WAITS!r}], cwd=sys.argv[2]).pid, flush=True)
"""
GUARDED = f"""
import os, subprocess, sys, time
from pathlib import Path
from deploy.directory_processes import none_outlives

def begin(cwd, *words):
    return subprocess.Popen([sys.executable, "-c", *words], cwd=cwd, start_new_session=True)

with none_outlives(Path(sys.argv[1])):
    print(begin(sys.argv[1], {WAITS!r}).pid, flush=True)
    if sys.argv[2:]:
        begin("/", sys.argv[2], str(os.getpid()), sys.argv[1])
        time.sleep(600)
"""


@pytest.mark.parametrize("killed", [False, True])
def test_nobody_outlives_who_started_him_also_by_sigkill(tmp_path: Path, start: Start, killed: bool) -> None:
    """Nor who is begun a moment later, by a NodeManager that dies as well."""
    before = start(tmp_path)
    command = [sys.executable, "-c", GUARDED, str(tmp_path), *([LATE] if killed else [])]
    environ = {**os.environ, "PYTHONPATH": str(Path(directory_processes.__file__).parents[1])}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        found = [int(run.stdout.readline())]
        assert before.wait(30) == -signal.SIGKILL
        if killed:
            assert pids(processes_of(tmp_path)) == found
            run.kill()
            found.append(int(run.stdout.readline()))
        run.wait(30)
        eventually(lambda: not processes_of(tmp_path), "nobody is left")
    eventually(lambda: not guards(tmp_path), "nor is the guard")


def guards(directory: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"deploy.directory_processes" in words and os.fsencode(directory) in words:
                found.append(path.parent.name)
    return found


def test_one_that_does_not_end_is_told_after_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    class Stuck(Process):
        def send(self, number: signal.Signals) -> None:
            asked.append(number)

    stuck = Stuck(pid=os.getpid(), started_ticks=0)
    monkeypatch.setattr(directory_processes, "processes_of", lambda _: [stuck])
    assert end_processes(tmp_path, 0.1) == [stuck] and set(asked) == {signal.SIGKILL}
