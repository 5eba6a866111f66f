"""Gets and presence where the index's file must be asked; with a disk that hangs under it, everything else goes on (F13)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Collection
from pathlib import Path

import msgspec
import pytest

from ambry.blob import NEVER_MS, BlobState
from ambry.errors import BlobDeleted, BlobNotFound, DataCorrupt, DeadlineExceeded, IndexCorrupt, ReplicaFenced
from ambry.protocol.frame import MessageType
from ambry.protocol.messages.base import Empty, Pong
from ambry.protocol.messages.blobs import GetRequest, PresenceReply, PresenceRequest, UpdateRequest
from ambry.protocol.messages.replication import FetchReply, FetchRequest
from ambry.protocol.messages.upkeep import Fate, FatesReply, FatesRequest
from datanode.replicas import Replica
from datanode.store.stored_entries import Entries
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.samples import ALIVE, DELETED, PARTITION, blob_id, content, forget, rot_index

OTHER = 8
SIZE = 3_000


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[DirectCluster]:
    made = DirectCluster(tmp_path, cluster_map(1, partitions=(PARTITION, OTHER)))
    await made.start()
    node = made["a1"]
    for number in range(1, 6):
        await node.put(blob_id(number), content(number, SIZE))
        await node.put(blob_id(number, partition=OTHER), content(number, SIZE))
    await node.update(blob_id(4), DELETED)
    for replica in node.parts.replicas.all():
        await node.parts.checkpointer.checkpoint(replica)
        forget(replica.store)
    yield made
    await made.stop()


@pytest.fixture
def node(cluster: DirectCluster) -> DirectNode:
    return cluster["a1"]


class Hang:
    """The index of PARTITION does not answer until `end`."""

    def __init__(self, node: DirectNode) -> None:
        self.begun = threading.Event()
        self._over = threading.Event()
        node.files.before_tables = self._before

    def _before(self, _call: str, directory: Path) -> None:
        if f"{PARTITION:08d}" in str(directory):
            self.begun.set()
            self._over.wait(10)

    async def wait(self) -> None:
        assert await asyncio.to_thread(self.begun.wait, 30)

    def end(self) -> None:
        self._over.set()


async def test_a_blob_that_only_the_file_knows_is_served_and_known_then(node: DirectNode) -> None:
    assert (await node.get(blob_id(1)))[1] == content(1, SIZE)
    assert (await node.get(blob_id(2), 10, 20))[1] == content(2, SIZE)
    assert (await node.get(blob_id(4)))[0].state == DELETED
    with pytest.raises(BlobNotFound):
        await node.get(blob_id(0))
    asked: list[str] = []
    node.files.before_tables = lambda call, _directory: asked.append(call)
    assert (await node.get(blob_id(1)))[1] == content(1, SIZE)
    assert asked == []


async def test_what_changed_while_the_file_was_asked_is_not_answered_as_it_was(
    node: DirectNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory told what is newer, unless more had gone through it meanwhile than it holds: a deleted blob was served."""
    store = node.replica.store
    look_up = store.index.look_up
    was_read, go_on = threading.Event(), threading.Event()

    def slow(keys: Collection[bytes]) -> Entries:
        found = look_up(keys)
        was_read.set()
        go_on.wait(10)
        return found

    monkeypatch.setattr(store.index, "look_up", slow)
    getting = asyncio.ensure_future(node.get(blob_id(1)))
    assert await asyncio.to_thread(was_read.wait, 30)
    entry = store.lookup(blob_id(1))
    assert entry is not None
    store.index.set(msgspec.structs.replace(entry, state=DELETED, lsn=store.end_lsn))
    store.end_lsn += 8
    assert await node.parts.checkpointer.checkpoint(node.replica)
    forget(store)
    go_on.set()
    assert (await getting)[0].state == DELETED


async def test_a_put_of_a_blob_that_only_the_file_knows_is_the_same_put_again(node: DirectNode) -> None:
    end_lsn = node.replica.store.end_lsn
    await node.put(blob_id(1), content(1, SIZE))
    assert node.replica.store.end_lsn == end_lsn
    forget(node.replica.store)
    with pytest.raises(Exception, match="another content"):
        await node.put(blob_id(1), content(2, SIZE))
    forget(node.replica.store)
    node.replica.store.damaged.add(blob_id(2))
    await node.put(blob_id(2), content(2, SIZE))
    assert node.replica.store.end_lsn > end_lsn
    assert node.holds(blob_id(2))


async def test_an_update_of_a_blob_that_only_the_file_knows_joins_with_its_state(
    cluster: DirectCluster, node: DirectNode
) -> None:
    store = node.replica.store
    assert await node.update(blob_id(1), DELETED) == DELETED
    assert node.state(blob_id(1)) == DELETED
    end_lsn = store.end_lsn
    assert await node.update(blob_id(4), ALIVE) == DELETED
    assert store.end_lsn == end_lsn, "it changes nothing"
    forget(store)
    cluster.clock.advance(30 * 86_400)
    node.hear_clocks()
    with pytest.raises(BlobDeleted):
        await node.update(blob_id(4), BlobState(1, False, NEVER_MS))


async def test_what_the_file_knows_is_told_to_whoever_asks(node: DirectNode) -> None:
    ids = [blob_id(number) for number in (1, 4, 77)]
    presence, _, _ = await node.ask(MessageType.PRESENCE, PresenceRequest("r", [*ids, b"no id"]))
    assert presence == PresenceReply(["present", "deleted", "absent", "unsure"])
    fates, _, _ = await node.ask(MessageType.FATES, FatesRequest(ids))
    assert isinstance(fates, FatesReply)
    assert fates.fates == [Fate.ALIVE, Fate.ALIVE, Fate.ABSENT]
    fetched, body, _ = await node.ask(MessageType.FETCH, FetchRequest(PARTITION, [blob_id(1), blob_id(77)], 1 << 20))
    assert isinstance(fetched, FetchReply)
    assert (fetched.missing, len(body) > SIZE) == ([blob_id(77)], True)


async def test_a_record_that_cannot_be_read_on_the_way_is_damaged(node: DirectNode) -> None:
    node.files.fail("pread_cached", 5)
    with pytest.raises(DataCorrupt):
        await node.get(blob_id(1))
    assert node.replica.store.damaged == {blob_id(1)}


async def test_a_rotten_entry_is_an_answer_for_everybody_in_its_job(node: DirectNode) -> None:
    before = node.replica
    rot_index(before.store, blob_id(1))
    asked = [node.send(MessageType.GET, GetRequest("r", blob_id(number), 0, 99, False)) for number in (1, 2)]
    for answer in asked:
        with pytest.raises(IndexCorrupt):
            await answer.wait()
    await node.parts.replicas.settle()
    assert (await node.get(blob_id(1)))[1] == content(1, SIZE)


async def test_an_index_that_hangs_stops_nobody_else(node: DirectNode) -> None:
    """A page of LMDB's map that the disk did not bring stopped the event loop, and the node with all its replicas."""
    hang = Hang(node)
    stuck = [node.send(MessageType.GET, GetRequest("r", blob_id(number), 0, 99, False)) for number in range(1, 4)]
    stuck.append(node.send(MessageType.UPDATE, UpdateRequest("r", blob_id(2), DELETED, node.clock.wall_ms())))
    stuck.append(node.send(MessageType.PRESENCE, PresenceRequest("r", [blob_id(1)])))
    await hang.wait()
    for number in range(20, 30):
        pong, _, _ = await node.ask(MessageType.PING, Empty())
        assert isinstance(pong, Pong)
        assert (await node.get(blob_id(1, partition=OTHER)))[1] == content(1, SIZE)
        await node.put(blob_id(number, partition=OTHER), content(number, SIZE))
        await node.update(blob_id(number, partition=OTHER), DELETED)
    assert not any(answer.done for answer in stuck)
    fenced: Replica = node.replica
    fenced.store.fence("a test")
    with pytest.raises(ReplicaFenced):
        await node.put(blob_id(50), b"x")
    hang.end()
    for answer in stuck[:3]:
        await answer.wait()
    with pytest.raises(ReplicaFenced):
        await stuck[3].wait()


async def test_who_does_not_wait_for_a_hung_index_any_more_is_forgotten(node: DirectNode) -> None:
    hang = Hang(node)
    first = node.send(MessageType.GET, GetRequest("r", blob_id(3), 0, 99, False))
    await hang.wait()
    abandoned = node.send(MessageType.GET, GetRequest("r", blob_id(1), 0, 99, False))
    assert abandoned.on_abandoned is not None
    abandoned.on_abandoned()
    late = node.send(MessageType.GET, GetRequest("r", blob_id(2), 0, 99, False), deadline=0.0)
    hang.end()
    await first.wait()
    with pytest.raises(DeadlineExceeded):
        await late.wait()
    assert not abandoned.done
