"""Replicas that are copied whole from the segments of their peers, and then follow their logs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from pathlib import Path

import pytest

from ambry.blob import NEVER_MS, BlobState
from ambry.errors import BlobDeleted, InsufficientStorage, ReplicaUnavailable
from ambry.network.introduction import SEGMENTS
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.replication import FetchRequest
from ambry.protocol.messages.segments import (
    SegmentBytesReply,
    SegmentBytesRequest,
    SegmentRecordsReply,
    SegmentRecordsRequest,
)
from datanode.config import BootstrapSection, CompactionSection
from datanode.replication import bootstrap
from tests.support.direct_node import LONG_S, DirectCluster, DirectNode, cluster_map
from tests.support.eventually import eventually
from tests.support.samples import ALIVE, DELETED, PARTITION, blob_id, content

BLOBS = 40
SIZE = 9_000
DAY_S = 86_400
SECTIONS = {
    "bootstrap": BootstrapSection(behind_bytes_min=100_000),
    "compaction": CompactionSection(dead_share_min=0.05),
}


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is silent unless a test makes it so, and then the test says how long."""
    monkeypatch.setattr(bootstrap, "PATIENCE_WITH_A_PAST_S", 3.0)


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[DirectCluster]:
    """Three nodes, of which the first two hold all blobs; the third was never started."""
    made = DirectCluster(tmp_path, cluster_map(3), sections=SECTIONS)
    await made.start()
    await made.settle()
    for number in range(BLOBS):
        for name in ("a1", "a2"):
            await made[name].put(blob_id(number), content(number, SIZE))
    await made.settle()
    for node in made.running.values():
        await node.parts.checkpointer.checkpoint(node.replica)
    await made["a3"].wipe()
    for peer in made["a3"].peers.values():
        peer.asked.clear()
    yield made
    await made.stop()


def copied(node: DirectNode) -> set[int]:
    """The blobs that are here."""
    return {number for number in range(BLOBS) if node.holds(blob_id(number))}


async def hear(node: DirectNode, *peers: str) -> None:
    for peer in peers or sorted(node.peers):
        await node.tick(f"pull:{peer}")


async def copy(node: DirectNode, *peers: str) -> None:
    """Hear of all peers, and copy from them."""
    await hear(node, *peers)
    assert node.parts.bootstrapper.holds(PARTITION)
    await node.tick("bootstrap")
    assert not node.parts.bootstrapper.holds(PARTITION)


def asked(node: DirectNode, peer: str, kind: type) -> list[object]:
    return [item for item in node.peers[peer].asked if isinstance(item, kind)]


def give_together(cluster: DirectCluster, *names: str) -> None:
    """None of these gives bytes of a segment before all of them were asked for some."""
    waited_for = set(names)
    all_asked = asyncio.Event()

    def wait_for_the_others(node: DirectNode) -> None:
        ask = node.ask

        async def together(type: int, message: messages.Message, body: bytes = b"") -> object:
            if type == MessageType.SEGMENT_BYTES:
                waited_for.discard(node.name)
                if not waited_for:
                    all_asked.set()
                await asyncio.wait_for(all_asked.wait(), LONG_S)
            return await ask(type, message, body)

        node.ask = together  # type: ignore[method-assign, assignment]

    for name in names:
        wait_for_the_others(cluster[name])


def sealed(node: DirectNode) -> set[int]:
    """The blobs that stand in segments which take no more appends."""
    store = node.replica.store
    numbers = {item.number for item in store.copies.segments(0)}
    entries = {number: store.lookup(blob_id(number)) for number in range(BLOBS)}
    return {number for number, entry in entries.items() if entry is not None and entry.segment in numbers}


async def whole(cluster: DirectCluster) -> None:
    await cluster.settle()
    assert all(cluster.serving().values())
    states = [{number: node.state(blob_id(number)) for number in range(BLOBS)} for node in cluster.nodes.values()]
    assert states[0] == states[1] == states[2]
    for node in cluster.nodes.values():
        for number, state in states[0].items():
            if state is not None and not state.deleted:
                assert (await node.get(blob_id(number)))[1] == content(number, SIZE)


async def test_an_empty_replica_is_copied_from_both_peers_and_whole_after_that(cluster: DirectCluster) -> None:
    node = cluster["a3"]
    give_together(cluster, "a1", "a2")
    await copy(node)
    assert copied(node) == sealed(cluster["a1"]) | sealed(cluster["a2"])
    assert not asked(node, "a1", FetchRequest)
    await whole(cluster)
    assert len(copied(node)) == BLOBS


async def test_a_blob_is_fetched_from_one_peer_alone(cluster: DirectCluster) -> None:
    node = cluster["a3"]
    await copy(node)
    store = node.replica.store
    assert store.size_bytes() < (len(copied(node)) + 1) * (SIZE + 500), "nothing is stored twice"
    size = sum(item.size for peer in ("a1", "a2") for item in asked(node, peer, SegmentBytesRequest))  # type: ignore[attr-defined]
    assert size < 1.3 * len(copied(node)) * (SIZE + 300)


async def test_no_authority_comes_of_it_and_no_token_moves(cluster: DirectCluster) -> None:
    node = cluster["a3"]
    await copy(node)
    assert not node.replica.store.serving
    assert {cursor.next_lsn for cursor in node.parts.cursors.of(PARTITION).values()} == {0}
    with pytest.raises(ReplicaUnavailable):
        await node.get(blob_id(999))
    await whole(cluster)


async def test_while_it_is_copied_its_peers_are_not_followed_and_then_they_are(cluster: DirectCluster) -> None:
    node = cluster["a3"]
    await hear(node)
    await hear(node)
    assert not copied(node)
    assert not asked(node, "a1", FetchRequest)
    line = node.parts.bootstrapper.describe()[0]
    assert (line["state"], line["partition"], sorted(line["peers"])) == ("waiting", PARTITION, ["a1", "a2"])
    assert line["bytes_to_go"] > 300_000
    await node.tick("bootstrap")
    assert node.parts.bootstrapper.describe() == []
    await node.pull("a1")
    assert copied(node) == set(range(BLOBS))


async def test_a_replica_that_lacks_little_follows_as_ever(cluster: DirectCluster) -> None:
    node = cluster["a3"]
    await cluster.settle()
    await node.tick("bootstrap")
    await whole(cluster)
    for number in range(100, 105):
        await cluster["a1"].put(blob_id(number), content(number, SIZE))
    await hear(node)
    assert not node.parts.bootstrapper.holds(PARTITION)


async def test_replicas_that_hold_the_same_and_never_met_copy_nothing(cluster: DirectCluster) -> None:
    """Every index was lost: all start over with each other, and everything is there."""
    await cluster.settle()
    await cluster["a3"].tick("bootstrap")
    await whole(cluster)
    for name in ("a1", "a2", "a3"):
        node = cluster[name]
        node.parts.replicas.renew(node.replica)
    await asyncio.gather(*(node.parts.replicas.settle() for node in cluster.nodes.values()))
    for node in cluster.nodes.values():
        node.parts.replicas._closing = False
        await hear(node)
        assert not node.parts.bootstrapper.holds(PARTITION)


async def test_what_no_copy_brings_is_followed(tmp_path: Path) -> None:
    """The log of a replica that had lost a segment began behind a hole of 4 GiB, in the one segment that takes appends: its
    peers copied nothing from it, 392 times a minute each, and followed it no more."""
    sections = {"bootstrap": BootstrapSection(behind_bytes_min=10_000)}
    cluster = DirectCluster(tmp_path, cluster_map(2), sections=sections)
    await cluster.start()
    one, two = cluster["a1"], cluster["a2"]
    for number in range(5):
        await one.put(blob_id(number), content(number, SIZE))
    assert one.replica.store.segment_count() == 1
    await copy(two)
    assert copied(two) == set()
    await hear(two)
    assert not two.parts.bootstrapper.holds(PARTITION)
    await cluster.settle()
    assert copied(two) == set(range(5))
    for number in range(5, 40):
        await one.put(blob_id(number), content(number, SIZE))
    await hear(two)
    assert two.parts.bootstrapper.holds(PARTITION), "there is something to copy again"
    await cluster.settle()
    assert copied(two) == set(range(40))
    assert set(cluster.serving().values()) == {True}
    await cluster.stop()


async def test_a_peer_of_an_older_release_is_followed(cluster: DirectCluster) -> None:
    node = cluster["a3"]
    for peer in node.peers.values():
        peer.features.discard(SEGMENTS)
    await hear(node)
    assert not node.parts.bootstrapper.holds(PARTITION)
    await whole(cluster)
    assert not asked(node, "a1", SegmentRecordsRequest)


async def test_one_that_is_silent_has_its_time_and_is_not_waited_for_after_that(cluster: DirectCluster) -> None:
    node = cluster["a3"]
    node.peers["a2"].reachable = False
    await hear(node, "a1")
    assert not node.parts.bootstrapper.holds(PARTITION)
    assert not copied(node), "what it said is not taken in one by one meanwhile"
    cluster.clock.advance(bootstrap.PATIENCE_S)
    await copy(node, "a1")
    assert copied(node) == sealed(cluster["a1"])
    node.peers["a2"].reachable = True
    await whole(cluster)


async def test_a_peer_that_goes_away_in_the_middle_costs_nothing(cluster: DirectCluster) -> None:
    node = cluster["a3"]
    pieces = 0

    def breaks(type: int, frame: Frame) -> Frame:
        nonlocal pieces
        pieces += type == MessageType.SEGMENT_BYTES
        node.peers["a1"].reachable = pieces < 2
        return frame

    node.peers["a1"].tamper = breaks
    await copy(node)
    assert copied(node) >= sealed(cluster["a2"]) - {0, 1, 2, 3, 4, 5, 6, 7}, "the other goes round"
    node.peers["a1"].tamper = lambda _type, frame: frame
    node.peers["a1"].reachable = True
    await whole(cluster)


@pytest.mark.parametrize("ends", ["kill", "power cut"])
async def test_what_was_copied_before_a_crash_is_not_fetched_again(cluster: DirectCluster, ends: str) -> None:
    node = cluster["a3"]
    node.peers["a2"].reachable = False
    cluster.clock.advance(bootstrap.PATIENCE_S)

    def breaks(type: int, frame: Frame) -> Frame:
        if len(copied(node)) > BLOBS // 3:
            node.peers["a1"].reachable = False
        return frame

    node.peers["a1"].tamper = breaks
    await copy(node, "a1")
    before = copied(node)
    assert BLOBS // 3 < len(before) < len(sealed(cluster["a1"]))
    await (node.kill() if ends == "kill" else node.power_cut(5))
    node.peers["a1"].tamper = lambda _type, frame: frame
    node.peers["a1"].reachable = True
    node.peers["a1"].asked.clear()
    await node.start()
    assert copied(node) == before
    cluster.clock.advance(bootstrap.PATIENCE_S)
    await copy(node, "a1")
    assert copied(node) == sealed(cluster["a1"])
    size = sum(item.size for item in asked(node, "a1", SegmentBytesRequest))  # type: ignore[attr-defined]
    assert size <= (len(copied(node)) - len(before) + 1) * (SIZE + 300)
    node.peers["a2"].reachable = True
    await whole(cluster)


async def test_a_damaged_record_at_the_source_comes_from_elsewhere(cluster: DirectCluster) -> None:
    node, giver = cluster["a3"], cluster["a1"]
    node.peers["a2"].reachable = False
    cluster.clock.advance(bootstrap.PATIENCE_S)
    entry = giver.replica.store.lookup(blob_id(3))
    assert entry is not None
    giver.files.flip(giver.replica.store.directory / f"{entry.segment:08d}.segment", entry.offset + 3_000)
    await copy(node, "a1")
    assert copied(node) == sealed(giver) - {3}
    node.peers["a2"].reachable = True
    await whole(cluster)


async def test_bytes_that_are_corrupted_on_their_way_are_not_taken(cluster: DirectCluster) -> None:
    node = cluster["a3"]

    def corrupt(type: int, frame: Frame) -> Frame:
        if type != MessageType.SEGMENT_BYTES:
            return frame
        body = bytearray(frame.body)
        body[len(body) // 2] ^= 1
        return Frame(frame.type, frame.flags, 0, 1, frame.header, frame.checks, body)

    for name in ("a1", "a2"):
        node.peers[name].tamper = corrupt
    await copy(node)
    assert 0 < len(copied(node)) < BLOBS
    for name in ("a1", "a2"):
        node.peers[name].tamper = lambda _type, frame: frame
    await whole(cluster)


async def test_a_segment_that_is_gone_is_no_error(cluster: DirectCluster) -> None:
    node = cluster["a3"]
    gone = 0

    def compacted(type: int, frame: Frame) -> Frame:
        nonlocal gone
        if gone < 2 and type in (MessageType.SEGMENT_BYTES, MessageType.SEGMENT_RECORDS):
            gone += 1
            reply = SegmentBytesReply(True) if type == MessageType.SEGMENT_BYTES else SegmentRecordsReply([], 0, True)
            return Frame(frame.type, frame.flags, 0, 1, messages.encode(reply), b"", b"")
        return frame

    node.peers["a1"].tamper = compacted
    await copy(node)
    assert len(copied(node)) > BLOBS // 2
    await whole(cluster)


async def test_a_blob_that_was_deleted_is_not_brought_back(cluster: DirectCluster) -> None:
    """Its bytes still stand in the segments that are copied, and one peer has not heard of it."""
    node = cluster["a3"]
    await cluster["a1"].update(blob_id(5), DELETED)
    await cluster["a1"].update(blob_id(6), DELETED)
    await node.update(blob_id(6), DELETED)
    node.peers["a2"].reachable = False
    cluster.clock.advance(bootstrap.PATIENCE_S)
    await copy(node, "a1")
    assert not node.holds(blob_id(5))
    assert not node.holds(blob_id(6))
    node.peers["a2"].reachable = True
    await whole(cluster)
    assert node.state(blob_id(5)) == DELETED


async def test_a_delete_that_comes_between_the_offer_and_the_bytes_stays(cluster: DirectCluster) -> None:
    node = cluster["a3"]
    deleted: list[int] = []

    async def delete_all() -> None:
        for number in deleted:
            await node.update(blob_id(number), DELETED)

    ask = cluster["a1"].ask

    async def slowly(type: int, message: messages.Message, body: bytes = b"") -> object:
        answer = await ask(type, message, body)
        if type == MessageType.SEGMENT_BYTES and not deleted:
            deleted.extend(range(BLOBS))
            await delete_all()
        return answer

    cluster["a1"].ask = slowly  # type: ignore[method-assign, assignment]
    node.peers["a2"].reachable = False
    cluster.clock.advance(bootstrap.PATIENCE_S)
    await copy(node, "a1")
    assert not copied(node)
    node.peers["a2"].reachable = True
    cluster["a1"].ask = ask  # type: ignore[method-assign]
    await whole(cluster)
    assert {node.state(blob_id(number)) for number in range(BLOBS)} == {DELETED}


async def test_a_full_disk_ends_it_and_it_is_tried_again_later(
    cluster: DirectCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = cluster["a3"]
    with monkeypatch.context() as patch:
        patch.setattr(type(node.files), "free_bytes", lambda _self, _path: 0)
        node.parts.replicas[PARTITION].committer._reserve_bytes = 1 << 20
        await copy(node)
        assert not copied(node)
        assert node.replica.store.state == "open"
        with pytest.raises(InsufficientStorage):
            await hear(node)
        assert not node.parts.bootstrapper.holds(PARTITION), "not at once"
    cluster.clock.advance(bootstrap.RETRY_MAX_S)
    await copy(node)
    assert len(copied(node)) > BLOBS // 2


async def test_a_replica_that_is_reopened_meanwhile_is_copied_as_it_is_then(cluster: DirectCluster) -> None:
    node = cluster["a3"]
    await hear(node)
    assert node.parts.bootstrapper.holds(PARTITION)
    before = node.replica
    node.parts.replicas.rebuild(before.store, "a test")
    await node.parts.replicas.settle()
    node.parts.replicas._closing = False
    assert node.replica is not before
    await node.tick("bootstrap")
    assert not copied(node), "what was decided of another opening is void"
    await copy(node)
    await whole(cluster)


async def test_it_is_stopped_in_the_middle(cluster: DirectCluster) -> None:
    node = cluster["a3"]
    never = asyncio.Event()
    ask = cluster["a1"].ask

    async def hangs(type: int, message: messages.Message, body: bytes = b"") -> object:
        if type == MessageType.SEGMENT_BYTES:
            await never.wait()
        return await ask(type, message, body)

    cluster["a1"].ask = hangs  # type: ignore[method-assign, assignment]
    await hear(node)
    work = asyncio.ensure_future(node.tick("bootstrap"))
    await eventually(lambda: len(copied(node)) >= BLOBS // 3)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert not node.parts.bootstrapper.holds(PARTITION)
    await node.replica.committer.wait_idle()
    cluster["a1"].ask = ask  # type: ignore[method-assign]
    await whole(cluster)


async def test_across_datacenters_the_designated_one_copies_and_its_siblings_take_it_from_there(
    tmp_path: Path,
) -> None:
    cluster = DirectCluster(tmp_path, cluster_map(1, 2), sections=SECTIONS)
    await cluster["a1"].start()
    for number in range(BLOBS):
        await cluster["a1"].put(blob_id(number), content(number, SIZE))
    for name in ("b1", "b2"):
        await cluster[name].start()
    cluster.clock.advance(bootstrap.PATIENCE_S)
    designated = {name for name in ("b1", "b2") if "pull:a1" in cluster[name].ticks}
    for name in ("b1", "b2"):
        for tick in cluster[name].ticks:
            if tick.startswith("pull:a1"):
                await cluster[name].tick(tick)
        assert cluster[name].parts.bootstrapper.holds(PARTITION) == (name in designated)
    await cluster.settle()
    await cluster.stop()


# --- the same end as without it ---


def some_changes(source: random.Random, count: int) -> Iterable[tuple[str, int, BlobState]]:
    """What happens to blobs: to which replica, and the state that is joined. It does not depend on what a3 holds by then."""
    for _ in range(count):
        name = source.choice(["a1", "a2", "a3"])
        life = 0 if name == "a3" else source.randrange(3)
        expires = source.choice([NEVER_MS, 0, 5_000_000_000_000])
        deleted = name == "a3" or source.random() < 0.5  # that needs no bytes
        yield name, source.randrange(BLOBS), BlobState(life, deleted, expires)


@pytest.mark.parametrize("seed", range(6))
async def test_it_ends_in_the_same_states_as_following_alone(tmp_path: Path, seed: int) -> None:
    """With deletes, undeletes, times to live, damage, and compactions at the source, before and between the looks."""
    ends = []
    for enabled in (True, False):
        source = random.Random(seed)
        (tmp_path / str(enabled)).mkdir()
        sections = SECTIONS | {"bootstrap": BootstrapSection(enabled=enabled, behind_bytes_min=50_000)}
        cluster = DirectCluster(tmp_path / str(enabled), cluster_map(3), sections=sections)
        for name in ("a1", "a2"):
            await cluster[name].start()
        for number in range(BLOBS):
            for name in source.choice([("a1",), ("a2",), ("a1", "a2")]):
                await cluster[name].put(blob_id(number), content(number, SIZE))
        early, late = list(some_changes(source, 30)), list(some_changes(source, 20))
        for name, number, state in early:
            with suppress(ReplicaUnavailable):  # where its bytes are not
                if name in cluster.running:
                    await cluster[name].update(blob_id(number), state)
        cluster.clock.advance(8 * DAY_S)
        for node in list(cluster.running.values()):
            await node.parts.checkpointer.checkpoint(node.replica)
            await node.parts.compactor.compact(node.replica)
        await cluster["a3"].start()
        node = cluster["a3"]

        async def meanwhile(cluster: DirectCluster = cluster, late: list[tuple[str, int, BlobState]] = late) -> None:
            for name, number, state in late:
                with suppress(BlobDeleted, ReplicaUnavailable):  # too late for an undelete, or its bytes are not here
                    await cluster[name].update(blob_id(number), state)
                await asyncio.sleep(0)
            for name in ("a1", "a2"):
                await cluster[name].parts.compactor.compact(cluster[name].replica)

        await hear(node)
        assert node.parts.bootstrapper.holds(PARTITION) == enabled
        changing = asyncio.ensure_future(meanwhile())
        await (node.tick("bootstrap") if enabled else asyncio.sleep(0))
        await changing
        await cluster.settle(rounds=6)
        assert all(cluster.serving().values())
        ends.append({number: node.state(blob_id(number)) for number in range(BLOBS)})
        for number, end in ends[-1].items():
            others = [cluster[name].state(blob_id(number)) for name in ("a1", "a2")]
            assert others == [end, end]
            if end is not None and not end.deleted:
                assert node.holds(blob_id(number)) == cluster["a1"].holds(blob_id(number))
        await cluster.stop()
    assert ends[0] == ends[1]
    assert ALIVE in ends[0].values()
