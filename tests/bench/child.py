"""The processes that a bench starts, and how it ends: nothing of it stays behind."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from deploy.local_layout import LocalClusterError

ROOT = Path(__file__).resolve().parents[2]
CHILD_STOP_TIMEOUT_S = 5.0
# Beyond what a job may take by its own account.
ANSWER_TIMEOUT_S = 30.0


class BenchFailed(RuntimeError):
    """The run cannot be made here; the message says why."""


class Child:
    """A process of the bench that ends when its stdin does, however this process ends."""

    def __init__(self, name: str, command: Sequence[str], root: Path = ROOT) -> None:
        self._name = name
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=root,
            env=environment(root),
            # Ctrl-C is for this process, which then stops its children.
            start_new_session=True,
        )
        self.pid = self._process.pid

    @classmethod
    def module(cls, name: str, *arguments: str) -> Child:
        """A module of this checkout, run with this Python."""
        return cls(name, [sys.executable, "-m", name, *arguments])

    def ask(self, line: bytes, timeout_s: float) -> bytes:
        """Write a line (none when empty) and read one. Raises BenchFailed."""
        if line:
            self.tell(line)
        return self.hear(timeout_s)

    def tell(self, line: bytes) -> None:
        """Write a line. Raises BenchFailed."""
        stdin = self._process.stdin
        if stdin is None:
            raise BenchFailed(f"{self._name} has no pipes")
        try:
            stdin.write(line + b"\n")
            stdin.flush()
        except BrokenPipeError as cause:
            raise BenchFailed(f"{self._name} ended") from cause

    def hear(self, timeout_s: float) -> bytes:
        """Read a line. Raises BenchFailed."""
        stdout = self._process.stdout
        if stdout is None:
            raise BenchFailed(f"{self._name} has no pipes")
        if not select.select([stdout], [], [], timeout_s)[0]:
            raise BenchFailed(f"{self._name} said nothing for {timeout_s:.0f} s")
        answer = stdout.readline()
        if not answer:
            raise BenchFailed(f"{self._name} ended with exit code {self._process.wait()}")
        return answer

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(CHILD_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def environment(root: Path = ROOT) -> dict[str, str]:
    """Children run the code of the checkout at `root`, wherever they are started."""
    path = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path}


def exit_code_of(work: Callable[[], int]) -> int:
    """What `work` returns; 130 when it was interrupted or terminated, 2 when the run cannot be made."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return work()
    except KeyboardInterrupt:
        print("\nInterrupted; every process was stopped.", file=sys.stderr)
        return 130
    except (BenchFailed, LocalClusterError, OSError) as cause:
        print(f"The bench failed: {cause}", file=sys.stderr)
        return 2


def _interrupt(number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
