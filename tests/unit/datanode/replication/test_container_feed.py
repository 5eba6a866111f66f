"""What changed in one container: how a data node tells it to frontends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from ambry.blob import NEVER_MS, BlobProperties, BlobState, DatedState
from ambry.errors import ReplicaUnavailable
from ambry.format.properties import encode_properties
from ambry.ids import BlobId, IdKind
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.feed import (
    FeedAnswer,
    FeedOutcome,
    FeedPartition,
    FeedPlace,
    FeedReply,
    FeedRequest,
    node_hint,
)
from datanode.config import CompactionSection
from datanode.replication import container_feed
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.samples import DELETED, PARTITION, blob_id, content

CONTAINER = bytes([0, 0, 0, 2, 0, 0, 0, 3])
OTHER_PARTITION = 8
DAY_S = 86_400
SOON = BlobState(0, False, 1_800_000_000_000)
UNDELETED = BlobState(1, False, NEVER_MS)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[DirectCluster]:
    cluster = DirectCluster(tmp_path, cluster_map(3))
    await cluster.start()
    for name in ("a1", "a2", "a3"):
        for peer in sorted({"a1", "a2", "a3"} - {name}):
            await cluster[name].pull(peer)
    yield cluster
    await cluster.stop()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[DirectNode]:
    cluster = DirectCluster(tmp_path, cluster_map(1, partitions=(PARTITION, OTHER_PARTITION)))
    await cluster.start()
    yield cluster["a1"]
    await cluster.stop()


async def feed(node: DirectNode, *partitions: FeedPartition, limit: int = 100) -> list[FeedAnswer]:
    answer, _, _ = await node.ask(MessageType.FEED, FeedRequest(CONTAINER, list(partitions), limit))
    assert isinstance(answer, FeedReply)
    return answer.partitions


async def after(node: DirectNode, answer: FeedAnswer, limit: int = 100) -> FeedAnswer:
    """What is told behind an answer."""
    assert answer.place is not None
    asked = FeedPartition(PARTITION, [answer.place], floor=answer.floor, behind=answer.behind)
    return (await feed(node, asked, limit=limit))[0]


BEGINNING = FeedPartition(PARTITION, [])
NOW = FeedPartition(PARTITION, [], beginning=False)


def told(answer: FeedAnswer) -> list[tuple[bytes, BlobState, bool, bool, int]]:
    assert answer.outcome is FeedOutcome.TOLD
    return [(change.id, change.state, change.put, change.updated, change.size) for change in answer.changes]


async def test_all_is_told_from_the_beginning_and_then_what_is_new(node: DirectNode) -> None:
    await node.put(blob_id(1), b"one", state=SOON)
    await node.put(blob_id(2), b"twos")
    (first,) = await feed(node, BEGINNING)
    assert told(first) == [
        (blob_id(1), SOON, True, False, 3),
        (blob_id(2), BlobState(0, False, NEVER_MS), True, False, 4),
    ]
    assert first.at_end and first.floor == 0
    assert told(await after(node, first)) == []
    await node.update(blob_id(1), BlobState(0, False, NEVER_MS))
    await node.update(blob_id(2), DELETED)
    second = await after(node, first)
    extended = BlobState(0, False, NEVER_MS)
    assert told(second) == [(blob_id(1), extended, False, True, -1), (blob_id(2), DELETED, False, True, -1)]
    await node.update(blob_id(2), UNDELETED)
    assert told(await after(node, second)) == [(blob_id(2), UNDELETED, False, True, -1)]


async def test_a_blob_that_was_put_and_deleted_since_is_told_once_with_both(node: DirectNode) -> None:
    await node.put(blob_id(1), b"one")
    await node.update(blob_id(1), DELETED)
    assert told((await feed(node, BEGINNING))[0]) == [(blob_id(1), DELETED, True, True, 3)]


async def test_from_now_on_nothing_older_is_told(node: DirectNode) -> None:
    await node.put(blob_id(1), b"one")
    (now,) = await feed(node, NOW)
    assert told(now) == []
    assert now.at_end
    await node.put(blob_id(2), b"two")
    assert [change.id for change in (await after(node, now)).changes] == [blob_id(2)]


async def test_chunks_and_what_is_in_other_containers_are_left_out(node: DirectNode) -> None:
    other = BlobId.make(kind=IdKind.SIMPLE, datacenter=1, account=2, container=4, partition=PARTITION, uuid=bytes(16))
    await node.put(other.raw, b"x")
    await node.put(blob_id(1, kind=IdKind.CHUNK), b"x")
    await node.put(blob_id(2), b"x")
    assert [change.id for change in (await feed(node, BEGINNING))[0].changes] == [blob_id(2)]


async def test_a_large_blob_is_told_with_the_size_that_users_know(node: DirectNode) -> None:
    properties = encode_properties(BlobProperties(size=123_456_789, digest=bytes(16)))
    await node.put(blob_id(1, kind=IdKind.COMPOSITE), b"the list", properties=properties)
    assert [change.size for change in (await feed(node, BEGINNING))[0].changes] == [123_456_789]


async def test_a_state_of_a_blob_that_is_not_here_is_told_when_the_blob_comes(node: DirectNode) -> None:
    await node.parts.intake.merge(node.replica, blob_id(1), DatedState(BlobState(0, False, NEVER_MS), 5))
    (first,) = await feed(node, BEGINNING)
    assert told(first) == []
    await node.put(blob_id(1), b"one", state=SOON)
    assert [change.id for change in (await after(node, first)).changes] == [blob_id(1)]


async def test_pages_go_on_where_they_ended_in_every_partition(node: DirectNode) -> None:
    for number in range(1, 8):
        await node.put(blob_id(number), b"x")
        await node.put(blob_id(number, partition=OTHER_PARTITION), b"x")
    asked = [BEGINNING, FeedPartition(OTHER_PARTITION, [])]
    seen: list[bytes] = []
    for _ in range(5):
        answers = await feed(node, *asked, limit=4)
        assert sum(len(answer.changes) for answer in answers) <= 4
        seen += [change.id for answer in answers for change in answer.changes]
        asked = [FeedPartition(each.partition, [each.place], floor=each.floor) for each in answers if each.place]
    assert sorted(seen) == sorted(blob_id(n, partition=p) for n in range(1, 8) for p in (PARTITION, OTHER_PARTITION))
    assert all(answer.at_end for answer in answers)


async def test_a_request_looks_at_so_many_changes_whatever_it_finds(
    node: DirectNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_feed, "SCAN_MAX", 4)
    monkeypatch.setattr(container_feed, "STEP", 2)
    for number in range(1, 7):
        await node.put(blob_id(number, kind=IdKind.CHUNK), b"x")
    await node.put(blob_id(9), b"x")
    (first,) = await feed(node, BEGINNING)
    assert told(first) == [] and not first.at_end and first.floor > 0
    second = await after(node, first)
    assert [change.id for change in second.changes] == [blob_id(9)]


async def test_what_a_checkpoint_wrote_is_read_from_the_index(node: DirectNode) -> None:
    await node.put(blob_id(1), b"one")
    await node.parts.checkpointer.checkpoint(node.replica)
    await node.put(blob_id(2), b"two")
    assert [change.id for change in (await feed(node, BEGINNING))[0].changes] == [blob_id(1), blob_id(2)]


async def test_a_place_stays_good_over_a_restart_and_is_unknown_to_a_replica_that_was_wiped(node: DirectNode) -> None:
    await node.put(blob_id(1), b"one")
    (first,) = await feed(node, BEGINNING)
    await node.stop()
    await node.start()
    node.replica.store.vouched = True
    await node.put(blob_id(2), b"two")
    assert [change.id for change in (await after(node, first)).changes] == [blob_id(2)]
    await node.wipe()
    node.replica.store.vouched = True
    assert (await after(node, first)).outcome is FeedOutcome.UNKNOWN


async def test_a_place_beyond_the_log_is_unknown(node: DirectNode) -> None:
    (first,) = await feed(node, BEGINNING)
    assert first.place is not None
    beyond = FeedPlace(first.place.tag, first.place.lsn + 1)
    (answer,) = await feed(node, FeedPartition(PARTITION, [beyond]))
    assert answer.outcome is FeedOutcome.UNKNOWN


async def test_who_stands_before_a_tombstone_that_was_dropped_is_told_so(node: DirectNode) -> None:
    (first,) = await feed(node, BEGINNING)
    await node.put(blob_id(1), b"one")
    (middle,) = await feed(node, NOW)
    await node.put(blob_id(2), b"two")
    node.replica.store.identity.note_purged(node.replica.store.end_lsn)
    assert (await after(node, first)).outcome is FeedOutcome.PURGED
    # Who began behind it is on its way from the beginning, and missed nothing.
    assert [change.id for change in (await feed(node, BEGINNING))[0].changes] == [blob_id(1), blob_id(2)]
    (cut,) = await feed(node, BEGINNING, limit=1)
    assert cut.floor == node.replica.store.end_lsn
    assert [change.id for change in (await after(node, cut)).changes] == [blob_id(2)]
    assert (await after(node, middle)).outcome is FeedOutcome.PURGED


async def test_a_replica_without_authority_and_one_that_is_not_here_are_away(node: DirectNode) -> None:
    node.replica.store.vouched = False
    answers = await feed(node, BEGINNING, FeedPartition(99, []))
    assert [answer.outcome for answer in answers] == [FeedOutcome.AWAY, FeedOutcome.AWAY]


async def test_an_index_that_is_rebuilt_meanwhile_is_away(node: DirectNode, monkeypatch: pytest.MonkeyPatch) -> None:
    await node.put(blob_id(1), b"one")

    def rebuilding(*_asked: object) -> None:
        raise ReplicaUnavailable("being rebuilt")

    monkeypatch.setattr(node.replica.store, "changes_since", rebuilding)
    assert (await feed(node, BEGINNING))[0].outcome is FeedOutcome.AWAY


async def test_blobs_that_are_not_here_are_told(node: DirectNode) -> None:
    await node.put(blob_id(1), b"one")
    await node.put(blob_id(2), b"two")
    await node.update(blob_id(2), DELETED)
    asked = FeedPartition(PARTITION, [], ids=[blob_id(1), blob_id(2), blob_id(3)])
    assert (await feed(node, asked))[0].lacking == [blob_id(3)]


async def test_a_blob_that_moved_on_while_changes_were_looked_at_counts_as_not_here(
    node: DirectNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was extended between two steps, behind all that they came to: neither told nor lacking, so its name came before it."""
    for number in (1, 2, 3):
        await node.put(blob_id(number), b"x", state=SOON)
    monkeypatch.setattr(container_feed, "STEP", 1)
    steps = 0

    async def sleep(_seconds: float) -> None:
        nonlocal steps
        steps += 1
        if steps == 1:
            await node.put(blob_id(4), b"x")
            await node.update(blob_id(2), BlobState(0, False, NEVER_MS))

    monkeypatch.setattr(container_feed, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))
    asked = FeedPartition(PARTITION, [], ids=[blob_id(1), blob_id(2), blob_id(3)])
    (answer,) = await feed(node, asked)
    assert [change.id for change in answer.changes] == [blob_id(1), blob_id(3), blob_id(4)]
    assert answer.at_end and answer.lacking == [blob_id(2)]
    assert [(change.id, change.put) for change in (await after(node, answer)).changes] == [(blob_id(2), True)]


@pytest.mark.parametrize("begun", ["beginning", "later"])
async def test_a_blob_that_changed_behind_a_page_is_told_with_its_put_by_the_next_one(
    node: DirectNode, begun: str
) -> None:
    """Was told as deleted or extended alone: of 1,200 that were put and then deleted, 791 were never told as put."""
    await node.put(blob_id(9), b"old")
    (first,) = await feed(node, BEGINNING)
    for number in range(1, 5):
        await node.put(blob_id(number), b"x", state=SOON)
    await node.update(blob_id(1), DELETED)
    await node.update(blob_id(2), BlobState(0, False, NEVER_MS))
    page = (await feed(node, BEGINNING, limit=2))[0] if begun == "beginning" else await after(node, first, limit=2)
    seen = {change.id: change.put for change in page.changes}
    while not page.at_end:
        page = await after(node, page, limit=2)
        seen |= {change.id: change.put for change in page.changes}
    assert [seen[blob_id(number)] for number in range(1, 5)] == [True] * 4
    await node.update(blob_id(1), UNDELETED)
    assert [change.put for change in (await after(node, page)).changes] == [False], "it was told at the end"


async def test_a_blob_that_changes_while_others_are_looked_at_is_told_with_its_put(
    node: DirectNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page called itself the end, and the next one told it as extended alone."""
    for number in (1, 2):
        await node.put(blob_id(number), b"x", state=SOON)
    monkeypatch.setattr(container_feed, "STEP", 1)
    steps = 0

    async def sleep(_seconds: float) -> None:
        nonlocal steps
        steps += 1
        if steps == 1:
            await node.update(blob_id(2), BlobState(0, False, NEVER_MS))

    monkeypatch.setattr(container_feed, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))
    (answer,) = await feed(node, BEGINNING)
    assert [(change.id, change.put) for change in answer.changes] == [(blob_id(1), True), (blob_id(2), True)]
    assert answer.at_end


async def test_an_end_is_come_to_while_others_put_all_the_time(
    node: DirectNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look went on for as long as something came meanwhile, up to 10,000 changes, and was no end: names waited for one."""
    for number in range(1, 4):
        await node.put(blob_id(number), b"x", state=SOON)
    came = 0

    async def sleep(_seconds: float) -> None:
        nonlocal came
        came += 1
        if came < 50:
            await node.put(blob_id(100 + came), b"x")
            await node.update(blob_id(2), DELETED if came == 1 else BlobState(0, True, NEVER_MS - came))

    monkeypatch.setattr(container_feed, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))
    (answer,) = await feed(node, BEGINNING, limit=1_000)
    assert answer.at_end and came == 1
    assert [change.id for change in answer.changes] == [blob_id(number) for number in (1, 2, 3)]
    came = 50
    again = await after(node, answer)
    assert [(change.id, change.put) for change in again.changes] == [(blob_id(101), True), (blob_id(2), True)]


async def test_what_was_seen_of_the_other_replicas_is_told_and_good_there(cluster: DirectCluster) -> None:
    """Where a replica dies, its siblings go on, and tell again no more than what it had not heard of them."""
    one, two = cluster["a1"], cluster["a2"]
    for number in range(1, 4):
        await two.put(blob_id(number), b"x")
    await one.pull("a2")
    (first,) = await feed(one, BEGINNING)
    assert [change.id for change in first.changes] == [blob_id(1), blob_id(2), blob_id(3)]
    of_two = [place for place in first.seen if place.tag[0] == node_hint("a2")]
    assert [place.lsn for place in of_two] == [two.replica.store.end_lsn]
    await two.put(blob_id(4), b"x")
    (second,) = await feed(two, FeedPartition(PARTITION, first.seen))
    assert [change.id for change in second.changes] == [blob_id(4)]


async def test_what_a_sibling_acknowledged_comes_behind_what_was_told(cluster: DirectCluster) -> None:
    one, two = cluster["a1"], cluster["a2"]
    await one.put(blob_id(1), b"x")
    (first,) = await feed(one, BEGINNING)
    await two.put(blob_id(2), b"y")
    assert told(await after(one, first)) == []
    await one.pull("a2")
    assert [change.id for change in (await after(one, first)).changes] == [blob_id(2)]


async def test_compaction_moves_no_place_and_tells_who_missed_a_tombstone_so(tmp_path: Path) -> None:
    """One follower stood before the deletes, one behind them; then bytes go, and later the tombstones."""
    section = CompactionSection(deleted_retention_s=DAY_S, tombstone_retention_s=2 * DAY_S, dead_share_min=0.05)
    cluster = DirectCluster(tmp_path, cluster_map(1), sections={"compaction": section})
    await cluster.start()
    node = cluster["a1"]
    doomed, kept, later = range(1, 45), range(45, 90), range(200, 290)

    async def compact() -> None:
        node.hear_clocks()
        await node.parts.checkpointer.checkpoint(node.replica)
        while await node.parts.compactor.compact(node.replica):
            pass

    for number in [*doomed, *kept]:
        await node.put(blob_id(number), content(number, 1500))
    (before,) = await feed(node, BEGINNING)
    for number in doomed:
        await node.update(blob_id(number), DELETED)
    (behind,) = await feed(node, NOW)
    for number in later:
        await node.put(blob_id(number), content(number, 1500))
    cluster.clock.advance(1.5 * DAY_S)
    await compact()
    assert not node.holds(blob_id(1)), "its bytes are gone"
    first = await after(node, before, limit=1_000)
    assert {change.id for change in first.changes if change.state.deleted} == {blob_id(number) for number in doomed}
    assert {change.id for change in first.changes if change.put} == {blob_id(number) for number in later}
    second = await after(node, behind, limit=1_000)
    assert [change.id for change in second.changes] == [blob_id(number) for number in later]
    cluster.clock.advance(2 * DAY_S)
    await compact()
    assert node.state(blob_id(1)) is None, "its tombstone is gone"
    assert (await after(node, before)).outcome is FeedOutcome.PURGED
    assert (await after(node, second)).outcome is FeedOutcome.TOLD
    (anew,) = await feed(node, BEGINNING, limit=1_000)
    assert {change.id for change in anew.changes} == {blob_id(number) for number in [*kept, *later]}
    assert all(change.put and not change.updated for change in anew.changes)
    await cluster.stop()
