"""Following the changes of a container, page by page."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from ambry.errors import InvalidRequest
from ambry.ids import BlobId
from frontend.feed import following
from frontend.feed.following import ChangeFollowing
from frontend.feed.reader import FeedPage, container_bytes
from frontend.feed.token import BEGINNING, Position, TokenCodec
from frontend.feed.watching import Notices
from tests.support.feeds import FeedCluster, feed_cluster, types


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[FeedCluster]:
    async with feed_cluster(tmp_path, 3) as made:
        yield made


@pytest.fixture
async def feed(cluster: FeedCluster) -> AsyncIterator[ChangeFollowing]:
    notices = Notices(cluster.stores[0], cluster.frontends[0].context, random_source=random.Random(1))
    yield ChangeFollowing(cluster.readers[0], notices, TokenCodec("test"))
    await notices.stop()


async def followed(
    feed: ChangeFollowing, cluster: FeedCluster, since: str, *, limit: int = 100, wait_s: float = 0.0
) -> tuple[list[str], Position]:
    """All that is told until there is nothing more, and where that is."""
    position = await feed.position(cluster.container, since)
    seen: list[str] = []
    pages = feed.pages(cluster.container, position, limit=limit, wait_s=wait_s, given_up=lambda: False)
    async with aclosing(pages) as each:
        async for page in each:
            seen += types(page.events)
            position = page.position
    return seen, position


async def test_without_a_wait_it_ends_where_there_is_nothing_more(cluster: FeedCluster, feed: ChangeFollowing) -> None:
    for _ in range(7):
        await cluster.frontends[0].put(b"x")
    await cluster.frontends[0].settled()
    seen, position = await followed(feed, cluster, "beginning", limit=2)
    assert seen == ["blob.put"] * 7
    token = feed.token(cluster.container, position)
    assert (await followed(feed, cluster, token))[0] == []


async def test_what_comes_while_it_waits_is_told_at_once(cluster: FeedCluster, feed: ChangeFollowing) -> None:
    pages = feed.pages(
        cluster.container,
        await feed.position(cluster.container, "now"),
        limit=10,
        wait_s=None,
        given_up=lambda: False,
    )
    async with aclosing(pages) as each:
        first = await anext(each)
        assert first.events == [], "the first page tells at least where it stands"
        waiting = asyncio.ensure_future(anext(each))
        await asyncio.sleep(0)
        result = await cluster.frontends[0].put(b"x")
        page = await asyncio.wait_for(waiting, 30)
        assert [event.blob_id for event in page.events] == [str(result.id)]


async def test_it_says_now_and_then_where_it_stands_though_nothing_came(
    cluster: FeedCluster, feed: ChangeFollowing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "REFRESH_S", 0.02)
    pages = feed.pages(cluster.container, BEGINNING, limit=10, wait_s=None, given_up=lambda: False)
    async with aclosing(pages) as each:
        for _ in range(3):
            page = await asyncio.wait_for(anext(each), 30)
            assert page.events == [] and page.at_end


async def test_it_ends_when_it_is_given_up(
    cluster: FeedCluster, feed: ChangeFollowing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LOOK_S", 0.01)
    given_up = False
    pages = feed.pages(cluster.container, BEGINNING, limit=10, wait_s=None, given_up=lambda: given_up)
    async with aclosing(pages) as each:
        await anext(each)
        given_up = True
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(anext(each), 30)


async def test_what_nobody_could_tell_is_asked_for_again(
    cluster: FeedCluster, feed: ChangeFollowing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "HELD_S", 0.01)
    await cluster.frontends[0].put(b"x")
    await cluster.frontends[0].settled()
    for peer in cluster.frontends[0].peers.values():
        peer.reachable = False
    pages = feed.pages(cluster.container, BEGINNING, limit=10, wait_s=None, given_up=lambda: False)
    async with aclosing(pages) as each:
        assert (await anext(each)).held
        for peer in cluster.frontends[0].peers.values():
            peer.reachable = True
        assert types((await asyncio.wait_for(anext(each), 30)).events) == ["blob.put"]


async def test_what_waits_is_told_when_it_begins_and_when_it_is_over_though_nothing_came(
    cluster: FeedCluster, feed: ChangeFollowing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream told it with the next change, or ten seconds later: nobody knew that it waited."""
    monkeypatch.setattr(following, "HELD_S", 0.01)
    monkeypatch.setattr(following, "REFRESH_S", 3600.0)
    peers = cluster.frontends[0].peers.values()
    pages = feed.pages(cluster.container, BEGINNING, limit=10, wait_s=None, given_up=lambda: False)

    async def when_reachable(reachable: bool) -> FeedPage:
        waiting = asyncio.ensure_future(anext(each))
        for peer in peers:
            peer.reachable = reachable
        for follower in feed._notices._followers[container_bytes(cluster.container)]:
            follower.note_anything()  # As who watches the nodes does.
        return await asyncio.wait_for(waiting, 30)

    async with aclosing(pages) as each:
        assert not (await anext(each)).held
        for _ in range(2):
            page = await when_reachable(False)
            assert page.held and page.events == []
            page = await when_reachable(True)
            assert not page.held and page.events == []


async def test_news_of_one_partition_does_not_end_what_waits_of_another(
    cluster: FeedCluster, feed: ChangeFollowing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only partitions with news are looked at: their page said that nothing waits, of those that were not asked."""
    monkeypatch.setattr(following, "HELD_S", 3600.0)
    blob = str((await cluster.frontends[0].put(b"x")).id)
    await cluster.frontends[0].settled()
    number = BlobId.parse(blob).partition
    pages = feed.pages(cluster.container, BEGINNING, limit=10, wait_s=None, given_up=lambda: False)
    peers = cluster.frontends[0].peers.values()
    for peer in peers:
        peer.reachable = False
    async with aclosing(pages) as each:
        assert (await anext(each)).held
        for peer in peers:
            peer.reachable = True
        waiting = asyncio.ensure_future(anext(each))
        for follower in feed._notices._followers[container_bytes(cluster.container)]:
            follower.take()
            follower.note([number])
        page = await asyncio.wait_for(waiting, 30)
        assert types(page.events) == ["blob.put"] and page.held


async def test_what_nobody_could_tell_is_asked_for_again_while_news_of_others_come(
    cluster: FeedCluster, feed: ChangeFollowing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page began the wait anew, and asked only where there was news: in a busy container it was never told."""
    monkeypatch.setattr(following, "HELD_S", 0.01)
    monkeypatch.setattr(following, "REFRESH_S", 3600.0)
    monkeypatch.setattr(feed._notices, "_note_anything", lambda: None)
    await cluster.frontends[0].put(b"x")
    await cluster.frontends[0].settled()
    peers = cluster.frontends[0].peers.values()
    for peer in peers:
        peer.reachable = False
    read = feed._reader.page

    async def busy(*said: Any, **options: Any) -> FeedPage:
        page = await read(*said, **options)
        await asyncio.sleep(0)
        for follower in feed._notices._followers[container_bytes(cluster.container)]:
            follower.note([])
        return page

    monkeypatch.setattr(feed._reader, "page", busy)
    pages = feed.pages(cluster.container, BEGINNING, limit=10, wait_s=None, given_up=lambda: False)
    async with aclosing(pages) as each:
        assert (await anext(each)).held
        for peer in peers:
            peer.reachable = True
        page = await asyncio.wait_for(anext(each), 30)
        assert types(page.events) == ["blob.put"] and not page.held


async def test_partitions_without_news_are_looked_at_now_and_then_while_others_have_some(
    cluster: FeedCluster, feed: ChangeFollowing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where they stand would lag in the token behind what other containers wrote into them."""
    monkeypatch.setattr(following, "REFRESH_S", 0.1)
    read, asked = feed._reader.page, list[Any]()

    async def busy(*said: Any, only: Any, **options: Any) -> FeedPage:
        asked.append(only)
        page = await read(*said, only=only, **options)
        await asyncio.sleep(0)
        for follower in feed._notices._followers[container_bytes(cluster.container)]:
            follower.note([])
        return page

    monkeypatch.setattr(feed._notices, "_note_anything", lambda: None)
    monkeypatch.setattr(feed._reader, "page", busy)
    pages = feed.pages(cluster.container, BEGINNING, limit=10, wait_s=None, given_up=lambda: False)
    async with aclosing(pages) as each:
        for _ in range(3):
            await asyncio.wait_for(anext(each), 30)
    assert asked.count(None) > 1


async def test_a_token_of_something_else_is_refused(cluster: FeedCluster, feed: ChangeFollowing) -> None:
    with pytest.raises(InvalidRequest):
        await feed.position(cluster.container, TokenCodec("other").encode(bytes(8), BEGINNING))
