"""In which containers something changes: what a data node tells who watches."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.errors import Overloaded
from ambry.ids import IdKind
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.feed import ContainerPartitions, WatchReply, WatchRequest
from datanode.replication import container_watch
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.eventually import eventually
from tests.support.samples import PARTITION, blob_id

CONTAINER = bytes([0, 0, 0, 2, 0, 0, 0, 3])
WATCH = b"w" * 16


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[DirectNode]:
    cluster = DirectCluster(tmp_path, cluster_map(1))
    await cluster.start()
    yield cluster["a1"]
    await cluster.stop()


async def watch(node: DirectNode, step: int, *, wait_ms: int = 60_000, name: bytes = WATCH) -> WatchReply:
    answer, _, _ = await node.ask(MessageType.WATCH, WatchRequest(name, step, wait_ms))
    assert isinstance(answer, WatchReply)
    return answer


async def test_the_first_answer_says_anything_and_the_next_ones_what_changed(node: DirectNode) -> None:
    await node.put(blob_id(1), b"x")
    assert await watch(node, 0) == WatchReply([], anything=True)
    waiting = asyncio.ensure_future(watch(node, 1))
    await asyncio.sleep(0)
    await node.put(blob_id(2), b"x")
    assert await waiting == WatchReply([ContainerPartitions(CONTAINER, [PARTITION])])
    await node.put(blob_id(3), b"x")
    assert await watch(node, 2) == WatchReply([ContainerPartitions(CONTAINER, [PARTITION])])
    assert await watch(node, 3, wait_ms=1) == WatchReply([])


async def test_chunks_are_no_change_that_anybody_follows(node: DirectNode) -> None:
    await watch(node, 0)
    await node.put(blob_id(1, kind=IdKind.CHUNK), b"x")
    assert await watch(node, 1) == WatchReply([])


async def test_after_an_answer_that_got_lost_anything_may_have_changed(node: DirectNode) -> None:
    await watch(node, 0)
    await node.put(blob_id(1), b"x")
    await watch(node, 1)
    assert (await watch(node, 1)).anything


async def test_an_asker_that_asks_again_ends_its_wait_before(node: DirectNode) -> None:
    await watch(node, 0)
    before = asyncio.ensure_future(watch(node, 1))
    await asyncio.sleep(0)
    later = asyncio.ensure_future(watch(node, 1))
    assert (await before).anything
    await node.put(blob_id(1), b"x")
    assert await later == WatchReply([ContainerPartitions(CONTAINER, [PARTITION])])


async def test_what_a_checkpoint_took_away_and_what_is_too_much_is_anything(
    node: DirectNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    await watch(node, 0)
    await node.put(blob_id(1), b"x")
    await node.parts.checkpointer.checkpoint(node.replica)
    assert (await watch(node, 1)).anything
    monkeypatch.setattr(container_watch, "ENTRIES_MAX", 2)
    for number in range(2, 5):
        await node.put(blob_id(number), b"x")
    assert (await watch(node, 2)).anything


async def test_a_replica_that_was_opened_anew_is_anything(node: DirectNode) -> None:
    await watch(node, 0)
    node.replica.store.fence("for a test")
    await node.parts.replicas.reopen(PARTITION)
    assert (await watch(node, 1)).anything


async def test_who_does_not_ask_is_forgotten_and_leaves_nothing(
    node: DirectNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_watch, "FORGOTTEN_S", 0.01)
    watchers = list(node.replica.store.watchers)
    await watch(node, 0)
    assert len(node.replica.store.watchers) == len(watchers) + 1
    await eventually(lambda: list(node.replica.store.watchers) == watchers)
    assert (await watch(node, 1)).anything, "and when it comes back it begins anew"


async def test_there_are_no_more_than_so_many(node: DirectNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_watch, "WATCHES_MAX", 1)
    await watch(node, 0)
    with pytest.raises(Overloaded):
        await watch(node, 0, name=b"x" * 16)
    await watch(node, 1, wait_ms=1)
