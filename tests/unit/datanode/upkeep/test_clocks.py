"""Several nodes, one of them with a wrong clock: nothing is lost, hidden or brought back by it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ambry.blob import BlobState, DatedState
from ambry.errors import BlobDeleted, BlobNotFound
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.blobs import UpdateRequest
from ambry.protocol.messages.upkeep import Fate
from datanode.config import CompactionSection
from datanode.upkeep import clocks
from datanode.upkeep.skew import HOLD_S
from tests.support.captured_log import capture_log
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.samples import ALIVE, DELETED, blob_id, content

DAY_S = 86_400
DAY_MS = DAY_S * 1000
RETENTION_S = CompactionSection().deleted_retention_s
ID = blob_id(1)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[DirectCluster]:
    made = DirectCluster(tmp_path, cluster_map(3), sections={"compaction": CompactionSection(dead_share_min=0.05)})
    await made.start()
    await made.settle()
    yield made
    await made.stop()


def expiring(cluster: DirectCluster, seconds: int) -> BlobState:
    return BlobState(0, False, cluster.clock.wall_ms() + seconds * 1000)


async def fill(node: DirectNode, first: int) -> None:
    """Until the segment that takes appends is another one, all of it in the index's last checkpoint."""
    count, number = node.replica.store.segment_count(), first
    while node.replica.store.segment_count() == count:
        await node.put(blob_id(number), content(number, 9_000))
        number += 1
    await node.parts.checkpointer.checkpoint(node.replica)


async def compact(node: DirectNode) -> None:
    while await node.parts.compactor.compact(node.replica):
        pass


# --- what is taken over ---


@pytest.mark.parametrize("ahead_s", [DAY_S, 400 * DAY_S])
async def test_blobs_that_a_wrong_clock_takes_for_expired_are_here_when_it_is_right_again(
    cluster: DirectCluster, ahead_s: int
) -> None:
    """A clock a day ahead while blobs of twenty hours came: they were never recorded, and denied with authority later."""
    node = cluster["a3"]
    node.clock.ahead_ms = ahead_s * 1000
    for number in range(1, 6):
        await cluster["a1"].put(blob_id(number), content(number, 500), state=expiring(cluster, 20 * 3_600))
    await cluster.settle()
    node.clock.ahead_ms = 0
    await cluster.settle()
    assert node.replica.store.serving
    for number in range(1, 6):
        assert (await node.get(blob_id(number)))[1] == content(number, 500)


async def test_a_node_goes_by_the_time_of_the_others_when_its_own_is_wrong(cluster: DirectCluster) -> None:
    node = cluster["a3"]
    await node.put(ID, b"x", state=expiring(cluster, 20 * 3_600))
    node.clock.ahead_ms = DAY_MS
    assert not (await node.get(ID))[0].gone
    node.clock.ahead_ms = 0
    cluster.clock.advance(20 * 3_600)
    for ahead_ms in (0, -DAY_MS):
        node.clock.ahead_ms = ahead_ms
        assert (await node.get(ID))[0].gone


# --- what is freed ---


async def wrong_for_forty_days(node: DirectNode) -> None:
    node.clock.ahead_ms = 40 * DAY_MS


async def restarted_forty_days_ahead(node: DirectNode) -> None:
    await node.stop()
    node.clock.ahead_ms = 40 * DAY_MS
    await node.start()


@pytest.mark.parametrize("goes_wrong", [wrong_for_forty_days, restarted_forty_days_ahead])
@pytest.mark.parametrize("reachable", [True, False])
async def test_a_compaction_on_a_wrong_clock_drops_no_living_blob(
    cluster: DirectCluster, goes_wrong: Any, reachable: bool
) -> None:
    node = cluster["a1"]
    for number in range(1, 8):
        await node.put(blob_id(number), content(number, 9_000), state=expiring(cluster, 30 * DAY_S))
    await node.put(blob_id(8), b"deleted")
    await node.update(blob_id(8), DELETED)
    await fill(node, 1_000)
    for peer in node.peers.values():
        peer.reachable = reachable
    await goes_wrong(node)
    await compact(node)
    for number in range(1, 8):
        assert node.holds(blob_id(number)), "a living blob was dropped"
    assert node.holds(blob_id(8)), "an undelete is still in time"


async def test_what_is_dead_goes_once_the_clocks_agree_again(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    for number in range(1, 8):
        await node.put(blob_id(number), content(number, 9_000), state=expiring(cluster, DAY_S))
    await fill(node, 1_000)
    cluster.clock.advance(DAY_S + RETENTION_S + 60)
    cluster["a3"].clock.ahead_ms = -DAY_MS
    node.hear_clocks()
    assert node.parts.clocks.judge.doubt() == "", "a clock that was moved is not told to anybody"
    await cluster["a3"].stop()
    await cluster["a3"].start()
    node.hear_clocks()
    await compact(node)
    assert node.holds(ID) is False
    assert node.parts.healer.describe() == []


async def test_a_node_whose_clock_differs_keeps_its_peers_from_freeing_anything(tmp_path: Path) -> None:
    """It is new, so nothing tells it that its clock is wrong but theirs."""
    cluster = DirectCluster(tmp_path, cluster_map(3), sections={"compaction": CompactionSection(dead_share_min=0.05)})
    cluster["a3"].clock.ahead_ms = 40 * DAY_MS
    await cluster.start()
    for name in ("a1", "a3"):
        node = cluster[name]
        for number in range(1, 8):
            await node.put(blob_id(number), content(number, 9_000), state=expiring(cluster, 30 * DAY_S))
        await fill(node, 1_000)
        await compact(node)
        assert all(node.holds(blob_id(number)) for number in range(1, 8))
        assert node.parts.clocks.judge.doubt().startswith("clocks disagree: a")
    cluster.clock.advance(HOLD_S)
    cluster["a1"].hear_clocks()
    assert cluster["a1"].parts.clocks.judge.doubt() == "clocks disagree: a3 is 3456000 s ahead"
    await cluster.stop()


async def test_nobody_calls_a_blob_dead_by_a_clock_that_is_in_doubt(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    await node.put(ID, b"x", state=expiring(cluster, 1))
    cluster.clock.advance(RETENTION_S + 2)
    assert (await node.parts.fates.dead([ID])).keys() == {ID}
    node.clock.ahead_ms = DAY_MS
    reply = await node.parts.fates._local([ID])
    assert reply.fates == [Fate.ALIVE]


async def test_an_undelete_is_not_late_by_a_clock_that_is_in_doubt(cluster: DirectCluster) -> None:
    """Not even where two clocks that are wrong by the same are most."""
    await cluster["a1"].put(ID, b"x")
    await cluster["a1"].update(ID, DELETED)
    await cluster.settle()
    for name in ("a2", "a3"):
        cluster[name].clock.ahead_ms = 40 * DAY_MS
        await cluster[name].stop()
        await cluster[name].start()
    cluster["a1"].hear_clocks()
    state = await cluster["a1"].update(ID, BlobState(1, False, ALIVE.expires_at_ms))
    assert not state.deleted


async def test_it_is_said_when_housekeeping_pauses_and_goes_on(
    cluster: DirectCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = cluster["a1"]
    events = capture_log(monkeypatch, clocks)
    for ahead_ms in (0, DAY_MS, DAY_MS, 0):
        node.clock.ahead_ms = ahead_ms
        await node.tick("clock")
        node.hear_clocks()
    await node.tick("clock")
    said = [event["event"] for event in events if "housekeeping" in event["event"]]
    assert said == [
        "housekeeping paused: the clock is in doubt",
        "housekeeping goes on: the clock is right",
    ]
    assert node.parts.clocks.describe() == {"doubt": "", "correction_ms": 0, "offsets_ms": {"a2": 0, "a3": 0}}


# --- the time of a change travels with it ---


async def test_replicas_agree_when_a_blob_was_deleted(cluster: DirectCluster) -> None:
    """Each gave a replicated change its own time, and so they disagreed about when its retention was over."""
    await cluster["a1"].put(ID, b"x")
    await cluster.settle()
    died = cluster.clock.wall_ms()
    await cluster["a1"].update(ID, DELETED)
    cluster.clock.advance(3 * 3_600)
    await cluster.settle()
    assert {name: node.replica.store.lookup(ID).dated for name, node in cluster.nodes.items()} == dict.fromkeys(  # type: ignore[union-attr]
        cluster.nodes, DatedState(DELETED, died)
    )
    cluster.clock.advance(RETENTION_S - 3 * 3_600 - 1)
    cluster.clock.advance(1)
    for node in cluster.nodes.values():
        with pytest.raises(BlobDeleted):
            await node.update(ID, BlobState(1, False, ALIVE.expires_at_ms))


async def test_replicas_that_heard_of_two_deletes_agree_on_the_later_one(cluster: DirectCluster) -> None:
    await cluster["a1"].put(ID, b"x")
    await cluster.settle()
    await cluster["a1"].update(ID, DELETED)
    cluster.clock.advance(50)
    died = cluster.clock.wall_ms()
    await cluster["a2"].update(ID, DELETED)
    await cluster.settle()
    times = {node.replica.store.lookup(ID).changed_at_ms for node in cluster.nodes.values()}  # type: ignore[union-attr]
    assert times == {died}


async def test_a_blob_that_is_fetched_brings_the_time_of_its_latest_change(cluster: DirectCluster) -> None:
    node = cluster["a3"]
    await node.stop()
    await cluster["a1"].put(ID, b"x")
    cluster.clock.advance(50)
    longer = BlobState(1, False, ALIVE.expires_at_ms)
    changed = cluster.clock.wall_ms()
    await cluster["a1"].update(ID, longer)
    await node.start()
    await cluster.settle()
    entry = node.replica.store.lookup(ID)
    assert entry is not None
    assert (entry.present, entry.dated) == (True, DatedState(longer, changed))
    end_lsn = [made.replica.store.end_lsn for made in cluster.nodes.values()]
    await cluster.settle()
    assert [made.replica.store.end_lsn for made in cluster.nodes.values()] == end_lsn, "nobody has anything to add"


@pytest.mark.parametrize("ahead_ms", [-9 * DAY_MS, 365 * DAY_MS])
async def test_a_delete_from_a_frontend_with_a_wrong_clock_is_kept_for_its_retention(
    cluster: DirectCluster, ahead_ms: int
) -> None:
    """Nine days behind, the bytes would go at once and an undelete be late; a year ahead, they would stay for a year."""
    died = cluster.clock.wall_ms()
    for node in cluster.nodes.values():
        await node.put(ID, b"x")
        await node.ask(MessageType.UPDATE, UpdateRequest("r", ID, DELETED, died + ahead_ms))
        entry = node.replica.store.lookup(ID)
        assert entry is not None
        assert entry.changed_at_ms == died


async def test_what_nobody_ever_had_is_still_denied_with_authority(cluster: DirectCluster) -> None:
    with pytest.raises(BlobNotFound):
        await cluster["a1"].get(blob_id(77))
