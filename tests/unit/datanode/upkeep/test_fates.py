"""What became of a blob: never called dead while somebody who would know was not heard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambry.blob import NEVER_MS, BlobState
from ambry.clustermap.model import Node, Partition
from ambry.network.pool import PeerPool
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.upkeep import Fate, FatesReply, FatesRequest
from datanode.config import CompactionSection
from datanode.store.entry import IndexEntry
from datanode.store.retention import Retention
from datanode.upkeep.fates import Fates, KnownFate, died_at, fate_of
from tests.support.direct_node import DirectCluster, cluster_map
from tests.support.samples import ALIVE, DELETED, blob_id

WRITTEN = 1_700_000_000_000
RETENTION = Retention(now_ms=WRITTEN + 100, deleted_ms=50, tombstone_ms=80, horizon_lsn=0)
DAY_S = 86_400
RETENTION_S = CompactionSection().deleted_retention_s
Answers = dict[str, KnownFate]


def partition(*datacenters: int) -> Partition:
    (made,) = cluster_map(*datacenters).partitions.values()
    return made


# --- one replica's answer ---


def entry(state: BlobState, changed_at_ms: int = WRITTEN, segment: int = 1) -> IndexEntry:
    return IndexEntry(blob_id(1), 80, segment, 80, 100, 10, state, changed_at_ms)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (entry(ALIVE), KnownFate(Fate.ALIVE, 0)),
        (entry(ALIVE, segment=0), KnownFate(Fate.ALIVE, 0)),
        (entry(DELETED, WRITTEN + 51), KnownFate(Fate.ALIVE, 0)),
        (entry(DELETED, WRITTEN + 50), KnownFate(Fate.DEAD, WRITTEN + 50)),
        (entry(DELETED, WRITTEN + 50, segment=0), KnownFate(Fate.DEAD, WRITTEN + 50)),
        (entry(BlobState(3, True, NEVER_MS)), KnownFate(Fate.DEAD, WRITTEN)),
        (entry(BlobState(0, False, WRITTEN + 51)), KnownFate(Fate.ALIVE, 0)),
        (entry(BlobState(0, False, WRITTEN + 50)), KnownFate(Fate.DEAD, WRITTEN + 50)),
    ],
)
@pytest.mark.parametrize("serving", [True, False])
def test_a_replica_that_knows_a_blob_says_what_became_of_it(
    found: IndexEntry, expected: KnownFate, serving: bool
) -> None:
    assert fate_of(found, serving=serving, retention=RETENTION) == expected


@pytest.mark.parametrize(("serving", "fate"), [(True, Fate.ABSENT), (False, Fate.UNSURE)])
def test_only_a_replica_with_authority_says_that_there_is_none(serving: bool, fate: Fate) -> None:
    assert fate_of(None, serving=serving, retention=RETENTION) == KnownFate(fate)


# --- what the answers prove together ---

ANSWER = st.builds(KnownFate, st.sampled_from(Fate), st.integers(0, 1_000))


@st.composite
def asked(draw: st.DrawFn) -> tuple[Partition, Answers]:
    """A partition, and the answers of those of its nodes that answered."""
    made = partition(*draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    names = [node.name for node in made.replicas]
    away = draw(st.lists(st.sampled_from(names), unique=True, max_size=2))
    answering = [name for name in names if name not in away]
    # Mostly dead and absent, or next to nothing would ever be proven.
    gone = st.builds(KnownFate, st.sampled_from([Fate.DEAD, Fate.ABSENT]), st.integers(0, 1_000))
    return made, {name: draw(st.one_of(gone, gone, gone, ANSWER)) for name in answering}


@given(asked())
@settings(derandomize=True, max_examples=400)
def test_nothing_that_anybody_saw_alive_is_dead(case: tuple[Partition, Answers]) -> None:
    made, answers = case
    if any(known.fate is Fate.ALIVE for known in answers.values()):
        assert died_at(made, answers) is None


@given(asked())
@settings(derandomize=True, max_examples=400)
def test_it_takes_every_replica(case: tuple[Partition, Answers]) -> None:
    made, answers = case
    said = [answers.get(node.name, KnownFate(Fate.UNSURE)).fate for node in made.replicas]
    died = died_at(made, answers)
    assert (died is not None) is all(fate in (Fate.DEAD, Fate.ABSENT) for fate in said)
    if died is not None:
        assert died == max(known.since_ms for known in answers.values())


THREE = partition(3)
GONE: Answers = {"a1": KnownFate(Fate.DEAD, 5), "a2": KnownFate(Fate.ABSENT, 0), "a3": KnownFate(Fate.DEAD, 9)}


@pytest.mark.parametrize(
    ("changed", "died"),
    [
        ({}, 9),
        ({"a2": KnownFate(Fate.UNSURE, 0)}, None),
        ({"a3": KnownFate(Fate.UNSURE, 0)}, None),
        ({"a2": KnownFate(Fate.ALIVE, 0)}, None),
        ({"a1": KnownFate(Fate.ABSENT, 0), "a3": KnownFate(Fate.ABSENT, 0)}, 0),
    ],
)
def test_three_replicas_by_example(changed: Answers, died: int | None) -> None:
    assert died_at(THREE, GONE | changed) == died


def test_answers_of_nodes_that_hold_no_replica_prove_nothing() -> None:
    assert died_at(THREE, dict.fromkeys(("b1", "b2", "b3"), KnownFate(Fate.DEAD, 1))) is None


def test_every_datacenter_has_to_agree() -> None:
    both = partition(3, 3)
    there: Answers = dict.fromkeys(("b1", "b2", "b3"), KnownFate(Fate.ABSENT, 0))
    assert died_at(both, GONE) is None
    assert died_at(both, GONE | there) == 9
    assert died_at(both, GONE | there | {"b3": KnownFate(Fate.ALIVE, 0)}) is None


# --- asking the replicas ---

ID = blob_id(1)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[DirectCluster]:
    made = DirectCluster(tmp_path, cluster_map(3, 3))
    await made.start()
    await made["a1"].put(blob_id(50), b"something, so that all get their authority")
    await made.settle()
    assert all(made.serving().values())
    yield made
    await made.stop()


async def test_what_never_was_is_dead_since_ever(cluster: DirectCluster) -> None:
    assert await cluster["a1"].parts.fates.dead([ID]) == {ID: 0}


async def test_what_lives_anywhere_is_not_dead(cluster: DirectCluster) -> None:
    await cluster["b3"].put(ID, b"x")
    assert await cluster["a1"].parts.fates.dead([ID, blob_id(2)]) == {blob_id(2): 0}
    assert await cluster["b3"].parts.fates.dead([ID]) == {}


async def test_a_deleted_blob_is_dead_after_its_retention_by_the_clock_of_its_delete(cluster: DirectCluster) -> None:
    await cluster["a1"].put(ID, b"x")
    await cluster["a1"].update(ID, DELETED)
    died = cluster.clock.wall_ms()
    await cluster.settle()
    assert await cluster["a2"].parts.fates.dead([ID]) == {}
    cluster.clock.advance(RETENTION_S)
    assert await cluster["a2"].parts.fates.dead([ID, blob_id(50)]) == {ID: died}


async def test_one_replica_that_missed_the_delete_keeps_it(cluster: DirectCluster) -> None:
    for name in ("a1", "a2", "a3"):
        await cluster[name].put(ID, b"x")
    for name in ("a1", "a2"):
        await cluster[name].update(ID, DELETED)
    cluster.clock.advance(RETENTION_S)
    assert await cluster["a1"].parts.fates.dead([ID]) == {}
    assert await cluster["b1"].parts.fates.dead([ID]) == {}


@pytest.mark.parametrize("away", [["a2"], ["b1"], ["a2", "a3"]])
async def test_who_cannot_be_asked_may_know_better(cluster: DirectCluster, away: list[str]) -> None:
    node = cluster["a1"]
    for name in away:
        node.peers[name].reachable = False
    assert await node.parts.fates.dead([ID]) == {}
    for name in away:
        node.peers[name].reachable = True
    assert await node.parts.fates.dead([ID]) == {ID: 0}


async def test_replicas_without_authority_count_as_silent(cluster: DirectCluster) -> None:
    cluster["a2"].replica.store.serving = False
    assert await cluster["a1"].parts.fates.dead([ID]) == {}


async def test_a_partition_that_the_map_does_not_have_is_not_dead(cluster: DirectCluster) -> None:
    assert await cluster["a1"].parts.fates.dead([blob_id(1, partition=99), ID]) == {ID: 0}
    assert await cluster["a1"].parts.fates.dead([]) == {}


@pytest.mark.parametrize(
    "reply",
    [FatesReply([Fate.ABSENT], [0, 0]), FatesReply([], []), FatesReply([Fate.ABSENT, Fate.ABSENT], [0])],
)
async def test_an_answer_of_the_wrong_length_is_no_answer(cluster: DirectCluster, reply: FatesReply) -> None:
    """Its fates would be taken for those of other blobs."""
    node = cluster["a1"]

    def tamper(kind: int, frame: Frame) -> Frame:
        return msgspec.structs.replace(frame, header=messages.encode(reply)) if kind == MessageType.FATES else frame

    for name in ("a2", "a3"):
        node.peers[name].tamper = tamper
    assert await node.parts.fates.dead([ID, blob_id(2)]) == {}


async def test_several_partitions_are_asked_at_once_each_of_its_own_nodes(tmp_path: Path) -> None:
    cluster = DirectCluster(tmp_path, cluster_map(3, partitions=(7, 8)))
    await cluster.start()
    for node in cluster.nodes.values():
        for replica in node.parts.replicas.all():
            replica.store.serving = replica.store.vouched = True
    await cluster["a2"].put(blob_id(2, partition=8), b"x")
    wanted = [blob_id(1, partition=7), blob_id(2, partition=8), blob_id(3, partition=8)]
    assert await cluster["a1"].parts.fates.dead(wanted) == {wanted[0]: 0, wanted[2]: 0}
    asked = [message for message in cluster["a1"].peers["a2"].asked if isinstance(message, FatesRequest)]
    assert sorted(map(len, (msgspec.structs.asdict(message)["ids"] for message in asked))) == [1, 2]
    await cluster.stop()


async def test_a_node_that_holds_no_replica_asks_the_others(cluster: DirectCluster) -> None:
    """The parent of a chunk may live in a partition of which this node has none."""
    outsider = Node(name="z9", datacenter="dc1", datacenter_id=1, host="direct", port=999)
    asking = Fates(
        cluster_map=cluster.map,
        own_name=outsider.name,
        pool=cast(PeerPool, {**cluster["b1"].peers, "b1": cluster["a1"].peers["b1"]}),
        local=lambda _ids: pytest.fail("it has nothing to say itself"),
    )
    assert await asking.dead([ID]) == {ID: 0}
    await cluster["a3"].put(ID, b"x")
    assert await asking.dead([ID]) == {}
