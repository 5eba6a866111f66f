"""A large part of a batch begins before its turn, and gives its memory back whenever it is closed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from ambry.errors import Unavailable
from ambry.ids import BlobId
from ambry.protocol.frame import MessageType
from frontend.rest.batch_large import LargeParts
from frontend.rest.batch_parts import Unit
from frontend.router.download import Download
from frontend.router.get import open_blob
from tests.support.content import content
from tests.support.fake_cluster import CHUNK, FakeCluster, make_cluster, some_request
from tests.support.fake_peers import fails, held
from tests.support.virtual_loop import settle, virtual_time

BODY = content(1, 4 * CHUNK)


async def stored() -> tuple[FakeCluster, BlobId]:
    cluster = make_cluster()
    blob = (await cluster.put(BODY)).id
    await settle()
    return cluster, blob


def opening(cluster: FakeCluster, blob: BlobId) -> Coroutine[Any, Any, Download]:
    return open_blob(some_request(), cluster.context, blob, wanted=None)


async def all_of(parts: LargeParts) -> bytes:
    body = b""
    while len(body) < len(BODY):
        body += await parts.next_piece()
    return body


@virtual_time
async def test_all_of_it_comes_in_order() -> None:
    cluster, blob = await stored()
    free = cluster.budget.free
    part = LargeParts([Unit(index=0, text=str(blob), id=blob)], opening(cluster, blob))
    download = await part.begun()
    assert download.handed_at is None, "no client is late while its turn has not come"
    assert await all_of(part) == BODY
    await part.close()
    assert cluster.budget.free == free


@virtual_time
@pytest.mark.parametrize("turns", [0, 1, 5, 100])
async def test_one_that_is_closed_early_holds_nothing(turns: int) -> None:
    cluster, blob = await stored()
    free = cluster.budget.free
    release = asyncio.Event()
    if turns < 100:
        for peer in cluster.pool:
            peer.script(held(release), type=MessageType.GET)
    part = LargeParts([Unit(index=0, text=str(blob), id=blob)], opening(cluster, blob))
    for _ in range(turns):
        await asyncio.sleep(0)
    await part.close()
    release.set()
    await settle()
    assert cluster.budget.free == free


@virtual_time
async def test_what_it_fails_with_is_told_at_its_turn() -> None:
    cluster, blob = await stored()
    free = cluster.budget.free
    for peer in cluster.pool:
        peer.script(fails(Unavailable("later")), type=MessageType.GET)
    part = LargeParts([Unit(index=0, text=str(blob), id=blob)], opening(cluster, blob))
    await settle()
    with pytest.raises(Unavailable):
        await part.begun()
    await part.close()
    assert cluster.budget.free == free
