"""Out of descriptors or memory in the midst of anything: nothing is condemned, nothing is fenced, and it is done later.

A node without descriptors fenced replicas until an operator came, and its scrub condemned 39 of 39 good blobs. Here every
call of the file layer that a job makes lacks something once, but for those that write bytes: what they left is unknown.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from ambry.errors import AmbryError
from datanode.handlers.reading import Reading
from datanode.parts import Parts
from datanode.replicas import Replica
from datanode.store.blob_store import StoreState
from datanode.upkeep import compactor as compactor_module
from tests.support.fake_clock import SettableClock
from tests.support.fake_files import FakeFiles
from tests.support.node_parts import lone_node, store_section
from tests.support.samples import DELETED, blob_id, content, put_record, read_all, update_record

DAY_S = 86_400
SIZE = 14_000
LIVING = (*range(2, 11, 2), *range(11, 15))
WRITES = ("pwritev", "fdatasync", "fsync", "truncate", "allocate")
LACKING: dict[str, Callable[[], Exception]] = {
    "descriptors": lambda: OSError(errno.EMFILE, "Too many open files"),
    "memory": MemoryError,
}


class Node:
    """A replica with dead blobs in every segment; files are closed as soon as they are not used."""

    def __init__(self, root: Path) -> None:
        self.files = FakeFiles(root)
        self.clock = SettableClock()
        self.parts: Parts = lone_node(
            self.files, root / "data", clock=self.clock, store=store_section(open_files_max=1)
        )
        self.calls = 0
        self.lacking_at = 0
        self.error: Callable[[], Exception] = MemoryError

    @property
    def replica(self) -> Replica:
        return self.parts.replicas[7]

    async def start(self) -> None:
        await self.parts.open_replicas()
        for number in range(1, 15):
            await self.append(number)
        for number in range(1, 11, 2):
            await self.append(number, delete=True)
        await self.parts.checkpointer.checkpoint(self.replica)
        for number in (11, 12):  # something for the next checkpoint
            await self.append(number)
        self.clock.advance(8 * DAY_S)
        self.files.before = self._before

    async def append(self, number: int, *, delete: bool = False) -> None:
        record = (
            update_record(blob_id(number), DELETED) if delete else put_record(blob_id(number), content(number, SIZE))
        )
        done: asyncio.Future[AmbryError | None] = asyncio.get_running_loop().create_future()
        self.replica.committer.append(record, sync=True, done=done.set_result)
        assert await done is None

    def _before(self, call: str, _path: Path) -> None:
        if call in WRITES:
            return
        self.calls += 1
        if self.calls == self.lacking_at:
            raise self.error()

    def expect_whole(self) -> None:
        store = self.replica.store
        assert store.state is StoreState.OPEN, store.fence_reason
        assert store.damaged == set()
        assert store.compaction.damaged == set()
        assert self.parts.healer.describe() == []

    def expect_all_readable(self) -> None:
        for number in LIVING:
            assert read_all(self.replica.store, blob_id(number)) == content(number, SIZE)

    async def stop(self) -> None:
        self.files.before = lambda _call, _path: None
        await self.parts.close()


async def scrub(node: Node) -> None:
    report = await node.parts.scrubber.scrub(node.replica)
    assert (report.damaged, report.missing, report.unknown) == (0, 0, 0)


async def compact(node: Node) -> None:
    await node.parts.compactor.compact(node.replica)


async def checkpoint(node: Node) -> None:
    await node.parts.checkpointer.checkpoint(node.replica)


async def read(node: Node) -> None:
    reading = Reading(disk=node.parts.disk, own_name="n", on_damaged=node.parts.healer.note_damaged)
    for number in LIVING:
        entry = node.replica.store.lookup(blob_id(number))
        assert entry is not None
        await reading.payload(node.replica, entry, 0, SIZE)
        await reading.image(node.replica, entry)


async def sweep(node: Node) -> None:
    await node.parts.sweeper.sweep(node.replica)


@pytest.mark.parametrize("lacking", LACKING)
@pytest.mark.parametrize("job", [scrub, compact, checkpoint, read, sweep])
async def test_a_job_that_lacks_something_anywhere_condemns_nothing_and_is_done_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: Callable[[Node], Awaitable[None]], lacking: str
) -> None:
    monkeypatch.setattr(compactor_module, "SHORTAGE_RETRY_S", 0.0)
    monkeypatch.setattr(compactor_module, "CHECKPOINT_RETRY_S", 0.0)
    at = 0
    while True:
        at += 1
        node = Node(tmp_path / f"{at}")
        await node.start()
        node.lacking_at, node.error = at, LACKING[lacking]
        try:
            await job(node)
        except (AmbryError, OSError, MemoryError):
            node.expect_whole()
        over = node.calls < at
        node.lacking_at = 0
        node.expect_whole()
        node.expect_all_readable()
        await job(node)
        node.expect_whole()
        node.expect_all_readable()
        await node.stop()
        if over:
            return
