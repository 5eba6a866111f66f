"""How soon an empty replica is whole: copied by segments from its peers, or fetched blob by blob.

    python -m tests.bench.bootstrap [--sizes 4096 65536 4194304] [--mib 512] [--peers 2] [--dir DIRECTORY]

Real data nodes on one machine: `peers` that hold the same blobs, and one that is wiped and started, with bootstrap and without.
Beside it stands what the same disk takes of one writer, in pieces of 4 MiB with a sync every 16 MiB, measured right before.
Exit code 1 when a node did not get whole.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ambry.clock import SystemClock
from ambry.service import logs
from datanode.config import StoreSection
from datanode.store.files import OsFiles
from datanode.store.opening.steps import open_store
from tests.bench.store_blobs import BATCH_RECORDS, CLUSTER, partition_path, records
from tests.support.ports import free_ports
from tests.support.rest import page
from tests.support.samples import append, checkpoint

PARTITION = 1
WAIT_S = 600.0
MOST = 0.9
"""Of the bytes: the segment in use comes blob by blob in any case."""
PIECE = 4 << 20
SYNC_EVERY = 4
QUIET = ("compaction.enabled=false", "scrub.enabled=false", "sweep.enabled=false", "log.level=info")


def fill(directory: Path, size: int, total: int, *, seed: int) -> int:
    """A replica with blobs of one size, cleanly stopped. Returns how many."""
    store = open_store(
        OsFiles(),
        partition_path(directory, PARTITION),
        cluster=CLUSTER,
        partition=PARTITION,
        segment_size_bytes=StoreSection().segment_size_bytes,
        clock=SystemClock(),
        random_source=random.Random(seed),
    )
    count = max(1, total // size)
    source = (record for _, record in records(count, size))
    while batch := list(islice(source, max(1, min(BATCH_RECORDS, (16 << 20) // size)))):
        append(store, *batch, sync=False)
        if store.recent_count >= StoreSection().checkpoint_records:
            checkpoint(store)
    store.serving = True
    checkpoint(store, clean=True)
    store.close()
    return count


def write_rate(directory: Path, total: int) -> float:
    """Bytes per second that the disk takes of one writer."""
    path = directory / "sequential"
    piece = random.Random(1).randbytes(PIECE)
    file = os.open(path, os.O_CREAT | os.O_WRONLY)
    began = time.perf_counter()
    for number in range(max(1, total // PIECE)):
        os.write(file, piece)
        if number % SYNC_EVERY == SYNC_EVERY - 1:
            os.fdatasync(file)
    os.fdatasync(file)
    seconds = time.perf_counter() - began
    os.close(file)
    path.unlink()
    return max(1, total // PIECE) * PIECE / seconds


class Cluster:
    """Some nodes of one partition, each a process of its own, on directories that are there."""

    def __init__(
        self, root: Path, names: Sequence[str], *, popen: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen
    ) -> None:
        self.root = root
        self._popen = popen
        self.names = names
        ports = free_ports(2 * len(names))
        self.ports = dict(zip(names, ports[: len(names)], strict=True))
        self.admin = dict(zip(names, ports[len(names) :], strict=True))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        nodes = [{"name": name, "host": "127.0.0.1", "port": self.ports[name]} for name in names]
        (root / "layout.json").write_text(
            json.dumps(
                {
                    "cluster": CLUSTER,
                    "version": 1,
                    "datacenters": [{"name": "dc1", "id": 1, "nodes": nodes}],
                    "partitions": [{"id": PARTITION, "replicas": list(names)}],
                }
            )
        )

    def start(self, name: str, *overrides: str) -> None:
        command = [sys.executable, "-m", "datanode"]
        settings = (
            f"node.name={name}",
            f"node.layout={self.root / 'layout.json'}",
            f"node.data_dir={self.root / name}",
            f"node.admin_port={self.admin[name]}",
        )
        for item in (*settings, *QUIET, *overrides):
            command += ["--set", item]
        with (self.root / f"{name}.log").open("ab") as output:
            self.processes[name] = self._popen(command, stderr=output, stdout=output)

    def partition(self, name: str) -> dict[str, Any]:
        """What the node says of its replica; empty while it says nothing."""
        try:
            return next(iter(page(f"http://127.0.0.1:{self.admin[name]}", "/partitions")), {})
        except (OSError, AssertionError):
            return {}

    def wait(self, name: str, done: Any) -> float:
        """Seconds until `done` of the partition's page. Raises TimeoutError."""
        began = time.perf_counter()
        while not done(self.partition(name)):
            if time.perf_counter() - began > WAIT_S:
                raise TimeoutError(f"{name}: {self.partition(name)}")
            time.sleep(0.02)
        return time.perf_counter() - began

    def cpu_s(self, name: str) -> float:
        fields = Path(f"/proc/{self.processes[name].pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Seconds until most of the bytes were here, and until the replica had its authority; CPU seconds of all nodes together."""

    bytes: int
    here_s: float
    whole_s: float
    cpu_s: float
    here_cpu_s: float
    """Those until the bytes were here."""


def serving(partition: dict[str, Any]) -> bool:
    return bool(partition.get("serving"))


def measure(cluster: Cluster, peers: Sequence[str], *, bootstrap: bool) -> Measured:
    wiped = "wiped"
    shutil.rmtree(cluster.root / wiped, ignore_errors=True)
    (cluster.root / wiped).mkdir()
    full = cluster.partition(peers[0])["size_bytes"]
    before = sum(cluster.cpu_s(name) for name in peers)
    cluster.start(wiped, f"bootstrap.enabled={str(bootstrap).lower()}")
    try:
        cluster.wait(wiped, lambda partition: partition.get("size_bytes", 0) > 1 << 20)
        began = time.perf_counter()
        first = cluster.partition(wiped)["size_bytes"]
        cluster.wait(wiped, lambda partition: partition.get("size_bytes", 0) >= MOST * full)
        here = time.perf_counter() - began
        here_cpu = sum(cluster.cpu_s(name) for name in (*peers, wiped)) - before
        moved = cluster.partition(wiped)["size_bytes"] - first
        cluster.wait(wiped, serving)
        whole = time.perf_counter() - began
        cpu = sum(cluster.cpu_s(name) for name in (*peers, wiped)) - before
        return Measured(bytes=moved, here_s=here, whole_s=whole, cpu_s=cpu, here_cpu_s=here_cpu)
    finally:
        cluster.end(wiped)


def run(root: Path, size: int, total: int, peer_count: int) -> None:
    peers = [f"peer{number}" for number in range(1, peer_count + 1)]
    for number, name in enumerate(peers):
        (root / name).mkdir()
        count = fill(root / name, size, total, seed=number + 1)
    cluster = Cluster(root, [*peers, "wiped"])
    try:
        for name in peers:
            cluster.start(name)
        for name in peers:
            cluster.wait(name, serving)
        disk = write_rate(root, total)
        copied = measure(cluster, peers, bootstrap=True)
        disk = (disk + write_rate(root, total)) / 2
        fetched = measure(cluster, peers, bootstrap=False)
    finally:
        for name in list(cluster.processes):
            cluster.end(name)
    rates = [item.bytes / item.here_s for item in (copied, fetched)]
    print(
        f"{count:,} blobs of {size:,} bytes: the disk takes {disk / 1e6:.0f} MB/s; copied at {rates[0] / 1e6:.0f} MB/s "
        f"({rates[0] / disk:.0%} of it), whole after {copied.whole_s:.1f} s; blob by blob {rates[1] / 1e6:.0f} MB/s, "
        f"whole after {fetched.whole_s:.1f} s: {rates[0] / rates[1]:.1f} times as fast, whole "
        f"{fetched.whole_s / copied.whole_s:.1f} times as soon; CPU {copied.here_cpu_s:.1f} in place of "
        f"{fetched.here_cpu_s:.1f} s, until whole {copied.cpu_s:.1f} in place of {fetched.cpu_s:.1f} s",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[4096, 65536, 4 << 20])
    parser.add_argument("--mib", type=int, default=512, help="of blobs")
    parser.add_argument("--peers", type=int, default=2)
    parser.add_argument("--dir", type=Path, default=None)
    arguments = parser.parse_args()
    logs.configure(level="error", format="text")
    for size in arguments.sizes:
        root = Path(tempfile.mkdtemp(prefix="bootstrap-", dir=arguments.dir))
        try:
            run(root, size, arguments.mib << 20, arguments.peers)
        except TimeoutError as error:
            print(f"not whole: {error}")
            return 1
        finally:
            shutil.rmtree(root, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
