"""Whose turn it is, on a bare event loop."""

from __future__ import annotations

import asyncio

import pytest

from frontend.http.turns import (
    HEAVY_BYTES,
    HEAVY_CROWD,
    HEAVY_CROWD_BYTES,
    LIGHT_KNOWN,
    LIGHT_MAX,
    LIGHT_WAITING_MAX,
    NEW_EVERY_S,
    SHORT_TURN_S,
    TURNS_BETWEEN,
    Portions,
    Turns,
)
from tests.support.fake_clock import SettableClock


class Queued:
    """Has so many shares to go, and notes each."""

    def __init__(self, name: str, turns: Turns, shares: int, said: list[str]) -> None:
        self.name = name
        self.turns = turns
        self.shares = shares
        self.said = said

    def take_turn(self) -> bool:
        if self.name == "gone":
            return False
        self.said.append(self.name)
        self.shares -= 1
        if self.name == "broken":
            raise RuntimeError("a bug")
        if self.shares:
            self.turns.wait(self)
        return True


async def test_one_has_its_turn_and_then_the_loop_turns_for_others_first_come_first_served() -> None:
    turns, said = Turns(asyncio.get_running_loop()), list[str]()
    for name, shares in (("a", 3), ("b", 1), ("c", 2)):
        turns.wait(Queued(name, turns, shares, said))
    assert said == []
    for turn in range(6 * (1 + TURNS_BETWEEN)):
        await asyncio.sleep(0)
        assert len(said) == 1 + turn // (1 + TURNS_BETWEEN)
    assert said == ["a", "b", "c", "a", "c", "a"]
    turns.wait(Queued("late", turns, 1, said))
    await asyncio.sleep(0)
    assert said[6:] == ["late"], "at once, when nobody was served for a while"


async def test_what_costs_as_much_as_hearing_somebody_new_has_one_turn_after_the_other() -> None:
    portions, came = Portions(asyncio.get_running_loop(), clock=SettableClock()), list[int]()

    async def one(number: int) -> None:
        await portions.turn()
        came.append(number)

    waiting = [asyncio.create_task(one(number)) for number in range(12)]
    waiting[5].cancel()
    longest = before = 0
    while len(came) < 11:
        await asyncio.sleep(0)
        longest, before = max(longest, len(came) - before), len(came)
    assert longest == 1
    assert sorted(came) == [number for number in range(12) if number != 5]


async def test_a_bug_in_one_turn_keeps_nobody_waiting(caplog: pytest.LogCaptureFixture) -> None:
    turns, said = Turns(asyncio.get_running_loop()), list[str]()
    turns.wait(Queued("broken", turns, 1, said))
    turns.wait(Queued("a", turns, 1, said))
    for _ in range(2 + TURNS_BETWEEN):
        await asyncio.sleep(0)
    assert said == ["broken", "a"]
    assert "a bug" in caplog.text


async def test_who_has_gone_costs_nobody_a_turn() -> None:
    """Connections that were ended in the queue used to keep everybody behind them waiting."""
    turns, said = Turns(asyncio.get_running_loop()), list[str]()
    for name in ("a", *["gone"] * 500, "b", "gone"):
        turns.wait(Queued(name, turns, 1, said))
    for _ in range(2 + TURNS_BETWEEN):
        await asyncio.sleep(0)
    assert said == ["a", "b"]


class Read:
    """What somebody sent, and the turn in which it was taken up."""

    def __init__(self, size: int, taken: list[Read]) -> None:
        self.size = size
        self.taken = taken

    def take_up(self) -> int:
        if self.size:
            self.taken.append(self)
        return self.size


def come(portions: Portions, reads: list[Read], *, heavy: bool, known: bool = False) -> int:
    """All of these come at once; how many of them need not wait."""
    at_once = 0
    for read in reads:
        if portions.allows(read.size, heavy=heavy, known=known):
            at_once += 1
        else:
            portions.wait(read, heavy=heavy, known=known)
    return at_once


class TurningClock(SettableClock):
    """Moves on by the time that a turn of the event loop takes, whenever it is asked, which is once in each."""

    def __init__(self, turn_s: float) -> None:
        super().__init__()
        self.turn_s = turn_s

    def monotonic(self) -> float:
        self.advance(self.turn_s)
        return super().monotonic()


def first_requests(turn_s: float, taken: list[Read], *, waiting: int) -> tuple[Portions, list[Read]]:
    """So many that wait to be heard for the first time, while each turn takes so long."""
    portions = Portions(asyncio.get_running_loop(), clock=TurningClock(turn_s))
    crowd = [Read(1, taken) for _ in range(LIGHT_MAX + waiting)]
    assert come(portions, crowd, heavy=False) == LIGHT_MAX
    return portions, crowd[LIGHT_MAX:]


async def test_of_a_crowd_one_is_taken_up_in_a_short_turn_and_who_came_last_goes_first_every_other_time() -> None:
    """A turn of the loop heard everybody who had sent something: 400 requests at once took 60 ms."""
    taken = list[Read]()
    portions, crowd = first_requests(SHORT_TURN_S / 2, taken, waiting=6)
    for turn in range(1, 4):
        await asyncio.sleep(0)
        assert len(taken) == turn
    late = Read(1, taken)
    assert come(portions, [late], heavy=False) == 0
    for _ in range(2):
        await asyncio.sleep(0)
    assert late in taken, "it is not behind those who came at once"
    for _ in range(2):
        await asyncio.sleep(0)
    assert len(taken) == 7 and set(taken) == {*crowd, late}
    assert taken.index(crowd[0]) < taken.index(crowd[1]) < taken.index(crowd[2])
    await asyncio.sleep(0)
    assert come(portions, [Read(1, taken)], heavy=False) == 1, "when nobody waits any more, who comes is heard"


async def test_a_crowd_leaves_long_turns_to_the_others_but_for_a_share_of_them() -> None:
    """Up to 64 were heard 16 at a time: what 16 first requests for 5 MB bring with them is a turn of 16 ms, again and again."""
    taken = list[Read]()
    first_requests(SHORT_TURN_S, taken, waiting=12)
    for turn in range(3 * (1 + TURNS_BETWEEN)):
        await asyncio.sleep(0)
        assert len(taken) == 1 + turn // (1 + TURNS_BETWEEN)


async def test_however_long_turns_are_a_crowd_goes_on() -> None:
    """It would get a share of a few in a hundred where others make turns long, and hardly ever end."""
    taken = list[Read]()
    first_requests(2 * NEW_EVERY_S, taken, waiting=60)
    await asyncio.sleep(0)
    heard = len(taken)
    for _ in range(1 + TURNS_BETWEEN):
        await asyncio.sleep(0)
    assert len(taken) - heard == 2 * (1 + TURNS_BETWEEN)


async def test_full_reads_share_some_turns_and_leave_the_others_alone() -> None:
    """200 uploads with a full buffer each took 4 MB of a turn, up to 15 ms of the processor's time."""
    portions, taken = Portions(asyncio.get_running_loop(), clock=SettableClock()), list[Read]()
    size = HEAVY_CROWD_BYTES // 2
    at_once = HEAVY_BYTES // size
    crowd = [Read(size, taken) for _ in range(at_once + HEAVY_CROWD + 6)]
    assert come(portions, crowd, heavy=True) == at_once
    for turn in range(3 * (1 + TURNS_BETWEEN)):
        await asyncio.sleep(0)
        assert len(taken) == 2 * (1 + turn // (1 + TURNS_BETWEEN))
        assert come(portions, [Read(1, taken)], heavy=False) == 1
    await asyncio.sleep(0)
    assert taken == crowd[at_once:], "few are taken up together"


async def test_one_or_two_with_full_reads_have_all_turns() -> None:
    """libuv reads on while buffers are full, so whoever is alone is back before the loop turns."""
    portions, taken = Portions(asyncio.get_running_loop(), clock=SettableClock()), list[Read]()
    one, other = Read(HEAVY_BYTES, taken), Read(HEAVY_BYTES, taken)
    assert come(portions, [one, other], heavy=True) == 1
    for turn in range(1, 8):
        await asyncio.sleep(0)
        assert taken == [other, one, other, one, other, one, other][:turn]
        assert come(portions, [(one, other)[(turn + 1) % 2]], heavy=True) == 0


async def test_a_full_read_does_not_go_before_those_that_wait() -> None:
    portions, taken = Portions(asyncio.get_running_loop(), clock=SettableClock()), list[Read]()
    crowd = [Read(HEAVY_BYTES, taken) for _ in range(3)]
    assert come(portions, crowd, heavy=True) == 1
    await asyncio.sleep(0)
    late = Read(HEAVY_BYTES, taken)
    assert come(portions, [late], heavy=True) == 0
    for _ in range(2 * (1 + TURNS_BETWEEN)):
        await asyncio.sleep(0)
    assert taken == [*crowd[1:], late]


async def test_reads_of_those_who_have_gone_cost_nobody_a_turn() -> None:
    portions, taken = Portions(asyncio.get_running_loop(), clock=SettableClock()), list[Read]()
    gone, there = [Read(0, taken) for _ in range(500)], Read(1, taken)
    for heavy in (False, True):
        for read in (*gone, there):
            portions.wait(read, heavy=heavy, known=False)
        portions.allows(1, heavy=False, known=False)
        await asyncio.sleep(0)
        assert taken == [there]
        taken.clear()


async def test_who_was_heard_before_goes_before_a_crowd_that_came_in_the_same_moment() -> None:
    """A put on a connection in use waited behind 1,300 first requests, for 300 ms of the processor's time."""
    portions, taken = Portions(asyncio.get_running_loop(), clock=SettableClock()), list[Read]()
    come(portions, [Read(1, taken) for _ in range(20 * LIGHT_MAX)], heavy=False)
    known = [Read(1, taken) for _ in range(LIGHT_MAX + LIGHT_WAITING_MAX)]
    assert come(portions, known, heavy=False, known=True) == LIGHT_KNOWN
    await asyncio.sleep(0)
    assert taken[: len(known) - LIGHT_KNOWN] == known[LIGHT_KNOWN:]
    assert come(portions, [Read(1, taken) for _ in range(LIGHT_MAX)], heavy=False) == 0
    assert come(portions, known, heavy=False, known=True) == len(known)
