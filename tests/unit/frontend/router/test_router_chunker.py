from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ambry.errors import InvalidRequest, Overloaded, TooLarge
from frontend.router.budget import MemoryBudget
from frontend.router.chunker import (
    FIRST_STEP_BYTES,
    NOT_NOW,
    STEP_BYTES,
    Chunker,
    Grow,
    Piece,
    StraightBody,
    charge_of,
)
from tests.support import virtual_loop
from tests.support.fake_cluster import stream
from tests.support.virtual_loop import settle, virtual_time

BUDGET = 1000


def chunker(
    pieces: Sequence[bytes] | AsyncIterator[bytes],
    *,
    chunk_size: int = 10,
    size: int | None = None,
    size_max: int = 1 << 30,
    budget: MemoryBudget | None = None,
) -> Chunker:
    body = pieces if isinstance(pieces, AsyncIterator) else stream(pieces)
    return Chunker(
        body, chunk_size=chunk_size, size=size, size_max=size_max, budget=budget or MemoryBudget(BUDGET, reserve=0)
    )


async def drain(made: Chunker, budget: MemoryBudget) -> list[bytes]:
    """All chunks, giving each charge back as a writer would."""
    chunks: list[bytes] = []
    while True:
        piece = await made.next_chunk()
        if not len(piece.data):
            assert piece.charged == 0
            return chunks
        assert piece.charged >= len(piece.data)
        assert budget.free <= BUDGET - piece.charged
        chunks.append(bytes(piece.data))
        made.give_back(piece.charged)


@given(
    st.binary(max_size=64),
    st.lists(st.integers(0, 64), max_size=12),
    st.integers(1, 20),
    st.booleans(),
)
def test_the_chunks_do_not_depend_on_how_the_body_arrives(
    body: bytes, cuts: list[int], chunk_size: int, known: bool
) -> None:
    places = sorted(min(cut, len(body)) for cut in cuts)
    pieces = [body[first:end] for first, end in zip([0, *places], [*places, len(body)], strict=True)]
    budget = MemoryBudget(BUDGET, reserve=0)
    made = chunker(pieces, chunk_size=chunk_size, size=len(body) if known else None, budget=budget)
    chunks = virtual_loop.run(drain(made, budget))
    assert chunks == [body[start : start + chunk_size] for start in range(0, len(body), chunk_size)]
    assert budget.free == BUDGET


@virtual_time
async def test_a_small_body_of_known_size_is_charged_what_it_has_and_one_of_unknown_size_a_chunk() -> None:
    budget = MemoryBudget(BUDGET, reserve=0)
    assert await chunker([b"abc"], size=3, budget=budget).next_chunk() == Piece(b"abc", 3)
    assert (await chunker([b"abc"], budget=budget).next_chunk()).charged == charge_of(10)
    assert budget.free == BUDGET - 3 - charge_of(10)


@virtual_time
async def test_chunks_handed_out_are_not_changed_by_what_comes_later() -> None:
    made = chunker([b"ab", b"cdefgh", b"ijklmnopqrstuvwxyz"])
    first = await made.next_chunk()
    second = await made.next_chunk()
    await made.next_chunk()
    assert (bytes(first.data), bytes(second.data)) == (b"abcdefghij", b"klmnopqrst")


@pytest.mark.parametrize("pieces", [[], [b""], [b"", b""]])
@virtual_time
async def test_an_empty_body_is_one_empty_chunk_and_costs_nothing(pieces: list[bytes]) -> None:
    budget = MemoryBudget(BUDGET, reserve=0)
    for size in (None, 0):
        assert await chunker(pieces, size=size, budget=budget).next_chunk() == Piece(b"", 0)
    assert budget.free == BUDGET


@pytest.mark.parametrize("size", [1, 9, 10, 11, 20, 25])
@pytest.mark.parametrize("wrong_by", [-1, 1])
@virtual_time
async def test_a_body_of_another_size_than_declared_is_refused_and_the_budget_returns(size: int, wrong_by: int) -> None:
    budget = MemoryBudget(BUDGET, reserve=0)
    made = chunker([b"x"] * (size + wrong_by), size=size, budget=budget)
    with pytest.raises(InvalidRequest, match=f"ended after {size + wrong_by} of {size} bytes"):
        await drain(made, budget)
    made.close()
    assert budget.free == BUDGET


@pytest.mark.parametrize("size", [None, 30])
@virtual_time
async def test_one_byte_over_the_bound_is_too_large_and_the_bound_itself_is_not(size: int | None) -> None:
    budget = MemoryBudget(BUDGET, reserve=0)
    made = chunker([b"x" * 7] * 5, size=size, size_max=34, budget=budget)
    with pytest.raises(TooLarge):
        await drain(made, budget)
    made.close()
    assert budget.free == BUDGET
    assert sum(map(len, await drain(chunker([b"x" * 7] * 5, size_max=35, budget=budget), budget))) == 35


@virtual_time
async def test_a_body_is_not_read_ahead_of_the_budget() -> None:
    budget = MemoryBudget(10, reserve=0)
    pulled = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal pulled
        while True:
            pulled += 1
            yield b"x" * 10

    made = chunker(body(), budget=budget)
    first = await made.next_chunk()
    waiting = asyncio.create_task(made.next_chunk())
    await settle()
    assert not waiting.done()
    assert pulled == 2, "more was taken from the socket than one piece to know that there is more"
    made.give_back(first.charged)
    assert len((await waiting).data) == 10
    made.close()
    assert budget.free == 10


@virtual_time
async def test_a_chunk_is_handed_on_before_the_next_byte_came() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x" * 10
        await asyncio.Event().wait()

    assert len((await chunker(body()).next_chunk()).data) == 10


@pytest.mark.parametrize("reading", [0, 1, 2])
@virtual_time
async def test_a_broken_or_cancelled_body_gives_everything_back_at_close(reading: int) -> None:
    budget = MemoryBudget(BUDGET, reserve=0)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(reading):
            yield b"x" * 7
        await asyncio.Event().wait()

    made = chunker(body(), budget=budget)
    task = asyncio.create_task(drain(made, budget))
    await settle()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    made.close()
    made.close()
    assert budget.free == BUDGET


@virtual_time
async def test_what_the_body_raises_comes_through() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"abc"
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        await chunker(body()).next_chunk()


@virtual_time
async def test_an_upload_that_stalls_holds_one_small_step_and_no_buffer_for_what_it_announced() -> None:
    """520 uploads that announced 100 MB and sent one byte once took 2 GB, of which the budget knew 134 MB (F21)."""
    budget = MemoryBudget(64 << 20)

    async def body() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.Event().wait()

    made = Chunker(body(), chunk_size=4 << 20, size=100_000_000, size_max=1 << 40, budget=budget)
    filling = asyncio.create_task(made.next_chunk())
    await settle()
    assert budget.size - budget.free == charge_of(FIRST_STEP_BYTES)
    filling.cancel()
    await asyncio.gather(filling, return_exceptions=True)
    made.close()
    assert budget.free == budget.size


@pytest.mark.parametrize("piece", [1000, 16 << 10, 100_000, 256 << 10])
@virtual_time
async def test_a_buffer_never_has_more_bytes_than_are_charged_for_it(piece: int) -> None:
    budget = MemoryBudget(64 << 20)

    async def body() -> AsyncIterator[bytes]:
        for _ in range(3 * (1 << 20) // piece):
            yield b"x" * piece

    made = Chunker(body(), chunk_size=4 << 20, size=None, size_max=1 << 40, budget=budget)
    whole = await made.next_chunk()
    assert isinstance(whole.data, memoryview)
    assert sys.getsizeof(whole.data.obj) - sys.getsizeof(bytearray()) <= whole.charged + 8
    made.close()


@virtual_time
async def test_a_chunk_ends_early_when_memory_stays_short() -> None:
    """Uploads that each waited to fill a chunk once waited for each other (F21)."""
    step = charge_of(STEP_BYTES)
    budget = MemoryBudget(4 * step, reserve=0)
    await budget.take(step, timeout_s=1)

    async def flowing() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b"b" * (STEP_BYTES // 2)

    made = Chunker(flowing(), chunk_size=8 * STEP_BYTES, size=None, size_max=1 << 40, budget=budget)
    first = await made.next_chunk()
    assert 2 * STEP_BYTES < len(first.data) <= first.charged <= 3 * step
    made.give_back(first.charged)
    assert len(first.data) + len((await made.next_chunk()).data) == 4 * STEP_BYTES
    made.close()
    budget.give_back(step)
    assert budget.free == budget.size


@virtual_time
async def test_an_upload_without_memory_is_refused_in_time_and_a_small_one_that_is_here_passes() -> None:
    budget = MemoryBudget(64 << 10)
    await budget.take(budget.largest, timeout_s=1)
    large = chunker([b"x" * 100], chunk_size=1 << 20, size=1 << 20, budget=budget)
    with pytest.raises(Overloaded):
        await large.next_chunk()
    assert await chunker([b"abc"], size=3, budget=budget).next_chunk() == Piece(b"abc", 3)


@virtual_time
async def test_a_chunk_ends_where_it_is_when_its_client_sends_nothing_and_others_want_memory() -> None:
    budget = MemoryBudget(4 << 20)

    async def body() -> AsyncIterator[bytes | None]:
        yield b"a" * (1 << 20)
        yield None
        yield b"b"

    made = Chunker(body(), chunk_size=4 << 20, size=None, size_max=1 << 40, budget=budget)
    first = await made.next_chunk()
    assert bytes(first.data) == b"a" * (1 << 20)
    assert not await made.at_end(), "it is written at once, whether anything follows or not"
    made.give_back(first.charged)
    assert bytes((await made.next_chunk()).data) == b"b"
    assert await made.at_end()
    made.close()


@virtual_time
async def test_a_full_chunk_does_not_wait_for_what_follows_while_others_want_memory() -> None:
    async def body() -> AsyncIterator[bytes | None]:
        yield b"a" * (1 << 20)
        yield None
        yield None

    budget = MemoryBudget(4 << 20)
    made = Chunker(body(), chunk_size=1 << 20, size=None, size_max=1 << 40, budget=budget)
    first = await made.next_chunk()
    assert len(first.data) == 1 << 20
    assert not await made.at_end()
    made.give_back(first.charged)
    assert await made.next_chunk() == Piece(b"", 0)
    made.close()


@virtual_time
async def test_a_chunk_of_a_few_bytes_is_not_worth_writing() -> None:
    async def body() -> AsyncIterator[bytes | None]:
        yield b"a"
        yield None
        yield b"b"

    made = Chunker(body(), chunk_size=4 << 20, size=None, size_max=1 << 40, budget=MemoryBudget(4 << 20))
    assert bytes((await made.next_chunk()).data) == b"ab"
    made.close()


class ByHand(StraightBody):
    """A body of which each wait brings what `script` says: bytes, None, or NOT_NOW for a piece that must be asked for."""

    straight = True

    def __init__(self, script: Sequence[bytes | None]) -> None:
        self._script = list(script)
        self.places: list[int] = []
        """How much room there was, at each wait."""

    async def __anext__(self) -> bytes | None:
        if not self._script:
            raise StopAsyncIteration
        return self._script.pop(0)

    async def receive_into(self, room: memoryview, grow: Grow) -> int | None:
        self.places.append(len(room))
        if not self._script:
            return 0
        data = self._script.pop(0)
        if data is None or data.startswith(b"-"):
            if data is not None:
                self._script.insert(0, data)
            return NOT_NOW if data is not None else None
        at = 0
        while at < len(data) and len(room):
            size = min(len(room), len(data) - at)
            room[:size] = data[at : at + size]
            at, room = at + size, room[size:] or grow()
        if at < len(data):
            self._script.insert(0, data[at:])
        return at


def straight(
    script: Sequence[bytes | None], budget: MemoryBudget, *, chunk_size: int = 1 << 20
) -> tuple[Chunker, ByHand]:
    body = ByHand(script)
    size = sum(len(data) for data in script if data is not None)
    return Chunker(body, chunk_size=chunk_size, size=size, size_max=1 << 40, budget=budget), body


@virtual_time
async def test_a_body_that_comes_straight_is_cut_as_any_other_and_charged_as_it_grows() -> None:
    budget = MemoryBudget(64 << 20)
    pieces = [b"a" * 10, b"b" * 700_000, b"-" * 5, b"c" * 900_000, b"-" * 300_000, b"d" * 500_000]
    made, body = straight(pieces, budget)
    chunks = []
    while len((piece := await made.next_chunk()).data):
        chunks.append(bytes(piece.data))
        assert len(piece.data) <= piece.charged <= 1 << 20
        made.give_back(piece.charged)
    whole = b"".join(pieces)
    assert chunks == [whole[at : at + (1 << 20)] for at in range(0, len(whole), 1 << 20)]
    assert body.places[0] == FIRST_STEP_BYTES - 10, "no more than was charged"
    made.close()
    assert budget.free == budget.size


@virtual_time
async def test_a_straight_body_that_ends_early_is_refused_and_gives_everything_back() -> None:
    budget = MemoryBudget(64 << 20)
    made = Chunker(ByHand([b"a" * 200_000]), chunk_size=1 << 20, size=300_000, size_max=1 << 40, budget=budget)
    with pytest.raises(InvalidRequest, match="ended after 200000 of 300000"):
        await made.next_chunk()
    made.close()
    assert budget.free == budget.size


@virtual_time
async def test_a_straight_chunk_ends_where_it_is_when_its_memory_is_wanted_or_there_is_no_more() -> None:
    budget = MemoryBudget(1 << 20, reserve=0)
    made, _ = straight([b"a", b"b" * 100_000, None, b"c" * 300_000], budget)
    first = await made.next_chunk()
    assert len(first.data) == 100_001
    assert not await made.at_end(), "nobody knows: its memory is wanted first"
    made.give_back(first.charged)
    await budget.take((1 << 20) - (200 << 10), timeout_s=1)
    second = await made.next_chunk()
    assert len(second.data) == 64 << 10 == second.charged
    made.give_back(second.charged)
    budget.give_back((1 << 20) - (200 << 10))
    assert len(first.data) + len(second.data) + len((await made.next_chunk()).data) == 400_001
    made.close()
