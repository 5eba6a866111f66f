from __future__ import annotations

from ambry.clock import FollowingClock, SystemClock, iso_utc, system_random
from tests.support.fake_clock import SettableClock


def test_a_wall_time_reads_as_iso_8601() -> None:
    assert iso_utc(0) == "1970-01-01T00:00:00.000Z"
    assert iso_utc(1_795_302_420_123) == "2026-11-21T23:07:00.123Z"


def test_the_monotonic_clock_never_goes_back() -> None:
    clock = SystemClock()
    times = [clock.monotonic() for _ in range(100)]
    assert times == sorted(times)
    assert clock.wall_ms() > 1_700_000_000_000


def test_two_random_sources_never_give_the_same() -> None:
    assert system_random().getrandbits(128) != system_random().getrandbits(128)


async def test_a_following_clock_goes_on_from_where_it_is_set_at_the_pace_of_the_monotonic_one() -> None:
    own = SettableClock()
    following = FollowingClock(own)
    assert following.wall_ms() == own.wall_ms()
    following.base_ms = 5_000
    assert following.wall_ms() == 5_000 + int(own.seconds * 1000)
    own.wall = 0
    own.seconds += 1.5
    assert following.wall_ms() == 5_000 + int(own.seconds * 1000)
    await following.pause(2)
    assert following.monotonic() == own.seconds
