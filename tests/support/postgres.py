"""A real PostgreSQL server for tests: Debian's binaries, a fresh data directory, on loopback, gone with the tests.

Its files are in a directory of its own below /tmp, because it refuses to run as root and its user must get there.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from tests.support.ports import free_ports
from tests.support.waiting import eventually

USER = "postgres"
OPTIONS = ("listen_addresses=127.0.0.1", "fsync=off", "max_connections=60", "shared_buffers=16MB")


def binaries() -> Path | None:
    """Where Debian has the newest server."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def why_impossible() -> str:
    """What keeps this machine from running a server; empty where nothing does."""
    if importlib.util.find_spec("asyncpg") is None:
        return "asyncpg is not installed: make services"
    if binaries() is None:
        return "Debian's postgresql is not installed: make services"
    if os.geteuid() == 0:
        with suppress(KeyError):
            pwd.getpwnam(USER)
            return ""
        return f"there is no user {USER}, and the server refuses to run as root"
    return ""


class PostgresProcess:
    """One server. `start` and `kill` as often as a test likes; `close` leaves no process and no file."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ambry-postgres-"))
        self.port = free_ports(1)[0]
        self._binaries = binaries() or Path()
        self._user = USER if os.geteuid() == 0 else None
        self._keeper: subprocess.Popen[bytes] | None = None
        if self._user:
            shutil.chown(self.directory, self._user)
        self._data = self.directory / "data"
        command = [
            "initdb",
            "-D",
            str(self._data),
            "-A",
            "trust",
            "-U",
            "ambry",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]
        self._run(*command)

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._binaries / program), *arguments]
        done = subprocess.run(command, user=self._user, capture_output=True, text=True, cwd="/", check=False)
        if done.returncode:
            raise OSError(f"{program}: {done.stderr}")

    def url(self, database: str) -> str:
        return f"postgresql://ambry@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = [word for option in OPTIONS for word in ("-c", option)]
        command = [str(self._binaries / "postgres"), "-D", str(self._data), "-p", str(self.port)]
        # A shell between, which ends the server when we end, however that comes.
        script = '"$@" & server=$!; cat >/dev/null; kill -INT $server; wait $server'
        with (self.directory / "log").open("ab") as log:
            self._keeper = subprocess.Popen(
                ["sh", "-c", script, "keeper", *command, "-k", str(self.directory), *options],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                user=self._user,
                cwd="/",
                start_new_session=True,
            )
        eventually(self._answers, "the server answers", timeout_s=60.0, interval_s=0.02)

    def _answers(self) -> bool:
        with suppress(OSError, IndexError):
            if (self._data / "postmaster.pid").read_text().splitlines()[7].strip() == "ready":
                socket.create_connection(("127.0.0.1", self.port), timeout=1.0).close()
                return True
        return False

    def kill(self) -> None:
        """SIGKILL to the server; its sessions end by themselves, and it leaves what a crash leaves."""
        pid = int((self._data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)
        self._end()
        # Its children look now and then whether it is there; before they have gone no other starts.
        eventually(lambda: not self.sessions(), "its sessions have ended", timeout_s=60.0, interval_s=0.02)
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def sessions(self) -> list[str]:
        """The pids of the server and of all that it started."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cwd"):
            with suppress(OSError):
                if path.resolve() == self._data:
                    found.append(path.parts[2])
        return found

    def _end(self) -> None:
        if self._keeper is not None:
            with suppress(ValueError, OSError):
                self._keeper.communicate(timeout=30)
            self._keeper = None

    def make_database(self, name: str) -> None:
        arguments = ["-h", str(self.directory), "-p", str(self.port), "-U", "ambry", name]
        self._run("createdb", *arguments)

    def close(self) -> None:
        self._end()
        deadline = time.monotonic() + 30
        while self.sessions() and time.monotonic() < deadline:
            time.sleep(0.02)
        shutil.rmtree(self.directory, ignore_errors=True)
