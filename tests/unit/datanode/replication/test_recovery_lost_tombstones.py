"""Tombstones lost with log and index, and dropped by all peers already (C8).

The index was rebuilt from what was left of the log, and the replica started over with its peers: nobody told it of deletes that
everybody else had forgotten. 44 of 44 deleted blobs were alive again.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from ambry.errors import BlobNotFound, ReplicaUnavailable
from datanode.config import CompactionSection
from datanode.replicas import Replicas
from datanode.store.segment import segment_name
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.eventually import eventually
from tests.support.samples import DELETED, PARTITION, blob_id, content

DAY_S = 86_400
DOOMED = range(1, 45)
KEPT = range(45, 90)
LATER = range(200, 290)

Damage = Callable[[DirectNode, Path, list[int]], None]


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[DirectCluster]:
    """Tombstones stay for two days. The doomed are forgotten by all but a1, which has them in its log."""
    section = CompactionSection(deleted_retention_s=DAY_S, tombstone_retention_s=2 * DAY_S, dead_share_min=0.05)
    cluster = DirectCluster(tmp_path, cluster_map(3), sections={"compaction": section})
    await cluster.start()
    for number in [*DOOMED, *KEPT]:
        await cluster["a2"].put(blob_id(number), content(number, 1500))
    await settle(cluster)
    await cluster["a1"].stop()  # so that the tombstones do not come into the segment of the last blobs
    await cluster["a1"].start()
    await settle(cluster)
    for number in DOOMED:
        await cluster["a2"].update(blob_id(number), DELETED)
    await cluster.settle(rounds=2)
    for number in LATER:
        await cluster["a2"].put(blob_id(number), content(number, 1500))
    for days in (1.5, 2.0, 0.1):
        await cluster.settle(rounds=2)
        cluster.clock.advance(days * DAY_S)
        for node in cluster.nodes.values():
            await node.parts.checkpointer.checkpoint(node.replica)
        await cluster.settle(rounds=1)
        for name in ("a2", "a3"):
            await cluster[name].parts.checkpointer.checkpoint(cluster[name].replica)
            while await cluster[name].parts.compactor.compact(cluster[name].replica):
                pass
    assert all(cluster[name].state(blob_id(number)) is None for number in DOOMED for name in ("a2", "a3"))
    assert all(cluster["a1"].state(blob_id(number)) == DELETED for number in DOOMED)
    yield cluster
    await cluster.stop()


async def settle(cluster: DirectCluster) -> None:
    """Until every replica is open and has authority."""
    for _ in range(12):
        with suppress(ReplicaUnavailable):  # one of them is being set aside meanwhile
            await cluster.settle(rounds=1)
        for node in cluster.running.values():
            await eventually(lambda node=node: node.parts.replicas.get(PARTITION))  # type: ignore[misc]
        if all(cluster.serving().values()):
            break
    await cluster.settle(rounds=2)
    assert all(cluster.serving().values())


def where_tombstones_stand(node: DirectNode) -> list[int]:
    """Numbers of the segments of a replica that hold the deletes."""
    segments = node.replica.store._log.in_order()
    lsns = [entry.lsn for number in DOOMED if (entry := node.replica.store.lookup(blob_id(number))) is not None]
    return [s.number for s in segments if any(s.base_lsn <= lsn < s.header.end_lsn for lsn in lsns)]


def lose_index(directory: Path) -> None:
    shutil.rmtree(directory / "index")


def segments_gone(node: DirectNode, directory: Path, numbers: list[int]) -> None:
    lose_index(directory)
    for number in numbers:
        node.files.remove(directory / segment_name(number))


def headers_damaged(node: DirectNode, directory: Path, numbers: list[int]) -> None:
    lose_index(directory)
    for number in numbers:
        node.files.flip(directory / segment_name(number), 20)


def records_damaged(node: DirectNode, directory: Path, numbers: list[int]) -> None:
    lose_index(directory)
    for number in numbers:
        path = directory / segment_name(number)
        for offset in range(64, len(node.files.content(path)), 50):
            node.files.flip(path, offset)


def all_behind_gone(node: DirectNode, directory: Path, numbers: list[int]) -> None:
    """The log ends before the tombstones: the opening itself gives the index up, which covers more."""
    for name in node.files.list_directory(directory):
        if name.endswith(".segment") and int(name.split(".")[0]) >= numbers[0]:
            node.files.remove(directory / name)


def identity_gone(node: DirectNode, directory: Path, numbers: list[int]) -> None:
    segments_gone(node, directory, numbers)
    node.files.remove(directory / "identity.json")


@pytest.mark.parametrize("damage", [segments_gone, headers_damaged, records_damaged, all_behind_gone, identity_gone])
@pytest.mark.parametrize("starts", [1, 3])
async def test_a_delete_that_only_a_lost_part_of_the_log_told_of_is_not_undone(
    cluster: DirectCluster, damage: Damage, starts: int
) -> None:
    node = cluster["a1"]
    numbers = where_tombstones_stand(node)
    directory = node.replica.store.directory
    await node.kill()
    damage(node, directory, numbers)
    for _ in range(starts - 1):
        await node.start()
        await node.kill()
    await node.start()
    await settle(cluster)
    nothing_revived(cluster)
    for other in cluster.nodes.values():
        assert all(other.holds(blob_id(number)) for number in [*KEPT, *LATER])


async def wait_until_open(node: DirectNode) -> None:
    await eventually(lambda: node.parts.replicas.get(PARTITION))


def nothing_revived(cluster: DirectCluster) -> None:
    for name, other in cluster.nodes.items():
        revived = [number for number in DOOMED if other.holds(blob_id(number))]
        assert not revived, f"{len(revived)} deleted blobs are back on {name}"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO])
@pytest.mark.parametrize("call", ["create", "rename", "fdatasync"])
async def test_a_start_over_that_the_disk_refuses_is_tried_again(
    cluster: DirectCluster, number: int, call: str
) -> None:
    """The replica stayed closed until an operator reopened it."""
    node = cluster["a1"]
    numbers = where_tombstones_stand(node)
    directory = node.replica.store.directory
    await node.kill()
    segments_gone(node, directory, numbers)
    await node.start()
    suffix = "" if call == "rename" else ".fresh"
    refused: list[str] = []

    def refuse(what: str, path: Path) -> None:
        fits = path == directory if call == "rename" else suffix in str(path)
        if what == call and fits and not refused:
            refused.append(what)
            raise OSError(number, "refused")

    node.files.before = refuse
    for _ in range(3):
        with suppress(ReplicaUnavailable):
            await node.pull("a2")
            await node.pull("a3")
        await wait_until_open(node)
    assert refused
    assert node.replica.store.put_back, "it is open as it was, and takes writes"
    assert "fresh replica" in node.parts.replicas.changes.undone(PARTITION)
    await node.put(blob_id(300), b"meanwhile")
    cluster.clock.advance(5)
    await settle(cluster)
    assert node.parts.replicas.changes.undone(PARTITION) == ""
    nothing_revived(cluster)
    assert node.holds(blob_id(300))


async def test_a_crash_after_peers_were_heard_does_not_hide_what_was_missed(
    cluster: DirectCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint had moved the tokens behind what the peers dropped: after a crash the replica took itself for one that had
    heard of every delete, and brought all 44 back."""
    node = cluster["a1"]
    numbers = where_tombstones_stand(node)
    directory = node.replica.store.directory
    await node.kill()
    segments_gone(node, directory, numbers)
    await node.start()
    with monkeypatch.context() as patch:
        patch.setattr(Replicas, "start_over", lambda *_args, **_options: False)
        await node.pull("a2")
        await node.pull("a3")
        await node.parts.checkpointer.checkpoint(node.replica)
        await node.kill()
    await node.start()
    await settle(cluster)
    nothing_revived(cluster)


async def test_what_is_not_known_to_be_alive_is_not_answered(cluster: DirectCluster) -> None:
    """A replica that was put back gave blobs that had been deleted for good, until it had caught up."""
    node = cluster["a1"]
    numbers = where_tombstones_stand(node)
    directory = node.replica.store.directory
    await node.kill()
    segments_gone(node, directory, numbers)
    await node.start()
    for number in (DOOMED[0], KEPT[0]):
        with pytest.raises(ReplicaUnavailable, match="put back"):
            await node.get(blob_id(number))
    await node.put(blob_id(300), b"since")
    assert (await node.get(blob_id(300)))[1] == b"since"
    await settle(cluster)
    assert (await node.get(blob_id(KEPT[0])))[1] == content(KEPT[0], 1500)
    with pytest.raises(BlobNotFound):
        await node.get(blob_id(DOOMED[0]))


async def test_a_node_that_is_dead_for_good_pins_tombstones_until_the_layout_is_without_it(
    cluster: DirectCluster,
) -> None:
    """The drill of docs/operations.md. When it comes back after all, it is rebuilt, and revives nothing."""
    dead, others = cluster["a3"], [cluster["a1"], cluster["a2"]]
    three = cluster.map
    await dead.kill()
    for number in KEPT:
        await cluster["a2"].update(blob_id(number), DELETED)
    await age(cluster, others)
    assert all(node.state(blob_id(number)) == DELETED for node in others for number in KEPT), "it has not seen them"
    for node in others:
        await node.stop()
    cluster.map = cluster_map(2)
    ways = [node.peers.pop("a3") for node in others]
    for node in others:
        await node.start()
    await settle(cluster)
    for number in range(400, 490):
        await cluster["a2"].put(blob_id(number), content(number, 1500))
    await age(cluster, others)
    gone = [number for number in KEPT if all(node.state(blob_id(number)) is None for node in others)]
    assert gone, "nobody waits for it any more"
    for node in others:
        await node.stop()
    cluster.map = three
    for node, way in zip(others, ways, strict=True):
        node.peers["a3"] = way
    for node in (*others, dead):
        await node.start()
    assert any(dead.holds(blob_id(number)) for number in gone)
    await settle(cluster)
    assert not [number for number in gone for node in cluster.nodes.values() if node.holds(blob_id(number))]


async def test_a_backup_without_its_index_of_a_copy_that_was_replaced_since_is_recognised(tmp_path: Path) -> None:
    """Of the first life of a replica: that it had authority then stood in its index alone. So what its peers know, of the copy
    that took its place, was taken for that of a copy before it, and 44 of 44 deleted blobs came back everywhere."""
    section = CompactionSection(deleted_retention_s=DAY_S, tombstone_retention_s=2 * DAY_S, dead_share_min=0.05)
    cluster = DirectCluster(tmp_path, cluster_map(3), sections={"compaction": section})
    await cluster.start()
    node = cluster["a1"]
    for number in [*DOOMED, *KEPT]:
        await cluster["a2"].put(blob_id(number), content(number, 1500))
    await settle(cluster)
    await node.parts.checkpointer.checkpoint(node.replica)
    backup = node.backup()
    await node.wipe()
    await settle(cluster)
    for number in DOOMED:
        await cluster["a2"].update(blob_id(number), DELETED)
    await cluster.settle(rounds=2)
    for number in LATER:
        await cluster["a2"].put(blob_id(number), content(number, 1500))
    await age(cluster, list(cluster.nodes.values()))
    assert all(other.state(blob_id(number)) is None for other in cluster.nodes.values() for number in DOOMED)
    directory = node.replica.store.directory
    await node.kill()
    node.files.put_back(backup)
    lose_index(directory)
    await node.start()
    await settle(cluster)
    nothing_revived(cluster)
    assert all(other.holds(blob_id(number)) for other in cluster.nodes.values() for number in [*KEPT, *LATER])
    await cluster.stop()


@pytest.mark.parametrize("with_index", [True, False])
async def test_a_backup_from_before_it_first_had_authority_is_recognised_though_all_were_replaced_since(
    tmp_path: Path, with_index: bool
) -> None:
    """It took the copy that its peers know for one that was there before it, and these had forgotten with their disks that they
    ever dropped a tombstone: 44 of 44 deleted blobs came back everywhere."""
    section = CompactionSection(deleted_retention_s=DAY_S, tombstone_retention_s=2 * DAY_S, dead_share_min=0.05)
    cluster = DirectCluster(tmp_path, cluster_map(3), sections={"compaction": section})
    await cluster.start()
    node = cluster["a1"]
    for number in [*DOOMED, *KEPT]:
        for name in ("a1", "a2"):
            await cluster[name].put(blob_id(number), content(number, 1500))
    assert not node.replica.store.serving
    await node.parts.checkpointer.checkpoint(node.replica)
    backup = node.backup()
    await settle(cluster)
    await node.wipe()
    await settle(cluster)
    for number in DOOMED:
        await cluster["a2"].update(blob_id(number), DELETED)
    await cluster.settle(rounds=2)
    for number in LATER:
        await cluster["a2"].put(blob_id(number), content(number, 1500))
    await age(cluster, list(cluster.nodes.values()))
    for name in ("a2", "a3"):
        await cluster[name].wipe()
        await settle(cluster)
    assert all(other.state(blob_id(number)) is None for other in cluster.nodes.values() for number in DOOMED)
    directory = node.replica.store.directory
    await node.kill()
    node.files.put_back(backup)
    if not with_index:
        lose_index(directory)
    await node.start()
    await settle(cluster)
    nothing_revived(cluster)
    assert all(other.holds(blob_id(number)) for other in cluster.nodes.values() for number in [*KEPT, *LATER])
    await cluster.stop()


async def age(cluster: DirectCluster, nodes: Sequence[DirectNode]) -> None:
    """Let so much time go by that tombstones may go, and compact."""
    for days in (1.5, 2.0, 0.1):
        await cluster.settle(rounds=2)
        cluster.clock.advance(days * DAY_S)
        for _ in range(2):
            for node in nodes:
                await node.parts.checkpointer.checkpoint(node.replica)
            await cluster.settle(rounds=1)
        for node in nodes:
            while await node.parts.compactor.compact(node.replica):
                pass
