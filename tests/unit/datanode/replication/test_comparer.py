"""Anti-entropy between nodes: what no log tells any more is found by digests, and got.

Three histories that once lost blobs for good stand here with their own remedies taken out: a replica that passed over blobs by
its clock, a compaction that dropped living ones, and a directory put back from a backup. Each used to say "not found" with
authority, its cursors at the end of every log.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ambry.blob import NEVER_MS, BlobState
from ambry.errors import BlobNotFound, ReplicaUnavailable
from ambry.protocol.messages.replication import DigestsRequest, EntriesRequest
from datanode.config import CompactionSection
from datanode.replication.digest import Comparison
from datanode.replication.merger import Taken
from datanode.store.ranges import SIZE_MAX
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.planted import believe_a_directory, pass_over_what_may_have_expired, trust_any_clock
from tests.support.samples import ALIVE, DELETED, PARTITION, blob_id, content

DAY_S = 86_400
DAY_MS = DAY_S * 1000
NAMES = ("a1", "a2", "a3")


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing moves here unless a test moves it."""
    monkeypatch.setattr("datanode.replication.comparison.PATIENCE_S", 0.0)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[DirectCluster]:
    made = DirectCluster(tmp_path, cluster_map(3), sections={"compaction": CompactionSection(dead_share_min=0.05)})
    await made.start()
    await made.settle()
    yield made
    await made.stop()


async def put(nodes: Iterable[DirectNode], numbers: Iterable[int], state: BlobState = ALIVE) -> None:
    for number in numbers:
        for node in nodes:
            await node.put(blob_id(number), content(number, 700), state=state)


def forget(node: DirectNode, number: int) -> None:
    """A blob is gone from an index, and nothing tells."""
    node.replica.store.index.remove(blob_id(number))


async def compare(node: DirectNode, peer: str, *, repair: bool = True) -> Comparison:
    return await node.parts.comparer.compare(node.replica, node.peers[peer], repair=repair, fresh=True)  # type: ignore[arg-type]


async def everybody(cluster: DirectCluster, *, repair: bool) -> list[dict[str, Any]]:
    wanted = "repair" if repair else "verify"
    return [
        {"node": name, **line}
        for name in sorted(cluster.running)
        for line in await getattr(cluster[name].parts.comparer, wanted)(PARTITION, b"")
    ]


async def all_complete(cluster: DirectCluster) -> bool:
    return all(line["complete"] for line in await everybody(cluster, repair=False))


def hold(nodes: Iterable[DirectNode], numbers: Iterable[int]) -> bool:
    return all(node.holds(blob_id(number)) for node in nodes for number in numbers)


async def test_replicas_that_hold_the_same_are_equal_and_ask_two_questions(cluster: DirectCluster) -> None:
    await put([cluster["a1"]], range(1, 20))
    await put([cluster["a2"]], range(20, 40))
    await cluster["a2"].update(blob_id(20), DELETED)
    await cluster["a3"].update(blob_id(5), DELETED)
    await cluster.settle()
    node = cluster["a1"]
    node.peers["a2"].asked.clear()
    assert await compare(node, "a2") == Comparison()
    assert [type(item) for item in node.peers["a2"].asked] == [DigestsRequest]
    assert await all_complete(cluster)


async def test_a_blob_that_no_log_tells_of_any_more_is_found_and_got(cluster: DirectCluster) -> None:
    await put([cluster["a1"]], range(1, 20))
    await cluster.settle()
    node = cluster["a2"]
    forget(node, 7)
    await cluster.settle()
    with pytest.raises(BlobNotFound):
        await node.get(blob_id(7))
    assert (await compare(node, "a1", repair=False)).lacking == 1
    assert not node.holds(blob_id(7)), "to verify changes nothing"
    assert await compare(node, "a1") == Comparison(lacking=1, repaired=1)
    assert (await node.get(blob_id(7)))[1] == content(7, 700)
    assert await all_complete(cluster)
    assert node.replica.store.authority


async def test_who_lacks_something_is_the_one_to_find_it(cluster: DirectCluster) -> None:
    await put([cluster["a1"]], range(1, 5))
    await cluster.settle()
    forget(cluster["a2"], 2)
    assert await compare(cluster["a1"], "a2") == Comparison()
    assert await compare(cluster["a2"], "a1") == Comparison(lacking=1, repaired=1)


@pytest.mark.parametrize(
    ("here", "there"),
    [
        (ALIVE, DELETED),
        (ALIVE, BlobState(1, False, NEVER_MS)),
        (BlobState(0, False, 5 * DAY_MS), ALIVE),
        (DELETED, BlobState(1, False, NEVER_MS)),
    ],
)
async def test_a_state_that_never_came_is_joined(cluster: DirectCluster, here: BlobState, there: BlobState) -> None:
    await put([cluster["a1"]], range(1, 5))
    await cluster.settle()
    for name, state in (("a1", there), ("a2", here)):
        store = cluster[name].replica.store
        entry = store.lookup(blob_id(3))
        assert entry is not None
        store.index.move(msgspec.structs.replace(entry, state=state))
    assert (await compare(cluster["a2"], "a1")).repaired == 1
    assert cluster["a2"].state(blob_id(3)) == there


@pytest.mark.parametrize("seed", range(6))
async def test_any_difference_is_found_and_nothing_else(cluster: DirectCluster, seed: int) -> None:
    source = random.Random(seed)
    await put([cluster["a1"]], range(1, 40))
    await cluster.settle()
    node, peer = cluster["a2"], cluster["a1"]
    lacking = 0
    for number in source.sample(range(1, 40), source.randrange(1, 12)):
        kind = source.choice(["absent here", "absent there", "without bytes", "deleted there", "deleted here", "moved"])
        store = (peer if kind.endswith("there") else node).replica.store
        entry = store.lookup(blob_id(number))
        assert entry is not None
        if kind.startswith("absent"):
            store.index.remove(entry.id)
        elif kind == "without bytes":
            store.index.move(msgspec.structs.replace(entry, segment=0, offset=0, size=0, payload_size=0))
        elif kind.startswith("deleted"):
            store.index.move(msgspec.structs.replace(entry, state=DELETED))
        else:
            store.index.move(msgspec.structs.replace(entry, changed_at_ms=entry.changed_at_ms + 1, repaired=True))
        lacking += kind in ("absent here", "without bytes", "deleted there")
    assert (await compare(node, "a1", repair=False)).lacking == lacking
    assert (await compare(node, "a1")).repaired == lacking
    for _ in range(2):
        await cluster.settle()
        await everybody(cluster, repair=True)
    await cluster.settle()
    assert await all_complete(cluster)
    for number in range(1, 40):
        assert len({each.state(blob_id(number)) for each in cluster.nodes.values()}) == 1


async def test_what_is_on_its_way_is_no_difference(cluster: DirectCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    await put([cluster["a1"]], range(1, 5))
    await cluster.settle()
    await put([cluster["a1"]], range(5, 9))
    node = cluster["a2"]

    async def passes_meanwhile(*_: object) -> bool:
        await node.pull("a1")
        return True

    monkeypatch.setattr(node.parts.comparer._pair, "_passed", passes_meanwhile)
    assert not (await compare(node, "a1")).lacking
    assert hold([node], range(1, 9))


async def test_while_it_is_not_there_yet_nothing_is_said(cluster: DirectCluster) -> None:
    await put([cluster["a1"]], range(1, 5))
    result = await compare(cluster["a2"], "a1")
    assert result.undecided
    assert not result.lacking
    assert cluster["a2"].replica.store.authority


async def test_tombstones_that_one_has_dropped_make_no_difference(cluster: DirectCluster) -> None:
    await put([cluster["a1"]], range(1, 9))
    await cluster.settle()
    await cluster["a1"].update(blob_id(3), DELETED)
    await cluster.settle()
    forget(cluster["a2"], 3)
    for name, peer in (("a1", "a2"), ("a2", "a1")):
        cluster[name].peers[peer].asked.clear()
        assert await compare(cluster[name], peer) == Comparison()
        assert [type(item) for item in cluster[name].peers[peer].asked] == [DigestsRequest]


async def test_a_replica_that_lacks_what_the_peer_cannot_give_has_no_authority_until_it_has_it(
    cluster: DirectCluster,
) -> None:
    await put([cluster["a1"]], range(1, 5))
    await cluster.settle()
    node = cluster["a2"]
    forget(node, 2)
    node.peers["a3"].reachable = False
    real = node.parts.comparer._pair._take_in

    async def goes_bad_meanwhile(*args: Any) -> Taken:
        cluster["a1"].replica.store.damaged.add(blob_id(2))
        return await real(*args)

    node.parts.comparer._pair._take_in = goes_bad_meanwhile
    assert await compare(node, "a1") == Comparison(lacking=1)
    await node.pull("a1")
    await node.heal()
    with pytest.raises(ReplicaUnavailable):
        await node.get(blob_id(2))
    assert not node.replica.store.authority
    assert not (await compare(node, "a1")).lacking, "counted once"
    node.peers["a3"].reachable = True
    cluster.clock.advance(60)
    await node.heal()
    await node.pull("a1")
    assert node.holds(blob_id(2))
    assert node.replica.store.authority


async def test_a_crash_before_the_repair_forgets_nothing(cluster: DirectCluster) -> None:
    await put([cluster["a1"]], range(1, 5))
    await cluster.settle()
    node = cluster["a2"]
    forget(node, 2)

    async def fails(*_: object) -> Taken:
        raise ReplicaUnavailable("no")

    node.parts.comparer._pair._take_in = fails
    assert await compare(node, "a1") == Comparison(lacking=1)
    await node.parts.checkpointer.checkpoint(node.replica)
    await node.kill()
    await node.start()
    assert not node.holds(blob_id(2))
    await cluster.settle()
    assert node.holds(blob_id(2))
    assert node.replica.store.authority


async def test_that_there_is_more_than_is_looked_at_is_said(
    cluster: DirectCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More than 50,000 differences looked like exactly as many, and like none where those came meanwhile."""
    monkeypatch.setattr("datanode.replication.comparison.CANDIDATES_MAX", 1)
    node, other = cluster["a1"], cluster["a2"]
    await put([node], [1])
    await cluster.settle()
    await hold_alike_but_for(node, other, {1_500, 6_500})
    found = await compare(node, "a2", repair=False)
    assert (found.lacking, found.more, found.complete) == (1, True, False)
    monkeypatch.setattr("datanode.replication.comparison.CANDIDATES_MAX", 3)
    found = await compare(node, "a2", repair=False)
    assert (found.lacking, found.more) == (2, False)


async def hold_alike_but_for(node: DirectNode, other: DirectNode, numbers: set[int]) -> None:
    """Some ranges of entries like that of blob 1 on both, but that the first one lacks these."""
    sample = node.replica.store.lookup(blob_id(1))
    assert sample is not None
    for each in (node, other):
        for number in range(1_000, 1_000 + 3 * SIZE_MAX):
            if each is other or number not in numbers:
                each.replica.store.index.move(
                    type(sample)(blob_id(number), 1, 1, 64, sample.size, sample.payload_size, ALIVE, 0)
                )
        await each.parts.checkpointer.checkpoint(each.replica)
        while each.replica.store.digests.untidy:
            await each.parts.comparer.tidy()


async def test_only_ranges_that_differ_are_looked_into(cluster: DirectCluster) -> None:
    node, other = cluster["a1"], cluster["a2"]
    await put([node], [1])
    await cluster.settle()
    await hold_alike_but_for(node, other, {2_345})
    node.peers["a2"].asked.clear()
    assert (await compare(node, "a2", repair=False)).lacking == 1
    asked = node.peers["a2"].asked
    listed = [item for item in asked if isinstance(item, EntriesRequest)]
    assert len(listed) <= 3
    assert len(asked) - len(listed) <= 4


async def test_across_datacenters(tmp_path: Path) -> None:
    cluster = DirectCluster(tmp_path, cluster_map(2, 2))
    await cluster.start()
    await cluster.settle()
    await put([cluster["a1"]], range(1, 9))
    await cluster.settle()
    for name in ("a1", "a2"):
        forget(cluster[name], 4)
    assert (await compare(cluster["a1"], "a2")).complete, "its siblings do not know either"
    assert (await compare(cluster["a1"], "b1")).repaired == 1
    await cluster.settle()
    assert hold(cluster.nodes.values(), range(1, 9))
    await cluster.stop()


async def test_the_schedule_reaches_every_pair_and_then_rests(cluster: DirectCluster) -> None:
    await put([cluster["a1"]], range(1, 9))
    await cluster.settle()
    node = cluster["a3"]
    forget(node, 4)
    for each in cluster.nodes.values():
        await each.parts.checkpointer.checkpoint(each.replica)
    for _ in range(2):
        await node.tick("compare")
    assert node.holds(blob_id(4))
    lines = node.parts.comparer.describe()
    assert {line["peer"] for line in lines} == {"a1", "a2"}
    asked = len(node.peers["a1"].asked)
    assert await node.tick("compare") > 0
    assert len(node.peers["a1"].asked) == asked


async def test_a_peer_that_is_away_or_does_not_know_itself_is_no_difference(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    node.peers["a2"].reachable = False
    assert (await compare(node, "a2")).undecided
    cluster["a3"].replica.store.vouched = False
    assert (await compare(node, "a3")).undecided


async def test_a_blob_that_may_have_been_deleted_long_ago_comes_back_only_when_two_hold_it(
    cluster: DirectCluster,
) -> None:
    """The tombstone is dropped, and one replica that missed it must not bring the blob back."""
    await put([cluster["a1"]], range(1, 5))
    await cluster.settle()
    cluster.clock.advance(40 * DAY_S)
    await cluster.settle()
    node = cluster["a3"]
    node.replica.store.identity.note_purged(10)
    forget(node, 2)
    assert await compare(node, "a1") == Comparison(doubtful=1)
    await cluster.settle()
    assert not node.holds(blob_id(2))
    assert await compare(node, "a2") == Comparison(lacking=1, repaired=1)
    assert node.holds(blob_id(2)), "so it is this one that lost it"


# --- three histories, without their own remedies ---


async def test_blobs_that_were_passed_over_by_a_wrong_clock_are_found(
    cluster: DirectCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = cluster["a3"]
    first = cluster.clock.wall_ms()
    state = BlobState(0, False, cluster.clock.wall_ms() + 20 * 3_600_000)
    with monkeypatch.context() as patch:
        pass_over_what_may_have_expired(patch)
        trust_any_clock(patch)
        node.clock.ahead_ms = DAY_MS
        await put([cluster["a1"]], range(first, first + 5), state)
        await cluster.settle()
    node.clock.ahead_ms = 0
    await cluster.settle()
    assert not hold([node], [first]), "this history is about what it does not have"
    await everybody(cluster, repair=True)
    assert hold([node], range(first, first + 5))
    assert await all_complete(cluster)


async def test_blobs_that_a_compaction_dropped_are_found(
    cluster: DirectCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = cluster["a1"]
    first = cluster.clock.wall_ms()
    state = BlobState(0, False, cluster.clock.wall_ms() + 30 * DAY_MS)
    for number in range(first, first + 7):
        await node.put(blob_id(number), content(number, 9_000), state=state)
    await put([node], [500])
    count, number = node.replica.store.segment_count(), 1_000
    while node.replica.store.segment_count() == count:
        await node.put(blob_id(number), content(number, 9_000))
        number += 1
    await cluster.settle()
    await node.parts.checkpointer.checkpoint(node.replica)
    with monkeypatch.context() as patch:
        trust_any_clock(patch)
        node.clock.ahead_ms = 40 * DAY_MS
        while await node.parts.compactor.compact(node.replica):
            pass
    node.clock.ahead_ms = 0
    await cluster.settle()
    assert not hold([node], [first]), "this history is about what it dropped"
    await everybody(cluster, repair=True)
    assert hold([node], range(first, first + 7))
    assert node.replica.store.authority
    assert await all_complete(cluster)


async def test_what_went_into_a_log_that_was_put_back_is_found(
    cluster: DirectCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LSNs that peers have passed are given again: they would never ask for what stands there."""
    believe_a_directory(monkeypatch)
    node = cluster["a1"]
    await put([node], range(1, 4))
    await cluster.settle()
    backup = node.backup()
    await put([node], range(4, 180))
    await cluster["a2"].update(blob_id(1), DELETED)
    await cluster.settle()
    await node.put_back(backup)
    await put([node], range(1000, 1020))
    await cluster.settle()
    assert not hold([cluster["a2"]], range(1000, 1020)), "this history is about what never left it"
    await everybody(cluster, repair=True)
    await cluster.settle()
    assert hold(cluster.nodes.values(), [*range(2, 180), *range(1000, 1020)])
    assert [each.state(blob_id(1)) for each in cluster.nodes.values()] == 3 * [DELETED]
    assert await all_complete(cluster)
