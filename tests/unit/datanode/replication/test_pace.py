"""What bounds the copying of segments."""

from __future__ import annotations

import asyncio

import pytest

from datanode.replication.pace import BUSY_FACTOR, PIECE_MAX_S, REST_FACTOR, Allowance, Pace
from tests.support.virtual_loop import virtual_time


def now() -> float:
    return asyncio.get_running_loop().time()


@virtual_time
async def test_bytes_go_at_the_rate_and_slower_while_requests_write() -> None:
    busy = False
    pace = Pace(1_000, busy=lambda: busy)
    for _ in range(5):
        await pace.take(500)
    assert now() == pytest.approx(2.0)
    busy = True
    await pace.take(500)
    began = now()
    await pace.take(500)
    assert now() - began == pytest.approx(0.5 * BUSY_FACTOR)


@virtual_time
async def test_who_paused_has_saved_nothing_up() -> None:
    pace = Pace(1_000, busy=lambda: False)
    await asyncio.sleep(100)
    began = now()
    for _ in range(3):
        await pace.take(1_000)
    assert now() - began == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("load", "took", "rest"),
    [
        (0.0, 0.01, 0.0),
        (0.5, 0.01, 0.0),
        (1.0, 0.01, 0.01 * REST_FACTOR / 2),
        (1.0, 5.0, PIECE_MAX_S * REST_FACTOR / 2),
    ],
)
def test_work_rests_the_longer_the_busier_the_loop_is(load: float, took: float, rest: float) -> None:
    @virtual_time
    async def check() -> None:
        pace = Pace(1, busy=lambda: False, load=lambda: load)
        assert await pace.rest_after(asyncio.sleep(took, "done")) == "done"
        assert now() == pytest.approx(took + rest)

    check()


@virtual_time
async def test_there_is_room_for_so_many_bytes_and_for_one_piece_of_any_size() -> None:
    room = Allowance(100)
    await room.take(60)
    await room.take(40)
    large = asyncio.ensure_future(room.take(500))
    small = asyncio.ensure_future(room.take(1))
    await asyncio.sleep(0)
    room.give_back(40)
    await asyncio.sleep(0)
    assert not large.done()
    assert not small.done(), "in turn, or the large one never comes in"
    room.give_back(60)
    await large
    assert not small.done()
    room.give_back(500)
    await small


@virtual_time
async def test_who_gives_up_holds_nothing() -> None:
    room = Allowance(100)
    await room.take(100)
    waiting = [asyncio.ensure_future(room.take(100)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    room.give_back(100)
    await asyncio.gather(*waiting, return_exceptions=True)
    assert waiting[0].cancelled()
    late = asyncio.ensure_future(room.take(1))
    await asyncio.sleep(0)
    assert not late.done()
    room.give_back(100)
    await late
