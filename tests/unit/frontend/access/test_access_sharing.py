"""Many keys of one maker have no more than the maker has."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from ambry.errors import RateLimited
from ambry.rest.access import Grant
from frontend.access.key_rows import SharedRates, StoredKey
from frontend.access.sharing import SHARED_MAX, joined, sharers, shares_of
from frontend.limits.meters import Meters
from frontend.limits.rates import UNBOUNDED, Rates
from frontend.who import Who

TWO = Rates(requests_per_s=2.0)


def stored(made_by: str, limits: Rates = UNBOUNDED, shares: tuple[SharedRates, ...] = ()) -> StoredKey:
    return StoredKey(
        name="k",
        hash="",
        grants=(Grant(roles=("read",)),),
        created_ms=0,
        created_by=made_by,
        limits=limits,
        shares=shares,
    )


class Process:
    """Meters over keys that change."""

    def __init__(self, keys: Mapping[str, StoredKey]) -> None:
        self.now = 100.0
        self.keys = dict(keys)
        self.meters = Meters(now=lambda: self.now, keys=lambda: self.keys, sharers=sharers)

    def know(self, **keys: StoredKey | None) -> None:
        known = {**self.keys, **keys}
        self.keys = {id: key for id, key in known.items() if key is not None}

    def who(self, id: str) -> Who:
        return Who(id=id, key=self.keys[id])

    def answered(self, *ids: str, each: int) -> int:
        return sum(self.meters.admitted(self.who(id), "a") is not None for id in ids for _ in range(each))


def test_keys_that_one_made_have_its_rate_together_and_with_it() -> None:
    """Who administers a container and may ask ten times a second made ten keys, and asked a hundred times."""
    process = Process({"maker": stored("root", TWO), **{f"m{n}": stored("maker", TWO) for n in range(10)}})
    assert process.answered("maker", *(f"m{n}" for n in range(10)), each=3) == 2
    process.now += 1
    assert process.answered(*(f"m{n}" for n in range(10)), "maker", each=3) == 2


def test_a_key_that_is_refused_for_another_one_takes_nothing_and_is_told_why() -> None:
    process = Process({"maker": stored("root", TWO), "a": stored("maker", TWO), "b": stored("maker", TWO)})
    assert process.answered("a", each=2) == 2
    with pytest.raises(RateLimited, match="the key b shares the limits of the key maker, and together"):
        process.meters.admit(process.who("b"), "a")
    with pytest.raises(RateLimited, match="the key a asks for more in a second than its limits are"):
        process.meters.admit(process.who("a"), "a")
    process.know(maker=stored("root", Rates(requests_per_s=1000.0)))
    assert process.answered("b", each=1) == 0, "a change gives nothing back"
    process.now += 0.01
    assert process.answered("b", each=3) == 2, "of its own it had used nothing"


def test_bytes_of_those_that_share_wait_for_each_other() -> None:
    limits = Rates(bytes_per_s=100.0)
    process = Process({"maker": stored("root", limits), "a": stored("maker", limits), "b": stored("maker", limits)})
    a, b = (process.meters.admit(process.who(id), "a") for id in ("a", "b"))
    assert a.slows and a.reserve(100) == 0.0
    assert b.reserve(50) == 0.5 == b.wait_s()
    unbounded = Process({"maker": stored("root", limits), "a": stored("maker")})
    assert unbounded.meters.admit(unbounded.who("a"), "a").slows


def test_keys_of_keys_share_with_all_before_them() -> None:
    process = Process({"a": stored("root", TWO), "b": stored("a", TWO), "c1": stored("b", TWO), "c2": stored("b", TWO)})
    assert process.answered("c1", "b", "c2", "a", each=2) == 2


@pytest.mark.parametrize("later", [Rates(requests_per_s=1.0), TWO])
def test_the_limits_of_a_maker_hold_as_they_are_now_and_when_it_is_gone_as_they_were(later: Rates) -> None:
    shares = (SharedRates(id="maker", limits=TWO),)
    process = Process({"maker": stored("root", later), **{id: stored("maker", TWO, shares) for id in ("a", "b")}})
    assert process.answered("a", "b", each=3) == later.requests_per_s
    process.now += 1
    process.know(maker=None)
    assert process.answered("a", each=1) == 1
    process.meters.forget("maker")
    process.know(other=stored("root"))
    assert process.answered("b", "a", each=3) == later.requests_per_s - 1, "no more for its being gone"
    process.now += 1
    assert process.answered("b", "a", each=3) == 2


def test_a_maker_that_gets_limits_later_has_those_it_made_share_them() -> None:
    process = Process({"maker": stored("root"), "a": stored("maker"), "b": stored("maker")})
    assert process.answered("a", "b", each=10) == 20
    process.know(maker=stored("root", TWO))
    assert process.answered("a", "b", each=3) == 2


def test_what_is_shared_is_each_key_once_and_bounded() -> None:
    keys = {"root": stored("configuration")} | {f"k{n}": stored(f"k{n - 1}" if n else "root", TWO) for n in range(40)}
    found = sharers("k39", keys["k39"], keys)
    assert [each.id for each in found] == [f"k{n}" for n in range(38, 38 - SHARED_MAX, -1)]
    around = {"a": stored("b", TWO), "b": stored("a", TWO)}
    assert [each.id for each in sharers("a", around["a"], around)] == ["b"]
    made = shares_of("b", around["b"], around)
    assert [each.id for each in made] == ["b", "a"]
    assert [each.id for each in joined(made, (SharedRates(id="c", limits=TWO),), without="a")] == ["c", "b"]
    assert shares_of("root", keys["root"], keys) == () == shares_of("", None, keys)
