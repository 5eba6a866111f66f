"""One page of changes: a blob before its name, and nothing left out whatever is behind or away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.blob import NEVER_MS
from ambry.errors import Unavailable
from frontend.feed.events import id_text
from frontend.feed.reader import PAGE_MAX, container_bytes
from frontend.feed.token import BEGINNING
from frontend.metadata.spaces import Space
from frontend.metadata.store import Put
from frontend.names.rows import NamedBlob, encode_named
from tests.support.feeds import FeedCluster, feed_cluster, types
from tests.support.samples import blob_id


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[FeedCluster]:
    async with feed_cluster(tmp_path, 3) as made:
        yield made


async def name(cluster: FeedCluster, key: str, raw_id: bytes) -> None:
    scope = cluster.container.account_id << 32 | cluster.container.container_id
    value = encode_named(NamedBlob(raw_id, 1, NEVER_MS, owned=True))
    await cluster.stores[0].write([Put(Space.NAME, scope, key.encode(), value)])


async def put(cluster: FeedCluster) -> bytes:
    raw = (await cluster.frontends[0].put(b"x")).id.raw
    await cluster.frontends[0].settled()
    return raw


async def test_blobs_come_before_their_names_and_what_happens_to_them_after_them(cluster: FeedCluster) -> None:
    first = await put(cluster)
    await name(cluster, "first", first)
    page = await cluster.page()
    assert [(event.type, event.blob_id) for event in page.events] == [
        ("blob.put", id_text(first)),
        ("name.put", id_text(first)),
    ]
    assert page.at_end and not page.held and not page.restarted
    await cluster.frontends[0].delete(first)
    await cluster.frontends[0].settled()
    assert types((await cluster.page(page.position)).events) == ["blob.delete"]


async def test_a_name_waits_until_the_blobs_of_its_partition_were_told(cluster: FeedCluster) -> None:
    ids = [await put(cluster) for _ in range(6)]
    await name(cluster, "last", ids[-1])
    position, seen = BEGINNING, []
    for _ in range(20):
        page = await cluster.page(position, limit=2)
        position = page.position
        seen += page.events
        if page.at_end:
            break
    assert types(seen) == ["blob.put"] * 6 + ["name.put"]
    assert len({event.blob_id for event in seen[:6]}) == 6


async def test_a_blob_that_the_replica_lacks_is_told_by_its_name(cluster: FeedCluster) -> None:
    """Two others acknowledged it, or it is of another datacenter and not here yet."""
    await name(cluster, "early", blob_id(77))
    page = await cluster.page()
    assert [(event.type, event.blob_id) for event in page.events] == [
        ("blob.put", id_text(blob_id(77))),
        ("name.put", id_text(blob_id(77))),
    ]


async def test_a_name_of_a_blob_that_nobody_can_tell_of_does_not_wait_for_that(cluster: FeedCluster) -> None:
    raw = await put(cluster)
    await name(cluster, "a", raw)
    for peer in cluster.frontends[0].peers.values():
        peer.reachable = False
    page = await cluster.page()
    assert types(page.events) == ["blob.put", "name.put"]
    assert page.held
    for peer in cluster.frontends[0].peers.values():
        peer.reachable = True
    assert types((await cluster.page(page.position)).events) == ["blob.put"], "again, and not left out"


async def test_partitions_that_have_nothing_to_tell_are_not_asked_but_those_of_names(cluster: FeedCluster) -> None:
    begun = await cluster.page()
    raw = await put(cluster)
    assert (await cluster.page(begun.position, only=())).events == []
    await name(cluster, "a", raw)
    assert types((await cluster.page(begun.position, only=())).events) == ["blob.put", "name.put"]


async def test_from_now_on_nothing_older_is_told(cluster: FeedCluster) -> None:
    await name(cluster, "old", await put(cluster))
    now = await cluster.readers[0].now(cluster.container)
    assert (await cluster.page(now)).events == []
    await name(cluster, "new", await put(cluster))
    assert types((await cluster.page(now)).events) == ["blob.put", "name.put"]


async def test_a_now_that_a_partition_cannot_tell_is_no_now(cluster: FeedCluster) -> None:
    for peer in cluster.frontends[0].peers.values():
        peer.reachable = False
    with pytest.raises(Unavailable):
        await cluster.readers[0].now(cluster.container)


async def test_other_containers_are_not_told(cluster: FeedCluster) -> None:
    assert container_bytes(cluster.container) != blob_id(1)[4:12]
    await cluster.nodes["a1"].put(blob_id(1), b"x")
    assert (await cluster.page(limit=PAGE_MAX)).events == []
