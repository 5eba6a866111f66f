"""One process of an engine: started in a session of its own, waited for until it is really ready, stopped within a bound."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from deploy.engines.jars import EngineError
from deploy.local_layout import HOST
from deploy.local_processes import spawn_program, wait_until

READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0
"""For SIGTERM; SIGKILL comes behind it."""
JAVA_OPTIONS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
SHOWN_LINES = 8


class EngineProcess:
    """A program that runs until it is stopped, and dies with this process. In a `with` it is started and stopped."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        directory: Path,
        ready: Callable[[], bool],
        *,
        timeout_s: float = READY_TIMEOUT_S,
    ) -> None:
        """`ready` is asked until it holds; `directory` is there, and has its log as `NAME.log`."""
        self.name = name
        self.log = directory / f"{name}.log"
        self._command = list(command)
        self._directory = directory
        self._ready = ready
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """None while it does not run."""
        return None if self._process is None or self._process.poll() is not None else self._process.pid

    def start(self) -> None:
        """Ready on return. Raises EngineError with what it said last; nothing runs then."""
        process = self._process = spawn_program(
            self._command, log=self.log, directory=self._directory, environ=os.environ, die_with_parent=True
        )
        if (
            wait_until(lambda: process.poll() is not None or self._ready(), self._timeout_s, 0.2)
            and process.poll() is None
        ):
            return
        how = (
            f"is not ready after {self._timeout_s:.0f} s"
            if process.poll() is None
            else f"ended with {process.returncode}"
        )
        self.stop()
        raise EngineError(f"{self.name} {how}; its log {self.log} ends with:\n{self._last_lines()}")

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to all of it, and wait for its end. Raises TimeoutExpired where it does not end of it."""
        if self._process is not None:
            self._signal(number)
            self._process.wait(STOP_TIMEOUT_S)

    def stop(self) -> None:
        """Ended on return, with all that it started."""
        if self._process is None:
            return
        self._signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT_S)
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._process = None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _last_lines(self) -> str:
        try:
            lines = self.log.read_text("utf-8", "replace").splitlines()
        except OSError:
            return ""
        return "\n".join(f"    {line[:300]}" for line in lines[-SHOWN_LINES:])


def java(
    jars: Path, main: str, *arguments: str, options: Sequence[str] = (), heap: str = "384m", conf: Path | None = None
) -> list[str]:
    """A command that runs a class of some jars. Raises EngineError where there is no Java."""
    found = shutil.which("java")
    if found is None:
        raise EngineError("there is no Java for the engine; `make engines` installs it")
    path = ":".join([*([] if conf is None else [str(conf)]), f"{jars}/*"])
    return [found, f"-Xmx{heap}", *JAVA_OPTIONS, *options, "-cp", path, main, *arguments]


def free_ports(count: int) -> list[int]:
    """So many ports of loopback that nobody has now."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [int(each.getsockname()[1]) for each in sockets]


def fetched(url: str) -> str:
    """What a page of an engine says; empty while it does not answer well."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # nosec B310 # a process of ours on loopback
            return str(answer.read(1 << 20), "utf-8", "replace")
    except (OSError, urllib.error.URLError):
        return ""
