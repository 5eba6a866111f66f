"""One task of a Spark barrier stage that is a worker of a job: it finds the others, and runs the bundle as a process.

Pickled by value (spark_driver.py) with the modules of ambry that it imports, and run by executors, which have no ambry: these
import the standard library alone, and what is Spark's when they run there.
"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path

from ambry.client.tree_removal import remove_tree
from ambry.ml.training.launchers.printed import lines_of, printed

PREFIX = "ambry-train-"
LOCK = "held.lock"
_LINES_KEPT = 200
_TIMEOUT_S = 10.0


class WorkerFailed(Exception):
    """A worker ended badly. The message says how, and its last lines follow."""


def run_worker(files: Mapping[str, bytes], listener: tuple[str, int], token: str, attempt: int) -> Iterator[str]:
    """Run the bundle of `files` as the worker of this partition; what it printed last. Raises WorkerFailed."""
    context = import_module("pyspark").BarrierTaskContext.get()
    rank = context.partitionId()
    infos = context.getTaskInfos()
    host = infos[rank].address.rpartition(":")[0]
    addresses = [each.split() for each in context.allGather(" ".join(f"{host}:{port}" for port in _free_ports(2)))]
    # YARN removes what lies where a container runs, whatever ends it; elsewhere the next job of the machine does (remains.py).
    directory = Path(tempfile.mkdtemp(prefix=PREFIX, dir=Path.cwd() if "CONTAINER_ID" in os.environ else None))
    lock = take_lock(directory)
    try:
        for name, data in files.items():
            _write(directory / name, data)
        master, _, port = addresses[0][0].rpartition(":")
        told = {
            "AMBRY_TRAIN_LAUNCHER": "spark",
            "AMBRY_TRAIN_PARENT": str(os.getpid()),
            "AMBRY_TRAIN_PEERS": ",".join(each[1] for each in addresses),
            "ATTEMPT_NUMBER": str(attempt),
            "RANK": str(rank),
            "WORLD_SIZE": str(len(infos)),
            "MASTER_ADDR": master,
            "MASTER_PORT": port,
        }
        return iter([_followed(directory, {**os.environ, **told}, rank, listener, token)])
    finally:
        for name in files:  # The lock goes last: who looks for what was left knows it by that.
            (directory / name).unlink(missing_ok=True)
        remove_tree(directory)
        os.close(lock)


def _write(path: Path, data: bytes) -> None:
    """Raises OSError, which names the file, as that of a full disk does not by itself."""
    path.touch(mode=0o600)
    try:
        path.write_bytes(data)
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def take_lock(directory: Path) -> int:
    """Hold a directory while this process lives; a descriptor to close. The lock is held before it has its name."""
    lock = os.open(directory / f"{LOCK}.new", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (directory / f"{LOCK}.new").rename(directory / LOCK)
    return lock


def _followed(directory: Path, environ: dict[str, str], rank: int, listener: tuple[str, int], token: str) -> str:
    """Run the worker and send what it prints to the driver. Raises WorkerFailed."""
    for name in ("PYTHONPATH", "PYTHONHOME", "SPARK_HOME"):  # Spark's own; a job says what it needs by --env.
        environ.pop(name, None)
    last: deque[str] = deque(maxlen=_LINES_KEPT)
    link = _linked(listener, f"{token} {rank}\n")
    process = subprocess.Popen(
        [sys.executable, str(directory / "ambry-node.pyz")],
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,  # nosec B603 # the bundle of the job
    )
    try:
        for line in lines_of(printed(process)):
            last.append(line)
            if link is not None and not _sent(link, f"{line}\n"):
                link.close()  # Nobody listens, or too slowly: what a line was torn of is not gone on with.
                link = None
        code = process.wait()
    finally:
        process.kill()
        process.wait()
        if link is not None:
            link.close()
    if code:
        raise WorkerFailed(f"worker {rank} ended {code}\n" + "\n".join(last))
    return "\n".join(last)


def _linked(listener: tuple[str, int], first: str) -> socket.socket | None:
    """To the driver, which shows what workers print; None where it is not there."""
    try:
        link = socket.create_connection(listener, _TIMEOUT_S)
    except OSError:
        return None
    if _sent(link, first):
        return link
    link.close()
    return None


def _sent(link: socket.socket, text: str) -> bool:
    try:
        link.sendall(text.encode())
    except OSError:
        return False
    return True


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
