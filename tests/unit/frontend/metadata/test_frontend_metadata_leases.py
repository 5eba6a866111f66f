"""Leases: one owner at a time, for as long as it goes on asking."""

from __future__ import annotations

from pathlib import Path

from frontend.metadata.leases import Leases
from tests.support.fake_clock import SettableClock
from tests.support.metadata_stores import opened, sqlite_store


async def test_a_lease_has_one_owner_until_it_ends(tmp_path: Path) -> None:
    clock = SettableClock()
    async with opened(sqlite_store(tmp_path / "meta.sqlite", clock=clock)) as store:
        one, other = (Leases(store, clock=clock, owner=name * 16) for name in (b"a", b"b"))
        assert await one.hold("work", 10)
        assert not await other.hold("work", 10)
        assert await other.hold("other work", 10)
        clock.advance(9)
        assert await one.hold("work", 10)
        clock.advance(9)
        assert not await other.hold("work", 10)
        clock.advance(2)
        assert await other.hold("work", 10)
        assert not await one.hold("work", 10)


async def test_a_lease_of_an_owner_whose_clock_was_ahead_is_taken_over(tmp_path: Path) -> None:
    """Nobody else got it for a year."""
    clock, ahead = SettableClock(), SettableClock()
    ahead.advance(365 * 86_400)
    async with opened(sqlite_store(tmp_path / "meta.sqlite", clock=clock)) as store:
        assert await Leases(store, clock=ahead, owner=b"a" * 16).hold("work", 10)
        assert await Leases(store, clock=clock, owner=b"b" * 16).hold("work", 10)
        assert not await Leases(store, clock=clock, owner=b"a" * 16).hold("work", 10)
