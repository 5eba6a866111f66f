"""Batches of both clients against real processes."""

from __future__ import annotations

import pytest

from ambry import AmbryClient, AsyncAmbryClient
from ambry.errors import BlobDeleted, InvalidRequest, RangeNotSatisfiable
from tests.support.content import content

BODIES = [content(number, 4096) for number in range(1200)]


def test_many_blobs_go_in_and_come_out(dc1: str) -> None:
    with AmbryClient(endpoints=[dc1]) as client:
        stored = client.put_many(BODIES, ttl=3600, metadata={"run": "17"}, content_type="a/b")
        assert all(result.ok for result in stored) and len(stored) == len(BODIES)
        ids = [result.id for result in stored if result.id is not None]
        assert [result.data for result in client.get_many(ids)] == BODIES
        head = client.head_many(ids[:3])[2].info
        assert head is not None and (head.size, head.content_type, head.metadata["run"]) == (4096, "a/b", "17")
        large = client.put(content(7, 9_000_000))
        assert client.get_many([ids[0], large.id])[1].data == content(7, 9_000_000)
        ranges = [(number, number + 5) for number in range(0, 3000, 3)]
        assert client.get_ranges(large.id, [*ranges, (-4, None)]) == [
            *(content(7, 9_000_000)[first:stop] for first, stop in ranges),
            content(7, 9_000_000)[-4:],
        ]
        assert all(result.ok for result in client.delete_many(ids[:1100]))
        gone, there = client.get_many([ids[0], ids[1150]])
        assert isinstance(gone.error, BlobDeleted) and gone.data == b"" and there.data == BODIES[1150]
        with pytest.raises(BlobDeleted):
            client.get_ranges(ids[0], [(0, 1)])
        with pytest.raises(RangeNotSatisfiable):
            client.get_ranges(ids[1150], [(0, 1), (5000, 5001)])
        with pytest.raises(InvalidRequest):
            client.put_many([bytes((1 << 20) + 1)])
        assert (client.get_many([]), client.put_many([]), client.delete_many([])) == ([], [], [])


async def test_the_awaiting_client_does_the_same(dc1: str) -> None:
    async with AsyncAmbryClient(endpoints=[dc1]) as client:
        stored = await client.put_many(BODIES[:100], durability="memory")
        ids = [result.id for result in stored if result.id is not None]
        assert [result.data for result in await client.get_many(ids)] == BODIES[:100]
        assert await client.get_ranges(ids[3], [(1, 5)]) == [BODIES[3][1:5]]
        assert [result.ok for result in await client.delete_many(ids)] == [True] * 100
        assert {type(result.error) for result in await client.head_many(ids)} == {BlobDeleted}
