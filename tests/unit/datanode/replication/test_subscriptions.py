"""The asked side of a subscription: who follows what, and which partitions may have something to tell."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ambry.protocol.messages.replication import ChangesCursor, ChangesRequest, Subscription
from datanode.replication.feed import ChangeFeed
from datanode.replication.subscriptions import Follower, Followers, Publications
from tests.support.direct_node import DirectCluster, DirectNode, cluster_map
from tests.support.samples import blob_id


def at(partition: int, lsn: int = 0) -> ChangesCursor:
    return ChangesCursor(partition, b"i" * 16, lsn)


def request(
    *cursors: ChangesCursor,
    step: int = 0,
    session: int = 1,
    channel: int = 0,
    gone: tuple[int, ...] = (),
    name: str = "n",
) -> ChangesRequest:
    return ChangesRequest(list(cursors), 10, 10, 0, name, Subscription(channel, session, step), list(gone))


def expect(follower: Follower | None) -> Follower:
    assert follower is not None
    return follower


def test_a_request_says_only_what_moved_since_the_one_before() -> None:
    followers = Followers(Publications())
    follower = expect(followers.of(request(at(1), at(2), at(3))))
    assert sorted(follower.marked) == [1, 2, 3], "what is named is looked at"
    follower.marked.clear()
    assert followers.of(request(at(2, 50), step=1, gone=(3,))) is follower
    assert follower.cursors == {1: at(1), 2: at(2, 50)}
    assert follower.marked == {2}


def test_a_publication_marks_its_partition_for_those_that_follow_it() -> None:
    publications = Publications()
    followers = Followers(publications)
    one = expect(followers.of(request(at(1), at(2), name="one")))
    other = expect(followers.of(request(at(2), at(3), name="other")))
    one.marked.clear()
    other.marked.clear()
    for partition in (1, 2, 9):
        publications.notify(partition)
    assert (one.marked, other.marked) == ({1, 2}, {2})
    followers.of(request(step=1, gone=(2,), name="one"))
    publications.notify(2)
    assert (one.marked, other.marked) == ({1}, {2})


@pytest.mark.parametrize(
    "unknown", [request(step=2), request(step=1, session=2), request(step=1, name="other"), request(step=1, channel=1)]
)
def test_a_request_that_does_not_follow_the_one_before_must_say_everything(unknown: ChangesRequest) -> None:
    """One was lost, or this process is not the one that was told: its cursors would be wrong for ever."""
    followers = Followers(Publications())
    followers.of(request(at(1)))
    assert followers.of(unknown) is None


def test_a_new_session_takes_the_place_of_the_old_one() -> None:
    publications = Publications()
    followers = Followers(publications)
    old = expect(followers.of(request(at(1), at(2))))
    new = expect(followers.of(request(at(2), session=2)))
    assert old.cursors == {}
    assert followers.of(request(step=1)) is None
    assert [len(publications.watchers(partition)) for partition in (1, 2)] == [0, 1]
    assert new.cursors == {2: at(2)}


def test_one_without_a_session_leaves_nothing_behind() -> None:
    publications = Publications()
    follower = expect(Followers(publications).of(request(at(1), session=0)))
    follower.end()
    assert not publications.watchers(1)


async def test_a_wait_ends_with_the_first_mark_after_the_last_look() -> None:
    publications = Publications()
    follower = expect(Followers(publications).of(request(at(1))))
    publications.notify(1)
    await follower.wait(60_000)
    follower.listen()
    await follower.wait(1)
    waiting = asyncio.ensure_future(follower.wait(60_000))
    await asyncio.sleep(0)
    assert not waiting.done()
    publications.notify(1)
    await waiting


# --- of a whole node ---

PARTITIONS = tuple(range(1, 31))


@pytest.fixture
async def pair(tmp_path: Path) -> DirectCluster:
    cluster = DirectCluster(tmp_path, cluster_map(2, partitions=PARTITIONS))
    await cluster.start()
    await cluster.settle()
    return cluster


def named(node: DirectNode, peer: str) -> list[list[int]]:
    """The partitions that each request to a peer has named."""
    asked = [message for message in node.peers[peer].asked if isinstance(message, ChangesRequest)]
    return [[cursor.partition for cursor in message.cursors] for message in asked]


async def test_a_wake_up_names_and_touches_only_what_changed(
    pair: DirectCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every wake-up walked and sent all cursors again: 11 puts/s into 1,000 partitions cost 10 % of a core of every node."""
    giver, taker = pair["a1"], pair["a2"]
    await taker.tick("pull:a1")
    before = len(named(taker, "a1"))
    looked: list[int] = []
    tells = ChangeFeed._tells

    def noted(self: ChangeFeed, replica: object, cursor: ChangesCursor) -> bool:
        looked.append(cursor.partition)
        return tells(self, replica, cursor)  # type: ignore[arg-type]

    monkeypatch.setattr(ChangeFeed, "_tells", noted)
    for number, partition in enumerate((7, 12, 7), start=1):
        await giver.put(blob_id(number, partition=partition), b"x")
        await taker.tick("pull:a1")
        entry = taker.parts.replicas[partition].store.lookup(blob_id(number, partition=partition))
        assert entry is not None and entry.present
    await taker.tick("pull:a1")
    assert named(taker, "a1")[before:] == [[], [7], [12], [7]]
    assert set(looked) == {7, 12}
    await pair.stop()


async def test_a_peer_that_starts_again_is_told_everything_anew(pair: DirectCluster) -> None:
    giver, taker = pair["a1"], pair["a2"]
    await taker.tick("pull:a1")
    await giver.put(blob_id(1, partition=3), b"x")
    await taker.tick("pull:a1")
    await giver.stop()
    await giver.start()
    await giver.put(blob_id(2, partition=4), b"x")
    before = len(named(taker, "a1"))
    await taker.tick("pull:a1")
    assert named(taker, "a1")[-1] == list(PARTITIONS)
    assert len(named(taker, "a1")) <= before + 2
    entry = taker.parts.replicas[4].store.lookup(blob_id(2, partition=4))
    assert entry is not None and entry.present
    await pair.stop()
