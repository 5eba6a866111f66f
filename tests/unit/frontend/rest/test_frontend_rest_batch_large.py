"""A large part of a batch begins before its turn, and gives its memory back whenever it is closed."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Coroutine
from typing import Any

import pytest

from ambry.errors import Unavailable
from ambry.ids import BlobId, IdKind, uuid7
from ambry.protocol.frame import MessageType
from frontend.rest.batch_large import LargeParts, Opened, take_together
from frontend.rest.batch_parts import Unit
from frontend.router.get import open_ranges
from frontend.router.values import RangeSpec, Span
from tests.support.content import content
from tests.support.fake_cluster import CHUNK, FakeCluster, chunks_of, make_cluster, some_request
from tests.support.fake_peers import fails, held
from tests.support.virtual_loop import settle, virtual_time

BODY = content(1, 4 * CHUNK)


async def stored() -> tuple[FakeCluster, BlobId]:
    cluster = make_cluster()
    blob = (await cluster.put(BODY)).id
    await settle()
    return cluster, blob


def opening(cluster: FakeCluster, blob: BlobId) -> Coroutine[Any, Any, Opened]:
    return open_ranges(some_request(), cluster.context, blob, [None])


async def all_of(parts: LargeParts) -> bytes:
    body = b""
    while len(body) < len(BODY):
        body += await parts.next_piece()
    return body


def some_id(number: int, kind: IdKind = IdKind.COMPOSITE) -> BlobId:
    unique = uuid7(number, random.Random(number))
    return BlobId.make(kind=kind, datacenter=1, account=1, container=1, partition=0, uuid=unique)


ONE = some_id(1)
FIRST = {"id": ONE, "wanted": RangeSpec(0, 9)}


@pytest.mark.parametrize(
    ("first", "second", "count"),
    [
        (FIRST, FIRST, 2),
        (FIRST, {**FIRST, "id": some_id(2)}, 1),
        (FIRST, {**FIRST, "as_everybody": True}, 1),
        (FIRST, {**FIRST, "wanted": None}, 2),
        ({**FIRST, "wanted": None}, FIRST, 2),
        ({**FIRST, "id": some_id(1, IdKind.SIMPLE)}, {**FIRST, "id": some_id(1, IdKind.SIMPLE)}, 2),
        ({**FIRST, "id": None}, {**FIRST, "id": None}, 1),
    ],
)
def test_what_is_of_one_blob_for_one_asker_is_one_download(
    first: dict[str, Any], second: dict[str, Any], count: int
) -> None:
    units = [Unit(index=0, text="", **first), Unit(index=1, text="", **second), Unit(index=2, text="")]
    waiting = deque(units)
    assert take_together(waiting) == units[:count]
    assert list(waiting) == units[count:]


@virtual_time
async def test_all_of_it_comes_in_order() -> None:
    cluster, blob = await stored()
    free = cluster.budget.free
    part = LargeParts([Unit(index=0, text=str(blob), id=blob)], opening(cluster, blob))
    download, [(_, span)] = await part.opened()
    assert span == Span(0, len(BODY))
    await settle()
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
async def test_who_is_cancelled_while_one_is_closed_gives_its_memory_back_all_the_same() -> None:
    cluster, blob = await stored()
    free = cluster.budget.free
    part = LargeParts([Unit(index=0, text=str(blob), id=blob)], opening(cluster, blob))
    await part.opened()
    closing = asyncio.ensure_future(part.close())
    await asyncio.sleep(0)
    closing.cancel()
    await settle()
    assert closing.cancelled() and cluster.budget.free == free


@virtual_time
async def test_what_it_fails_with_is_told_at_its_turn() -> None:
    cluster, blob = await stored()
    free = cluster.budget.free
    for peer in cluster.pool:
        peer.script(fails(Unavailable("later")), type=MessageType.GET)
    part = LargeParts([Unit(index=0, text=str(blob), id=blob)], opening(cluster, blob))
    await settle()
    with pytest.raises(Unavailable):
        await part.opened()
    await part.close()
    assert cluster.budget.free == free


@virtual_time
async def test_what_its_first_piece_fails_with_is_told_when_that_is_asked_for() -> None:
    cluster, blob = await stored()
    free = cluster.budget.free
    for peer in cluster.pool:
        peer.forget(chunks_of(cluster, blob)[0])
    part = LargeParts([Unit(index=0, text=str(blob), id=blob)], opening(cluster, blob))
    await part.opened()
    with pytest.raises(Unavailable):
        await part.next_piece()
    await part.close()
    assert cluster.budget.free == free


@virtual_time
@pytest.mark.parametrize("cancels", [1, 2, 3])
async def test_an_opening_that_ends_well_though_it_is_cancelled_gives_its_memory_back(cancels: int) -> None:
    """Whoever closes it and is cancelled meanwhile ends when the opening has ended."""
    cluster, blob = await stored()
    free = cluster.budget.free
    release = asyncio.Event()

    async def opened_all_the_same() -> Opened:
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()
        return await opening(cluster, blob)

    part = LargeParts([Unit(index=0, text=str(blob), id=blob)], opened_all_the_same())
    await settle()
    closing = asyncio.ensure_future(part.close())
    for _ in range(cancels):
        await asyncio.sleep(0)
        closing.cancel()
    await asyncio.sleep(0)
    release.set()
    await settle()
    assert closing.cancelled() and part._opening.done() and not part._opening.cancelled()
    assert cluster.budget.free == free
