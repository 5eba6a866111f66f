"""Blobs that are missing or damaged are looked for until they are found."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.blob import BlobState, DatedState
from ambry.errors import DataCorrupt, Overloaded
from datanode import metrics
from datanode.replication import healer as module
from datanode.replication.cursor import Cursor
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.samples import ALIVE, DELETED, PARTITION, blob_id, content

ID = blob_id(1)
LATER = 1 << 60


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[DirectCluster]:
    made = DirectCluster(tmp_path, cluster_map(2, 1))
    await made.start()
    yield made
    await made.stop()


def damage(node: DirectNode, raw_id: bytes) -> None:
    entry = node.replica.store.lookup(raw_id)
    assert entry is not None
    node.files.flip(node.replica.store.directory / f"{entry.segment:08d}.segment", entry.offset + 300)


async def test_a_damaged_blob_is_repaired_from_a_peer_and_read_again(cluster: DirectCluster) -> None:
    for name in ("a1", "a2"):
        await cluster[name].put(ID, content(1, 1000))
    node = cluster["a1"]
    damage(node, ID)
    with pytest.raises(DataCorrupt):
        await node.get(ID)
    await node.heal()
    assert (await node.get(ID))[1] == content(1, 1000)
    assert node.parts.healer.describe() == []
    assert node.replica.store.damaged == set()


@pytest.mark.parametrize("accepting_the_loss", [False, True])
async def test_a_read_that_failed_once_does_not_condemn_the_only_copy(
    cluster: DirectCluster, accepting_the_loss: bool
) -> None:
    """It stayed damaged until a restart: peers were told that it is not here, and an operator could give it up for lost."""
    node = cluster["a1"]
    await node.put(ID, content(1, 1000))
    node.files.cache_cold = True
    node.files.fail("pread", errno.EIO)
    with pytest.raises(DataCorrupt):
        await node.get(ID)
    assert not node.holds(ID)
    await cluster["a2"].pull("a1")
    assert not cluster["a2"].holds(ID)
    if accepting_the_loss:
        assert await node.parts.healer.search(node.replica, ID) is None
    else:
        await node.heal()
    assert node.holds(ID)
    assert node.parts.healer.describe() == []
    assert (await node.get(ID))[1] == content(1, 1000)
    await cluster["a2"].pull("a1")
    assert cluster["a2"].holds(ID)


async def test_a_record_that_stays_unreadable_stays_damaged(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    await node.put(ID, content(1, 1000))
    damage(node, ID)
    with pytest.raises(DataCorrupt):
        await node.get(ID)
    for _ in range(3):
        await node.heal()
        cluster.clock.advance(module.RETRY_MAX_S)
    assert not node.holds(ID)
    assert len(node.parts.healer.describe()) == 1


async def test_damage_in_all_local_replicas_is_repaired_from_another_datacenter(cluster: DirectCluster) -> None:
    for name in ("a1", "a2", "b1"):
        await cluster[name].put(ID, content(1, 1000))
    for name in ("a1", "a2"):
        damage(cluster[name], ID)
        with pytest.raises(DataCorrupt):
            await cluster[name].get(ID)
    await cluster["a1"].heal()
    assert cluster["a1"].holds(ID)
    assert [type(message).__name__ for message in cluster["a1"].peers["a2"].asked] == ["FetchRequest"]
    await cluster["a2"].heal()
    assert cluster["a2"].holds(ID)
    assert cluster["a2"].peers["b1"].asked == [], "the sibling has it again by now"


async def test_what_cannot_be_had_is_tried_again_later_and_less_and_less_often(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    node.parts.healer.want(PARTITION, ID, DatedState(ALIVE))
    for peer in node.peers.values():
        peer.reachable = False
    await node.heal()
    await node.heal()
    (item,) = node.parts.healer.describe()
    assert (item["attempts"], item["partition"]) == (1, PARTITION)
    assert "away" in item["last_error"]
    waits = []
    for _ in range(12):
        before = node.clock.seconds
        attempts = item["attempts"]
        while item["attempts"] == attempts:
            node.clock.advance(0.1)
            await node.heal()
            (item,) = node.parts.healer.describe()
        waits.append(node.clock.seconds - before)
    assert waits == sorted(waits)
    assert 55 <= waits[-1] <= 65
    for peer in node.peers.values():
        peer.reachable = True
    await cluster["a2"].put(ID, b"x")
    node.clock.advance(61)
    await node.heal()
    assert node.holds(ID)


async def test_a_found_blob_lets_the_durable_token_move(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    cursor = Cursor(b"l" * 16, 0)
    cursor.advance(500, 500, {ID: 100})
    other = Cursor(b"m" * 16, 0)
    other.advance(700, 700, {ID: 5})
    node.parts.cursors.of(PARTITION)["a2"] = cursor
    node.parts.cursors.of(PARTITION)["b1"] = other
    node.parts.healer.want(PARTITION, ID, DatedState(ALIVE))
    await node.heal()
    assert cursor.token()[1] == 100
    await cluster["b1"].put(ID, b"x")
    node.clock.advance(1)
    await node.heal()
    assert (cursor.token()[1], other.token()[1]) == (500, 700)


async def test_a_blob_that_was_deleted_meanwhile_is_wanted_no_more(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    node.parts.healer.want(PARTITION, ID, DatedState(ALIVE))
    await node.update(ID, DELETED)
    await node.heal()
    assert node.parts.healer.describe() == []


async def test_a_tombstone_of_an_older_life_does_not_end_the_search(cluster: DirectCluster) -> None:
    """The tombstone counted as the blob being here: neither its bytes nor its new life ever came, and the token moved on."""
    node = cluster["a1"]
    await node.update(ID, DELETED)
    back = BlobState(1, False, ALIVE.expires_at_ms)
    node.parts.healer.want(PARTITION, ID, DatedState(back))
    await node.heal()
    assert len(node.parts.healer.describe()) == 1
    await cluster["a2"].put(ID, b"x")
    node.clock.advance(1)
    await node.heal()
    assert node.holds(ID)
    assert node.state(ID) == back


async def test_what_several_peers_know_about_a_wanted_blob_is_joined(cluster: DirectCluster) -> None:
    """Only the first one's state was kept; the others' cursors moved on without theirs."""
    node = cluster["a1"]
    node.parts.healer.want(PARTITION, ID, DatedState(BlobState(0, False, LATER + 2)))
    node.parts.healer.want(PARTITION, ID, DatedState(BlobState(2, False, LATER)))
    await cluster["a2"].put(ID, b"x", state=BlobState(0, False, LATER + 2))
    await node.heal()
    assert node.state(ID) == BlobState(2, False, LATER + 2)


async def test_a_state_that_comes_while_the_blob_is_fetched_is_not_forgotten(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    healer = node.parts.healer
    await cluster["a2"].put(ID, b"x")
    healer.want(PARTITION, ID, DatedState(ALIVE))
    peer = node.peers["a2"]

    def meanwhile(_type: int, frame: object) -> object:
        healer.want(PARTITION, ID, DatedState(DELETED))
        return frame

    peer.tamper = meanwhile  # type: ignore[assignment]
    for _ in range(3):
        await node.heal()
        node.clock.advance(5)
    assert healer.describe() == []
    assert node.state(ID) == DELETED


async def test_a_full_list_stops_whoever_follows_a_log_but_not_a_reader(
    cluster: DirectCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WANTED_MAX", 2)
    node = cluster["a1"]
    healer = node.parts.healer
    healer.want(PARTITION, blob_id(1), DatedState(ALIVE))
    healer.want(PARTITION, blob_id(2), DatedState(ALIVE))
    healer.want(PARTITION, blob_id(1), DatedState(ALIVE))
    with pytest.raises(Overloaded):
        healer.want(PARTITION, blob_id(3), DatedState(ALIVE))
    healer.note_damaged(node.replica, blob_id(3))
    assert len(healer.describe()) == 2


async def test_a_replica_that_is_being_rebuilt_is_waited_for(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    node.parts.healer.want(PARTITION, ID, DatedState(ALIVE))
    replica = node.parts.replicas.pop(PARTITION)
    await node.heal()
    (item,) = node.parts.healer.describe()
    assert item["attempts"] == 1
    node.parts.replicas[PARTITION] = replica


async def test_how_long_a_repair_took_is_counted(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    await cluster["a2"].put(ID, content(1, 1000))
    for peer in node.peers.values():
        peer.reachable = False
    before = repairs()
    node.parts.healer.want(PARTITION, ID, DatedState(ALIVE))
    cluster.clock.advance(300)
    await node.heal()
    assert node.parts.healer.oldest_s() == 300.0
    for peer in node.peers.values():
        peer.reachable = True
    cluster.clock.advance(60)
    await node.heal()
    assert node.holds(ID)
    assert (repairs() - before, node.parts.healer.oldest_s()) == (360.0, 0.0)


def repairs() -> float:
    """Seconds that all repairs together took."""
    (family,) = metrics.REPAIR_S.collect()
    return next(sample.value for sample in family.samples if sample.name.endswith("_sum"))
