"""What becomes of the changes that a peer tells."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.blob import BlobState
from ambry.protocol.messages.replication import Change, FetchRequest
from datanode.replication.feed import change_of
from datanode.replication.merger import Merger
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.samples import ALIVE, DELETED, blob_id, content


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[DirectCluster]:
    made = DirectCluster(tmp_path, cluster_map(2))
    await made.start()
    await made.settle()
    yield made
    await made.stop()


def merger_of(node: DirectNode) -> Merger:
    parts = node.parts
    return Merger(parts.intake, parts.healer, certain_retention=parts.clocks.certain_retention)


def told(node: DirectNode, number: int) -> Change:
    entry = node.replica.store.lookup(blob_id(number))
    assert entry is not None
    return change_of(node.replica.store, entry)


async def take_in(node: DirectNode, peer: str, changes: list[Change]) -> dict[bytes, int]:
    taken = await merger_of(node).take_in(node.peers[peer], node.replica, changes)  # type: ignore[arg-type]
    return taken.failed


async def test_what_is_missing_is_fetched_and_what_differs_is_merged(cluster: DirectCluster) -> None:
    here, there = cluster["a1"], cluster["a2"]
    await there.put(blob_id(1), content(1, 500))
    await there.put(blob_id(2), content(2, 500))
    await here.put(blob_id(2), content(2, 500))
    await there.update(blob_id(2), DELETED)
    assert await take_in(here, "a2", [told(there, 1), told(there, 2)]) == {}
    assert (await here.get(blob_id(1)))[1] == content(1, 500)
    assert here.state(blob_id(2)) == DELETED


async def test_what_is_known_costs_the_peer_nothing(cluster: DirectCluster) -> None:
    here, there = cluster["a1"], cluster["a2"]
    await there.put(blob_id(1), content(1, 500))
    await take_in(here, "a2", [told(there, 1)])
    here.peers["a2"].asked.clear()
    await take_in(here, "a2", [told(there, 1)])
    assert not [item for item in here.peers["a2"].asked if isinstance(item, FetchRequest)]


async def test_what_the_peer_cannot_give_is_looked_for(cluster: DirectCluster) -> None:
    here = cluster["a1"]
    lost = Change(blob_id(9), 77, ALIVE, True, 500)
    assert await take_in(here, "a2", [lost]) == {blob_id(9): 77}
    assert here.parts.healer.wants(here.replica.partition.id, blob_id(9))


async def test_a_state_without_bytes_is_kept_as_a_state(cluster: DirectCluster) -> None:
    here = cluster["a1"]
    assert await take_in(here, "a2", [Change(blob_id(9), 77, BlobState(0, True, 0), False, 0)]) == {}
    assert here.state(blob_id(9)) == BlobState(0, True, 0)
    assert not here.holds(blob_id(9))
