"""Whose turn it is, on a bare event loop."""

from __future__ import annotations

import asyncio

import pytest

from frontend.http.turns import TURNS_BETWEEN, Turns


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
