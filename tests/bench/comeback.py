"""How soon a killed data node serves again, and what its housekeeping leaves to reads after that.

    python -m tests.bench.comeback [--blobs 200000] [--dir DIRECTORY]

Two data nodes on copies of the same directory, as a kill left it: one without any housekeeping, and one of which scrub,
compaction and sweep begin at once, which a node left to itself never does. They are measured in turns of half a second,
the other one stopped meanwhile (SIGSTOP), so that both meet the same machine. Exit code 1 when a read was wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ambry.errors import AmbryError
from ambry.network.connection import RpcConnection
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.blobs import GetRequest
from ambry.service import logs
from datanode.store.index_file import INDEX_NAME
from tests.bench import proc
from tests.bench.store_blobs import BATCH_RECORDS, CLUSTER, open_one, records
from tests.support.ports import free_ports
from tests.support.rpc_pair import ask
from tests.support.samples import append, checkpoint

PARTITIONS = 8
SIZE = 4096
BEHIND_THE_CHECKPOINT = 45_000
"""A node makes a checkpoint when 50,000 entries wait."""
TURN_S = 0.5
TURNS = 24
READERS = 8
OFF = ("compaction.enabled=false", "scrub.enabled=false", "sweep.enabled=false")
AT_ONCE = ("compaction.interval_s=1", "scrub.interval_s=1", "sweep.interval_s=1")


def fill(directory: Path, blobs: int) -> list[bytes]:
    """Replicas as a kill leaves them: all synced, the latest blobs not in their indexes. Returns the ids."""
    stores = {number: open_one(directory, number) for number in range(1, PARTITIONS + 1)}
    pending: dict[int, list[object]] = {number: [] for number in stores}
    ids: list[bytes] = []
    for count, (partition, record) in enumerate(records(blobs, SIZE, partitions=PARTITIONS)):
        ids.append(record.id)
        pending[partition].append(record)
        if len(pending[partition]) == BATCH_RECORDS:
            append(stores[partition], *pending[partition], sync=False)  # type: ignore[arg-type]
            pending[partition].clear()
        if count == blobs - BEHIND_THE_CHECKPOINT:
            for store in stores.values():
                checkpoint(store)
    for partition, batch in pending.items():
        append(stores[partition], *batch, sync=True)  # type: ignore[arg-type]
        stores[partition].close()
    return ids


@dataclass
class Node:
    """One data node process, and what was measured of it: seconds until each partition served, reads per turn."""

    root: Path
    data: Path
    overrides: Sequence[str]
    port: int = field(default_factory=lambda: free_ports(1)[0])
    listens_s: float = 0.0
    cpu_s: float = 0.0
    """Processor time until all partitions served."""
    serves_s: list[float] = field(default_factory=list)
    reads: list[int] = field(default_factory=list)
    wrong: int = 0

    def start(self) -> None:
        layout = self.root / f"layout-{self.port}.json"
        node = {"name": "n", "host": "127.0.0.1", "port": self.port}
        partitions = [{"id": number, "replicas": ["n"]} for number in range(1, PARTITIONS + 1)]
        datacenters = [{"name": "dc1", "id": 1, "nodes": [node]}]
        layout.write_text(
            json.dumps({"cluster": CLUSTER, "version": 1, "datacenters": datacenters, "partitions": partitions})
        )
        command = [sys.executable, "-m", "datanode"]
        for item in ("node.name=n", f"node.layout={layout}", f"node.data_dir={self.data}", *self.overrides):
            command += ["--set", item]
        self._began = time.perf_counter()
        with (self.root / f"log-{self.port}").open("wb") as log:
            self.process = subprocess.Popen(command, stderr=log)

    async def wait(self, ids: Sequence[bytes]) -> None:
        """Until every partition serves."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                _, self.connection = await loop.create_connection(RpcConnection, "127.0.0.1", self.port)
                break
            except OSError:
                await asyncio.sleep(0.005)
        self.listens_s = time.perf_counter() - self._began
        asked = {raw_id[12:16]: raw_id for raw_id in ids}
        while asked:
            for partition, raw_id in list(asked.items()):
                if await self.read(raw_id):
                    del asked[partition]
                    self.serves_s.append(time.perf_counter() - self._began)
            await asyncio.sleep(0.005)
        self.cpu_s = proc.cpu_s(self.process.pid)

    async def read(self, raw_id: bytes) -> bool:
        try:
            frame = await ask(self.connection, MessageType.GET, GetRequest("r", raw_id, 0, 1 << 40))
        except AmbryError:
            return False
        return len(frame.body) == SIZE

    async def turn(self, ids: Sequence[bytes], chance: random.Random) -> None:
        self.process.send_signal(signal.SIGCONT)
        until = time.perf_counter() + TURN_S
        count = 0

        async def reader() -> None:
            nonlocal count
            while time.perf_counter() < until:
                self.wrong += not await self.read(chance.choice(ids))
                count += 1

        await asyncio.gather(*(reader() for _ in range(READERS)))
        self.reads.append(count)
        self.process.send_signal(signal.SIGSTOP)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


async def measure(root: Path, data: Path, copy: Path, ids: Sequence[bytes]) -> int:
    nodes = [Node(root, data, OFF), Node(root, copy, AT_ONCE)]
    try:
        for node in nodes:
            node.start()
            await node.wait(ids)
            node.process.send_signal(signal.SIGSTOP)
            print(
                f"{'housekeeping at once' if node.overrides is AT_ONCE else 'no housekeeping'}: listens after "
                f"{node.listens_s:.2f} s, partitions serve after {min(node.serves_s):.2f} to {max(node.serves_s):.2f} s, "
                f"for {node.cpu_s:.2f} s of processor time"
            )
        chance = random.Random(1)
        for _ in range(TURNS):
            for node in nodes:
                await node.turn(ids, chance)
    finally:
        for node in nodes:
            node.end()
    alone, beside = nodes
    ratios = [with_it / without for without, with_it in zip(alone.reads, beside.reads, strict=True)]
    print(f"reads/s without {sum(alone.reads) / TURN_S / TURNS:,.0f}, with {sum(beside.reads) / TURN_S / TURNS:,.0f}")
    print(
        f"foreground keeps {sum(beside.reads) / sum(alone.reads):.0%} in all; by turns, median "
        f"{statistics.median(ratios):.0%}, lowest quarter {statistics.quantiles(ratios, n=4)[0]:.0%}"
    )
    return alone.wrong + beside.wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--blobs", type=int, default=200_000)
    parser.add_argument("--dir", type=Path, default=None)
    arguments = parser.parse_args()
    logs.configure(level="error", format="text")
    root = Path(tempfile.mkdtemp(prefix="comeback-", dir=arguments.dir))
    try:
        data = root / "data"
        data.mkdir()
        ids = fill(data, arguments.blobs)
        size = sum(path.stat().st_size for path in data.glob(f"*/{INDEX_NAME}/data.mdb"))
        print(f"{arguments.blobs:,} blobs of {SIZE} bytes, indexes of {size >> 20} MiB")
        # Room that was reserved and never written stays that: a node that was killed has it so.
        copy = root / "copy"
        subprocess.run(["cp", "-a", "--sparse=always", data, copy], check=True)
        wrong = asyncio.run(measure(root, data, copy, ids))
    finally:
        shutil.rmtree(root)
    if wrong:
        print(f"{wrong} reads were wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
