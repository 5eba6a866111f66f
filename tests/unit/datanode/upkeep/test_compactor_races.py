"""Puts, deletes, reads and replication racing compaction (F29): reads never fail, tokens stay valid."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.blob import NEVER_MS, BlobState
from datanode import metrics
from datanode.config import CompactionSection
from tests.support.clusters import seed_of
from tests.support.direct_node import DirectCluster, cluster_map
from tests.support.samples import blob_id, content

DELETED = BlobState(0, True, NEVER_MS)
LIVE = range(1, 41)
WRITES = 240


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[DirectCluster]:
    compaction = CompactionSection(
        dead_share_min=0.05, deleted_retention_s=0, tombstone_retention_s=0, rate_bytes_per_s=1 << 30
    )
    made = DirectCluster(tmp_path, cluster_map(2), sections={"compaction": compaction})
    await made.start()
    yield made
    await made.stop()


async def test_reads_never_fail_and_a_peer_misses_nothing(cluster: DirectCluster) -> None:
    source = random.Random(seed_of("compaction races"))
    node, peer = cluster["a1"], cluster["a2"]
    for number in LIVE:
        await node.put(blob_id(number), content(number, 6_000))
    corrupt = metrics.CORRUPT._value.get()
    over = asyncio.Event()
    reads = compactions = 0

    async def write() -> None:
        """Blobs that live for a moment, between those that stay."""
        for number in range(1_000, 1_000 + WRITES):
            await node.put(blob_id(number), content(number, 4_000))
            if number % 3:
                await node.update(blob_id(number), DELETED)
            if number % 20 == 0:
                await node.parts.checkpointer.checkpoint(node.replica)
                await cluster.settle()
        over.set()

    async def read(cold: bool) -> None:
        nonlocal reads
        while not over.is_set():
            number = source.choice(LIVE)
            node.files.cache_cold = cold
            assert (await node.get(blob_id(number)))[1] == content(number, 6_000)
            reads += 1
            # Readers that never rest keep the interpreter from the disk's threads: the test took from 2 to over 60 s.
            await asyncio.sleep(0.001)

    async def compact() -> None:
        nonlocal compactions
        while not over.is_set():
            node.clock.advance(1)
            compactions += await node.parts.compactor.compact(node.replica)
            await asyncio.sleep(0)

    await asyncio.wait_for(asyncio.gather(write(), compact(), *(read(bool(n % 2)) for n in range(6))), 60)
    await cluster.settle()
    print(f"{reads} reads during {compactions} compactions")
    assert compactions >= 3
    assert metrics.CORRUPT._value.get() == corrupt
    assert not node.replica.store.damaged
    assert node.parts.healer.describe() == [], "nothing is missing"
    for number in LIVE:
        assert (await peer.get(blob_id(number)))[1] == content(number, 6_000)
    for number in range(1_000, 1_000 + WRITES):
        if number % 3 == 0:
            assert (await peer.get(blob_id(number)))[1] == content(number, 4_000)
        else:
            known = peer.replica.store.lookup(blob_id(number))
            assert known is None or known.state.deleted
