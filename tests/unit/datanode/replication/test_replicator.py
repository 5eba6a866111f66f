"""Replicas that follow each other: everything arrives, in every order, through every fault; nothing is said too early."""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from ambry.blob import NEVER_MS, BlobState
from ambry.errors import AmbryError, BlobNotFound, IndexCorrupt, ReplicaUnavailable
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.replication import ChangesReply, ChangesRequest, FetchRequest
from datanode.config import CompactionSection
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.eventually import eventually
from tests.support.samples import ALIVE, DELETED, PARTITION, blob_id, content, rot_index

ID = blob_id(1)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[DirectCluster]:
    made = DirectCluster(tmp_path, cluster_map(3))
    await made.start()
    await made.settle(rounds=2)
    yield made
    await made.stop()


def contents(node: DirectNode) -> dict[bytes, tuple[BlobState, bool]]:
    return {entry.id: (entry.state, entry.present) for entry in node.replica.store.changes_since(0, 100_000)}


def token(node: DirectNode, peer: str) -> int:
    return node.parts.cursors.tokens_of(PARTITION)[peer][1]


# --- following ---


async def test_a_blob_and_its_changes_arrive_everywhere(cluster: DirectCluster) -> None:
    await cluster["a1"].put(ID, content(1, 5000), state=BlobState(0, False, 10**15))
    await cluster["a2"].put(blob_id(2), b"")
    await cluster.settle(rounds=1)
    for node in cluster.nodes.values():
        assert (await node.get(ID))[1] == content(1, 5000)
        assert (await node.get(blob_id(2)))[1] == b""
    await cluster["a3"].update(ID, BlobState(0, False, NEVER_MS))
    await cluster["a2"].update(blob_id(2), DELETED)
    await cluster.settle(rounds=1)
    for node in cluster.nodes.values():
        assert contents(node) == {ID: (ALIVE, True), blob_id(2): (DELETED, True)}


async def test_an_idle_pair_fetches_nothing_again(cluster: DirectCluster) -> None:
    await cluster["a1"].put(ID, content(1, 5000))
    await cluster.settle(rounds=2)
    for node in cluster.nodes.values():
        for peer in node.peers.values():
            peer.asked.clear()
    ends = {name: node.replica.store.end_lsn for name, node in cluster.nodes.items()}
    await cluster.settle(rounds=3)
    for name, node in cluster.nodes.items():
        assert node.replica.store.end_lsn == ends[name], "an echo never ends"
        for peer in node.peers.values():
            assert not [message for message in peer.asked if isinstance(message, FetchRequest)]


@pytest.mark.parametrize("seed", range(8))
async def test_all_replicas_become_equal_whatever_happened_in_whatever_order(tmp_path: Path, seed: int) -> None:
    source = random.Random(seed)
    cluster = DirectCluster(tmp_path, cluster_map(3, 2))
    await cluster.start()
    await cluster.settle(rounds=2)
    put: dict[bytes, bytes] = {}
    expected: dict[bytes, BlobState] = {}
    names = sorted(cluster.nodes)
    for step in range(60):
        name = source.choice(names)
        node = cluster.running.get(name)
        action = source.choice(
            ("put", "update", "update", "pull", "pull", "pull", "checkpoint", "kill", "power cut", "away")
        )
        if node is None:
            await cluster[name].start()
        elif action == "put":
            raw = blob_id(step)
            put[raw] = content(step, source.choice((0, 100, 30_000)))
            await node.put(raw, put[raw])
            expected[raw] = ALIVE
        elif action == "update" and put:
            from ambry.blob import join

            raw = source.choice(sorted(put))
            state = BlobState(source.randint(0, 2), source.random() < 0.4, NEVER_MS)
            with suppress(ReplicaUnavailable):  # where it does not have the bytes
                await node.update(raw, state)
                expected[raw] = join(expected[raw], state)
        elif action == "pull":
            peer = source.choice(sorted(node.peers))
            node.peers[peer].reachable = True
            await node.pull(peer)
        elif action == "checkpoint":
            await node.parts.checkpointer.checkpoint(node.replica)
        elif action == "kill":
            await node.kill()
        elif action == "power cut":
            await node.power_cut(source.randrange(1000))
        elif action == "away":
            node.peers[source.choice(sorted(node.peers))].reachable = False
    for name in names:
        if name not in cluster.running:
            await cluster[name].start()
        for link in cluster[name].peers.values():
            link.reachable = True
    await cluster.settle(rounds=5)
    for node in cluster.nodes.values():
        for raw, state in expected.items():
            assert node.state(raw) == state
            if not state.deleted:
                assert (await node.get(raw))[1] == put[raw]
        assert {raw for raw, (_, present) in contents(node).items() if present} <= set(put)
    assert all(cluster.serving().values())
    await cluster.stop()


async def test_changes_come_in_pieces_when_there_are_many(tmp_path: Path) -> None:
    cluster = DirectCluster(tmp_path, cluster_map(2), changes_max=7)
    await cluster.start()
    for number in range(50):
        await cluster["a1"].put(blob_id(number), b"x")
    await cluster.settle(rounds=2)
    assert len(contents(cluster["a2"])) == 50
    await cluster.stop()


async def test_an_undelete_brings_the_bytes_that_could_not_be_had_before(cluster: DirectCluster) -> None:
    await cluster["a1"].put(ID, b"x")
    await cluster["a1"].update(ID, DELETED)
    cluster["a1"].replica.store.damaged.add(ID)
    await cluster.settle(rounds=1)
    assert cluster["a2"].state(ID) == DELETED
    assert not cluster["a2"].holds(ID)
    assert cluster["a2"].parts.healer.describe() == [], "nobody needs the bytes of a tombstone"
    cluster["a1"].replica.store.damaged.clear()
    await cluster["a1"].update(ID, BlobState(1, False, NEVER_MS))
    await cluster.settle(rounds=2)
    assert (await cluster["a2"].get(ID))[1] == b"x"


async def test_a_deleted_blob_whose_bytes_cannot_be_given_is_a_tombstone_all_the_same(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    await node.put(ID, b"x")
    await node.update(ID, DELETED)
    node.files.fail("pread", errno.EIO, for_ever=True)
    await cluster["a2"].pull("a1")
    assert cluster["a2"].state(ID) == DELETED
    assert not cluster["a2"].holds(ID)
    assert cluster["a2"].parts.healer.describe() == []
    assert not cluster["a2"].parts.cursors.of(PARTITION)["a1"].outstanding


async def test_replicas_that_are_replaced_one_after_the_other_keep_what_an_undelete_wants(
    cluster: DirectCluster,
) -> None:
    """Only the tombstone came to a replica that was filled anew. After the last was replaced an undelete was acknowledged, and
    nobody had the bytes."""
    empty = {name: node.backup() for name, node in cluster.nodes.items()}
    for node in cluster.nodes.values():
        await node.put(ID, content(1, 2_000))
        await node.update(ID, DELETED)
    await cluster.settle(rounds=1)
    for node in cluster.nodes.values():
        await node.put_back(empty[node.name])
        for _ in range(4):
            cluster.clock.advance(15)
            await cluster.settle(rounds=1)
            await eventually(lambda node=node: node.parts.replicas.get(PARTITION))  # type: ignore[misc]
    for node in cluster.nodes.values():
        await node.update(ID, BlobState(1, False, NEVER_MS))
    await cluster.settle(rounds=2)
    for node in cluster.nodes.values():
        assert (await node.get(ID))[1] == content(1, 2_000), node.name


async def test_the_bytes_of_what_expired_long_ago_are_not_carried_about(cluster: DirectCluster) -> None:
    """Its state is: whoever lacks it altogether would say that there never was such a blob."""
    expiring = BlobState(0, False, cluster.clock.wall_ms() + 1)
    await cluster["a1"].put(ID, b"x", state=expiring)
    cluster.clock.advance(CompactionSection().deleted_retention_s + 1)
    await cluster["a1"].put(blob_id(2), b"y", state=BlobState(0, False, cluster.clock.wall_ms() - 60_000))
    await cluster.settle(rounds=2)
    assert (cluster["a2"].state(ID), cluster["a2"].holds(ID)) == (expiring, False)
    assert cluster["a2"].holds(blob_id(2)), "an expired blob may be on its way when it expires"
    assert (await cluster["a2"].get(ID))[0].gone


# --- tokens ---


async def test_a_token_is_kept_over_a_restart(cluster: DirectCluster) -> None:
    await cluster["a1"].put(ID, b"x")
    await cluster.settle(rounds=1)
    before = token(cluster["a2"], "a1")
    assert before == cluster["a1"].replica.store.end_lsn
    await cluster["a2"].stop()
    await cluster["a2"].start()
    assert token(cluster["a2"], "a1") == before


async def test_a_token_never_covers_what_a_power_cut_could_take_back(cluster: DirectCluster) -> None:
    """The blob was here in class `memory`, so it was not fetched; the token that covers it must wait for its sync."""
    giver, taker = cluster["a1"], cluster["a2"]
    await taker.put(ID, content(1, 3000), sync=False)
    await giver.put(ID, content(1, 3000))
    await taker.pull("a1")
    await taker.parts.checkpointer.checkpoint(taker.replica)
    for seed in range(5):
        await taker.power_cut(seed)
        await taker.start()
        assert (await taker.get(ID, any_state=True))[1] == content(1, 3000)
        await taker.pull("a1")


@pytest.mark.parametrize("seed", range(6))
async def test_after_a_power_cut_nothing_is_skipped(cluster: DirectCluster, seed: int) -> None:
    giver, taker = cluster["a1"], cluster["a2"]
    for number in range(10):
        await giver.put(blob_id(number), content(number, 2000))
        if number == 4:
            await taker.pull("a1")
            await taker.parts.checkpointer.checkpoint(taker.replica)
    await taker.pull("a1")
    await taker.power_cut(seed)
    await taker.start()
    await taker.pull("a1")
    for number in range(10):
        assert taker.holds(blob_id(number))


async def test_a_peer_that_lost_its_tail_is_followed_all_the_same(cluster: DirectCluster) -> None:
    """It cannot tell that from a backup, and starts over with its peers, also when it was stopped cleanly in between."""
    await cluster.settle(rounds=1)
    giver, taker = cluster["a1"], cluster["a2"]
    await giver.put(ID, content(1, 3000))
    for number in range(2, 6):
        await giver.put(blob_id(number), content(number, 3000), sync=False)
    await taker.pull("a1")
    seen = token(taker, "a1")
    for seed in range(100):
        await giver.power_cut(seed)
        await giver.start()
        if giver.replica.store.end_lsn < seen:
            break
    assert giver.replica.store.end_lsn < seen
    await giver.stop()
    await giver.start()
    before = giver.replica.store.incarnation
    await giver.put(blob_id(9), b"new")
    await cluster.settle(rounds=2)
    await eventually(lambda: giver.parts.replicas.get(PARTITION))  # it is reopened in the background
    await cluster.settle()
    assert taker.holds(blob_id(9))
    assert giver.replica.store.incarnation != before
    assert all(cluster.serving().values())


async def test_a_wiped_peer_is_followed_from_its_new_beginning(cluster: DirectCluster, tmp_path: Path) -> None:
    giver, taker = cluster["a1"], cluster["a2"]
    for number in range(5):
        await giver.put(blob_id(number), b"x")
    await taker.pull("a1")
    await giver.wipe()
    await giver.put(blob_id(50), b"new")
    await taker.pull("a1")
    assert taker.holds(blob_id(50))


async def test_an_answer_to_a_replica_that_was_reopened_since_moves_nothing(cluster: DirectCluster) -> None:
    """A long poll was on its way while the replica was rebuilt, which forgets its tokens. The late answer moved the new cursor
    to where the old one stood: everything before it was skipped, and the replica said "not found" with authority."""
    giver, taker = cluster["a1"], cluster["a2"]
    await giver.put(ID, content(1, 2000))
    await cluster.settle(rounds=1)
    taker.peers["a3"].reachable = False
    sent = asyncio.Event()
    go_on = asyncio.Event()
    ask = giver.ask

    async def slow(type: int, message: messages.Message, body: bytes = b"") -> object:
        answer = await ask(type, message, body)
        if type == MessageType.CHANGES:
            sent.set()
            await go_on.wait()
        return answer

    giver.ask = slow  # type: ignore[method-assign, assignment]
    await giver.put(blob_id(2), b"the answer is about this one only")
    late = asyncio.ensure_future(taker.tick("pull:a1"))
    await sent.wait()
    # The log loses a record, so the index is rebuilt and the tokens forgotten.
    before = taker.replica
    entry = before.store.lookup(ID)
    assert entry is not None
    taker.files.flip(before.store.directory / f"{entry.segment:08d}.segment", entry.offset + 300)
    taker.parts.replicas.rebuild(taker.parts.replicas[PARTITION].store, "test")
    await eventually(lambda: taker.parts.replicas.get(PARTITION) not in (None, before))
    assert taker.state(ID) is None
    go_on.set()
    await late
    cursor = taker.parts.cursors.of(PARTITION)["a1"]
    assert not cursor.caught_up
    assert cursor.next_lsn == 0
    rebuilt = taker.replica
    assert rebuilt.store.put_back, "a delete may have gone with the record"
    await taker.pull("a1")
    await eventually(lambda: taker.parts.replicas.get(PARTITION) not in (None, rebuilt))
    await taker.pull("a1")
    assert taker.holds(ID)


async def test_a_cursor_does_not_pass_a_change_that_could_not_be_stored(cluster: DirectCluster) -> None:
    import errno

    giver, taker = cluster["a1"], cluster["a2"]
    await giver.put(ID, b"x")
    taker.files.fail("fdatasync", errno.EIO)
    before = token(taker, "a1") if "a1" in taker.parts.cursors.tokens_of(PARTITION) else 0
    with pytest.raises(AmbryError):
        await taker.tick("pull:a1")
    assert token(taker, "a1") == before


async def test_a_rotten_index_is_rebuilt_and_the_log_is_followed_again(cluster: DirectCluster) -> None:
    taker = cluster["a2"]
    await taker.put(ID, b"x")
    before = taker.replica
    await taker.parts.checkpointer.checkpoint(before)
    rot_index(before.store, ID)
    await cluster["a1"].update(ID, DELETED)
    with pytest.raises(IndexCorrupt):
        await taker.pull("a1")
    await eventually(lambda: taker.parts.replicas.get(PARTITION) not in (None, before))
    await taker.pull("a1")
    assert taker.state(ID) == DELETED


async def test_a_corrupt_blob_is_got_from_another_peer_and_holds_the_token_until_then(cluster: DirectCluster) -> None:
    for name in ("a1", "a2"):
        await cluster[name].put(ID, content(1, 1000))
    taker = cluster["a3"]
    begin = token(taker, "a1") if "a1" in taker.parts.cursors.tokens_of(PARTITION) else 0
    taker.peers["a2"].reachable = False

    def damage(type: int, frame: Frame) -> Frame:
        import msgspec

        if type != MessageType.FETCH:
            return frame
        body = bytearray(frame.body)
        body[-20] ^= 1
        return msgspec.structs.replace(frame, body=bytes(body))

    taker.peers["a1"].tamper = damage
    await taker.pull("a1")
    assert not taker.holds(ID)
    cursor = taker.parts.cursors.of(PARTITION)["a1"]
    assert cursor.outstanding.keys() == {ID}
    assert token(taker, "a1") < cluster["a1"].replica.store.end_lsn
    assert token(taker, "a1") >= begin
    await taker.parts.checkpointer.checkpoint(taker.replica)
    assert taker.replica.store.checkpoint.tokens["a1"][1] <= cursor.outstanding[ID]
    await taker.heal()
    assert len(taker.parts.healer.describe()) == 1
    taker.peers["a2"].reachable = True
    taker.clock.advance(5)
    await taker.heal()
    assert taker.holds(ID)
    assert token(taker, "a1") == cluster["a1"].replica.store.end_lsn


# --- authority ---


async def test_a_replica_serves_once_it_has_caught_up_with_all_its_siblings(tmp_path: Path) -> None:
    cluster = DirectCluster(tmp_path, cluster_map(3, 1))
    await cluster.start()
    node = cluster["a1"]
    assert not node.replica.store.serving
    await node.pull("a2")
    assert not node.replica.store.serving
    await node.pull("b1")
    assert not node.replica.store.serving, "another datacenter proves nothing"
    await node.pull("a3")
    assert node.replica.store.serving
    assert cluster["b1"].replica.store.serving, "alone in its datacenter"
    await cluster.stop()


async def test_a_wiped_replica_has_no_authority_until_it_holds_everything(cluster: DirectCluster) -> None:
    for number in range(5):
        await cluster["a1"].put(blob_id(number), content(number, 1000))
    await cluster.settle(rounds=1)
    node = cluster["a2"]
    await node.wipe()
    with pytest.raises(ReplicaUnavailable):
        await node.get(blob_id(1))
    node.peers["a3"].reachable = False
    await node.pull("a1")
    assert node.holds(blob_id(1))
    with pytest.raises(ReplicaUnavailable):
        await node.get(blob_id(99))
    node.peers["a3"].reachable = True
    await node.pull("a3")
    with pytest.raises(BlobNotFound):
        await node.get(blob_id(99))


async def test_a_blob_that_cannot_be_had_yet_keeps_the_authority_away(cluster: DirectCluster) -> None:
    await cluster["a1"].put(ID, content(1, 1000))
    node = cluster["a2"]
    await node.wipe()
    giver = cluster["a1"]
    entry = giver.replica.store.lookup(ID)
    assert entry is not None
    path = giver.replica.store.directory / f"{entry.segment:08d}.segment"
    giver.files.flip(path, entry.offset + 300)  # its only copy is damaged, and nobody noticed yet
    await node.pull("a1")
    await node.pull("a3")
    assert not node.replica.store.serving
    with pytest.raises(ReplicaUnavailable):
        await node.get(ID)
    giver.files.flip(path, entry.offset + 300)
    giver.replica.store.damaged.clear()
    node.clock.advance(120)
    await node.heal()
    await node.pull("a1")
    assert node.replica.store.serving
    assert (await node.get(ID))[1] == content(1, 1000)


# --- who asks whom, and how ---


async def test_one_replica_of_a_datacenter_asks_without_delay_and_the_others_stand_by(tmp_path: Path) -> None:
    cluster = DirectCluster(
        tmp_path,
        cluster_map(2, 2, partitions=(PARTITION, 8)),
        sibling_delay_ms=1,
        designated_delay_ms=2,
        standby_delay_ms=3,
    )
    await cluster.start()
    await cluster.settle()
    names = {name: sorted(node.parts.replicator.ticks()) for name, node in cluster.nodes.items()}
    assert names["a1"] == ["pull:a2", "pull:b1", "pull:b1:standby", "pull:b2", "pull:b2:standby"]
    delays: dict[str, set[int]] = {}
    for name in ("a1", "a2"):
        node = cluster[name]
        for tick in names[name]:
            peer = node.peers[tick.split(":")[1]]
            for _ in range(3):
                await node.tick(tick)
            asked = [message for message in peer.asked if isinstance(message, ChangesRequest)]
            asked = [message for message in asked if message.subscription.channel == asked[-1].subscription.channel]
            followed = {cursor.partition for message in asked for cursor in message.cursors}
            for partition in followed:
                delays.setdefault(f"{name} asks {peer.node.name} about {partition}", set()).add(asked[-1].delay_ms)
    assert delays["a1 asks a2 about 7"] == {1}
    for other in ("b1", "b2"):
        assert sorted((*delays[f"a1 asks {other} about 7"], *delays[f"a2 asks {other} about 7"])) == [2, 3]
        assert delays[f"a1 asks {other} about 7"] == delays[f"a2 asks {other} about 8"]
    await cluster.stop()


async def test_receipts_of_what_is_here_gather_for_longer_and_news_do_not(tmp_path: Path) -> None:
    """11 puts a second into many partitions, which reached every replica directly, cost each node five exchanges a second to
    hear of what it had."""
    cluster = DirectCluster(tmp_path, cluster_map(2), sibling_delay_ms=100, poll_wait_ms=1)
    await cluster.start()
    await cluster.settle()
    node, peer = cluster["a1"], cluster["a1"].peers["a2"]

    async def delays_of(number: int, holders: list[DirectNode]) -> int:
        for holder in holders:
            await holder.put(blob_id(number), content(number, 1000))
        await node.tick("pull:a2")
        await node.tick("pull:a2")
        return [message for message in peer.asked if isinstance(message, ChangesRequest)][-1].delay_ms

    both = [cluster["a1"], cluster["a2"]]
    assert await delays_of(1, [cluster["a2"]]) == 100
    assert [await delays_of(number, both) for number in range(2, 8)] == [200, 400, 800, 800, 800, 800]
    assert await delays_of(8, [cluster["a2"]]) == 100, "it came here by no other way"
    assert node.holds(blob_id(8))
    await cluster.stop()


async def test_a_peer_that_is_away_costs_nothing_and_is_asked_again(cluster: DirectCluster) -> None:
    node = cluster["a1"]
    node.peers["a2"].reachable = False
    cluster.clock.advance(90)
    assert await node.tick("pull:a2") > 0
    assert node.parts.replicator.describe(PARTITION)["a2"]["silent_s"] == 90.0
    assert node.parts.replicator.describe(PARTITION)["a2"]["lag_s"] == 90.0
    await cluster["a2"].put(ID, b"x")
    node.peers["a2"].reachable = True
    await node.pull("a2")
    assert node.parts.replicator.describe(PARTITION)["a2"]["silent_s"] == 0.0
    assert node.holds(ID)


async def test_one_partition_that_fails_does_not_hold_up_the_others(tmp_path: Path) -> None:
    import errno

    cluster = DirectCluster(tmp_path, cluster_map(2, partitions=(PARTITION, 8)))
    await cluster.start()
    giver, taker = cluster["a1"], cluster["a2"]
    await giver.put(blob_id(1), b"x")
    await giver.put(blob_id(1, partition=8), b"y")
    taker.files.fail("fdatasync", errno.EIO, for_ever=True, name="partition-00000007")
    with pytest.raises(AmbryError):
        await taker.tick("pull:a1")
    entry = taker.parts.replicas[8].store.lookup(blob_id(1, partition=8))
    assert entry is not None
    assert entry.present
    await cluster.stop()


async def test_an_answer_that_cannot_be_read_moves_nothing(cluster: DirectCluster) -> None:
    taker = cluster["a2"]
    await cluster["a1"].put(ID, b"x")

    def garble(type: int, frame: Frame) -> Frame:
        import msgspec

        return msgspec.structs.replace(frame, header=b"\xc1")

    before = taker.parts.replicator.describe(PARTITION)["a1"]["lsn"]
    taker.peers["a1"].tamper = garble
    with pytest.raises(AmbryError):
        await taker.tick("pull:a1")
    assert taker.parts.replicator.describe(PARTITION)["a1"]["lsn"] == before
    taker.peers["a1"].tamper = lambda _type, frame: frame
    await taker.pull("a1")
    assert taker.holds(ID)


async def test_partitions_that_this_node_does_not_have_are_left_alone(cluster: DirectCluster) -> None:
    taker = cluster["a2"]

    def foreign(type: int, frame: Frame) -> Frame:
        import msgspec

        if type != MessageType.CHANGES:
            return frame
        reply = messages.decode(frame.header, ChangesReply)
        strange = [msgspec.structs.replace(answer, partition=99) for answer in reply.partitions]
        return msgspec.structs.replace(frame, header=messages.encode(ChangesReply([*reply.partitions, *strange])))

    taker.peers["a1"].tamper = foreign
    await cluster["a1"].put(ID, b"x")
    await taker.pull("a1")
    assert taker.holds(ID)


async def test_the_admin_page_shows_where_each_peer_stands(cluster: DirectCluster) -> None:
    await cluster["a1"].put(ID, b"x")
    await cluster["a2"].pull("a1")
    page = cluster["a2"].parts.replicator.describe(PARTITION)
    assert sorted(page) == ["a1", "a3"]
    assert page["a1"] == {
        "incarnation": cluster["a1"].replica.store.incarnation.hex(),
        "lsn": cluster["a1"].replica.store.end_lsn,
        "lag_bytes": 0,
        "outstanding": 0,
        "caught_up": True,
        "serving": True,
        "vouches": True,
        "connected": True,
        "silent_s": 0.0,
        "lag_s": 0.0,
    }
