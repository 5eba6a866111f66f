from __future__ import annotations

from dataclasses import dataclass

import pytest

from ambry.errors import RateLimited
from frontend.limits.meters import ADDRESSES_MAX, COME_BACK_MAX_S, PATIENCE_S, Meters, network_of
from frontend.limits.rates import Rates
from frontend.who import ANYBODY, NOBODY, Who


@dataclass(frozen=True)
class Row:
    """As much of a key's row as is looked at."""

    limits: Rates


class Watch:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def key(id: str, **rates: float) -> Who:
    return Who(id=id, key=Row(Rates(**rates)))


def test_a_key_has_its_rate_wherever_it_comes_from_and_others_have_theirs() -> None:
    meters, who = Meters(now=Watch()), key("k1", requests_per_s=2.0)
    assert [meters.admitted(who, f"10.0.0.{n}") is None for n in range(3)] == [False, False, True]
    with pytest.raises(RateLimited, match="the key k1") as refused:
        meters.admit(who, "10.0.0.9")
    assert refused.value.retry_after_s == 1
    assert meters.admitted(key("k2", requests_per_s=2.0), "10.0.0.1") is not None


def test_processes_share_a_rate() -> None:
    watch = Watch()
    meters, who = Meters(now=watch, share=0.25), key("k1", requests_per_s=8.0)
    assert sum(meters.admitted(who, "a") is not None for _ in range(20)) == 2
    watch.now += 1
    assert sum(meters.admitted(who, "a") is not None for _ in range(20)) == 2


def test_a_change_of_a_key_leaves_what_was_used_of_its_rates() -> None:
    meters = Meters(now=Watch())
    assert meters.admitted(key("k1", requests_per_s=1.0), "a") is not None
    assert meters.admitted(key("k1", requests_per_s=1.0), "a") is None
    assert meters.admitted(key("k2", requests_per_s=1.0), "a") is not None


def test_a_key_whose_limits_change_again_and_again_gets_no_more_than_they_give() -> None:
    """One with `admin` made its own a little narrower before each request, and had a full bucket each time."""
    watch = Watch()
    meters, rate = Meters(now=watch), 4.5
    answered = 0
    for _ in range(200):
        rate *= 1 - 1e-9
        answered += meters.admitted(key("k1", requests_per_s=rate), "a") is not None
    assert answered == 4
    watch.now += 1
    assert sum(meters.admitted(key("k1", requests_per_s=rate), "a") is not None for _ in range(20)) == 4


def test_bytes_that_wait_do_so_after_a_change_too_and_those_under_way_count_with_the_new_ones() -> None:
    meters = Meters(now=Watch())
    under_way = meters.admit(key("k1", bytes_per_s=100.0), "a")
    assert under_way.reserve(600) == 5.0
    with pytest.raises(RateLimited):
        meters.admit(key("k1", bytes_per_s=99.0), "a")
    changed = meters.of(key("k1", bytes_per_s=50.0), "a")
    assert changed.wait_s() == 10.0
    assert under_way.reserve(50) == 11.0 == changed.wait_s()


@pytest.mark.parametrize("share", [1.0, 0.5, 1 / 64])
@pytest.mark.parametrize("rate", [5e-324, 1e-200, 1e-9])
def test_rates_that_are_next_to_nothing_refuse_and_break_nothing(rate: float, share: float) -> None:
    """Each request was a 500 (OverflowError, ZeroDivisionError), or was told to come back in a number of 200 digits."""
    meters = Meters(now=Watch(), share=share)
    requests, bytes_ = key("k1", requests_per_s=rate), key("k2", bytes_per_s=rate, burst_s=5e-324)
    meters.admit(requests, "a")
    assert meters.admit(bytes_, "a").reserve(1 << 40) > 1e9
    for who in (requests, bytes_):
        with pytest.raises(RateLimited) as refused:
            meters.admit(who, "a")
        assert refused.value.retry_after_s == COME_BACK_MAX_S


def test_bytes_that_wait_keep_new_requests_away() -> None:
    watch = Watch()
    meters, who = Meters(now=watch), key("k1", bytes_per_s=100.0)
    meter = meters.admit(who, "a")
    assert meter.reserve(100) == 0
    assert meter.reserve(100) == 1.0
    assert meters.admitted(who, "a") is not None, "so much is waited for"
    assert meter.reserve(400) == 5.0
    with pytest.raises(RateLimited) as refused:
        meters.admit(who, "a")
    assert refused.value.retry_after_s == 4
    watch.now += 5.0 - PATIENCE_S
    assert meters.admitted(who, "a") is not None


def test_who_has_no_key_is_bounded_by_address_and_who_needs_none_is_not() -> None:
    meters = Meters(now=Watch(), anonymous=Rates(requests_per_s=1.0))
    assert meters.admitted(NOBODY, "10.0.0.1") is not None
    assert meters.admitted(NOBODY, "10.0.0.1") is None
    assert meters.admitted(NOBODY, "10.0.0.2") is not None
    assert all(meters.admitted(ANYBODY, "10.0.0.1") is not None for _ in range(5))


def test_addresses_that_are_told_apart_are_bounded() -> None:
    meters = Meters(now=Watch(), anonymous=Rates(requests_per_s=1.0))
    for number in range(ADDRESSES_MAX + 10):
        assert meters.admitted(NOBODY, f"c{number}") is not None
    assert meters.admitted(NOBODY, f"c{ADDRESSES_MAX}") is None
    assert len(meters._by_address) == ADDRESSES_MAX


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("a:b", "a:b"),
    ],
)
def test_one_customer_has_half_of_an_address_of_ipv6(address: str, network: str) -> None:
    assert network_of(address) == network


def test_a_key_that_is_gone_leaves_nothing() -> None:
    meters = Meters(now=Watch())
    meters.of(key("k"), "127.0.0.1")
    meters.forget("k")
    meters.forget("never")
    assert not meters.tallies and not meters._by_key
