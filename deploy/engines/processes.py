"""One process of an engine: started in a session of its own, waited for until it is really ready, stopped within a bound."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from ambry.errors import MALFORMED
from deploy.engines.jars import EngineError
from deploy.local_processes import spawn_program, taken
from deploy.start_wait import wait_while_moving

READY_TIMEOUT_S = 120.0
"""For as long may one that starts write nothing."""
STORAGE_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 20.0
"""For the signal that asks it to end; SIGKILL comes behind it."""
JAVA_OPTIONS = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
SHOWN_LINES = 8
PAGE_BYTES_MAX = 1 << 20
PORTS = range(20_000, 32_768)


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
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        """`ready` is asked until it holds; `directory` is there, and has its log as `NAME.log`."""
        self.name = name
        self.log = directory / f"{name}.log"
        self._command = list(command)
        self._directory = directory
        self._ready = ready
        self._timeout_s = timeout_s
        self._stop_signal = stop_signal
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
        try:
            why = wait_while_moving(self._look, quiet_s=self._timeout_s, interval_s=0.2)
        except BaseException:  # an interrupt, which leaves nothing either
            self.stop()
            raise
        if not why and process.poll() is None:
            return
        how = self.ended() or f"is not ready, and {why}"
        self.stop()
        raise self._failed(how)

    def _look(self) -> int | None:
        """None when it is ready, or has ended; before that how much it has written."""
        return None if self.ended() or self._ready() else self.log.stat().st_size

    def ended(self) -> str:
        """How it ended, where it did by itself; empty while it runs."""
        code = None if self._process is None else self._process.poll()
        return "" if code is None else f"ended with {code}"

    def check(self) -> None:
        """Raises EngineError, with what it said last, where it has ended by itself."""
        if how := self.ended():
            raise self._failed(how)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to all of it, and wait for its end. Raises TimeoutExpired where it does not end of it."""
        if self._process is not None:
            self._signal(number)
            self._process.wait(STOP_TIMEOUT_S)

    def stop(self) -> None:
        """Ended on return, with all that it started."""
        if self._process is None:
            return
        self._signal(self._stop_signal)
        try:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_TIMEOUT_S)
        finally:  # Also for who does not wait so long.
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _failed(self, how: str) -> EngineError:
        try:
            lines = self.log.read_text("utf-8", "replace").splitlines()
        except OSError:
            lines = []
        last = "\n".join(f"    {line[:300]}" for line in lines[-SHOWN_LINES:])
        return EngineError(f"{self.name} {how}; its log {self.log} ends with:\n{last}")


def make_storage(whose: str, command: list[str]) -> None:
    """Run what lays out the storage of an engine. Raises EngineError."""
    try:
        done = run_to_end(command, STORAGE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise EngineError(f"the storage of {whose} was not made within {STORAGE_TIMEOUT_S:.0f} s") from None
    if done.returncode:
        raise EngineError(f"the storage of {whose} cannot be made: {(done.stderr or done.stdout).strip()[-500:]}")


def run_to_end(command: list[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """What it said, and how it ended. Raises TimeoutExpired."""
    return subprocess.run(  # nosec B603 # Maven or Java of this machine, with words of our own
        command, capture_output=True, text=True, timeout=timeout_s, check=False
    )


def java(
    jars: Path,
    main: str,
    *arguments: str,
    scratch: Path,
    options: Sequence[str] = (),
    heap: str = "384m",
    conf: Path | None = None,
) -> list[str]:
    """A command that runs a class of some jars. `scratch` is made, and takes its temporary files, which Java puts into /tmp of
    itself, whatever TMPDIR says. Raises EngineError where there is no Java.
    """
    found = shutil.which("java")
    if found is None:
        raise EngineError("there is no Java for the engine; `make engines` installs it")
    scratch.mkdir(parents=True, exist_ok=True)
    path = ":".join([*([] if conf is None else [str(conf)]), f"{jars}/*"])
    return [found, f"-Xmx{heap}", *JAVA_OPTIONS, f"-Djava.io.tmpdir={scratch}", *options, "-cp", path, main, *arguments]


def free_ports(count: int) -> list[int]:
    """So many ports of loopback that nobody has now, below those that the kernel gives to outgoing connections by itself.

    An engine takes seconds until it binds them. Raises EngineError.
    """
    ports = random.SystemRandom().sample(PORTS, len(PORTS))
    found = list(itertools.islice((port for port in ports if not taken([port])), count))
    if len(found) < count:
        raise EngineError(f"of the ports {PORTS[0]} to {PORTS[-1]} only {len(found)} are free; {count} are needed")
    return found


def fetched(url: str) -> str:
    """What a page of an engine says, at most 1 MiB; empty while it does not answer well, or whole."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # nosec B310 # a process of ours on loopback
            found = bytes(answer.read(PAGE_BYTES_MAX + 1))
            if answer.length or len(found) > PAGE_BYTES_MAX:  # A body that is cut short is no error of its own.
                return ""
    except (OSError, ValueError, http.client.HTTPException):
        return ""
    return found.decode("utf-8", "replace")


def holds(look: Callable[[Any], object], said: str) -> bool:
    """Whether it holds of what a page says as JSON; not, where that is nothing, half of it or something else."""
    try:
        return bool(said) and bool(look(json.loads(said)))
    except MALFORMED:
        return False
