"""Directories of replicas put back from a backup (F41), and replicas that were away for longer than tombstones stay (F27).

The first of them answered "not found" for acknowledged blobs, gave LSNs again that its peers had passed, so that 60 of 60 new
blobs never left it, and brought 45 deleted blobs back.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from pathlib import Path

import pytest

from ambry.errors import BlobNotFound, ReplicaUnavailable
from datanode.config import CompactionSection
from datanode.replication.authority import PATIENCE_S
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.eventually import eventually
from tests.support.samples import DELETED, PARTITION, blob_id, content

NEVER_STORED = blob_id(999)
DAY_S = 86_400


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[DirectCluster]:
    cluster = DirectCluster(tmp_path, cluster_map(3))
    await cluster.start()
    await cluster.settle()
    yield cluster
    await cluster.stop()


async def settle(cluster: DirectCluster) -> None:
    """Until every replica is open and has authority."""
    for _ in range(12):
        await cluster.settle(rounds=1)
        for node in cluster.running.values():
            await eventually(lambda node=node: node.parts.replicas.get(PARTITION))  # type: ignore[misc]
        if all(cluster.serving().values()):
            break
    await cluster.settle(rounds=2)
    assert all(cluster.serving().values()), {
        name: (node.replica.store.put_back, node.parts.replicator.describe(PARTITION))
        for name, node in cluster.running.items()
    }


async def put(nodes: Iterable[DirectNode], numbers: Iterable[int]) -> None:
    for number in numbers:
        for node in nodes:
            await node.put(blob_id(number), content(number, 1500))


def hold(nodes: Iterable[DirectNode], numbers: Iterable[int]) -> bool:
    return all(node.holds(blob_id(number)) for node in nodes for number in numbers)


async def says_not_found(node: DirectNode, number: int) -> bool:
    try:
        await node.get(blob_id(number))
    except BlobNotFound:
        return True
    except ReplicaUnavailable:
        return False
    return False


async def test_a_restarted_replica_says_not_found_only_after_its_peers_were_asked(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    await put([node], [1])
    await node.stop()
    await node.start()
    assert (await node.get(blob_id(1)))[1] == content(1, 1500), "what is here is answered at once"
    with pytest.raises(ReplicaUnavailable):
        await node.get(NEVER_STORED)
    await node.pull("a2")
    assert not node.replica.store.authority, "the other one may know more"
    await node.pull("a3")
    with pytest.raises(BlobNotFound):
        await node.get(NEVER_STORED)


async def test_a_sibling_that_is_away_is_waited_for_only_so_long(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    await node.stop()
    await node.start()
    node.peers["a3"].reachable = False
    await node.pull("a2")
    await node.heal()
    assert not node.replica.store.authority
    node.clock.advance(PATIENCE_S)
    await node.heal()
    assert node.replica.store.authority


async def test_nobody_to_ask_is_no_proof(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    await node.stop()
    await node.start()
    for peer in node.peers.values():
        peer.reachable = False
    node.clock.advance(DAY_S)
    await node.heal()
    assert not await says_not_found(node, 999)


async def test_all_nodes_of_a_datacenter_restarted_at_once_vouch_for_each_other(cluster: DirectCluster) -> None:
    await put(cluster.nodes.values(), range(1, 5))
    for node in cluster.nodes.values():
        await node.parts.checkpointer.checkpoint(node.replica)
        await node.kill()
    await cluster["a1"].start()
    await cluster["a2"].start()
    for name, peer in (("a1", "a2"), ("a2", "a1")):
        await cluster[name].pull(peer)
    cluster.clock.advance(PATIENCE_S)
    for name in ("a1", "a2"):
        await cluster[name].heal()
        assert cluster[name].replica.store.authority, "the third may never come back"


async def test_a_replica_without_peers_serves_at_once(tmp_path: Path) -> None:
    cluster = DirectCluster(tmp_path, cluster_map(1))
    await cluster.start()
    node = cluster["a1"]
    for _ in range(2):
        assert await says_not_found(node, 999)
        await node.stop()
        await node.start()
    await cluster.stop()


@pytest.mark.parametrize("asks", ["it asks", "it is asked"])
async def test_a_replica_put_back_is_recognised_before_it_says_not_found(cluster: DirectCluster, asks: str) -> None:
    node, witness = cluster["a1"], cluster["a2"]
    await put([node, witness], range(1, 5))
    await cluster.settle()
    backup = node.backup()
    await put([node, witness], range(5, 9))
    await cluster.settle()
    await node.put_back(backup)
    assert not await says_not_found(node, 5)
    # LSNs that its peers have passed are given again.
    await put([node], range(20, 30))
    await (node.pull("a2") if asks == "it asks" else witness.pull("a1"))
    store = node.replica.store if node.parts.replicas.get(PARTITION) else None
    assert store is None or (store.put_back and not store.authority)
    assert not await says_not_found(node, 5)
    await settle(cluster)
    assert hold(cluster.nodes.values(), [*range(1, 9), *range(20, 30)])
    assert await says_not_found(node, 999)


async def test_what_is_put_back_takes_a_new_incarnation_that_a_restart_keeps(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    backup = node.backup()
    await put([node], [1])
    await cluster.settle()
    before = node.replica.store.incarnation
    await node.put_back(backup)
    await settle(cluster)
    after = node.replica.store.incarnation
    assert after != before
    await node.kill()
    await node.start()
    await settle(cluster)
    assert node.replica.store.incarnation == after


async def test_the_same_backup_put_back_twice(cluster: DirectCluster) -> None:
    """The second time its peers know it under a name that the backup does not know."""
    node = cluster["a1"]
    await put([node], [1])
    await cluster.settle()
    backup = node.backup()
    for turn in (1, 2):
        await put([node], range(10 * turn, 10 * turn + 5))
        await cluster.settle()
        await node.put_back(backup)
        await put([node], [10 * turn + 7])
        assert not await says_not_found(node, 10 * turn)
        await settle(cluster)
        assert hold(cluster.nodes.values(), [1, *range(10, 15), 17, *range(10 * turn, 10 * turn + 5), 10 * turn + 7])


async def test_a_backup_of_a_running_replica(cluster: DirectCluster) -> None:
    """Its log ends somewhere in a segment, and appends go on in the next: the hole between hides nothing."""
    node = cluster["a1"]
    await put([node], range(1, 4))
    await cluster.settle()
    backup = node.backup()
    await put([node], range(4, 6))
    await cluster.settle()
    await node.put_back(backup)
    assert node.replica.store.end_lsn < cluster["a2"].parts.cursors.of(PARTITION)["a1"].next_lsn
    await put([node], range(6, 9))
    await settle(cluster)
    assert hold(cluster.nodes.values(), range(1, 9))


async def test_a_whole_datacenter_put_back_loses_and_hides_nothing(tmp_path: Path) -> None:
    cluster = DirectCluster(tmp_path, cluster_map(2, 2))
    await cluster.start()
    await cluster.settle()
    restored = [cluster["a1"], cluster["a2"]]
    await put(restored, range(1, 6))
    await cluster.settle()
    backups = [node.backup() for node in restored]
    await put(restored, range(6, 12))
    await restored[0].update(blob_id(1), DELETED)
    await cluster.settle()
    for node, backup in zip(restored, backups, strict=True):
        await node.put_back(backup)
    await put(restored, range(20, 30))
    for name, other in (("a1", "a2"), ("a2", "a1")):
        # They know the same, which proves nothing.
        await cluster[name].pull(other)
        cluster.clock.advance(PATIENCE_S)
        await cluster[name].heal()
        assert not await says_not_found(cluster[name], 6)
    await settle(cluster)
    assert hold(cluster.nodes.values(), [*range(2, 12), *range(20, 30)])
    assert {node.state(blob_id(1)) for node in cluster.nodes.values()} == {DELETED}
    await cluster.stop()


async def test_a_whole_cluster_put_back_from_backups_of_different_moments(cluster: DirectCluster) -> None:
    """Each has seen more of some other's log than there is: nobody has authority, and yet somebody must begin."""
    backups = []
    for number, node in enumerate(cluster.nodes.values()):
        await put([node], range(10 * number, 10 * number + 4))
        await cluster.settle()
        backups.append(node.backup())
    await put(cluster.nodes.values(), range(50, 53))
    await cluster.settle()
    for node in cluster.nodes.values():
        await node.kill()
    for node, backup in zip(cluster.nodes.values(), backups, strict=True):
        await node.put_back(backup)
    await cluster.settle()
    cluster.clock.advance(60)
    await settle(cluster)
    assert hold(cluster.nodes.values(), [*range(4), *range(10, 14), *range(20, 24)])


async def test_a_peer_that_was_never_heard_of_says_nothing_about_the_log(cluster: DirectCluster) -> None:
    """A wiped sibling knows nothing of the log of the others, nor do they take its name for a later one of their own."""
    names = {name: node.replica.store.incarnation for name, node in cluster.nodes.items()}
    await put(cluster.nodes.values(), range(1, 5))
    await cluster.settle()
    node = cluster["a3"]
    empty = node.backup().__class__({}, {node.files.root}, {})
    await node.put_back(empty)
    await settle(cluster)
    assert hold([node], range(1, 5))
    assert {name: cluster[name].replica.store.incarnation for name in ("a1", "a2")} == {
        name: names[name] for name in ("a1", "a2")
    }


# --- tombstones that are gone ---


@pytest.fixture
async def forgetful(tmp_path: Path) -> AsyncIterator[DirectCluster]:
    """Tombstones stay for two days."""
    section = CompactionSection(deleted_retention_s=DAY_S, tombstone_retention_s=2 * DAY_S, dead_share_min=0.05)
    cluster = DirectCluster(tmp_path, cluster_map(3), sections={"compaction": section})
    await cluster.start()
    await cluster.settle()
    yield cluster
    await cluster.stop()


DOOMED = range(1, 45)
KEPT = range(45, 130)


async def forget(cluster: DirectCluster, names: Iterable[str]) -> None:
    """Delete the doomed ones, and let these nodes drop their bytes and then their tombstones."""
    for number in DOOMED:
        await cluster["a2"].update(blob_id(number), DELETED)
    await cluster.settle(rounds=2)
    await put([cluster["a2"]], range(200, 290))  # so that the tombstones do not stand in the last segment
    for days in (1.5, 2.0, 0.1):
        await cluster.settle(rounds=2)
        cluster.clock.advance(days * DAY_S)
        for node in cluster.nodes.values():
            await node.parts.checkpointer.checkpoint(node.replica)
        await cluster.settle(rounds=1)
        for name in names:
            node = cluster[name]
            await node.parts.checkpointer.checkpoint(node.replica)
            while await node.parts.compactor.compact(node.replica):
                pass
    for name in names:
        assert all(cluster[name].state(blob_id(number)) is None for number in DOOMED), f"{name} still knows them"


async def test_a_replica_put_back_from_before_what_is_forgotten_is_rebuilt(forgetful: DirectCluster) -> None:
    cluster, node = forgetful, forgetful["a1"]
    await put([cluster["a2"]], [*DOOMED, *KEPT])
    await settle(cluster)
    backup = node.backup()
    await forget(cluster, ("a1", "a2", "a3"))
    await node.put_back(backup)
    assert hold([node], DOOMED), "the backup holds them, alive"
    await put([node], range(300, 305))
    before = node.replica.store.incarnation
    await settle(cluster)
    for name, other in cluster.nodes.items():
        revived = [number for number in DOOMED if other.holds(blob_id(number))]
        assert not revived, f"{len(revived)} deleted blobs are back on {name}"
    assert hold(cluster.nodes.values(), [*KEPT, *range(200, 290), *range(300, 305)])
    aside = node.files.root / "data" / f"partition-{PARTITION:08d}.set-aside-{before.hex()}"
    assert "00000001.segment" in node.files.list_directory(aside), "nothing is deleted unseen"
    await node.kill()
    await node.start()
    await settle(cluster)
    assert hold([node], KEPT)


async def test_what_came_in_before_another_restart_is_not_set_aside_with_the_backup(forgetful: DirectCluster) -> None:
    """It was put back, cut off from those who know better, took in blobs, and was restarted. Only what came after that went
    over into the fresh one: where all of a datacenter went this way, acknowledged blobs were in set-aside directories alone."""
    cluster, node = forgetful, forgetful["a1"]
    await put([cluster["a2"]], [*DOOMED, *KEPT])
    await settle(cluster)
    backup = node.backup()
    await forget(cluster, cluster.nodes)
    for name in ("a2", "a3"):
        await cluster[name].kill()
    await node.put_back(backup)
    await put([node], range(300, 305))
    await node.kill()
    await node.start()
    await put([node], range(305, 308))
    for name in ("a2", "a3"):
        await cluster[name].start()
    for _ in range(4):
        with suppress(ReplicaUnavailable):  # it is being set aside meanwhile
            await cluster.settle(rounds=1)
        await eventually(lambda: node.parts.replicas.get(PARTITION))
    await settle(cluster)
    assert hold(cluster.nodes.values(), [*KEPT, *range(300, 308)])
    assert not any(other.holds(blob_id(number)) for other in cluster.nodes.values() for number in DOOMED)


async def test_tombstones_wait_until_a_peer_cannot_come_back_with_an_older_token(forgetful: DirectCluster) -> None:
    """It has heard of the delete, and would have missed it after a crash: then it looked like one to be rebuilt."""
    cluster, node = forgetful, forgetful["a1"]
    await put([node], [1])
    await settle(cluster)
    await node.update(blob_id(1), DELETED)
    for other in cluster.nodes.values():
        await other.parts.checkpointer.checkpoint(other.replica)
    before = node.parts.horizon.lsn(node.replica)
    for name in ("a2", "a3", "a2", "a3"):
        await cluster[name].pull("a1")
    lsn = node.replica.store.end_lsn
    assert before < lsn
    assert node.parts.horizon.lsn(node.replica) < lsn, "they have seen it, and may forget that"
    for name in ("a2", "a3"):
        await cluster[name].pull("a1")
        await cluster[name].parts.checkpointer.checkpoint(cluster[name].replica)
        await cluster[name].pull("a1")
    assert node.parts.horizon.lsn(node.replica) == lsn


async def test_a_replica_whose_peers_still_have_all_tombstones_is_not_rebuilt(forgetful: DirectCluster) -> None:
    cluster, node = forgetful, forgetful["a1"]
    await put([cluster["a2"]], [*DOOMED, *KEPT])
    await settle(cluster)
    backup = node.backup()
    for number in DOOMED:
        await cluster["a2"].update(blob_id(number), DELETED)
    await settle(cluster)
    await node.put_back(backup)
    await settle(cluster)
    assert {cluster[name].state(blob_id(1)) for name in cluster.nodes} == {DELETED}
    assert not [name for name in node.files.list_directory(node.files.root / "data") if "aside" in name]


async def test_a_replica_that_runs_for_longer_than_tombstones_stay_is_not_rebuilt(forgetful: DirectCluster) -> None:
    """A month after its last restart, when the last of its peers had dropped tombstones, each was taken for one that had missed
    them: its directory was set aside, on every node of a cluster, and it had no authority until it was filled again."""
    cluster = forgetful
    await put([cluster["a2"]], [*DOOMED, *KEPT])
    await settle(cluster)
    for node in cluster.nodes.values():
        await node.stop()
        await node.start()
    await settle(cluster)
    before = {name: node.replica.store.incarnation for name, node in cluster.nodes.items()}
    await forget(cluster, cluster.nodes)
    await put([cluster["a2"]], [300])
    await settle(cluster)
    assert {name: node.replica.store.incarnation for name, node in cluster.nodes.items()} == before
    assert hold(cluster.nodes.values(), [*KEPT, 300])
    for node in cluster.nodes.values():
        assert not [name for name in node.files.list_directory(node.files.root / "data") if "aside" in name]


async def test_one_that_was_away_for_long_is_rebuilt_though_its_disk_refuses_that_for_long(
    forgetful: DirectCluster,
) -> None:
    """It had its authority, and its peers nothing new to tell: after the fourth refusal nobody looked at it again."""
    cluster, node = forgetful, forgetful["a1"]
    await put([cluster["a2"]], [*DOOMED, *KEPT])
    await settle(cluster)
    for name in ("a2", "a3"):
        # As if a1 had not been in the layout meanwhile: nobody keeps tombstones for it.
        cluster[name].parts.compactor._horizon = lambda replica: replica.store.end_lsn
    await node.stop()
    for number in DOOMED:
        await cluster["a2"].update(blob_id(number), DELETED)
    await cluster.settle(rounds=2)
    await put([cluster["a2"]], range(200, 290))
    for days in (1.5, 2.0, 0.1):
        await cluster.settle(rounds=2)
        cluster.clock.advance(days * DAY_S)
        for name in ("a2", "a3"):
            await cluster[name].parts.checkpointer.checkpoint(cluster[name].replica)
            while await cluster[name].parts.compactor.compact(cluster[name].replica):
                pass
    assert all(cluster[name].state(blob_id(number)) is None for number in DOOMED for name in ("a2", "a3"))
    await node.start()
    before = node.replica.store.incarnation
    refused = 0

    def refuse(call: str, path: Path) -> None:
        nonlocal refused
        if call == "create" and ".fresh" in str(path):
            refused += 1
            raise OSError(errno.ENOSPC, "refused")

    async def hear() -> None:
        for peer in ("a2", "a3"):
            with suppress(ReplicaUnavailable):
                await node.tick(f"pull:{peer}")
            await eventually(lambda: node.parts.replicas.get(PARTITION))

    node.files.before = refuse
    for tries in range(1, 6):
        cluster.clock.advance(40)
        await hear()
        assert refused == tries
    await hear()
    cluster.clock.advance(11)
    await node.heal()
    node.files.before = lambda _call, _path: None
    cluster.clock.advance(40)
    await node.heal()
    await eventually(lambda: PARTITION in node.parts.replicas and node.replica.store.incarnation != before)
    await settle(cluster)
    assert not any(other.holds(blob_id(number)) for other in cluster.nodes.values() for number in DOOMED)


async def test_a_datacenter_from_before_what_is_forgotten_is_rebuilt_in_whatever_order(tmp_path: Path) -> None:
    """The first that was rebuilt filled itself from siblings that had not found out yet: 1,352 deleted blobs were back."""
    section = CompactionSection(deleted_retention_s=DAY_S, tombstone_retention_s=2 * DAY_S, dead_share_min=0.05)
    cluster = DirectCluster(tmp_path, cluster_map(2, 2), sections={"compaction": section})
    await cluster.start()
    await put([cluster["a2"]], [*DOOMED, *KEPT])
    await settle(cluster)
    restored = [cluster["a1"], cluster["a2"]]
    for node in restored:
        await node.stop()  # so that they had authority when the backup was made
        await node.start()
    await settle(cluster)
    backups = [node.backup() for node in restored]
    await forget(cluster, cluster.nodes)
    for node, backup in zip(restored, backups, strict=True):
        await node.put_back(backup)
    first, second = restored
    for peer in ("b1", "b2"):
        second.peers[peer].reachable = False
        cluster[peer].peers["a2"].reachable = False
    with suppress(ReplicaUnavailable):  # it is being set aside meanwhile
        await first.pull("b1")
    await eventually(lambda: first.parts.replicas.get(PARTITION))
    await first.pull("a2")
    assert not any(first.holds(blob_id(number)) for number in DOOMED)
    for peer in ("b1", "b2"):
        second.peers[peer].reachable = True
        cluster[peer].peers["a2"].reachable = True
    await settle(cluster)
    for name, other in cluster.nodes.items():
        revived = [number for number in DOOMED if other.holds(blob_id(number))]
        assert not revived, f"{len(revived)} deleted blobs are back on {name}"
    assert hold(cluster.nodes.values(), KEPT)
    await cluster.stop()


async def test_two_that_were_put_back_are_no_witnesses_for_each_other(forgetful: DirectCluster) -> None:
    """Both had authority when the third, which knows better, came back late. Whom it asked first took the other for one that
    has heard all that was deleted, took a new incarnation, and gave the deleted blobs back to everybody."""
    cluster = forgetful
    restored, late = [cluster["a1"], cluster["a2"]], cluster["a3"]
    await put([cluster["a2"]], [*DOOMED, *KEPT])
    await settle(cluster)
    for node in restored:
        await node.stop()  # so that they had authority when the backup was made
        await node.start()
    await settle(cluster)
    backups = [node.backup() for node in restored]
    await forget(cluster, cluster.nodes)
    await late.kill()
    for node, backup in zip(restored, backups, strict=True):
        await node.put_back(backup)
    await cluster.settle(rounds=1)
    cluster.clock.advance(PATIENCE_S)
    await cluster.settle(rounds=2)
    assert all(cluster.serving().values()), "two of three"
    await late.start()
    for peer in ("a1", "a2"):
        cluster[peer].peers["a3"].reachable = False
    with suppress(ReplicaUnavailable):
        await late.pull("a1")
    for peer in ("a1", "a2"):
        cluster[peer].peers["a3"].reachable = True
    for _ in range(4):
        with suppress(ReplicaUnavailable):  # one or the other is being set aside meanwhile
            await cluster.settle(rounds=1)
        for node in restored:
            await eventually(lambda node=node: node.parts.replicas.get(PARTITION))  # type: ignore[misc]
    await settle(cluster)
    for name, other in cluster.nodes.items():
        revived = [number for number in DOOMED if other.holds(blob_id(number))]
        assert not revived, f"{len(revived)} deleted blobs are back on {name}"
    assert hold(cluster.nodes.values(), KEPT)


@pytest.mark.parametrize("datacenters", [(3, 3), (3,)], ids=["beside another datacenter", "alone"])
async def test_all_replicas_of_a_datacenter_that_lost_something_wait_for_no_time(
    tmp_path: Path, datacenters: tuple[int, ...]
) -> None:
    """One empty, two without their index: none has authority, and each told the others nothing of its log for 30 s, as it may
    have been put back. That the others know nothing more of it is asked, though, and asked at once."""
    cluster = DirectCluster(tmp_path, cluster_map(*datacenters))
    await cluster.start()
    await cluster.settle()
    await put(cluster.nodes.values(), range(1, 9))
    await cluster.settle()
    near = [cluster[name] for name in ("a1", "a2", "a3")]
    began_s = cluster.clock.monotonic()
    for node in near:
        directory = node.replica.store.directory
        await node.kill()
        shutil.rmtree(directory / "index")
    await near[0].wipe()
    for node in near[1:]:
        await node.start()
    assert not any(node.replica.store.authority for node in near)
    await settle(cluster)
    assert hold(near, range(1, 9))
    assert cluster.clock.monotonic() == began_s
    await cluster.stop()
