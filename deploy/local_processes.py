"""Processes of this machine: start, recognise, signal, watch. Linux only, as it reads /proc.

A pid alone names nothing, as the kernel uses pids again: a process is ours when one of its arguments is its config
file, and it is the same process while its start time is the same (proc(5), field 22 of /proc/<pid>/stat).
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import importlib.util
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from ambry.with_parent import with_parent
from deploy.local_layout import HOST, LocalClusterError

PROBE_TIMEOUT_S = 2.0
EXEC_TIMEOUT_S = 1.0
PROC = Path("/proc")
SERVER_LIBRARIES = ("aiohttp", "cryptography", "idna", "lmdb", "prometheus_client", "structlog", "uvloop")
"""What `ambry[server]` brings, as it is imported."""
PORT_BASE_STEP = 500
BODY_MAX = 1 << 20
SHOWN_MAX = 500
_STAYS_CLOSED = re.compile(r"partition \d+ (cannot be opened|is fenced): ")
"""How a data node says of a replica that nothing but an operator opens it (datanode/replicas.py)."""

# The kernel takes the *thread* that forked for the parent. So one thread, which lives as long as this process, starts
# all children: a test may call start() from a short-lived thread and keep the process that it got.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="local-cluster-spawner")


def wait_until(predicate: Callable[[], bool], timeout_s: float, interval_s: float = 0.05) -> bool:
    """Ask until the predicate holds (True) or the time is over (False); it is asked at least once."""
    deadline = time.monotonic() + timeout_s
    while not predicate():
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(interval_s, left))
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One running process, told from a later one of the same pid by its start time (clock ticks since boot)."""

    pid: int
    started_ticks: int

    def state(self) -> str | None:
        """The letter of proc(5): R, S, D, T (stopped) ...; None when the process is gone.

        A zombie is gone once it is the last thread: until then its sockets and file locks may still be held.
        """
        found = stat_of(self.pid)
        if found is None or found.started_ticks != self.started_ticks:
            return None
        if found.state in "ZX":
            try:
                threads = len(list((PROC / str(self.pid) / "task").iterdir()))
            except OSError:
                return None
            return found.state if threads > 1 else None
        return found.state

    @property
    def alive(self) -> bool:
        return self.state() is not None

    @property
    def cpu_ticks(self) -> int:
        """How long it has had a processor, in clock ticks; 0 when it is gone."""
        found = stat_of(self.pid)
        return found.cpu_ticks if found is not None and found.started_ticks == self.started_ticks else 0

    def send(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the process is gone."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def find(pid: int, config: Path) -> Process | None:
    """The process of this pid if it is running and was started with this config file, else None."""
    found = stat_of(pid)
    if found is None:
        return None
    process = Process(pid=pid, started_ticks=found.started_ticks)
    arguments: list[bytes] = []

    def known() -> bool:
        nonlocal arguments
        with contextlib.suppress(OSError):
            arguments = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
        return arguments not in ([], [b""]) or process.state() in (None, "Z", "X")

    # A process has no arguments for a moment within execve(2), and again while it exits.
    wait_until(known, EXEC_TIMEOUT_S, 0.002)
    return process if os.fsencode(config) in arguments and process.alive else None


def running(configs: Collection[Path]) -> dict[Path, int]:
    """The pids of the servers of this machine that were started with one of these config files.

    Of a frontend with several processes it is that of the first, which looks after the others.
    """
    wanted = {os.fsencode(config): config for config in configs}
    found: dict[Path, int] = {}
    for pid in sorted(int(each.name) for each in PROC.iterdir() if each.name.isdigit()):
        with contextlib.suppress(OSError):
            arguments = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
            # An editor that has the file open has its name, too, and `ambry doctor --config` the option. A server has both
            # behind its module, and is the interpreter itself: whoever starts one may have all of that among its arguments.
            for before, _, option, value in zip(*(arguments[place:] for place in range(4)), strict=False):
                if (before, option) == (b"-m", b"--config") and value in wanted and arguments[1].startswith(b"-"):
                    found.setdefault(wanted[value], pid)
    return found


def spawn(
    module: str, config: Path, overrides: Sequence[str], *, log: Path, die_with_parent: bool
) -> subprocess.Popen[bytes]:
    """Start `python -m <module> --config <config>` with stdout and stderr appended to the log.

    In a session of its own, so that Ctrl-C in a terminal reaches the one who supervises and not the children.
    """
    command = [sys.executable, "-m", module, "--config", str(config)]
    for item in overrides:
        command += ["--set", item]
    # The children run the code that this process runs, wherever they are started.
    root = str(Path(__file__).resolve().parents[1])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    environ = {**os.environ, "PYTHONPATH": path}
    return spawn_program(command, log=log, directory=config.parent, environ=environ, die_with_parent=die_with_parent)


def spawn_program(
    command: Sequence[str], *, log: Path, directory: Path, environ: Mapping[str, str], die_with_parent: bool
) -> subprocess.Popen[bytes]:
    """Start a program as `spawn` does it."""
    if die_with_parent:
        command = with_parent(command, signal.SIGKILL)

    def start() -> subprocess.Popen[bytes]:
        # What is logged is nobody else's business, as in ambry/service/log_file.py.
        with open(log, "ab", opener=lambda path, flags: os.open(path, flags, 0o640)) as stream:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                cwd=directory,
                env=environ,
                start_new_session=True,  # nosec B603 # our own interpreter and module, or an engine that was named
            )

    return _spawner.submit(start).result()


_LISTENING = "0A"
"""The state of a socket in /proc/net/tcp (proc(5))."""


def taken(ports: Sequence[int]) -> list[int]:
    """Those of the ports that cannot be bound: somebody listens there, or a connection begins at one, or ended a moment ago."""
    found = []
    for port in ports:
        with socket.socket() as probe:
            # As the servers do: connections in TIME_WAIT do not hold the port.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                # No listen(): who starts on the port at this moment would be refused it.
                probe.bind((HOST, port))
            except OSError as cause:
                if cause.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise
                found.append(port)
    return found


def has_listener(port: int) -> bool:
    """Whether somebody listens on a port, at any address; also where nobody can tell, for its own connections hold one, too."""
    try:
        lines = [
            line.split() for name in ("tcp", "tcp6") for line in (PROC / "net" / name).read_text().splitlines()[1:]
        ]
    except OSError:
        return True
    return any(line[3] == _LISTENING and int(line[1].rpartition(":")[2], 16) == port for line in lines)


def free_port_base(ports_of: Callable[[int], Sequence[int]]) -> int:
    """A port base below the kernel's ephemeral range whose ports are all free. Raises LocalClusterError.

    Starts anywhere, so that test runs side by side seldom look at the same ports.
    """
    bases = list(range(18_000, 32_000, PORT_BASE_STEP))
    start = random.randrange(len(bases))  # nosec B311 # a port
    for base in bases[start:] + bases[:start]:
        wanted = ports_of(base)
        if max(wanted) < 32_768 and not taken(wanted):
            return base
    raise LocalClusterError("found no free range of ports between 18000 and 32767; name one with --port-base")


@dataclass(frozen=True, slots=True)
class Readiness:
    """`detail` is empty when a process is ready, else what it said; `warnings` are what somebody should see to all the same.

    `closed`: where nothing but these keeps it from being ready, the replicas that stay closed until somebody sees to them, each
    with the reason. It serves the others. `answered`: whether it said anything at all.
    """

    detail: str = ""
    closed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    answered: bool = True


def readiness(urls: Sequence[str]) -> Readiness:
    """Ready when every URL answers 200, else what the first one that does not said."""
    warnings: list[str] = []
    for url in urls:
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or HOST, parts.port, timeout=PROBE_TIMEOUT_S)
        try:
            connection.request("GET", parts.path)
            answer = connection.getresponse()
            body = answer.read(BODY_MAX).decode("utf-8", "replace").strip()
        except (OSError, http.client.HTTPException) as cause:
            return Readiness(f"{url}: {cause or type(cause).__name__}", answered=False)
        finally:
            connection.close()
        if answer.status != 200:
            return Readiness(f"{url}: {answer.status} {body[:SHOWN_MAX]}".strip(), _closed(body))
        warnings += _read(body).warnings
    return Readiness(warnings=tuple(warnings))


def _closed(body: str) -> tuple[str, ...]:
    """The reasons of a process that is not ready, if all of them are replicas that stay closed by themselves."""
    reasons = _read(body).reasons
    return tuple(reasons) if all(_STAYS_CLOSED.match(reason) for reason in reasons) else ()


class _Said(msgspec.Struct):
    """What /readyz says."""

    reasons: list[str] = []
    warnings: list[str] = []


_said = msgspec.json.Decoder(_Said)


def _read(body: str) -> _Said:
    try:
        return _said.decode(body)
    except msgspec.DecodeError:
        return _Said()


def tail(log: Path, *, start: int = 0, lines: int = 12) -> list[str]:
    """The last lines of a log, none of them from before byte `start`."""
    try:
        with log.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            # A file shorter than that is a new one: the old one was full.
            stream.seek(max(start if start <= size else 0, size - 64 * 1024))
            return stream.read().decode("utf-8", "replace").splitlines()[-lines:]
    except OSError:
        return []


def exit_code(child: subprocess.Popen[bytes]) -> int | None:
    """The exit code of a child that is gone; None if it is not, after a moment."""
    # Not poll(): it answers None also while another thread is just collecting the exit code.
    with contextlib.suppress(subprocess.TimeoutExpired):
        return child.wait(1.0)
    return None


def how_it_ended(returncode: int | None) -> str:
    """`exit code 2`, `killed by SIGKILL`, or that nobody here knows."""
    if returncode is None:
        return "is gone"
    if returncode < 0:
        return f"was killed by {signal.Signals(-returncode).name}"
    return f"ended with exit code {returncode}"


def require_server() -> None:
    """Raises LocalClusterError on a system without /proc, and where the libraries of the server are not installed."""
    if not (PROC / "self" / "stat").exists():
        raise LocalClusterError("a local cluster needs Linux: it recognises its processes in /proc")
    missing = [name for name in SERVER_LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise LocalClusterError(f"a local cluster needs {', '.join(missing)}: pip install 'ambry[server]'")


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """What /proc/<pid>/stat says: the letter of its state, its parent, when it started (in clock ticks since boot), how long it
    ran, and whether a terminal is its own.
    """

    state: str
    parent: int
    has_terminal: bool
    started_ticks: int
    cpu_ticks: int


def stat_of(pid: int) -> ProcessStat | None:
    """None when there is no such process."""
    try:
        text = (PROC / str(pid) / "stat").read_text("ascii", "replace")
    except OSError:
        return None
    # The second field is the program's name in parentheses and may hold spaces and parentheses itself.
    fields = text[text.rindex(")") + 2 :].split()
    return ProcessStat(
        state=fields[0],
        parent=int(fields[1]),
        has_terminal=fields[4] != "0",
        started_ticks=int(fields[19]),
        cpu_ticks=int(fields[11]) + int(fields[12]),
    )
