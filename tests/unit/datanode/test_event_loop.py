"""Nothing that may wait for a disk happens on the event loop (F13): a disk that hangs must not stop it.

Whatever a node does, from its opening to its stop, no call of the file layer and no walk through LMDB is on the loop's thread.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.protocol.frame import MessageType
from ambry.protocol.messages.base import Empty, Pong
from ambry.protocol.messages.replication import ChangesCursor, ChangesReply, ChangesRequest
from datanode.config import BootstrapSection
from datanode.replication import bootstrap
from tests.support.direct_node import DirectCluster, cluster_map
from tests.support.samples import DELETED, PARTITION, blob_id, content, forget

SIZE = 14_000
NEVER_WAITS = ("pread_cached", "close", "close_tables")
DAY_S = 86_400


@pytest.fixture
async def offences() -> list[str]:
    """What was done on the loop's thread and may wait for a disk."""
    return []


@pytest.fixture
async def cluster(tmp_path: Path, offences: list[str]) -> AsyncIterator[DirectCluster]:
    made = DirectCluster(tmp_path, cluster_map(2))
    loop_thread = threading.get_ident()

    def before(call: str, path: Path) -> None:
        if threading.get_ident() == loop_thread and call not in NEVER_WAITS:
            offences.append(f"{call} {path.name}")

    for node in made.nodes.values():
        node.files.before = node.files.before_tables = before
    yield made


async def test_whatever_a_node_does_no_disk_is_waited_for_on_the_event_loop(
    cluster: DirectCluster, offences: list[str]
) -> None:
    await cluster.start()
    one, two = cluster["a1"], cluster["a2"]
    for number in range(20):
        await one.put(blob_id(number), content(number, SIZE))
    for number in range(0, 20, 2):
        await one.update(blob_id(number), DELETED)
    await two.pull("a1")
    await one.parts.checkpointer.checkpoint(one.replica)
    # Nothing that stands in the index's file alone: whoever asks for it asks there.
    forget(one.replica.store)
    assert (await one.get(blob_id(3)))[1] == content(3, SIZE)
    await one.update(blob_id(5), DELETED)
    await one.put(blob_id(7), content(7, SIZE))
    forget(one.replica.store)
    # From the very beginning again: everything is in LMDB by now.
    request = ChangesRequest([ChangesCursor(PARTITION, one.replica.store.incarnation, 0)], 100, 0, 0)
    answer, _, _ = await one.ask(MessageType.CHANGES, request)
    assert isinstance(answer, ChangesReply)
    assert len(answer.partitions[0].changes) == 20
    assert (await one.get(blob_id(1)))[1] == content(1, SIZE)
    cluster.clock.advance(8 * DAY_S)
    for name in ("scrub", "compaction", "sweep", "checkpoint", "heal", "room"):
        await one.tick(name)
    one.replica.store.fence("a test")
    await one.parts.replicas.reopen(PARTITION)
    assert (await one.get(blob_id(1)))[1] == content(1, SIZE)
    one.parts.replicas.rebuild(one.replica.store, "a test")
    await one.parts.replicas.settle()
    await cluster.stop()
    assert offences == []


async def test_what_is_copied_is_compared_with_the_index_on_a_disk_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bootstrap looked a thousand blobs up on the event loop for every answer of a peer."""
    monkeypatch.setattr(bootstrap, "PATIENCE_WITH_A_PAST_S", 0.0)
    section = BootstrapSection(behind_bytes_min=100_000)
    cluster = DirectCluster(tmp_path, cluster_map(2), sections={"bootstrap": section})
    await cluster.start()
    one, two = cluster["a1"], cluster["a2"]
    for number in range(20):
        await one.put(blob_id(number), content(number, SIZE))
    for number in range(0, 20, 2):
        await two.put(blob_id(number), content(number, SIZE))
    await two.parts.checkpointer.checkpoint(two.replica)
    forget(two.replica.store)
    offences: list[str] = []
    loop_thread = threading.get_ident()

    def before(call: str, path: Path) -> None:
        if threading.get_ident() == loop_thread and call not in NEVER_WAITS:
            offences.append(f"{call} {path.name}")

    two.files.before = two.files.before_tables = before
    await two.tick("pull:a1")
    assert two.parts.bootstrapper.holds(PARTITION)
    await two.tick("bootstrap")
    assert offences == []
    assert two.holds(blob_id(1))
    await cluster.stop()


async def test_a_hung_disk_leaves_the_event_loop_alone(tmp_path: Path) -> None:
    cluster = DirectCluster(tmp_path, cluster_map(1))
    await cluster.start()
    node = cluster["a1"]
    await node.put(blob_id(1), content(1, SIZE))
    hangs = threading.Event()
    node.files.before = lambda call, _path: None if call in NEVER_WAITS else (hangs.wait(60), None)[1]
    waiting = [
        asyncio.ensure_future(work)
        for work in (
            node.put(blob_id(2), content(2, SIZE)),
            node.parts.checkpointer.checkpoint(node.replica),
            node.tick("scrub"),
            node.tick("compaction"),
            node.tick("room"),
        )
    ]
    for _ in range(50):
        answer, _, _ = await node.ask(MessageType.PING, Empty())
        assert isinstance(answer, Pong)
        await asyncio.sleep(0.001)
    assert (await node.get(blob_id(1)))[1] == content(1, SIZE), "what the page cache holds is served"
    assert not any(work.done() for work in waiting[:2])
    hangs.set()
    await asyncio.gather(*waiting)
    assert (await node.get(blob_id(2)))[1] == content(2, SIZE)
    await cluster.stop()
