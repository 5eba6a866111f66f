"""Who works in a directory that is to go: engines start processes that neither end with them nor are children of ours.

A container of YARN is a session of its own, and outlives a NodeManager that was killed, or was told to end while it began one.
It is known by where it works and writes, by what its NodeManager told it, and by who started it. Linux only, as it reads /proc.

    python -m deploy.directory_processes DIRECTORY ...      end them when the input ends
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from deploy.local_processes import PROC, Process, ProcessStat, stat_of

END_TIMEOUT_S = 10.0
LOOK_S = 0.02
QUIET_LOOKS = 2
"""So many times in a row nobody was there: who was just being started at the first one is seen by the next."""
GUARD_QUIET_LOOKS = 50
"""The same where who starts them is killed only now."""
_DELETED = " (deleted)"
_TOLD = (b"LOCAL_DIRS=", b"SPARK_EXECUTOR_DIRS=")
"""Where YARN and Spark tell a process of theirs which directories it has: who it starts has that too, wherever it goes."""
_PLACES = ("cwd", "fd/1", "fd/2")


def processes_of(directory: Path) -> list[Process]:
    """This user's processes that work in a directory or below it, or write there what they say, and all that those started.

    Neither this process and those above it, nor who sits there at a terminal, such as somebody's shell.
    """
    place = os.path.realpath(directory)
    seen = {pid: found for pid in _pids() if (found := stat_of(pid)) is not None}
    spared = _above(os.getpid(), seen)
    children: dict[int, list[int]] = {}
    for pid, found in seen.items():
        children.setdefault(found.parent, []).append(pid)
    wanted: set[int] = set()
    ahead = [pid for pid, found in seen.items() if _is_of(pid, found, place)]
    while ahead:
        pid = ahead.pop()
        if pid not in wanted | spared:
            wanted.add(pid)
            ahead += children.get(pid, [])
    found_here = [Process(pid=pid, started_ticks=seen[pid].started_ticks) for pid in sorted(wanted) if _is_ours(pid)]
    return [process for process in found_here if process.alive]  # Else the pid was used again while we looked.


def end_processes(directory: Path, timeout_s: float = END_TIMEOUT_S, quiet_looks: int = QUIET_LOOKS) -> list[Process]:
    """SIGKILL to all of them, again and again until nobody is there. Returns who still is when the time is over."""
    deadline = time.monotonic() + timeout_s
    quiet = 0
    while (found := processes_of(directory)) or quiet < quiet_looks:
        if time.monotonic() >= deadline:
            break
        for process in found:
            with contextlib.suppress(PermissionError):  # It has become somebody else.
                process.send(signal.SIGKILL)
        quiet = 0 if found else quiet + 1
        time.sleep(LOOK_S)
    return found


@contextlib.contextmanager
def none_outlives(*directories: Path) -> Iterator[None]:
    """Nobody works in the directories before the block and after it, also where this process is killed in it: a guard of 20 MB
    outlives that for a moment.
    """
    for directory in directories:
        end_processes(directory)
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    guard = subprocess.Popen(
        [sys.executable, "-m", __name__, *map(str, directories)],
        stdin=subprocess.PIPE,  # Whose other end is ours alone.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=environ,
        start_new_session=True,  # nosec B603 # our own interpreter and module
    )
    try:
        yield
    finally:
        for directory in directories:
            end_processes(directory)
        guard.kill()
        guard.communicate()


def guard_directories(directories: list[str]) -> None:
    """Wait until who started this is gone, and end whoever works in the directories."""
    sys.stdin.buffer.read()
    for directory in directories:
        end_processes(Path(directory), quiet_looks=GUARD_QUIET_LOOKS)


def _pids() -> list[int]:
    return [int(each.name) for each in PROC.iterdir() if each.name.isdigit()]


def _above(pid: int, seen: dict[int, ProcessStat]) -> set[int]:
    """A process, and whose child it is, up to the first one."""
    found = set()
    while pid in seen and pid not in found:
        found.add(pid)
        pid = seen[pid].parent
    return found


def _is_ours(pid: int) -> bool:
    with contextlib.suppress(OSError, StopIteration, IndexError):
        text = (PROC / str(pid) / "status").read_text("ascii", "replace")
        return next(line for line in text.splitlines() if line.startswith("Uid:")).split()[1] == str(os.getuid())
    return False


def _is_of(pid: int, found: ProcessStat, place: str) -> bool:
    at = PROC / str(pid)
    if not found.has_terminal:
        for name in _PLACES:
            with contextlib.suppress(OSError):
                if _is_below(str((at / name).readlink()).removesuffix(_DELETED), place):
                    return True
    with contextlib.suppress(OSError):
        told = [entry for entry in (at / "environ").read_bytes().split(b"\0") if entry.startswith(_TOLD)]
        paths = (path for entry in told for path in re.split("[,:]", os.fsdecode(entry.partition(b"=")[2])))
        return any(path and _is_below(os.path.realpath(at / "cwd" / path), place) for path in paths)
    return False


def _is_below(path: str, place: str) -> bool:
    return path == place or path.startswith(place + os.sep)


if __name__ == "__main__":
    guard_directories(sys.argv[1:])
