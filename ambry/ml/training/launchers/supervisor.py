"""Stands between a launcher and who follows it, so that nothing of either is left running, however they end.

    python -I -S supervisor.py PARENT DEATH TIMEOUT_S COMMAND...

It starts the command and ends as it ends, with its exit code or by its signal. Everything that the command started, and that
they started, in sessions of their own too, belongs to this process once who started it is dead (prctl(2),
PR_SET_CHILD_SUBREAPER): so when the command has ended, all that is left has MOMENT_S to end by itself, and then ends by
SIGKILL. PDEATHSIG alone reaches children only: what a worker starts, such as the processes of a DataLoader, outlived a worker
that was killed. Who unlinks the shared memory of the dead, as multiprocessing's resource_tracker does, begins with it when the
last of those is dead, and is not killed before.

    the parent dies        the command's group is sent DEATH; after TIMEOUT_S all end
    SIGTERM                the command's group is sent it; after TIMEOUT_S all end
    this process is killed the command is sent DEATH by the kernel; what it started elsewhere stays

Imports the standard library alone, as it is run as a file.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

END_TIMEOUT_S = 10.0
"""After which who does not even end by SIGKILL, such as who waits for a disk that is away, is left to the kernel."""
MOMENT_S = 1.0
"""For each that is left, from when it is; within half of END_TIMEOUT_S, after which all are killed at sight."""
NOT_STARTED = 127
NOT_STARTED_SAYS = " cannot be started: "
"""In the line that goes with that exit code, after the command."""
_LOOK_S = 0.05
_UNLINKS = (b"resource_tracker", b"torch_shm_manager")
"""In the command line of who unlinks what dead processes shared: multiprocessing's, joblib's, torch's."""
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_ASKS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_HEARD = (signal.SIGCHLD, *_ASKS)


def supervised(command: Sequence[str], death: signal.Signals, timeout_s: float) -> list[str]:
    """What to start in place of `command`, in a session of its own: it all ends when the process that called this dies."""
    told = [str(os.getpid()), str(int(death)), str(timeout_s)]
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve()), *told, *command]


class LauncherSupervisor:
    """One command with all that it starts."""

    def __init__(self, parent: int, death: signal.Signals, timeout_s: float) -> None:
        """Raises ProcessLookupError where the parent is dead."""
        self._parent = os.pidfd_open(parent)
        if os.getppid() != parent:  # It died before, and its number is another process's.
            raise ProcessLookupError(parent)
        self._death = death
        self._timeout_s = timeout_s
        self._status: int | None = None
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self._heard, heard = os.pipe()
        self._events = select.poll()
        for each in (self._parent, self._heard):
            self._events.register(each, select.POLLIN)
        for each in (self._heard, heard):
            os.set_blocking(each, False)
        signal.set_wakeup_fd(heard, warn_on_full_buffer=False)
        # Also what whoever submits ignores, or has blocked: the command gets that as it was.
        self._before = {number: signal.signal(number, _hear) for number in _HEARD}

    def run(self, command: Sequence[str]) -> int:
        """The code of the command as Popen tells it, when nobody is left.

        Raises OSError and SubprocessError where it cannot be started.
        """
        process = self._start(command)  # Held until the end: a Popen that is let go of waits for its process itself.
        pid = process.pid
        deadline = float("inf")
        while self._reap(pid) and self._status is None and time.monotonic() < deadline:
            number = self._heard_within(max(0.0, deadline - time.monotonic()))
            if number == signal.SIGKILL:
                break
            if number and deadline == float("inf"):
                deadline = time.monotonic() + self._timeout_s
                os.killpg(os.getpgrp(), number)  # This process hears it once more, and does nothing.
        self._end_all(pid)
        return -signal.SIGKILL if self._status is None else os.waitstatus_to_exitcode(self._status)

    def _start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        own = os.getpid()
        held = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)

        def become() -> None:
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(self._death))
            if os.getppid() != own:
                os._exit(1)
            # What is sent to the group before there is another program is for that one, and this handler swallows it.
            for number, before in self._before.items():
                signal.signal(number, signal.SIG_IGN if before is signal.SIG_IGN else signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, held)

        # One thread: nothing that another one holds is missing in the child.
        process = subprocess.Popen(command, preexec_fn=become)  # nosec B603 # the launcher
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HEARD)
        return process

    def _heard_within(self, timeout_s: float) -> int:
        """The signal by which all is to end, for the parent's death or for who asks; 0 where a child ended, or time is over."""
        ready = [fd for fd, _ in self._events.poll(None if timeout_s == float("inf") else timeout_s * 1000)]
        if self._parent in ready:
            self._events.unregister(self._parent)
            return self._death
        asked = self._heard in ready and any(number in _ASKS for number in os.read(self._heard, 4096))
        return signal.SIGTERM if asked else 0

    def _reap(self, pid: int) -> bool:
        """Whether a child is left. Orphans of others are ours to wait for."""
        with contextlib.suppress(ChildProcessError):
            while True:
                ended, status = os.waitpid(-1, os.WNOHANG)
                if ended == 0:
                    return True
                if ended == pid:
                    self._status = status
        return False

    def _end_all(self, pid: int) -> None:
        """Only children are killed, whose numbers are nobody else's before they are waited for; theirs are ours then.

        The command itself, where it still runs, has had its time.
        """
        own = pid if self._status is None else 0
        began = time.monotonic()
        since: dict[int, float] = {}
        while self._reap(pid) and (now := time.monotonic()) < began + END_TIMEOUT_S:
            since = {each: since.get(each, now) for each in _children()}
            unlinking = [each for each in since if _unlinks(each)]
            if len(unlinking) < len(since):
                since |= dict.fromkeys(unlinking, now)  # They wait for the end of the others.
            patience = MOMENT_S if now < began + END_TIMEOUT_S / 2 else 0.0
            for each in (each for each, left in since.items() if each == own or now - left >= patience):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(each, signal.SIGKILL)
            if select.select([self._heard], [], [], _LOOK_S)[0]:
                os.read(self._heard, 4096)


def _hear(_number: int, _frame: FrameType | None) -> None:
    """The number is written to a pipe meanwhile (set_wakeup_fd)."""


def _children() -> list[int]:
    own, found = str(os.getpid()), []
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # It has just ended.
            if (each / "stat").read_text("ascii", "replace").rpartition(")")[2].split()[1] == own:
                found.append(int(each.name))
    return found


def _unlinks(pid: int) -> bool:
    with contextlib.suppress(OSError):
        told = Path(f"/proc/{pid}/cmdline").read_bytes()
        return any(each in told for each in _UNLINKS)
    return False


def main(arguments: Sequence[str]) -> int:
    """The exit code; ends by the signal by which the command ended."""
    parent, death, timeout_s, *command = arguments
    try:
        code = LauncherSupervisor(int(parent), signal.Signals(int(death)), float(timeout_s)).run(command)
    except ProcessLookupError:
        return 1
    except (OSError, subprocess.SubprocessError) as error:
        print(f"{command[0]}{NOT_STARTED_SAYS}{error}", file=sys.stderr)
        return NOT_STARTED
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # The command has left its own.
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
