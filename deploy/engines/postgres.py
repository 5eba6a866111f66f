"""PostgreSQL: Debian's server on loopback, with its data in a directory of its own, for whoever is on this machine.

It refuses to run as root: there it runs as the user `postgres`, who must be able to enter the directory.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploy.engines.jars import EngineError, Tell
from deploy.engines.processes import STORAGE_TIMEOUT_S, EngineProcess, free_ports, make_storage, run_to_end
from deploy.local_layout import HOST

INSTALLED = Path("/usr/lib/postgresql")
SYSTEM_USER = "postgres"
USER = "ambry"
"""The superuser of the server; no password is asked for."""
DATABASE = "postgres"
_ASKED = b"user\0" + USER.encode() + b"\0database\0" + DATABASE.encode() + b"\0\0"
_BECOME = """test "$PPID" = "$0" && exec "$@" """
"""PPID is the parent as the shell began (POSIX), which is behind the request."""
_STARTUP = struct.pack(">ii", 8 + len(_ASKED), 3 << 16) + _ASKED
"""The first message of a client (PostgreSQL protocol 3.0): length, version, parameters."""


class LocalPostgres(EngineProcess):
    """`url` is its first database. Its data outlives its processes: it may be killed and started again."""

    def __init__(self, directory: Path) -> None:
        """Makes a fresh server in a directory that has none. Raises EngineError."""
        binaries = binaries_of(INSTALLED)
        as_user = _as_user()
        (self.port,) = free_ports(1)
        self.url = f"postgresql://{USER}@{HOST}:{self.port}/{DATABASE}"
        directory.mkdir(parents=True, exist_ok=True)
        self._data = directory / "postgres-data"
        if as_user:
            directory.chmod(directory.stat().st_mode | 0o011)
        if not (self._data / "PG_VERSION").is_file():
            self._make(binaries, as_user)
        words = ["-D", str(self._data), "-p", str(self.port), "-c", f"listen_addresses={HOST}"]
        words += ["-c", "unix_socket_directories=", "-c", "shared_buffers=16MB"]
        command = [str(binaries / "postgres"), *words]
        # SIGTERM would wait for clients to go; SIGINT ends their sessions.
        super().__init__(
            "postgres",
            as_user_with_parent(as_user, command, os.getpid()) if as_user else command,
            directory,
            self._serves,
            stop_signal=signal.SIGINT,
        )

    def _make(self, binaries: Path, as_user: Sequence[str]) -> None:
        shutil.rmtree(self._data, ignore_errors=True)
        self._data.mkdir(mode=0o700)
        if as_user:
            shutil.chown(self._data, SYSTEM_USER)
            if run_to_end([*as_user, "--", "test", "-x", str(self._data)], STORAGE_TIMEOUT_S).returncode:
                raise EngineError(
                    f"PostgreSQL does not run as root, and its user {SYSTEM_USER} may not enter {self._data.parent}; "
                    "name a directory in one that everybody may enter, as in /tmp (--directory)"
                )
        command = [*as_user, *(["--"] if as_user else []), str(binaries / "initdb"), "-D", str(self._data)]
        command += ["-A", "trust", "-U", USER, "-E", "UTF8", "--locale=C", "--no-sync"]
        make_storage("PostgreSQL", command)

    def _serves(self) -> bool:
        """Whether it lets a client in: its first answer begins with R (AuthenticationOk), or with E while it starts."""
        try:
            with socket.create_connection((HOST, self.port), timeout=2) as asked:
                asked.sendall(_STARTUP)
                return asked.recv(1) == b"R"
        except OSError:
            return False


def binaries_of(installed: Path) -> Path:
    """Those of the newest version. Raises EngineError."""
    found = sorted(installed.glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise EngineError(f"there is no PostgreSQL in {installed}; `make engines` installs it")
    return found[-1].parent


def _as_user() -> list[str]:
    """What runs a program as the server's user; nothing where we are not root. Raises EngineError."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    try:
        group = pwd.getpwnam(SYSTEM_USER).pw_gid
    except KeyError:
        group = None
    if setpriv is None or group is None:
        lacks = "setpriv (util-linux)" if setpriv is None else f"user {SYSTEM_USER}"
        raise EngineError(f"PostgreSQL does not run as root, and there is no {lacks}; run it as yourself")
    return [setpriv, f"--reuid={SYSTEM_USER}", f"--regid={group}", "--init-groups"]


def as_user_with_parent(as_user: Sequence[str], command: Sequence[str], parent: int) -> list[str]:
    """What runs a program as another user that ends with its parent, as with_parent.py has it: a change of user takes that
    promise of the kernel away, so it is asked for again, and then looked whether the parent is there still.
    """
    # No Python of ours: the other user may not be able to read it.
    return [*as_user, "--pdeathsig", "INT", "--", "/bin/sh", "-c", _BECOME, str(parent), *command]


@contextlib.contextmanager
def postgres(directory: Path, tell: Tell) -> Iterator[LocalPostgres]:
    """A server that lets clients in, in a directory of the caller's. Raises EngineError."""
    tell("postgres: as it is installed here")
    with LocalPostgres(directory) as server:
        yield server
