"""Many downloads, one memory: what each may hold, and who gives way when somebody waits."""

from __future__ import annotations

import asyncio

import pytest

from ambry.checksum import BLOCK_SIZE
from ambry.errors import Overloaded
from frontend.router.budget import MemoryBudget
from frontend.router.reading import BEGINNING_MAX, GOING_ON_MAX, LEAST_BYTES, RELIEVE_EVERY_S, STALLED_S, ReadMemory
from tests.support.virtual_loop import settle, virtual_time

MIB = 1 << 20


class FakeReader:
    """A download that holds one unit in its client's hands and some read ahead."""

    def __init__(
        self,
        memory: ReadMemory,
        *,
        handed: int,
        ahead: int = 0,
        handed_at: float | None = None,
        took: int = 1 << 40,
    ) -> None:
        self._memory = memory
        self.handed, self.ahead = handed, ahead
        self.handed_at = handed_at
        self.ended = False
        self.took = took
        assert memory.budget.try_take(handed + ahead)
        memory.join(self)
        memory.window(self)  # as every download asks when it begins

    @property
    def held(self) -> int:
        return self.handed + self.ahead

    def taken(self) -> int:
        return self.took

    def drop_ahead(self) -> bool:
        dropped, self.ahead = self.ahead, 0
        self._memory.budget.give_back(dropped)
        return bool(dropped)

    def end(self) -> bool:
        self.ended = True
        self._memory.leave(self)
        self._memory.budget.give_back(self.held)
        self.handed = self.ahead = 0
        return True


def memory(size: int = 64 * MIB, *, wait_s: float = 5.0) -> ReadMemory:
    return ReadMemory(MemoryBudget(size), unit_bytes=MIB, ahead=4, wait_s=wait_s)


def now() -> float:
    return asyncio.get_running_loop().time()


@virtual_time
async def test_a_few_downloads_have_all_they_want_and_many_share_half_of_what_is_free() -> None:
    made = memory()
    readers = [FakeReader(made, handed=0) for _ in range(7)]
    assert (made.window(), made.unit_bytes(), made.stretch_bytes()) == (4 * MIB, MIB, 3 * MIB)
    readers += [FakeReader(made, handed=0) for _ in range(7)]
    assert (made.window(), made.unit_bytes(), made.stretch_bytes()) == (2 * MIB, MIB, MIB)
    readers += [FakeReader(made, handed=0) for _ in range(42)]
    assert (made.window(), made.unit_bytes()) == (MIB // 2, MIB // 2)
    readers += [FakeReader(made, handed=0) for _ in range(2000)]
    assert (made.window(), made.unit_bytes(), made.stretch_bytes()) == (LEAST_BYTES, LEAST_BYTES, LEAST_BYTES)
    for reader in readers[2:]:
        made.leave(reader)
    assert made.window() == 4 * MIB


@virtual_time
async def test_downloads_whose_clients_do_not_read_take_no_share_of_those_who_do() -> None:
    made = memory()
    for _ in range(200):
        FakeReader(made, handed=BLOCK_SIZE, handed_at=now())
    FakeReader(made, handed=BLOCK_SIZE)
    assert made.window() < MIB // 4
    await asyncio.sleep(1.0)
    assert made.window() == 4 * MIB


@virtual_time
async def test_the_less_is_free_the_less_is_read_ahead() -> None:
    made = memory()
    FakeReader(made, handed=48 * MIB)
    FakeReader(made, handed=4 * MIB)
    assert (made.window(), made.unit_bytes()) == (MIB, MIB)
    FakeReader(made, handed=3 * MIB + MIB // 2)
    assert (made.window(), made.unit_bytes()) == (MIB // 12, BLOCK_SIZE)
    FakeReader(made, handed=MIB // 2)
    assert (made.window(), made.unit_bytes()) == (LEAST_BYTES, LEAST_BYTES)


@virtual_time
async def test_who_waits_gets_what_was_read_ahead_for_clients_that_stalled() -> None:
    made = memory()
    stalled = [FakeReader(made, handed=MIB, ahead=3 * MIB, handed_at=now()) for _ in range(13)]
    moving = FakeReader(made, handed=MIB, ahead=3 * MIB)
    await asyncio.sleep(1.0)
    await made.take(4 * MIB, of=9 * MIB)
    assert now() == pytest.approx(1.0, abs=0.01)
    assert [reader.ahead for reader in stalled] == [0] * 13
    assert moving.ahead == 3 * MIB
    assert not any(reader.ended for reader in stalled)


@virtual_time
async def test_those_that_stalled_longest_are_ended_so_many_as_are_needed() -> None:
    """Once 1,300 slow readers kept everybody else from reading for 47 s."""
    made = memory()
    stalled = []
    for _ in range(56):
        stalled.append(FakeReader(made, handed=MIB, handed_at=now()))
        await asyncio.sleep(0.01)
    before = now()
    await made.take(MIB, of=5 * MIB)
    assert now() - before <= 3.3
    assert [reader.ended for reader in stalled] == [True] + [False] * 55
    before = now()
    await asyncio.gather(*(made.take(MIB, of=5 * MIB) for _ in range(4)))
    assert now() - before <= 0.5
    assert [reader.ended for reader in stalled] == [True] * 5 + [False] * 51


@virtual_time
async def test_a_download_that_moves_is_never_ended_and_who_waits_is_told_to_come_back() -> None:
    made = memory(wait_s=5.0)
    readers = [FakeReader(made, handed=MIB, handed_at=now()) for _ in range(56)]

    async def read() -> None:
        while True:
            await asyncio.sleep(0.9)
            for reader in readers:
                reader.handed_at = now()

    moving = asyncio.create_task(read())
    with pytest.raises(Overloaded):
        await made.take(MIB, of=5 * MIB)
    assert now() == pytest.approx(5.0, abs=0.01)
    assert not any(reader.ended for reader in readers)
    moving.cancel()
    await asyncio.gather(moving, return_exceptions=True)


@virtual_time
async def test_a_crowd_that_waits_has_the_downloads_looked_at_now_and_then_and_not_once_for_each() -> None:
    """2,000 clients that took nothing, and came again when they were ended, had 2,000 downloads looked at for each of them."""
    made = memory(wait_s=0.5)
    looked: list[float] = []

    class Watched(FakeReader):
        @property
        def handed_at(self) -> float | None:
            looked.append(now())
            return None

        @handed_at.setter
        def handed_at(self, value: float | None) -> None: ...

    Watched(made, handed=made.budget.largest)
    looked.clear()
    for _ in range(20):
        waiting = [asyncio.create_task(made.take(MIB, of=MIB)) for _ in range(50)]
        await settle()
        for each in waiting[:49]:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(waiting[49].exception(), Overloaded)
    seconds = 20 * 0.5
    assert len(looked) <= seconds / RELIEVE_EVERY_S + 1
    await asyncio.sleep(1.0)
    assert len(looked) <= seconds / RELIEVE_EVERY_S + 1, "nobody waits"


@virtual_time
async def test_a_small_read_does_not_wait_where_large_ones_do() -> None:
    made = memory()
    for _ in range(56):
        FakeReader(made, handed=MIB)
    assert not made.budget.try_take(MIB)
    await made.take(4096, of=4096)
    assert now() == 0


@virtual_time
async def test_once_nobody_waits_nothing_runs() -> None:
    made = memory()
    FakeReader(made, handed=56 * MIB)
    waiting = asyncio.create_task(made.take(MIB, of=5 * MIB))
    await settle()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.sleep(30)
    made.budget.give_back(56 * MIB)
    assert made.budget.free == made.budget.size


@virtual_time
async def test_when_memory_is_scarce_a_download_holds_no_more_than_its_client_has_taken() -> None:
    """1,300 clients that took nothing held all there was; a read of 5 MB waited 14 s until they were ended."""
    made = memory()
    new, slow, quick = (FakeReader(made, handed=0, took=took) for took in (0, 100_000, 10 * MIB))
    assert {made.window(reader) for reader in (new, slow, quick)} == {4 * MIB}
    FakeReader(made, handed=33 * MIB)
    assert (made.window(new), made.unit_bytes(new)) == (LEAST_BYTES, LEAST_BYTES)
    assert (made.window(slow), made.unit_bytes(slow)) == (100_000, BLOCK_SIZE)
    assert made.window(quick) > 2 * MIB and made.unit_bytes(quick) == MIB
    assert made.first_bytes() == BLOCK_SIZE


@virtual_time
async def test_when_memory_is_scarce_what_was_read_ahead_of_the_stalled_goes_before_anybody_waits() -> None:
    made = memory()
    stalled = [FakeReader(made, handed=MIB, ahead=3 * MIB, handed_at=now()) for _ in range(12)]
    moving = FakeReader(made, handed=MIB)
    made.window(moving)
    await asyncio.sleep(STALLED_S)
    assert made.window(moving) > MIB
    assert [reader.ahead for reader in stalled] == [0] * 12


@virtual_time
async def test_of_downloads_that_could_go_on_at_once_a_few_do_in_a_turn_in_order() -> None:
    """1,300 that began together went on together, 98 of them in one turn of the event loop, 14 ms of the processor's time."""
    made = memory()
    gone_on: list[int] = []

    async def go_on(number: int) -> None:
        await made.turn()
        gone_on.append(number)

    tasks = [asyncio.create_task(go_on(number)) for number in range(3 * GOING_ON_MAX)]
    tasks[GOING_ON_MAX].cancel()
    before = 0
    while len(gone_on) < len(tasks) - 1:
        await asyncio.sleep(0)
        assert len(gone_on) - before <= GOING_ON_MAX
        before = len(gone_on)
    assert gone_on == [number for number in range(3 * GOING_ON_MAX) if number != GOING_ON_MAX]
    await asyncio.gather(*tasks, return_exceptions=True)
    await settle()
    await asyncio.wait_for(made.turn(), 1)


@virtual_time
async def test_many_that_begin_hold_little_and_leave_the_rest_to_those_whose_clients_take_it() -> None:
    """The first ten of 1,300 clients that took nothing held half of all, and reads of others came in pieces of 16 KiB."""
    made = memory()
    for _ in range(BEGINNING_MAX):
        assert made.window(FakeReader(made, handed=0, took=0)) == 4 * MIB
    crowd = [FakeReader(made, handed=0, took=LEAST_BYTES - 1) for _ in range(1300)]
    assert {made.window(reader) for reader in crowd} == {LEAST_BYTES}
    assert made.first_bytes() == BLOCK_SIZE
    moving = FakeReader(made, handed=0, took=LEAST_BYTES)
    assert (made.window(moving), made.unit_bytes(moving), made.unit_bytes()) == (4 * MIB, MIB, MIB)
    crowd[0].took = LEAST_BYTES
    assert made.window(crowd[0]) == 4 * MIB
    for reader in (*crowd, moving):
        made.leave(reader)
    assert made.first_bytes() == MIB
