"""Chunks whose blob is gone: found, buried with their parent, and nobody else's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ambry.blob import NEVER_MS, BlobProperties, BlobState
from ambry.checksum import digest
from ambry.errors import Overloaded
from ambry.format.properties import encode_properties
from ambry.format.record import Record, RecordKind
from ambry.ids import IdKind
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.blobs import PutRequest
from datanode.config import CompactionSection, SweepSection
from datanode.replicas import Replica
from datanode.store.entry import IndexEntry
from datanode.store.segment import segment_name
from datanode.upkeep import sweeper as sweeper_module
from datanode.upkeep.fates import FateOracle
from datanode.upkeep.sweeper import ChunkSweeper, MakeDurable
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.eventually import eventually
from tests.support.samples import DELETED, PARTITION, blob_id, content, rot_index

DAY_S = 86_400
GRACE_S = SweepSection().grace_s
RETENTION_S = CompactionSection().deleted_retention_s
SIZE = 3_000
BACK = BlobState(1, False, NEVER_MS)


def parent_id(number: int) -> bytes:
    return blob_id(1_000_000 + number, kind=IdKind.COMPOSITE)


def chunk_id(number: int) -> bytes:
    return blob_id(number, kind=IdKind.CHUNK)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeper_module, "PAUSE_S", 0)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[DirectCluster]:
    made = DirectCluster(tmp_path, cluster_map(3, 3))
    await made.start()
    for node in made.nodes.values():
        node.replica.store.serving = node.replica.store.vouched = True
    yield made
    await made.stop()


class FixedOracle:
    """Knows who is dead, and who was asked for."""

    def __init__(self, dead: dict[bytes, int]) -> None:
        self._dead = dead
        self.asked: list[list[bytes]] = []

    async def dead(self, ids: Sequence[bytes]) -> dict[bytes, int]:
        self.asked.append(list(ids))
        return {blob: since for blob, since in self._dead.items() if blob in ids}


def sweeper(
    node: DirectNode, oracle: FateOracle, *, make_durable: MakeDurable | None = None, **config: Any
) -> ChunkSweeper:
    """A sweeper of this node that asks an oracle of the test's own."""
    made = ChunkSweeper(
        node.parts.replicas,
        disk=node.parts.disk,
        config=SweepSection(**config),
        clock=node.clock,
        doubt=node.parts.clocks.judge.doubt,
        oracle=oracle,
        make_durable=make_durable or node.parts.intake.append,
    )
    made.opened(node.replica)
    return made


async def put_chunk(
    node: DirectNode,
    number: int,
    parent: bytes,
    *,
    state: BlobState | None = None,
    raw_id: bytes = b"",
    created_at_ms: int | None = None,
    keep_s: int = 0,
) -> None:
    payload = content(number, SIZE)
    properties = BlobProperties(
        size=len(payload), digest=digest(payload), parent=parent, chunk_index=number, keep_s=keep_s
    )
    request = PutRequest(
        "r",
        raw_id or chunk_id(number),
        RecordKind.CHUNK,
        node.clock.wall_ms() if created_at_ms is None else created_at_ms,
        NEVER_MS if state is None else state.expires_at_ms,
        encode_properties(properties),
        b"",
        digest(payload),
        True,
    )
    await node.ask(MessageType.PUT, request, payload)
    note_age(node)


def note_age(node: DirectNode) -> None:
    """What the next checkpoint does: from now on what is here gets older."""
    node.replica.store.age.mark(node.replica.store.end_lsn)


def entry(node: DirectNode, number: int) -> IndexEntry:
    found = node.replica.store.lookup(chunk_id(number))
    assert found is not None, number
    return found


async def expect_stays(node: DirectNode, number: int) -> None:
    end = node.replica.store.end_lsn
    assert await node.parts.sweeper.sweep(node.replica) == 0
    assert not entry(node, number).state.deleted
    assert node.replica.store.end_lsn == end, "nothing was written"


async def everywhere(cluster: DirectCluster, raw_id: bytes) -> None:
    for node in cluster.nodes.values():
        await node.put(raw_id, b"composite")


# --- beside others ---


async def test_a_sweep_walks_through_the_index_on_a_disk_thread(
    cluster: DirectCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every start the sweep of all replicas was due, and read their whole indexes on the event loop."""
    node = cluster["a1"]
    for number in range(30):
        await put_chunk(node, number, parent_id(1))
    await node.parts.checkpointer.checkpoint(node.replica)
    threads: set[int] = set()
    node.files.before_tables = lambda _call, _directory: threads.add(threading.get_ident())
    monkeypatch.setattr(sweeper_module, "PAGE", 10)
    cluster.clock.advance(GRACE_S + 1)
    assert await node.parts.sweeper.sweep(node.replica) == 30
    assert threads
    assert threading.get_ident() not in threads


async def test_a_sweep_rests_while_the_event_loop_is_busy(
    cluster: DirectCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = cluster["a1"]
    await put_chunk(node, 1, parent_id(1))
    take = sweeper_module._take

    def slowly(entries: Iterator[IndexEntry]) -> list[IndexEntry]:
        cluster.clock.advance(0.01)
        return take(entries)

    rests: list[float] = []

    async def sleep(seconds: float) -> None:
        rests.append(seconds)

    monkeypatch.setattr(sweeper_module, "_take", slowly)
    monkeypatch.setattr(cluster.clock, "pause", sleep)
    node.parts.disk.load = lambda: 1.0
    await node.parts.sweeper.sweep(node.replica)
    assert rests
    assert min(rests) >= 0.1


# --- who lives ---


@pytest.mark.parametrize("holder", ["a1", "a2", "b3"])
async def test_a_chunk_lives_while_anybody_knows_its_parent(cluster: DirectCluster, holder: str) -> None:
    """In b3 alone: this datacenter may not have heard of it yet."""
    await put_chunk(cluster["a1"], 1, parent_id(1))
    await cluster[holder].put(parent_id(1), b"composite")
    cluster.clock.advance(GRACE_S + 1)
    await expect_stays(cluster["a1"], 1)
    cluster.clock.advance(1_000 * RETENTION_S)
    await expect_stays(cluster["a1"], 1)


async def test_a_chunk_of_an_upload_that_may_still_end_stays(cluster: DirectCluster) -> None:
    await put_chunk(cluster["a1"], 1, parent_id(1))
    cluster.clock.advance(GRACE_S - 1)
    await expect_stays(cluster["a1"], 1)
    cluster.clock.advance(1)
    assert await cluster["a1"].parts.sweeper.sweep(cluster["a1"].replica) == 1


async def test_a_chunk_whose_upload_never_ended_goes(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    await put_chunk(node, 1, parent_id(1))
    cluster.clock.advance(GRACE_S)
    assert await node.parts.sweeper.sweep(node.replica) == 1
    buried = entry(node, 1)
    assert buried.state == BlobState(0, True, NEVER_MS)
    assert buried.changed_at_ms == node.clock.wall_ms(), "its retention begins, whatever clock its upload had"
    assert await node.parts.sweeper.sweep(node.replica) == 0


async def test_a_chunk_of_a_deleted_blob_stays_while_an_undelete_may_come(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    await put_chunk(node, 1, parent_id(1))
    await everywhere(cluster, parent_id(1))
    cluster.clock.advance(GRACE_S)
    for other in cluster.nodes.values():
        await other.update(parent_id(1), DELETED)
    cluster.clock.advance(RETENTION_S - 1)
    await expect_stays(node, 1)
    await cluster["b2"].update(parent_id(1), BlobState(1, False, NEVER_MS))
    cluster.clock.advance(RETENTION_S)
    await expect_stays(node, 1)


async def test_a_chunk_of_a_blob_deleted_for_good_goes_with_the_time_of_its_death(cluster: DirectCluster) -> None:
    """Its own retention is over when its parent's is: the space comes back at once, and once only."""
    node = cluster["a1"]
    for number in range(1, 12):
        await put_chunk(node, number, parent_id(1))
    await put_chunk(node, 50, parent_id(2))
    await everywhere(cluster, parent_id(1))
    await everywhere(cluster, parent_id(2))
    for other in cluster.nodes.values():
        await other.update(parent_id(1), DELETED)
    died = cluster.clock.wall_ms()
    cluster.clock.advance(RETENTION_S)
    assert await node.parts.sweeper.sweep(node.replica) == 11
    for number in range(1, 12):
        assert entry(node, number).state.deleted
        assert entry(node, number).changed_at_ms == died
    assert not entry(node, 50).state.deleted
    count = node.replica.store.segment_count()
    filler = 2_000_000
    while node.replica.store.segment_count() == count:
        await node.put(blob_id(filler), content(filler, 9_000))
        filler += 1
    await node.parts.checkpointer.checkpoint(node.replica)
    before = node.replica.store.size_bytes()
    assert await node.parts.compactor.compact(node.replica)
    assert node.replica.store.size_bytes() <= before - 11 * (SIZE - 200)
    assert [entry(node, number).present for number in (*range(1, 12), 50)] == [False] * 11 + [True]
    assert node.parts.healer.describe() == [], "nothing that went is needed"


async def test_a_chunk_of_an_expired_blob_goes(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    expiring = BlobState(0, False, cluster.clock.wall_ms() + 1_000)
    # A chunk has its parent's expiry; one whose parent was prolonged since may have a later one.
    await put_chunk(node, 1, parent_id(1))
    for other in cluster.nodes.values():
        await other.put(parent_id(1), b"composite", state=expiring)
    cluster.clock.advance(RETENTION_S)
    await expect_stays(node, 1)
    cluster.clock.advance(1)
    assert await node.parts.sweeper.sweep(node.replica) == 1
    assert entry(node, 1).changed_at_ms == expiring.expires_at_ms


# --- who has to be heard ---


@pytest.mark.parametrize("away", [["a2"], ["b3"], ["a3", "b2"], ["b1", "b2", "b3"]])
async def test_nothing_goes_while_a_replica_cannot_be_asked(cluster: DirectCluster, away: list[str]) -> None:
    node = cluster["a1"]
    await put_chunk(node, 1, parent_id(1))
    cluster.clock.advance(GRACE_S)
    for name in away:
        node.peers[name].reachable = False
    await expect_stays(node, 1)
    for name in away:
        node.peers[name].reachable = True
    assert await node.parts.sweeper.sweep(node.replica) == 1


async def test_an_undelete_that_one_replica_alone_heard_of_finds_its_chunks(cluster: DirectCluster) -> None:
    """It was cut off then, all the others called the blob dead, and when it was back the blob lived without its bytes."""
    for node in cluster.nodes.values():
        await node.put(parent_id(1), b"composite")
        await put_chunk(node, 1, parent_id(1))
        await node.update(parent_id(1), DELETED)
    await cluster.settle()
    cluster.clock.advance(RETENTION_S - 30)
    await cluster["a1"].update(parent_id(1), BACK, deleted_at_ms=cluster.clock.wall_ms() - (RETENTION_S - 30) * 1000)
    others = [node for name, node in cluster.nodes.items() if name != "a1"]
    for node in others:
        node.peers["a1"].reachable = cluster["a1"].peers[node.name].reachable = False
    cluster.clock.advance(60)
    for node in others:
        await expect_stays(node, 1)
    for node in others:
        node.peers["a1"].reachable = cluster["a1"].peers[node.name].reachable = True
    await cluster.settle()
    assert {node.state(parent_id(1)) for node in cluster.nodes.values()} == {BACK}
    for node in cluster.nodes.values():
        assert await node.parts.sweeper.sweep(node.replica) == 0
        assert node.holds(chunk_id(1)) and not entry(node, 1).state.deleted


async def test_the_tombstone_of_a_chunk_reaches_its_other_replicas(cluster: DirectCluster) -> None:
    for name in ("a1", "a2", "b1"):
        await put_chunk(cluster[name], 1, parent_id(1))
    cluster.clock.advance(GRACE_S)
    assert await cluster["b1"].parts.sweeper.sweep(cluster["b1"].replica) == 1
    await cluster.settle()
    for node in cluster.nodes.values():
        state = node.state(chunk_id(1))
        assert state is None or state.deleted, node.name


# --- what is no orphan ---


async def test_only_chunks_with_a_parent_are_swept(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    await put_chunk(node, 5, parent_id(1), raw_id=blob_id(5))
    await node.put(parent_id(9), b"a composite")
    await put_chunk(node, 1, b"")
    await put_chunk(node, 2, b"no id at all")
    await put_chunk(node, 3, parent_id(1))
    await node.update(chunk_id(3), DELETED)
    cluster.clock.advance(RETENTION_S)
    oracle = FixedOracle({b"": 0, b"no id at all": 0, parent_id(1): 0})
    assert await sweeper(node, oracle).sweep(node.replica) == 0
    assert [node.state(raw_id) for raw_id in (blob_id(5), parent_id(9))] == [BlobState(0, False, NEVER_MS)] * 2
    assert not entry(node, 1).state.deleted
    assert not entry(node, 2).state.deleted


async def test_a_chunk_that_cannot_be_read_is_left_to_the_scrub(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    for number in (1, 2):
        await put_chunk(node, number, parent_id(1))
    damaged = entry(node, 1)
    node.files.flip(node.replica.store.directory / segment_name(damaged.segment), damaged.offset + 60)
    cluster.clock.advance(GRACE_S)
    assert await node.parts.sweeper.sweep(node.replica) == 1
    assert [entry(node, number).state.deleted for number in (1, 2)] == [False, True]


async def test_a_tombstone_keeps_what_else_is_known_of_its_chunk(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    later = cluster.clock.wall_ms() + 10 * RETENTION_S * 1000
    await put_chunk(node, 1, parent_id(1), state=BlobState(0, False, later))
    await node.update(chunk_id(1), BlobState(3, False, later))
    note_age(node)
    cluster.clock.advance(GRACE_S)
    assert await node.parts.sweeper.sweep(node.replica) == 1
    assert entry(node, 1).state == BlobState(3, True, later)


# --- the round ---


@pytest.mark.parametrize("page", [1, 3, 4, 1_000])
async def test_every_chunk_is_looked_at_whatever_the_page(
    cluster: DirectCluster, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(sweeper_module, "PAGE", page)
    node = cluster["a1"]
    await everywhere(cluster, parent_id(0))
    for number in range(1, 13):
        await put_chunk(node, number, parent_id(number % 2))
    cluster.clock.advance(GRACE_S)
    assert await node.parts.sweeper.sweep(node.replica) == 6
    assert [number for number in range(1, 13) if entry(node, number).state.deleted] == [1, 3, 5, 7, 9, 11]


async def test_a_parent_is_asked_for_once_a_page(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    for number in range(1, 9):
        await put_chunk(node, number, parent_id(number % 2))
    cluster.clock.advance(GRACE_S)
    oracle = FixedOracle({})
    assert await sweeper(node, oracle).sweep(node.replica) == 0
    assert oracle.asked == [[parent_id(0), parent_id(1)]]


async def test_what_is_put_during_the_round_does_not_keep_it_from_ending(
    cluster: DirectCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper_module, "PAGE", 2)
    node = cluster["a1"]
    for number in range(1, 7):
        await put_chunk(node, number, parent_id(1))
    cluster.clock.advance(GRACE_S)

    class Busy(FixedOracle):
        async def dead(self, ids: Sequence[bytes]) -> dict[bytes, int]:
            await put_chunk(node, 100 + len(self.asked), parent_id(1))
            return await super().dead(ids)

    oracle = Busy({parent_id(1): 0})
    async with asyncio.timeout(60):
        assert await sweeper(node, oracle).sweep(node.replica) == 6
    assert [entry(node, 100 + number).state.deleted for number in range(len(oracle.asked))] == [False] * 3


async def test_a_fenced_replica_is_left_alone(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    await put_chunk(node, 1, parent_id(1))
    cluster.clock.advance(GRACE_S)
    node.replica.store.fence("a test")
    oracle = FixedOracle({parent_id(1): 0})
    assert await sweeper(node, oracle).sweep(node.replica) == 0
    assert oracle.asked == []


async def test_a_full_write_queue_is_the_callers_trouble_and_nothing_is_counted(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    await put_chunk(node, 1, parent_id(1))
    cluster.clock.advance(GRACE_S)

    async def full(_replica: Replica, _records: Sequence[Record]) -> None:
        raise Overloaded("full")

    busy = sweeper(node, FixedOracle({parent_id(1): 0}), make_durable=full)
    with pytest.raises(Overloaded):
        await busy.sweep(node.replica)
    assert not entry(node, 1).state.deleted
    assert await node.parts.sweeper.sweep(node.replica) == 1


async def test_a_damaged_index_is_rebuilt_and_the_round_ends(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    await put_chunk(node, 1, parent_id(1))
    cluster.clock.advance(GRACE_S)
    before = node.replica
    await node.parts.checkpointer.checkpoint(before)
    rot_index(before.store, chunk_id(1))
    assert await node.parts.sweeper.sweep(before) == 0
    await eventually(lambda: node.parts.replicas.get(PARTITION) not in (None, before))
    assert node.replica.store.opened.rebuilt
    node.replica.store.serving = node.replica.store.vouched = True
    assert await node.parts.sweeper.sweep(node.replica) == 0, "nobody knows any more how old it is"
    note_age(node)
    cluster.clock.advance(GRACE_S)
    assert await node.parts.sweeper.sweep(node.replica) == 1


async def test_a_round_is_made_when_the_replica_was_open_for_an_interval(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    oracle = FixedOracle({})
    made = sweeper(node, oracle, interval_s=1_000.0)
    await put_chunk(node, 1, parent_id(1))
    cluster.clock.advance(GRACE_S)
    for rounds, wait in ((1, 0.0), (1, 999.0), (2, 1.0), (2, 0.0)):
        cluster.clock.advance(wait)
        assert 0 < await made.tick() <= 1_000
        assert len(oracle.asked) == rounds


async def test_a_restart_does_not_begin_the_rounds_anew(cluster: DirectCluster) -> None:
    """After every start the sweep of all replicas was due at once."""
    node = cluster["a1"]
    await put_chunk(node, 1, parent_id(1))
    cluster.clock.advance(GRACE_S)
    await sweeper(node, FixedOracle({})).tick()
    cluster.clock.advance(SweepSection().interval_s - 1)
    await node.stop()
    await node.start()
    oracle = FixedOracle({})
    await sweeper(node, oracle).tick()
    assert oracle.asked == []
    cluster.clock.advance(1)
    await sweeper(node, oracle).tick()
    assert oracle.asked == [[parent_id(1)]]


# --- clocks ---


@pytest.mark.parametrize("ahead_s", [-9 * DAY_S, -3_600, 40 * DAY_S])
async def test_the_clock_of_a_frontend_says_nothing_about_the_age_of_its_chunks(
    cluster: DirectCluster, ahead_s: int
) -> None:
    """A frontend nine days behind: its chunks were taken for abandoned while it sent them, and the blob was lost."""
    node = cluster["a1"]
    for number in range(1, 6):
        await put_chunk(node, number, parent_id(1), created_at_ms=node.clock.wall_ms() + ahead_s * 1000)
    cluster.clock.advance(GRACE_S - 1)
    for number in range(1, 6):
        await expect_stays(node, number)
    cluster.clock.advance(1)
    assert await node.parts.sweeper.sweep(node.replica) == 5
    for number in range(1, 6):
        assert entry(node, number).changed_at_ms >= node.clock.wall_ms(), "its bytes stay for the retention"


async def test_a_jump_of_the_own_clock_makes_no_chunk_older(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    await put_chunk(node, 1, parent_id(1))
    cluster.clock.wall += 400 * DAY_S * 1000
    await expect_stays(node, 1)
    cluster.clock.advance(GRACE_S - 1)
    await expect_stays(node, 1)


async def test_age_counts_over_clean_restarts(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    await put_chunk(node, 1, parent_id(1))
    cluster.clock.advance(GRACE_S - 10)
    await node.stop()
    cluster.clock.advance(1_000)
    await node.start()
    node.replica.store.serving = node.replica.store.vouched = True
    cluster.clock.advance(9)
    await expect_stays(node, 1)
    cluster.clock.advance(1)
    assert await node.parts.sweeper.sweep(node.replica) == 1


async def test_no_round_is_made_while_the_clock_is_in_doubt(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    await put_chunk(node, 1, parent_id(1))
    cluster.clock.advance(GRACE_S)
    node.clock.ahead_ms = DAY_S * 1000
    oracle = FixedOracle({parent_id(1): 0})
    made = sweeper(node, oracle)
    await made.tick()
    assert oracle.asked == []
    node.clock.ahead_ms = 0
    node.hear_clocks()
    await made.tick()
    assert oracle.asked == [[parent_id(1)]]


# --- chunks of an upload that goes on another day ---


async def test_a_chunk_that_says_how_long_it_is_kept_is_kept_so_long_without_its_blob(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    await put_chunk(node, 1, parent_id(1), keep_s=10 * GRACE_S)
    await put_chunk(node, 2, parent_id(1))
    cluster.clock.advance(GRACE_S + 1)
    assert await node.parts.sweeper.sweep(node.replica) == 1
    assert entry(node, 2).state.deleted
    assert not entry(node, 1).state.deleted
    note_age(node)
    cluster.clock.advance(8 * GRACE_S)
    await expect_stays(node, 1)
    cluster.clock.advance(GRACE_S)
    assert await node.parts.sweeper.sweep(node.replica) == 1
    assert entry(node, 1).state.deleted


async def test_a_chunk_that_is_kept_goes_at_once_with_its_deleted_blob(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    await put_chunk(node, 1, parent_id(1), keep_s=10 * GRACE_S)
    cluster.clock.advance(GRACE_S + 1)
    died_ms = cluster.clock.wall_ms() - 1
    assert await sweeper(node, FixedOracle({parent_id(1): died_ms})).sweep(node.replica) == 1
    assert entry(node, 1).state.deleted
