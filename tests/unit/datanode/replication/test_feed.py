"""What changed: the giving side of replication."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.protocol.frame import MessageType
from ambry.protocol.messages.replication import (
    ChangesCursor,
    ChangesReply,
    ChangesRequest,
    PartitionChanges,
    Subscription,
)
from datanode.replication import shares
from datanode.replication.feed import CHANGE_SIZE
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.eventually import eventually
from tests.support.samples import DELETED, PARTITION, blob_id, content, rot_index

OTHER = 8


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[DirectNode]:
    cluster = DirectCluster(tmp_path, cluster_map(1, partitions=(PARTITION, OTHER)))
    await cluster.start()
    yield cluster["a1"]
    await cluster.stop()


def cursor(node: DirectNode, lsn: int, partition: int = PARTITION, incarnation: bytes | None = None) -> ChangesCursor:
    own = node.parts.replicas[partition].store.incarnation
    return ChangesCursor(partition, own if incarnation is None else incarnation, lsn)


async def changes(
    node: DirectNode, *cursors: ChangesCursor, limit: int = 100, wait_ms: int = 0, delay_ms: int = 0
) -> list[PartitionChanges]:
    answer, _, _ = await node.ask(MessageType.CHANGES, ChangesRequest(list(cursors), limit, wait_ms, delay_ms))
    assert isinstance(answer, ChangesReply)
    return answer.partitions


def ids(answer: PartitionChanges) -> list[bytes]:
    return [change.id for change in answer.changes]


async def test_everything_is_told_from_the_start_and_then_only_what_is_new(node: DirectNode) -> None:
    await node.put(blob_id(1), b"x")
    await node.put(blob_id(2), b"x")
    (first,) = await changes(node, cursor(node, 0))
    assert ids(first) == [blob_id(1), blob_id(2)]
    assert first.next_lsn == first.end_lsn == node.replica.store.end_lsn
    await node.update(blob_id(1), DELETED)
    (second,) = await changes(node, cursor(node, first.next_lsn))
    assert [(change.id, change.state, change.present) for change in second.changes] == [(blob_id(1), DELETED, True)]


async def test_without_waiting_every_partition_is_listed(node: DirectNode) -> None:
    await node.put(blob_id(1), b"x")
    end = node.replica.store.end_lsn
    answers = await changes(node, cursor(node, end), cursor(node, 0, OTHER), ChangesCursor(99, b"", 0))
    assert [(answer.partition, answer.changes, answer.next_lsn) for answer in answers] == [
        (PARTITION, [], end),
        (OTHER, [], 0),
    ]


async def test_a_limit_cuts_the_answer_where_the_next_one_goes_on(node: DirectNode) -> None:
    for number in range(1, 8):
        await node.put(blob_id(number), b"x")
    at, seen, rounds = 0, [], 0
    while at < node.replica.store.end_lsn:
        (answer,) = await changes(node, cursor(node, at), limit=3)
        assert len(answer.changes) <= 3
        seen += ids(answer)
        at = answer.next_lsn
        rounds += 1
    assert seen == [blob_id(number) for number in range(1, 8)]
    assert rounds == 3


async def test_another_incarnation_starts_over(node: DirectNode) -> None:
    await node.put(blob_id(1), b"x")
    (answer,) = await changes(node, cursor(node, 1 << 40, incarnation=b"x" * 16), wait_ms=60_000)
    assert ids(answer) == [blob_id(1)]
    assert answer.incarnation == node.replica.store.incarnation


async def test_a_waiting_request_is_answered_by_the_next_change(node: DirectNode) -> None:
    watchers = list(node.replica.store.watchers)
    request = asyncio.ensure_future(changes(node, cursor(node, 0, OTHER), cursor(node, 0), wait_ms=60_000))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not request.done()
    assert len(node.replica.store.watchers) > len(watchers)
    await node.put(blob_id(1), b"x")
    (answer,) = await asyncio.wait_for(request, 30)
    assert ids(answer) == [blob_id(1)]
    assert list(node.replica.store.watchers) == watchers, "and it waits no longer"


async def test_a_wait_without_a_change_ends_empty(node: DirectNode) -> None:
    assert await changes(node, cursor(node, 0), wait_ms=1) == []


async def test_what_is_there_already_is_not_waited_for(node: DirectNode) -> None:
    await node.put(blob_id(1), b"x")
    (answer,) = await asyncio.wait_for(changes(node, cursor(node, 0), wait_ms=60_000), 30)
    assert ids(answer) == [blob_id(1)]


async def test_a_delay_gathers_more(node: DirectNode) -> None:
    await node.put(blob_id(1), b"x")
    request = asyncio.ensure_future(changes(node, cursor(node, 0), wait_ms=60_000, delay_ms=50))
    await node.put(blob_id(2), b"x")
    (answer,) = await asyncio.wait_for(request, 30)
    assert ids(answer) == [blob_id(1), blob_id(2)]


async def test_damaged_bytes_are_not_offered(node: DirectNode) -> None:
    await node.put(blob_id(1), b"x")
    node.replica.store.damaged.add(blob_id(1))
    (answer,) = await changes(node, cursor(node, 0))
    assert [change.present for change in answer.changes] == [False]


async def test_a_rotten_index_is_rebuilt_and_the_partition_left_out(node: DirectNode) -> None:
    await node.put(blob_id(1), b"x")
    before = node.replica
    await node.parts.checkpointer.checkpoint(before)
    rot_index(before.store, blob_id(1))
    assert await changes(node, cursor(node, 0)) == []
    await eventually(lambda: node.parts.replicas.get(PARTITION) not in (None, before))
    (answer,) = await changes(node, cursor(node, 0))
    assert ids(answer) == [blob_id(1)]


async def test_a_partition_far_behind_leaves_room_for_the_others(node: DirectNode) -> None:
    """It filled every answer, and what changed in the others was not told before it had caught up."""
    for number in range(1, 31):
        await node.put(blob_id(number), b"x")
    await node.put(blob_id(99, partition=OTHER), b"x")
    far, near = cursor(node, 0), cursor(node, 0, OTHER)
    for cursors in ((far, near), (near, far)):
        answers = {answer.partition: answer for answer in await changes(node, *cursors, limit=10)}
        assert ids(answers[OTHER]) == [blob_id(99, partition=OTHER)]
        assert answers[OTHER].next_lsn == answers[OTHER].end_lsn
        assert ids(answers[PARTITION]) == [blob_id(number) for number in range(1, 10)]
        assert answers[PARTITION].next_lsn < answers[PARTITION].end_lsn, "so that the asker asks again at once"
    seen: list[bytes] = []
    while answers[PARTITION].next_lsn < answers[PARTITION].end_lsn:
        (answer,) = await changes(node, cursor(node, answers[PARTITION].next_lsn), limit=10)
        seen += ids(answer)
        answers[PARTITION] = answer
    assert seen == [blob_id(number) for number in range(10, 31)]


async def test_a_partition_of_large_blobs_is_told_in_pieces(node: DirectNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others waited until 10,000 blobs of 4 MiB each had been fetched."""
    monkeypatch.setattr(shares, "CHANGES_BYTES_MAX", 100_000)
    for number in range(1, 8):
        await node.put(blob_id(number), content(number, 30_000))
    seen: list[list[bytes]] = []
    lsn = 0
    while lsn < node.replica.store.end_lsn:
        (answer,) = await changes(node, cursor(node, lsn))
        seen.append(ids(answer))
        lsn = answer.next_lsn
    assert seen == [[blob_id(number) for number in piece] for piece in ((1, 2, 3), (4, 5, 6), (7,))]


async def test_changes_are_collected_when_their_answer_may_be_made(node: DirectNode) -> None:
    await node.put(blob_id(1), b"x")
    asked: list[int] = []
    room = asyncio.Event()

    async def admit(size: int) -> None:
        asked.append(size)
        await room.wait()

    request = ChangesRequest([cursor(node, 0)], 10, 0, 0)
    answer = asyncio.ensure_future(node.parts.feed.changes(request, admit))
    await eventually(lambda: bool(asked))
    await node.put(blob_id(2), b"x")
    room.set()
    (told,) = (await answer).partitions
    assert ids(told) == [blob_id(1), blob_id(2)]
    assert asked == [1000]


async def follow(node: DirectNode, step: int, *cursors: ChangesCursor) -> list[PartitionChanges]:
    """The next request of a session, which waits until there is something to tell."""
    request = ChangesRequest(list(cursors), 100, 60_000, 0, "a1", Subscription(0, 5, step))
    answer, _, _ = await node.ask(MessageType.CHANGES, request)
    assert isinstance(answer, ChangesReply) and not answer.anew
    return answer.partitions


async def test_a_peer_hears_how_a_replica_stands_though_nothing_in_its_log_is_new(node: DirectNode) -> None:
    """After a restart, and where an operator had vouched for a replica, peers did not hear that it had its authority, nor how
    far it had seen their logs, until the next put: `/partitions` said `serving` and `caught_up` false for hours.
    """
    await node.put(blob_id(1), b"x")
    here = cursor(node, node.replica.store.end_lsn)
    (first,) = await follow(node, 0, here)
    assert (first.partition, first.changes, first.serving) == (PARTITION, [], True)
    waiting = asyncio.ensure_future(follow(node, 1))
    await asyncio.sleep(0)
    node.parts.authority.withdraw(node.replica)
    (second,) = await waiting
    assert (second.changes, second.next_lsn, second.serving) == ([], here.lsn, False)
    waiting = asyncio.ensure_future(follow(node, 2, here))
    await asyncio.sleep(0)
    node.parts.authority.check(node.replica)
    (third,) = await waiting
    assert (third.changes, third.serving) == ([], True)
    waiting = asyncio.ensure_future(follow(node, 3, here))
    await asyncio.sleep(0)
    node.parts.authority.check(node.replica)
    node.parts.feed._followers.stir(PARTITION)
    await node.put(blob_id(2), b"y")
    (fourth,) = await waiting
    assert ids(fourth) == [blob_id(2)], "the same is not told twice"


async def test_a_peer_that_named_a_replica_before_it_was_open_is_told_when_it_is(
    node: DirectNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that came back was asked before its replicas were open, and nobody heard what it knew until the next put."""
    await node.put(blob_id(1), b"x")
    replicas, opening = node.parts.replicas, {PARTITION}
    get = replicas.get
    monkeypatch.setattr(replicas, "get", lambda number: None if number in opening else get(number))
    waiting = asyncio.ensure_future(follow(node, 0, cursor(node, node.replica.store.end_lsn)))
    await asyncio.sleep(0)
    opening.clear()
    node.parts.feed._followers._publications.notify(PARTITION)
    (told,) = await waiting
    assert (told.partition, told.changes, told.serving) == (PARTITION, [], True)


async def test_what_is_kept_of_those_that_ask_is_bounded_by_the_layout(node: DirectNode) -> None:
    """300,000 partitions that nobody has, followed under a made-up name, held 200 MB for ever."""
    foreign = [ChangesCursor(number, b"", 0) for number in range(100, 1_100)]
    followers = node.parts.feed._followers._followers
    watchers = node.parts.feed._followers._publications._watchers
    for name in ("a1", "nobody", "x" * 200):
        request = ChangesRequest([cursor(node, 0), *foreign], 10, 0, 0, name, Subscription(0, 5, 0))
        reply, _, _ = await node.ask(MessageType.CHANGES, request)
        assert isinstance(reply, ChangesReply)
        assert [answer.partition for answer in reply.partitions] == [PARTITION]
    assert list(followers) == [("a1", 0)]
    assert list(followers["a1", 0].cursors) == [PARTITION]
    assert set(watchers) <= {PARTITION, OTHER}


async def test_a_node_that_the_layout_does_not_know_yet_is_told_to_name_everything_each_time(node: DirectNode) -> None:
    request = ChangesRequest([cursor(node, 0)], 10, 0, 0, "newcomer", Subscription(0, 5, 1))
    reply, _, _ = await node.ask(MessageType.CHANGES, request)
    assert reply == ChangesReply([], anew=True)


@pytest.mark.parametrize("limit", [0, -1, -(1 << 62)])
async def test_an_answer_to_a_senseless_limit_is_admitted_by_its_size(node: DirectNode, limit: int) -> None:
    """One below zero took as much from what the whole process counted as unread."""
    admitted: list[int] = []

    async def admit(size: int) -> None:
        admitted.append(size)

    await node.parts.feed.changes(ChangesRequest([cursor(node, 0)], limit, 0, 0), admit)
    assert admitted == [CHANGE_SIZE]
