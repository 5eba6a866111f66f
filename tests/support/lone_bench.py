"""A lone data node on a fake disk, with two partitions, driven from its registry and its checkpointer."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ambry.errors import AmbryError
from datanode.parts import Parts
from datanode.replicas import Replica
from tests.support.fake_clock import SettableClock
from tests.support.fake_files import FakeFiles
from tests.support.node_parts import lone_map, lone_node, store_section
from tests.support.samples import DELETED, blob_id, content, put_record, update_record


class LoneBench:
    """Partitions 7 and 8, held by a silent peer too, so that neither serves by itself."""

    def __init__(self, root: Path, *, wholly_simulated: bool = False) -> None:
        self.files = FakeFiles(root, wholly_simulated=wholly_simulated)
        self.root = root
        self.clock = SettableClock()
        self.make()

    def make(self, *, io_threads: int = 2) -> Parts:
        self.parts = lone_node(
            self.files,
            self.root / "data",
            clock=self.clock,
            cluster_map=lone_map((7, 8), with_silent_peer=True),
            store=store_section(io_threads=io_threads, checkpoint_records=10),
        )
        self.replicas = self.parts.replicas
        self.checkpointer = self.parts.checkpointer
        return self.parts

    async def open(self, *, io_threads: int = 2) -> Replica:
        await self.make(io_threads=io_threads).open_replicas()
        return self.replicas[7]

    async def put(self, number: int, *, partition: int = 7, delete: bool = False) -> None:
        replica = self.replicas[partition]
        done: asyncio.Future[AmbryError | None] = asyncio.get_running_loop().create_future()
        record = (
            update_record(blob_id(number), DELETED) if delete else put_record(blob_id(number), content(number, 500))
        )
        replica.committer.append(record, sync=True, done=done.set_result)
        error = await done
        if error is not None:
            raise error

    async def tear_down(self) -> None:
        """Release what a test left, without a checkpoint."""
        for replica in self.replicas.all():
            replica.store.close()
        self.parts.disk.close()
