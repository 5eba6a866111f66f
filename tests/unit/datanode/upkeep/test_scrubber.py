"""The scrub of whole replicas: what it finds is healed or rebuilt, and what is well stays alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import lmdb
import msgspec
import pytest

from datanode.config import ScrubSection
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.eventually import eventually
from tests.support.samples import PARTITION, blob_id, content

COUNT = 12
RATE = 64 << 10
"""Bytes per second of a clock that jumps ahead."""


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[DirectCluster]:
    made = DirectCluster(tmp_path, cluster_map(3), sections={"scrub": ScrubSection(rate_bytes_per_s=RATE)})
    await made.start()
    for number in range(1, COUNT + 1):
        await made["a1"].put(blob_id(number), content(number, 10_000))
    await made.settle()
    yield made
    await made.stop()


def wanted(node: DirectNode) -> list[bytes]:
    """The blobs that the node was told to find."""
    return [bytes.fromhex(item["blob"]) for item in node.parts.healer.describe()]


async def expect_all(node: DirectNode) -> None:
    for number in range(1, COUNT + 1):
        assert (await node.get(blob_id(number)))[1] == content(number, 10_000), number


@pytest.mark.parametrize("place", [30, 100, 500, 9_000])
async def test_damaged_blobs_are_healed_from_a_peer(cluster: DirectCluster, place: int) -> None:
    node = cluster["a1"]
    store = node.replica.store
    for number in (1, 6, 7):
        entry = store.lookup(blob_id(number))
        assert entry is not None
        node.files.flip(store.directory / f"{entry.segment:08d}.segment", entry.offset + place, 2)
    assert (await node.parts.scrubber.scrub(node.replica)).damaged == 3
    assert sorted(wanted(node)) == sorted(blob_id(number) for number in (1, 6, 7))
    await node.heal()
    assert store.damaged == set()
    await expect_all(node)
    again = await node.parts.scrubber.scrub(node.replica)
    assert (again.damaged, again.unknown) == (0, 0)


async def test_an_index_entry_that_points_to_a_wrong_place_is_healed(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    store = node.replica.store
    entry, other = store.lookup(blob_id(4)), store.lookup(blob_id(3))
    assert entry is not None and other is not None
    store.index.move(msgspec.structs.replace(entry, segment=other.segment, offset=other.offset))
    await node.parts.scrubber.scrub(node.replica)
    assert wanted(node) == [blob_id(4)]
    await node.heal()
    await expect_all(node)


async def test_an_index_that_lost_entries_is_rebuilt(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    store = node.replica.store
    store.index.remove(blob_id(2))
    assert (await node.parts.scrubber.scrub(node.replica)).unknown == 1
    await eventually(lambda: node.parts.replicas.get(PARTITION) is not None and node.replica.store is not store)
    assert node.replica.store.opened.rebuilt
    await expect_all(node)


async def test_a_damaged_index_entry_is_rebuilt_and_damages_no_blob(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    directory = node.replica.store.directory / "index"
    await node.stop()
    env = lmdb.open(str(directory), map_size=1 << 20, max_dbs=4)
    with env.begin(write=True) as txn:
        database = env.open_db(b"entries", txn=txn)
        value = bytearray(txn.get(blob_id(5)[16:32], db=database) or b"")
        value[30] ^= 1
        txn.put(blob_id(5)[16:32], bytes(value), db=database)
    env.close()
    await node.start()
    store = node.replica.store
    await node.parts.scrubber.scrub(node.replica)
    assert wanted(node) == []
    await eventually(lambda: node.parts.replicas.get(PARTITION) is not None and node.replica.store is not store)
    await expect_all(node)


async def test_appends_during_the_scrub_give_no_false_alarm(cluster: DirectCluster) -> None:
    node = cluster["a1"]

    async def write(first: int) -> None:
        for number in range(first, first + 70, 7):
            await asyncio.gather(*(node.put(blob_id(number + n), content(number + n, 3_000)) for n in range(7)))

    for first in range(1_000, 1_700, 70):
        writing = asyncio.get_running_loop().create_task(write(first))
        report = await node.parts.scrubber.scrub(node.replica)
        assert (report.damaged, report.unknown, wanted(node)) == (0, 0, [])
        await writing


async def test_the_rate_is_kept(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    started = node.clock.monotonic()
    report = await node.parts.scrubber.scrub(node.replica)
    took = node.clock.monotonic() - started
    assert took >= report.bytes / RATE - 0.1


# --- when ---


async def scrubbed(node: DirectNode) -> int:
    """How many rounds one tick makes."""
    before = [report["started_at_ms"] for report in node.parts.scrubber.describe()]
    await node.tick("scrub")
    return int([report["started_at_ms"] for report in node.parts.scrubber.describe()] != before)


@pytest.mark.parametrize("jump_ms", [365 * 86_400_000, -365 * 86_400_000])
async def test_a_clock_that_was_moved_neither_ends_the_scrub_nor_makes_it_due(
    cluster: DirectCluster, jump_ms: int
) -> None:
    """A round that ended on a clock a year ahead was the last one, once that was right again."""
    node = cluster["a1"]
    day_s = ScrubSection().interval_s
    assert await scrubbed(node) == 0, "the blobs of a new replica were verified when they came"
    cluster.clock.advance(day_s)
    node.clock.ahead_ms = jump_ms
    assert await scrubbed(node) == 1
    node.clock.ahead_ms = 0
    cluster.clock.advance(day_s - 60)
    assert await scrubbed(node) == 0
    cluster.clock.advance(60)
    assert await scrubbed(node) == 1


async def test_rounds_go_on_over_restarts(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    cluster.clock.advance(ScrubSection().interval_s)
    assert await scrubbed(node) == 1
    for rounds in (0, 1):
        cluster.clock.advance(ScrubSection().interval_s / 2)
        await node.stop()
        await node.start()
        assert await scrubbed(node) == rounds
