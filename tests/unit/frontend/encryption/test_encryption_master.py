"""A provider is asked within bounds, and never believed unseen (contract F35)."""

from __future__ import annotations

import asyncio

import pytest

from ambry.errors import KeysUnavailable
from frontend.encryption.master import CALLS_MAX, WAITING_MAX
from frontend.encryption.provider import Wrapped
from tests.support.fake_clock import SettableClock
from tests.support.masters import TroubledProvider, master_keys

KEY, ABOUT = b"k" * 32, b"about"


async def test_what_was_wrapped_was_opened_before_it_is_relied_on() -> None:
    provider = TroubledProvider()
    master = master_keys(provider, SettableClock())
    assert await master.unwrap(await master.wrap(KEY, ABOUT), ABOUT) == KEY
    assert provider.asked == ["wrap", "unwrap", "unwrap"]


@pytest.mark.parametrize("answer", [b"", b"short", KEY, b"before " + KEY, b"x" * 5_000])
async def test_a_provider_that_gives_something_else_loses_no_key(answer: bytes) -> None:
    """It gave back the key as it was, or what nobody opens: stored, all blobs would have been readable, or lost."""
    provider = TroubledProvider()
    provider.broken = answer
    with pytest.raises(KeysUnavailable, match="what it wrapped"):
        await master_keys(provider, SettableClock()).wrap(KEY, ABOUT)


async def test_a_key_of_another_size_is_none() -> None:
    provider = TroubledProvider()
    master = master_keys(provider, SettableClock())
    wrapped = await master.wrap(KEY, ABOUT)
    provider.broken = b"k" * 31
    with pytest.raises(KeysUnavailable, match="a key of 31 bytes, and not of 32"):
        await master.unwrap(wrapped, ABOUT)


async def test_one_that_is_away_is_left_alone_for_a_while() -> None:
    clock, provider = SettableClock(), TroubledProvider()
    master = master_keys(provider, clock)
    provider.away = True
    for _ in range(3):
        with pytest.raises(KeysUnavailable, match="nobody is there"):
            await master.newest()
    assert (provider.asked, master.away) == (["newest"], "nobody is there")
    provider.away = False
    clock.wall -= 86_400_000
    clock.seconds += 4.9
    with pytest.raises(KeysUnavailable):
        await master.newest()
    clock.seconds += 0.2
    assert (await master.newest(), master.away) == ("1", None)


async def test_one_that_says_no_is_not_away() -> None:
    clock, provider = SettableClock(), TroubledProvider("1", "2")
    master = master_keys(provider, clock)
    with pytest.raises(KeysUnavailable, match="no version 3 of the master key any more"):
        await master.unwrap(Wrapped("3", b"x" * 60), ABOUT)
    assert (await master.newest(), master.away) == ("2", None)


async def test_one_that_hangs_is_given_up_in_time() -> None:
    provider = TroubledProvider()
    provider.hanging = True
    master = master_keys(provider, SettableClock(), timeout_s=0.01)
    with pytest.raises(KeysUnavailable, match=r"no answer within 0\.01 s"):
        await master.newest()
    assert provider.in_call == 0


async def test_a_queue_behind_a_slow_one_is_no_absence() -> None:
    """Who waited too long for a turn took the provider for away, and then nobody was let ask at all."""
    provider = TroubledProvider()
    master = master_keys(provider, SettableClock(), timeout_s=3_600)
    provider.hanging = True
    slow = [asyncio.create_task(master.newest()) for _ in range(CALLS_MAX)]
    while provider.in_call < CALLS_MAX:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0)
    master._timeout_s = 0.01
    with pytest.raises(KeysUnavailable, match="answers more slowly than they come"):
        await master.newest()
    assert master.away is None
    provider.released.set()
    assert {await each for each in slow} == {"1"}
    assert await master.newest() == "1"


async def test_calls_at_a_time_and_those_that_wait_are_bounded() -> None:
    provider = TroubledProvider()
    provider.hanging = True
    master = master_keys(provider, SettableClock())
    calls = [asyncio.create_task(master.newest()) for _ in range(CALLS_MAX + WAITING_MAX + 3)]
    refused, others = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    while len(refused) < 3:
        refused, others = await asyncio.wait(calls, timeout=0.01)
    assert len(refused) == 3
    for call in refused:
        with pytest.raises(KeysUnavailable, match="calls wait for it already"):
            await call
    provider.released.set()
    assert {await call for call in others} == {"1"}
    assert provider.most_in_call == CALLS_MAX
