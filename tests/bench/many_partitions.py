"""What many partitions cost a data node: readiness, memory, descriptors, and processor time, idle and with few puts.

    python -m tests.bench.many_partitions [--nodes 3] [--partitions 1000] [--seconds 20] [--puts 11]

Real processes on loopback; each partition has a replica on every node. Puts of 4 KiB go to all replicas, as a frontend sends
them: one into every partition after the first start, so that none makes its first segment later, then few at random. Prints one
line for each phase, with the share of a core of each node.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ambry.blob import NEVER_MS
from ambry.checksum import digest
from ambry.format.record import RecordKind
from ambry.ids import BlobId, IdKind
from ambry.network.connection import RpcConnection
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.blobs import PutRequest
from tests.bench import proc
from tests.support.ports import free_ports
from tests.support.rpc_pair import ask
from tests.support.samples import content

SIZE = 4_096
READY_TIMEOUT_S = 300
SETTLE_S = 60
"""After the start: what is put off until then, and the first round of everything, is no idling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningNode:
    name: str
    port: int
    admin_port: int
    process: subprocess.Popen[bytes]

    def cpu_s(self) -> float:
        return proc.cpu_s(self.process.pid)

    def memory(self) -> str:
        status = dict(line.split(":", 1) for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines())
        rss, mapped = (int(status[key].split()[0]) for key in ("VmRSS", "VmSize"))
        descriptors = len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))
        return f"{self.name}: {rss >> 10} MiB resident, {mapped >> 20} GiB mapped, {descriptors} descriptors"

    def ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/readyz", timeout=30) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def page(self, path: str) -> float:
        """Seconds until an admin page is read."""
        began = time.perf_counter()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}{path}", timeout=60) as answer:
            answer.read()
        return time.perf_counter() - began


Popen = Callable[..., subprocess.Popen[bytes]]


@contextmanager
def running(root: Path, *, nodes: int, partitions: int, popen: Popen = subprocess.Popen) -> Iterator[list[RunningNode]]:
    ports = free_ports(2 * nodes)
    names = [f"n{number + 1}" for number in range(nodes)]
    layout = root / "layout.json"
    places = [{"name": name, "host": "127.0.0.1", "port": ports[number]} for number, name in enumerate(names)]
    layout.write_text(
        json.dumps(
            {
                "cluster": "bench",
                "version": 1,
                "datacenters": [{"name": "dc1", "id": 1, "nodes": places}],
                "partitions": [{"id": number, "replicas": names} for number in range(1, partitions + 1)],
            }
        )
    )
    started: list[RunningNode] = []
    try:
        for number, name in enumerate(names):
            settings = {
                "node.name": name,
                "node.layout": layout,
                "node.data_dir": root / name,
                "node.admin_port": ports[nodes + number],
                "store.segment_size_bytes": 1 << 20,
                "store.reserve_bytes": 1 << 20,
                "log.level": "warning",
            }
            sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
            with (root / f"{name}.log").open("wb") as log:
                process = popen([sys.executable, "-m", "datanode", *sets], stderr=log, stdout=log)
            started.append(
                RunningNode(name=name, port=ports[number], admin_port=ports[nodes + number], process=process)
            )
        yield started
    finally:
        for node in started:
            node.process.terminate()
        for node in started:
            node.process.wait(60)


async def connect(nodes: list[RunningNode]) -> list[RpcConnection]:
    loop = asyncio.get_running_loop()
    return [(await loop.create_connection(RpcConnection, "127.0.0.1", node.port))[1] for node in nodes]


async def put(connections: list[RpcConnection], partition: int, chance: random.Random) -> None:
    """Put one blob on all nodes."""
    now_ms = time.time_ns() // 1_000_000
    raw_id = BlobId.make(
        kind=IdKind.SIMPLE,
        datacenter=1,
        account=1,
        container=1,
        partition=partition,
        uuid=now_ms.to_bytes(6, "big") + b"\x70\x00\x80" + chance.randbytes(7),
    ).raw
    payload = content(1, SIZE)
    request = PutRequest("bench", raw_id, RecordKind.BLOB, now_ms, NEVER_MS, b"\x01\x80", b"", digest(payload), True)
    await asyncio.gather(*(ask(to, MessageType.PUT, request, payload) for to in connections))


async def put_into_each(nodes: list[RunningNode], partitions: int) -> None:
    connections = await connect(nodes)
    chance = random.Random(6)
    for number in range(1, partitions + 1):
        await put(connections, number, chance)
    for connection in connections:
        connection.close()


async def put_for(nodes: list[RunningNode], *, partitions: int, seconds: float, rate: float) -> int:
    """Put so many blobs a second into partitions at random, on all nodes. Returns how many."""
    connections = await connect(nodes if rate else [])
    chance = random.Random(7)
    ends = time.monotonic() + seconds
    count = 0
    while time.monotonic() < ends:
        if not rate:
            await asyncio.sleep(seconds)
            break
        await put(connections, chance.randint(1, partitions), chance)
        count += 1
        await asyncio.sleep(1 / rate)
    for connection in connections:
        connection.close()
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("nodes", 3), ("partitions", 1_000), ("seconds", 20), ("puts", 11)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        for start in ("first start", "second start"):
            began = time.monotonic()
            with running(root, nodes=options.nodes, partitions=options.partitions) as nodes:
                while not all(node.ready() for node in nodes):
                    if time.monotonic() - began > READY_TIMEOUT_S or any(node.process.poll() for node in nodes):
                        raise SystemExit((root / "n1.log").read_text()[-3_000:])
                    time.sleep(0.2)
                took = time.monotonic() - began
                print(f"{start}: {options.nodes} nodes of {options.partitions} partitions ready in {took:.1f} s")
                if start == "first start":
                    asyncio.run(put_into_each(nodes, options.partitions))
                    continue
                time.sleep(SETTLE_S)
                for rate in (0, options.puts):
                    before = {node.name: node.cpu_s() for node in nodes}
                    since = time.monotonic()
                    count = asyncio.run(
                        put_for(nodes, partitions=options.partitions, seconds=options.seconds, rate=rate)
                    )
                    elapsed = time.monotonic() - since
                    shares = ", ".join(f"{(node.cpu_s() - before[node.name]) / elapsed:.2%}" for node in nodes)
                    print(f"{count / elapsed:.1f} puts/s: {shares} of a core")
                print(
                    f"/partitions in {nodes[0].page('/partitions'):.2f} s, /metrics in {nodes[0].page('/metrics'):.2f} s"
                )
                print(nodes[0].memory())


if __name__ == "__main__":
    main()
