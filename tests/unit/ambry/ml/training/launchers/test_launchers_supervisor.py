"""Real processes: a launcher, its worker in a session of its own, as torchrun has it, and what that one starts in others."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import SubprocessError

import pytest

from ambry.ml.training.launchers import launch, supervisor
from ambry.ml.training.launchers.launch import LauncherEnded, LaunchFailed, output_of
from ambry.ml.training.launchers.supervisor import supervised
from tests.support.waiting import eventually
from tests.unit.ambry.test_with_parent import is_gone

LAUNCHER = """
import os, signal, subprocess, sys, time
from pathlib import Path
who, place, *deaf = sys.argv[1:]
if deaf:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
for each in {"launcher": ["worker"], "worker": ["loader", "parent"], "parent": ["daemon"]}.get(who, []):
    subprocess.Popen([sys.executable, "-c", os.environ["CODE"], each, place, *deaf], start_new_session=True)
if who != "parent":
    mark = Path(place, who)
    mark.with_suffix(".new").write_text(str(os.getpid()))
    mark.with_suffix(".new").rename(mark)
    if who == "launcher":
        while len(list(Path(place).glob("[!.]*r"))) + Path(place, "daemon").exists() < 4:
            time.sleep(0.01)
        print("all are there", flush=True)
        while not Path(place, "end").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), int(os.environ["SIGNAL"]))
    time.sleep(600)
"""
FOLLOWER = """
import os, signal, sys, time
from ambry.ml.training.launchers import launch
launch.TERM_TIMEOUT_S = 0.5
for line in launch.output_of(sys.argv[2:], os.environ, death=signal.Signals(int(sys.argv[1]))):
    print(line, flush=True)
"""
WHO = ("launcher", "worker", "loader", "daemon")
SHARES = """
import ctypes, os, signal, subprocess, sys, time
from multiprocessing import shared_memory
if sys.argv[1] == "launcher":
    subprocess.Popen([sys.executable, "-c", os.environ["CODE"], *sys.argv[2:]], start_new_session=True)
else:
    if sys.argv[1] == "dies with it":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    made = shared_memory.SharedMemory(create=True, size=1 << 20)
    if sys.argv[1] == "child is left" and os.fork():
        os._exit(0)
    print(made.name, flush=True)
time.sleep(600)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("CODE", LAUNCHER)
    monkeypatch.setenv("SIGNAL", "0")
    yield tmp_path
    for pid in pids(tmp_path):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def command(place: Path, *deaf: str) -> list[str]:
    return [sys.executable, "-c", LAUNCHER, "launcher", str(place), *deaf]


def pids(place: Path) -> list[int]:
    return [int((place / who).read_text()) for who in WHO if (place / who).exists()]


def all_gone(place: Path) -> None:
    assert len(pids(place)) == len(WHO)
    eventually(lambda: all(map(is_gone, pids(place))), "nobody is left")


@pytest.mark.parametrize("deaf", [(), ("deaf",)], ids=["hears", "deaf"])
@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM])
def test_what_workers_started_ends_when_who_submitted_is_killed(
    place: Path, death: signal.Signals, deaf: tuple[str, ...]
) -> None:
    """PDEATHSIG reached the launcher and its workers, and what those had started was left."""
    told = [sys.executable, "-c", FOLLOWER, str(int(death)), *command(place, *deaf)]
    with subprocess.Popen(told, stdout=subprocess.PIPE) as follower:
        assert follower.stdout is not None
        assert follower.stdout.readline() == b"all are there\n"
        assert not any(map(is_gone, pids(place)))
        follower.kill()
    all_gone(place)


@pytest.mark.parametrize("deaf", [(), ("deaf",)], ids=["hears", "deaf"])
def test_what_workers_started_ends_with_who_stops_to_read(
    place: Path, monkeypatch: pytest.MonkeyPatch, deaf: tuple[str, ...]
) -> None:
    monkeypatch.setattr(launch, "TERM_TIMEOUT_S", 0.5)
    lines = output_of(command(place, *deaf), os.environ)
    assert next(lines) == "all are there"
    lines.close()  # type: ignore[attr-defined]
    all_gone(place)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT])
def test_what_workers_started_ends_with_a_launcher_that_is_killed(place: Path, number: signal.Signals) -> None:
    """And how that one ended is told as if nobody stood in between."""
    lines = output_of(command(place), {**os.environ, "SIGNAL": str(int(number))})
    assert next(lines) == "all are there"
    (place / "end").touch()
    with pytest.raises(LauncherEnded, match=f"was ended by {number.name}"):
        list(lines)
    all_gone(place)


def test_a_launcher_ends_with_its_supervisor(place: Path) -> None:
    pid = 0

    def started(of: int) -> None:
        nonlocal pid
        pid = of

    lines = output_of(command(place), os.environ, started=started, death=signal.SIGKILL)
    assert next(lines) == "all are there"
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(LauncherEnded, match="was ended by SIGKILL"):
        list(lines)
    eventually(lambda: is_gone(pids(place)[0]), "the launcher is gone")


@pytest.mark.parametrize("worker", ["dies with it", "is left", "child is left"])
def test_what_dead_workers_shared_is_unlinked(monkeypatch: pytest.MonkeyPatch, worker: str) -> None:
    """multiprocessing's resource_tracker, whose work begins when the last of its clients is dead, was killed at sight."""
    monkeypatch.setenv("CODE", SHARES)
    told = [sys.executable, "-c", FOLLOWER, str(int(signal.SIGKILL)), sys.executable, "-c", SHARES, "launcher", worker]
    with subprocess.Popen(told, stdout=subprocess.PIPE, text=True) as follower:
        assert follower.stdout is not None
        shared = Path("/dev/shm", follower.stdout.readline().strip())  # nosec B108 # where shm_open(3) has it
        assert shared.is_file()
        follower.kill()
    try:
        eventually(lambda: not shared.exists(), "nothing is left of it")
    finally:
        shared.unlink(missing_ok=True)


def test_who_is_asked_hears_it_once_and_says_how_it_ended(tmp_path: Path) -> None:
    """torchrun breaks off what it cleans up when it hears the second one."""
    code = (
        "import signal, sys, time\n"
        "def hear(*_):\n    print('heard', flush=True)\n    signal.signal(15, hear)\n    global left\n    left -= 1\n"
        "left = 1\nsignal.signal(15, hear)\nprint('there', flush=True)\n"
        "while left > 0: time.sleep(0.01)\n"
        "time.sleep(0.3)\nsys.exit(5)\n"
    )
    process = subprocess.Popen(
        supervised([sys.executable, "-c", code], signal.SIGTERM, 30.0), stdout=subprocess.PIPE, start_new_session=True
    )
    with process:
        assert process.stdout is not None and process.stdout.readline() == b"there\n"
        process.terminate()
        assert process.stdout.read() == b"heard\n"
    assert process.returncode == 5


def test_what_cannot_be_started_and_whose_parent_is_dead_do_nothing(tmp_path: Path) -> None:
    lacks = supervised([str(tmp_path / "none")], signal.SIGTERM, 1.0)
    done = subprocess.run(lacks, capture_output=True, text=True, check=False)
    assert done.returncode == 127 and done.stderr.startswith(f"{tmp_path}/none cannot be started: ")
    for command in ([str(tmp_path / "none")], [str(tmp_path / "none"), "x" * (1 << 20)]):
        with pytest.raises(LaunchFailed, match=rf"^{tmp_path}/none cannot be started: .*; mend that, and submit"):
            list(output_of(command, os.environ))
    late = supervised([sys.executable, "-c", "print('ran')"], signal.SIGTERM, 1.0)
    late[4] = "1"
    done = subprocess.run(late, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_what_fails_between_fork_and_exec_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> int:
        raise SubprocessError("Exception occurred in preexec_fn.")

    class Fails:
        def __init__(self, *_: object) -> None:
            self.run = fails

    monkeypatch.setattr(supervisor, "LauncherSupervisor", Fails)
    assert supervisor.main(["1", "15", "1.0", "launcher"]) == 127
    assert capfd.readouterr().err == "launcher cannot be started: Exception occurred in preexec_fn.\n"


def test_orphans_are_waited_for_while_the_launcher_runs(tmp_path: Path) -> None:
    """Of a job of days they would be so many processes that nobody waited for."""
    code = (
        "import os, subprocess, sys, time\n"
        "orphan = \"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', '']).pid)\"\n"
        "pid = int(subprocess.run([sys.executable, '-c', orphan], stdout=-1).stdout)\n"
        "late = time.monotonic() + 30\n"
        "while os.path.exists(f'/proc/{pid}') and time.monotonic() < late: time.sleep(0.01)\n"
        "print('waited for' if not os.path.exists(f'/proc/{pid}') else 'left')\n"
    )
    assert list(output_of([sys.executable, "-c", code], os.environ)) == ["waited for"]


@pytest.mark.parametrize(
    "how", ["signal(15, signal.SIG_IGN)", "pthread_sigmask(signal.SIG_BLOCK, [15, signal.SIGCHLD])"]
)
def test_what_is_ignored_or_blocked_where_a_job_is_submitted_ends_too(place: Path, how: str) -> None:
    code = (
        "import os, signal, sys\n"
        "from ambry.ml.training.launchers import launch\n"
        f"signal.{how}\n"
        "launch.TERM_TIMEOUT_S = 0.5\n"
        "lines = launch.output_of(sys.argv[1:], os.environ)\n"
        "print(next(lines))\n"
        "lines.close()\n"
        "print(*launch.output_of([sys.executable, '-c', 'print(2)'], os.environ))\n"
    )
    told = [sys.executable, "-c", code, *command(place)]
    done = subprocess.run(told, capture_output=True, text=True, check=False, timeout=120)
    assert done.stdout == "all are there\n2\n", done.stderr
    all_gone(place)
