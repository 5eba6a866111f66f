"""Who follows is woken by what changes in its container, and by whatever might have been missed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from ambry.errors import Overloaded
from frontend.feed import watching
from frontend.feed.reader import container_bytes
from frontend.feed.watching import Notices
from frontend.metadata.spaces import Space
from frontend.metadata.store import Put
from tests.support.eventually import eventually
from tests.support.feeds import FeedCluster, feed_cluster

LONG_S = 30.0


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[FeedCluster]:
    async with feed_cluster(tmp_path, 3) as made:
        yield made


@pytest.fixture
async def notices(cluster: FeedCluster) -> AsyncIterator[Notices]:
    made = Notices(cluster.stores[0], cluster.frontends[0].context, random_source=random.Random(1))
    yield made
    await made.stop()


async def established(notices: Notices, follower: watching.FeedFollower) -> None:
    """Until every data node has said for the first time that anything may have changed."""
    notices.log_is_at(())
    for _ in range(5):
        await follower.wait(0.2)
        follower.take()


def watching_tasks() -> set[asyncio.Task[object]]:
    """What runs in this process because somebody follows."""
    return {task for task in asyncio.all_tasks() if "Notices._watch" in repr(task)}


def scope(cluster: FeedCluster) -> int:
    return cluster.container.account_id << 32 | cluster.container.container_id


async def test_a_put_wakes_who_follows_its_container_and_tells_its_partition(
    cluster: FeedCluster, notices: Notices
) -> None:
    with notices.following(container_bytes(cluster.container)) as mine, notices.following(bytes(8)) as other:
        assert mine.take().partitions is None, "at first anything may be new"
        await established(notices, mine)
        other.take()
        result = await cluster.frontends[0].put(b"x")
        assert await mine.wait(LONG_S)
        assert mine.take().partitions == frozenset({result.id.partition})
        assert not await other.wait(0.05)


async def test_a_name_wakes_who_follows_its_container_with_no_partition_to_read(
    cluster: FeedCluster, notices: Notices
) -> None:
    with notices.following(container_bytes(cluster.container)) as mine:
        await established(notices, mine)
        await cluster.stores[0].write([Put(Space.NAME, scope(cluster) + 1, b"elsewhere", b"v")])
        await cluster.stores[0].write([Put(Space.NAME, scope(cluster), b"a", b"v")])
        assert await mine.wait(LONG_S)
        assert mine.take().partitions == frozenset()


async def test_while_a_data_node_does_not_answer_anything_may_be_new(cluster: FeedCluster, notices: Notices) -> None:
    with notices.following(container_bytes(cluster.container)) as mine:
        await established(notices, mine)
        await cluster.nodes["a1"].kill()
        assert await mine.wait(LONG_S)
        assert mine.take().partitions is None


async def test_while_a_data_node_does_not_answer_nobody_looks_five_times_a_second(
    cluster: FeedCluster, notices: Notices, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of up to 256 followers read all partitions anew at each of these moments, as long as a node was away."""
    waits: list[float] = []
    real = asyncio.sleep

    async def sleep(seconds: float, result: object = None) -> object:
        if seconds < watching.AGAIN_S:
            return await real(seconds, result)
        waits.append(seconds)
        return await real(0 if len(waits) < 8 else LONG_S, result)

    with notices.following(container_bytes(cluster.container)) as mine:
        await established(notices, mine)
        monkeypatch.setattr(watching, "asyncio", SimpleNamespace(**{**vars(asyncio), "sleep": sleep}))
        await cluster.nodes["a1"].kill()
        await eventually(lambda: len(waits) == 8)
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 3.2, 3.2, 3.2]


async def test_a_store_that_fails_for_a_while_wakes_everybody(
    cluster: FeedCluster, notices: Notices, monkeypatch: pytest.MonkeyPatch
) -> None:
    with notices.following(container_bytes(cluster.container)) as mine:

        async def fails(*_asked: object) -> int:
            raise Overloaded("too much")

        monkeypatch.setattr(cluster.stores[0], "wait", fails)
        await established(notices, mine)
        assert await mine.wait(LONG_S)
        assert mine.take().partitions is None


async def test_nothing_is_watched_where_nobody_follows(
    cluster: FeedCluster, notices: Notices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LINGER_S", 0.0)
    assert notices.followers == 0
    with notices.following(bytes(8)):
        assert notices.followers == 1
        assert len(watching_tasks()) == 4, "one for each data node, and one for the metadata"
    await eventually(lambda: not watching_tasks())
    with notices.following(bytes(8)) as again:
        assert await again.wait(LONG_S), "and it begins anew"


async def test_who_comes_back_at_once_finds_it_watched(cluster: FeedCluster, notices: Notices) -> None:
    with notices.following(bytes(8)):
        tasks = watching_tasks()
    with notices.following(bytes(8)):
        assert watching_tasks() == tasks


async def test_more_than_so_many_are_refused(notices: Notices, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "FOLLOWERS_MAX", 1)
    with notices.following(bytes(8)), pytest.raises(Overloaded), notices.following(bytes(8)):
        pass
    with notices.following(bytes(8)):
        assert notices.followers == 1
