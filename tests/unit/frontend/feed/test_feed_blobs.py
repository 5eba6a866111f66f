"""What changed among blobs, whichever replicas are there to tell it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest

from ambry.protocol.messages.feed import FeedPlace, node_hint
from frontend.feed import blobs
from frontend.feed.blobs import BlobChanges, BlobPage
from frontend.feed.reader import container_bytes
from frontend.feed.token import PartitionPosition
from tests.support.feeds import PARTITIONS, FeedCluster, feed_cluster
from tests.support.samples import PARTITION

A, B, C = "a1", "a2", "a3"
Positions = Mapping[int, PartitionPosition]


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[FeedCluster]:
    async with feed_cluster(tmp_path, 3, 1) as made:
        yield made


async def read(
    cluster: FeedCluster,
    positions: Positions | None = None,
    *,
    at: int = 0,
    limit: int = 100,
    changes: BlobChanges | None = None,
    ids: Mapping[int, Sequence[bytes]] | None = None,
) -> BlobPage:
    changes = changes or BlobChanges(cluster.frontends[at].context)
    return await changes.read(
        container_bytes(cluster.container), positions or {}, PARTITIONS, limit=limit, ids=ids or {}
    )


def ids_of(page: BlobPage) -> set[bytes]:
    return {change.id for change in page.changes}


async def put(cluster: FeedCluster, count: int = 1) -> list[bytes]:
    return [(await cluster.frontends[0].put(b"x")).id.raw for _ in range(count)]


async def settled(cluster: FeedCluster) -> None:
    await cluster.frontends[0].settled()
    await cluster.replicate()


def primary(page: BlobPage, partition: int) -> str:
    """The data node that told of a partition."""
    hint = page.positions[partition].places[0].tag[0]
    return next(name for name in (A, B, C, "b1") if node_hint(name) == hint)


async def test_all_partitions_are_told_and_then_what_is_new(cluster: FeedCluster) -> None:
    first = await put(cluster, 8)
    await settled(cluster)
    page = await read(cluster)
    assert ids_of(page) == set(first)
    assert page.ended == set(PARTITIONS) and not page.held and not page.restarted
    second = await put(cluster, 3)
    await settled(cluster)
    assert ids_of(await read(cluster, page.positions)) == set(second)


async def test_the_same_replicas_tell_on_whichever_frontend_is_asked(cluster: FeedCluster) -> None:
    page = await read(cluster)
    again = await read(cluster, page.positions)
    assert [primary(again, number) for number in PARTITIONS] == [primary(page, number) for number in PARTITIONS]
    assert [each.places[0] for each in again.positions.values()] == [each.places[0] for each in page.positions.values()]


async def test_when_a_replica_is_away_a_sibling_goes_on_and_nothing_is_left_out(cluster: FeedCluster) -> None:
    told = set(await put(cluster, 4))
    await settled(cluster)
    page = await read(cluster)
    await cluster.nodes[primary(page, PARTITION)].kill()
    new = set(await put(cluster, 4))
    cluster.frontends[0].peers[primary(page, PARTITION)].reachable = False
    after = await read(cluster, page.positions)
    assert ids_of(after) >= new
    assert not after.restarted and not after.held
    assert primary(after, PARTITION) != primary(page, PARTITION)
    assert ids_of(page) == told


async def test_a_replica_that_was_wiped_does_not_make_anything_be_told_from_the_beginning(cluster: FeedCluster) -> None:
    await put(cluster, 4)
    await settled(cluster)
    page = await read(cluster)
    await cluster.nodes[primary(page, PARTITION)].wipe()
    new = set(await put(cluster, 2))
    await settled(cluster)
    after = await read(cluster, page.positions)
    assert not after.restarted
    assert ids_of(after) >= new


async def test_a_whole_datacenter_may_go_and_the_other_one_goes_on(cluster: FeedCluster) -> None:
    await put(cluster, 4)
    await settled(cluster)
    page = await read(cluster)
    new = set(await put(cluster, 2))
    await settled(cluster)
    for name in (A, B, C):
        cluster.frontends[1].peers[name].reachable = False
    elsewhere = await read(cluster, page.positions, at=1)
    assert not elsewhere.restarted and not elsewhere.held
    assert ids_of(elsewhere) >= new
    assert {primary(elsewhere, number) for number in PARTITIONS} == {"b1"}


async def test_where_nobody_knows_a_place_its_partition_is_told_from_the_beginning_and_that_is_said(
    cluster: FeedCluster,
) -> None:
    told = set(await put(cluster, 4))
    await settled(cluster)
    unknown = {number: PartitionPosition((FeedPlace(b"\x00xxx", 5),)) for number in PARTITIONS}
    page = await read(cluster, unknown)
    assert page.restarted
    assert ids_of(page) == told


async def test_what_may_be_known_by_who_is_away_is_held_for_a_while(
    cluster: FeedCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = set(await put(cluster, 4))
    await settled(cluster)
    changes = BlobChanges(cluster.frontends[0].context)
    unknown = {number: PartitionPosition((FeedPlace(b"\x00xxx", 5),)) for number in PARTITIONS}
    cluster.frontends[0].peers["b1"].reachable = False
    page = await read(cluster, unknown, changes=changes, ids={PARTITION: [bytes(36)]})
    assert page.held == set(PARTITIONS)
    assert not page.positions and page.lacking == {bytes(36)}
    assert not (await read(cluster, changes=changes)).held, "others are told"
    monkeypatch.setattr(blobs, "GIVEN_UP_S", 0.0)
    page = await read(cluster, unknown, changes=changes)
    assert page.restarted and ids_of(page) == told


async def test_while_no_replica_answers_everything_is_held(cluster: FeedCluster) -> None:
    for peer in cluster.frontends[0].peers.values():
        peer.reachable = False
    assert (await read(cluster)).held == set(PARTITIONS)


async def test_a_node_that_answers_no_such_request_is_passed_over(cluster: FeedCluster) -> None:
    """As one of an older release does."""
    new = set(await put(cluster, 4))
    await settled(cluster)
    for name in (A, B):
        handlers = dict(cluster.nodes[name].parts.handlers)
        del handlers[19]
        object.__setattr__(cluster.nodes[name].parts, "handlers", _Refusing(handlers))
    page = await read(cluster)
    assert ids_of(page) == new
    assert {primary(page, number) for number in PARTITIONS} == {C}


class _Refusing(dict):  # type: ignore[type-arg]
    def __missing__(self, type: int) -> object:
        from ambry.errors import NotUnderstood

        def refuse(*_asked: object) -> None:
            raise NotUnderstood(f"no requests of type {type}")

        return refuse


async def test_pages_share_their_limit_and_go_on_to_the_end(cluster: FeedCluster) -> None:
    told = set(await put(cluster, 12))
    await settled(cluster)
    page = await read(cluster, limit=3)
    seen = ids_of(page)
    assert len(page.changes) <= 3
    for _ in range(20):
        if page.ended == set(PARTITIONS):
            break
        page = await read(cluster, page.positions, limit=3)
        assert not seen & ids_of(page)
        seen |= ids_of(page)
    assert seen == told
