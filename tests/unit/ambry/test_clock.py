from __future__ import annotations

from ambry.clock import SystemClock, iso_utc, system_random


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
