"""A disk that hangs is noticed, said, and waited for by nobody new (F13); it goes on when the disk does."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.errors import ReplicaUnavailable
from datanode import checkpointer as checkpointer_module
from datanode import committer as committer_module
from datanode import metrics
from datanode.disk import HANGS_AFTER_S
from datanode.upkeep import hangs
from tests.support.captured_log import capture_log, said
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.eventually import eventually
from tests.support.samples import PARTITION, blob_id, content, forget


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[DirectNode]:
    cluster = DirectCluster(tmp_path, cluster_map(1))
    await cluster.start()
    made = cluster["a1"]
    await made.put(blob_id(1), content(1, 1000))
    await made.tick("room")
    yield made
    await cluster.stop()


class Hanging:
    """So many threads of a node's disk, which do not return before `go`."""

    def __init__(self, node: DirectNode, threads: int) -> None:
        self.go = threading.Event()
        self._begun = threading.Semaphore(0)
        self.jobs = [node.parts.disk.submit(self._hang) for _ in range(threads)]
        self.count = threads

    def _hang(self) -> None:
        self._begun.release()
        self.go.wait(60)

    async def begun(self) -> None:
        for _ in range(self.count):
            assert await asyncio.to_thread(self._begun.acquire, timeout=30)


def hangs_s() -> float:
    return float(metrics.DISK_HANGS._value.get())


async def test_it_is_said_once_with_the_place_and_since_when(node: DirectNode, monkeypatch: pytest.MonkeyPatch) -> None:
    events = capture_log(monkeypatch, hangs)
    watch = node.parts.disk_watch
    hanging = Hanging(node, 1)
    await hanging.begun()
    node.clock.advance(HANGS_AFTER_S)
    await watch.tick()
    assert (watch.why(), hangs_s(), events) == ([], 0, [])
    node.clock.advance(2)
    await watch.tick()
    node.clock.advance(3)
    await watch.tick()
    assert hangs_s() == HANGS_AFTER_S + 5
    (reason,) = watch.why()
    assert reason.startswith(
        f"the disk of {node.files.root / 'data'} hangs: 1 of its threads are held, the longest for 10 s"
    )
    (event,) = said(events, "disk hangs")
    assert (event["seconds"], event["threads"]) == (HANGS_AFTER_S + 2, 1)
    hanging.go.set()
    await asyncio.gather(*hanging.jobs)
    await eventually(lambda: node.parts.disk.hang() is None)
    await watch.tick()
    assert (watch.why(), hangs_s()) == ([], 0)
    assert len(said(events, "disk goes on")) == 1


async def test_puts_are_told_of_no_room_while_it_hangs(node: DirectNode) -> None:
    room = node.parts.room
    before = room.bytes
    assert before > 0
    hanging = Hanging(node, 1)
    await hanging.begun()
    node.clock.advance(HANGS_AFTER_S + 1)
    await node.tick("disk")
    assert room.bytes == 0
    hanging.go.set()
    await asyncio.gather(*hanging.jobs)
    await eventually(lambda: node.parts.disk.hang() is None)
    await node.tick("disk")
    assert room.bytes == before


async def test_the_threads_that_are_left_serve_and_without_any_nobody_waits(node: DirectNode) -> None:
    await node.parts.checkpointer.checkpoint(node.replica)
    threads = node.parts.config.store.io_threads
    some = Hanging(node, threads - 1)
    await some.begun()
    node.clock.advance(HANGS_AFTER_S + 1)
    await node.tick("disk")
    node.files.cache_cold = True
    assert (await node.get(blob_id(1)))[1] == content(1, 1000)
    await node.put(blob_id(2), content(2, 1000))
    last = Hanging(node, 1)
    await last.begun()
    node.clock.advance(HANGS_AFTER_S + 1)
    await node.tick("disk")
    with pytest.raises(ReplicaUnavailable, match="hangs; read elsewhere"):
        await node.get(blob_id(1))
    node.files.cache_cold = False
    assert (await node.get(blob_id(2)))[1] == content(2, 1000), "what memory and the page cache have is served"
    for each in (some, last):
        each.go.set()
        await asyncio.gather(*each.jobs)
    await eventually(lambda: node.parts.disk.hang() is None)
    await node.tick("disk")
    forget(node.replica.store)
    node.files.cache_cold = True
    assert (await node.get(blob_id(1)))[1] == content(1, 1000)


async def test_what_waits_for_threads_that_hang_ends_when_they_do_not(
    node: DirectNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hangs, "HANGS_AFTER_S", 0.01)
    hanging = Hanging(node, 1)
    await hanging.begun()
    ended: list[str] = []

    async def work() -> None:
        await hanging.jobs[0]
        ended.append("work")

    node.clock.advance(HANGS_AFTER_S + 1)
    with pytest.raises(ReplicaUnavailable, match=r"without a last checkpoint: the disk of .* hangs"):
        await node.parts.disk_watch.unless_it_hangs(work())
    assert ended == []
    hanging.go.set()
    await node.parts.disk_watch.unless_it_hangs(work())
    assert "work" in ended


async def test_a_replica_that_hangs_keeps_no_other_from_its_checkpoint_or_from_following_peers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker serves all replicas of a node, and waited for ever: entries of the others piled up in memory, unreplicated."""
    for module in (checkpointer_module, committer_module):
        monkeypatch.setattr(module, "HANGS_AFTER_S", 0.05)
    hung, well = PARTITION, 8
    cluster = DirectCluster(tmp_path, cluster_map(2, partitions=(hung, well)))
    await cluster.start()
    one, two = cluster["a1"], cluster["a2"]
    await two.put(blob_id(1), content(1, 1000))
    await two.put(blob_id(2, partition=well), content(2, 1000))
    go = threading.Event()
    stuck = asyncio.Event()
    loop = asyncio.get_running_loop()

    def before(call: str, path: Path) -> None:
        if f"partition-{hung:08d}" in str(path) and call in ("fdatasync", "write_tables"):
            loop.call_soon_threadsafe(stuck.set)
            go.wait(60)

    one.files.before = one.files.before_tables = before
    waiting = asyncio.ensure_future(one.put(blob_id(3), content(3, 1000)))
    pulling = asyncio.ensure_future(one.pull("a2"))
    await stuck.wait()
    while not pulling.done():
        one.replica.committer.look(loop.time())
        await asyncio.sleep(0.01)
    with pytest.raises(ReplicaUnavailable):
        await pulling
    assert one.parts.replicas[well].store.lookup(blob_id(2, partition=well)) is not None
    cluster.clock.advance(one.parts.config.store.checkpoint_interval_s + 1)
    checkpoints = [one.parts.replicas[number].store.checkpoint.lsn for number in (hung, well)]
    await one.put(blob_id(4, partition=well), content(4, 1000))
    for _ in range(3):
        one.parts.checkpointer.soon(hung)
        one.parts.checkpointer.soon(well)
        await one.tick("checkpoint")
    after = [one.parts.replicas[number].store.checkpoint.lsn for number in (hung, well)]
    assert after[0] == checkpoints[0]
    assert after[1] > checkpoints[1]
    go.set()
    one.files.before = one.files.before_tables = lambda _call, _path: None
    with pytest.raises(ReplicaUnavailable, match="may be written later"):
        await waiting
    await one.replica.committer.wait_idle()
    await one.pull("a2")
    assert (await one.get(blob_id(1)))[1] == content(1, 1000)
    assert (await one.get(blob_id(3)))[1] == content(3, 1000)
    await cluster.stop()
