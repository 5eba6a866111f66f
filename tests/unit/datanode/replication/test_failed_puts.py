"""What becomes of a put that its client was told has failed: some replicas took it, and may hear that it is to be forgotten.

The frontend tells replicas until enough have heard it (frontend/router/discards.py). docs/contract.md says what holds where it
is killed before.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.blob import NEVER_MS, BlobProperties, BlobState
from ambry.checksum import digest
from ambry.errors import QuorumNotReached
from ambry.format.properties import encode_properties
from ambry.format.record import RecordKind
from ambry.ids import IdKind
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.blobs import PutRequest
from datanode.config import CompactionSection, SweepSection
from frontend.router import discards
from tests.support.direct_frontend import DirectFrontend
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.eventually import eventually
from tests.support.samples import ALIVE, DELETED, blob_id, content

DAY_S = 86_400
GRACE_S = SweepSection().grace_s
SIZE = 20_000
ORPHAN = blob_id(1)
PARENT = blob_id(2, kind=IdKind.COMPOSITE)
CHUNK = blob_id(3, kind=IdKind.CHUNK)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[DirectCluster]:
    """Two datacenters; deleted blobs stay for a day, tombstones for two."""
    section = CompactionSection(deleted_retention_s=DAY_S, tombstone_retention_s=2 * DAY_S, dead_share_min=0.05)
    cluster = DirectCluster(tmp_path, cluster_map(3, 3), sections={"compaction": section})
    await cluster.start()
    await cluster.settle()
    assert all(cluster.serving().values())
    yield cluster
    await cluster.stop()


async def grow_old(cluster: DirectCluster, *, days: float) -> None:
    """Time goes by, other blobs come, and everybody sweeps and compacts what may be."""
    first = int(cluster.clock.monotonic()) + 100  # others than before
    for number in range(first, first + 12):
        await cluster["a2"].put(blob_id(number), content(number, SIZE))
    for _ in range(2):
        await cluster.settle(rounds=2)
        cluster.clock.advance(days * DAY_S / 2)
        for node in cluster.nodes.values():
            node.hear_clocks()
            await node.parts.checkpointer.checkpoint(node.replica)
        await cluster.settle(rounds=1)
        for node in cluster.nodes.values():
            await node.parts.sweeper.sweep(node.replica)
            while await node.parts.compactor.compact(node.replica):
                pass


async def put_chunk(node: DirectNode) -> None:
    payload = content(3, SIZE)
    properties = BlobProperties(size=SIZE, digest=digest(payload), parent=PARENT, chunk_index=0)
    request = PutRequest(
        "r",
        CHUNK,
        RecordKind.CHUNK,
        node.clock.wall_ms(),
        NEVER_MS,
        encode_properties(properties),
        b"",
        digest(payload),
        True,
    )
    await node.ask(MessageType.PUT, request, payload)


def holders(cluster: DirectCluster, raw_id: bytes) -> set[str]:
    """Who has its bytes."""
    return {name for name, node in cluster.nodes.items() if node.holds(raw_id)}


def states(cluster: DirectCluster, raw_id: bytes) -> set[BlobState | None]:
    return {node.state(raw_id) for node in cluster.nodes.values()}


EVERYBODY = {"a1", "a2", "a3", "b1", "b2", "b3"}


@pytest.mark.parametrize("takers", [("a1",), ("a1", "a3")], ids=["one took it", "two took it, and were not heard"])
async def test_where_nobody_hears_that_it_failed_it_becomes_a_blob_like_any_other(
    cluster: DirectCluster, takers: tuple[str, ...]
) -> None:
    """C10: the same everywhere. It takes its space for good, and only its id, which no client was told, reads or deletes it."""
    for name in takers:
        await cluster[name].put(ORPHAN, content(1, SIZE))
    await grow_old(cluster, days=30)
    assert holders(cluster, ORPHAN) == EVERYBODY
    assert (await cluster["b3"].get(ORPHAN))[1] == content(1, SIZE)
    await cluster["b3"].update(ORPHAN, DELETED)
    await grow_old(cluster, days=4)
    await grow_old(cluster, days=4)
    assert holders(cluster, ORPHAN) == set()


async def test_with_a_time_to_live_it_goes_when_that_is_over(cluster: DirectCluster) -> None:
    mortal = BlobState(0, False, cluster["a1"].clock.wall_ms() + 1000 * DAY_S)
    await cluster["a1"].put(ORPHAN, content(1, SIZE), state=mortal)
    await grow_old(cluster, days=0.5)
    assert holders(cluster, ORPHAN) == EVERYBODY
    await grow_old(cluster, days=8)
    assert holders(cluster, ORPHAN) == set()


@pytest.mark.parametrize("told", ["a1", "a2"], ids=["who took it", "who never saw it"])
async def test_one_replica_that_hears_it_is_enough(cluster: DirectCluster, told: str) -> None:
    await cluster["a1"].put(ORPHAN, content(1, SIZE))
    await cluster[told].update(ORPHAN, DELETED)
    await cluster.settle()
    assert states(cluster, ORPHAN) <= {DELETED, None}
    await grow_old(cluster, days=4)
    await grow_old(cluster, days=4)
    assert holders(cluster, ORPHAN) == set()


async def test_what_is_told_before_the_put_comes_holds_for_it(cluster: DirectCluster) -> None:
    """A put that hung on its way, behind the message that it failed."""
    await cluster["a1"].update(ORPHAN, DELETED)
    await cluster["a1"].put(ORPHAN, content(1, SIZE))
    await cluster.settle()
    assert states(cluster, ORPHAN) <= {DELETED, None}
    await grow_old(cluster, days=4)
    await grow_old(cluster, days=4)
    assert holders(cluster, ORPHAN) == set()


async def test_a_chunk_is_swept_though_nobody_was_told(cluster: DirectCluster) -> None:
    """C11 holds for chunks: their parent was never there."""
    await put_chunk(cluster["a1"])
    await cluster.settle()
    assert holders(cluster, CHUNK) == EVERYBODY
    for _ in range(3):
        await grow_old(cluster, days=4)
    assert holders(cluster, CHUNK) == set()
    assert ALIVE not in states(cluster, CHUNK)


async def test_a_composite_record_that_one_replica_took_keeps_its_chunks(cluster: DirectCluster) -> None:
    await put_chunk(cluster["a1"])
    await cluster["a3"].put(PARENT, b"composite")
    for _ in range(2):
        await grow_old(cluster, days=30)
    assert holders(cluster, PARENT) == holders(cluster, CHUNK) == EVERYBODY


@pytest.mark.parametrize("hears", ["a2", "b1"], ids=["of its datacenter", "of another"])
async def test_a_put_that_nobody_heard_to_have_failed_is_forgotten_once_one_can_hear_it(
    cluster: DirectCluster, monkeypatch: pytest.MonkeyPatch, hears: str
) -> None:
    """It stayed for good, on all six."""
    monkeypatch.setattr(discards, "RETRY_S", 0.01)
    monkeypatch.setattr(discards, "TICK_S", 0.01)
    frontend = DirectFrontend(cluster, datacenter_id=1, seed=1, put_attempts=1)
    for name in ("a2", "a3"):
        frontend.peers[name].reachable = False
    for peer in frontend.peers.values():
        peer.deaf = True
    with pytest.raises(QuorumNotReached):
        await frontend.put(content(1, SIZE))
    await frontend.settled()
    (raw_id,) = (entry.id for entry in cluster["a1"].replica.store.index.overlay().values() if entry is not None)
    await cluster.settle(rounds=2)
    assert holders(cluster, raw_id) == EVERYBODY
    frontend.peers[hears].reachable, frontend.peers[hears].deaf = True, False
    await eventually(lambda: cluster[hears].deleted_at_ms(raw_id))
    await frontend.context.discards.stop()
    await cluster.settle(rounds=2)
    assert {state is not None and state.deleted for state in states(cluster, raw_id)} == {True}
