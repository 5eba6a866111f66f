"""What this machine can do without us: its facts, its disk, its loopback.

`python -m tests.bench.machine PORT` is the sending half of the loopback measurement.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path

import msgspec

from ambry.clock import SystemClock
from tests.bench.load import HOST

LIBRARIES = ("aiohttp", "uvloop", "xxhash", "msgspec", "lmdb")
BLOCK_SIZE = 4096
OVERWRITTEN_SIZE = 4 << 20
DISK_WRITE_SIZE = 256 << 20
TRANSFER_SIZE = 1 << 20


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where the figures were taken; `load_average` is of the minute before."""

    cores: int
    cpu: str
    memory_mb: int
    kernel: str
    python: str
    libraries: dict[str, str]
    load_average: float
    file_system: str


def facts(directory: Path) -> Machine:
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        cpu=_cpu(),
        memory_mb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000,
        kernel=platform.release(),
        python=platform.python_version(),
        libraries={name: importlib.metadata.version(name) for name in LIBRARIES},
        load_average=os.getloadavg()[0],
        file_system=_file_system(directory),
    )


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text("ascii", "replace").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def _file_system(directory: Path) -> str:
    mounts = [line.split() for line in Path("/proc/mounts").read_text("utf-8", "replace").splitlines()]
    holding = [fields for fields in mounts if directory.resolve().is_relative_to(fields[1])]
    return max(holding, key=lambda fields: len(fields[1]))[2] if holding else "?"


def fdatasync_per_s(directory: Path, seconds: float) -> float:
    """How often one writer overwrites 4 KiB and has them on disk; the file has all its blocks before."""
    now = SystemClock().monotonic
    path = directory / "fdatasync.probe"
    block = os.urandom(BLOCK_SIZE)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, bytes(OVERWRITTEN_SIZE), 0)
        os.fsync(descriptor)
        count, began = 0, now()
        while (elapsed := now() - began) < seconds:
            os.pwrite(descriptor, block, count * BLOCK_SIZE % OVERWRITTEN_SIZE)
            os.fdatasync(descriptor)
            count += 1
        return count / elapsed
    finally:
        os.close(descriptor)
        path.unlink()


def disk_mb_per_s(directory: Path, size: int = DISK_WRITE_SIZE) -> float:
    """One new file of this size in writes of 1 MiB, one fdatasync at the end."""
    now = SystemClock().monotonic
    path = directory / "disk.probe"
    block = os.urandom(TRANSFER_SIZE)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        began = now()
        for offset in range(0, size, TRANSFER_SIZE):
            os.pwrite(descriptor, block, offset)
        os.fdatasync(descriptor)
        return size / 1e6 / (now() - began)
    finally:
        os.close(descriptor)
        path.unlink()


def loopback_mb_per_s(seconds: float, environment: dict[str, str]) -> float:
    """Raw TCP from another process into this one."""
    now = SystemClock().monotonic
    with socket.create_server((HOST, 0)) as server:
        command = [sys.executable, "-m", "tests.bench.machine", str(server.getsockname()[1])]
        sender = subprocess.Popen(command, env=environment, start_new_session=True)
        try:
            server.settimeout(10.0)
            connection, _ = server.accept()
            with connection:
                buffer = bytearray(TRANSFER_SIZE)
                received, began = 0, now()
                while (elapsed := now() - began) < seconds:
                    received += connection.recv_into(buffer)
            return received / 1e6 / elapsed
        finally:
            sender.kill()
            sender.wait()


def main() -> None:
    block = os.urandom(TRANSFER_SIZE)
    # The receiver closes when it has seen enough.
    with contextlib.suppress(ConnectionError), socket.create_connection((HOST, int(sys.argv[1]))) as connection:
        while True:
            connection.sendall(block)


if __name__ == "__main__":
    main()
