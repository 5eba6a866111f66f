"""The join of registers and the planning of transactions, against tables in memory and against the definition by the letter."""

from __future__ import annotations

from contextlib import suppress
from itertools import combinations, permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.metadata.plan import Plan, RegisterKey, VersionIdentity, known, register_keys
from frontend.metadata.spaces import Space
from frontend.metadata.store import Conflict, Expect, LogHead, Put, Stamp, Version, order

KEYS = (b"a", b"b")
VALUES = (None, b"", b"x", b"y")


class Tables:
    """`register` and `past` of one store, in memory; refuses what a table would refuse."""

    def __init__(self, datacenter: int) -> None:
        self.datacenter = datacenter
        self.register: dict[RegisterKey, Version] = {}
        self.past: dict[int, Version] = {}
        self.head = LogHead(b"s", 0, 0)

    def newest(self, place: RegisterKey) -> Version | None:
        if place in self.register:
            return self.register[place]
        older = [version for version in self.past.values() if RegisterKey(*known(version)[:3]) == place]
        return max(older, key=order, default=None)

    def plan(self, places: list[RegisterKey], wall_ms: int = 0) -> Plan:
        return Plan(
            self.head,
            datacenter=self.datacenter,
            wall_ms=wall_ms,
            registers={place: self.newest(place) for place in places},
            locals={},
            past_known=map(known, self.past.values()),
        )

    def take(self, plan: Plan) -> None:
        for version in plan.past():
            assert version.seq not in self.past
            self.past[version.seq] = version
        for place in plan.registers_gone():
            del self.register[place]
        for version in plan.registers_put():
            self.register[RegisterKey(version.space, version.scope, version.key)] = version
        self.head = plan.head
        self.check()

    def check(self) -> None:
        log = sorted([*self.past.values(), *self.register.values()], key=lambda version: version.seq)
        assert [version.seq for version in log] == list(range(1, self.head.seq + 1)), "every version once, in the log"
        assert all(version.living for version in self.register.values())
        for place, version in self.register.items():
            assert all(order(version) > order(old) for old in self.past.values() if old.key == place.key)

    def merge(self, versions: list[Version]) -> int:
        plan = self.plan([RegisterKey(v.space, v.scope, v.key) for v in versions])
        new = plan.merge(versions)
        self.take(plan)
        return new

    def write(self, groups: list[list[Put]], wall_ms: int) -> None:
        plan = self.plan([place for group in groups for place in register_keys(group)], wall_ms)
        for group in groups:
            with suppress(Conflict):
                plan.write(group)
        self.take(plan)

    def state(self) -> tuple[set[VersionIdentity], dict[bytes, VersionIdentity]]:
        """What stores that saw the same must have alike: all versions, and what each register is."""
        versions = {known(version) for version in (*self.past.values(), *self.register.values())}
        return versions, {place.key: known(version) for place, version in self.register.items()}


def version(key: bytes, time: int, datacenter: int, value: bytes | None) -> Version:
    return Version(Space.NAME, 1, key, Stamp(time, datacenter), value, 0)


EVENTS = [
    version(b"a", 5, 1, b"x"),
    version(b"a", 6, 2, None),
    version(b"a", 6, 3, b"y"),
    version(b"a", 7, 1, b"z"),
    version(b"a", 7, 1, None),
    version(b"a", 7, 1, b"w"),
]


@pytest.mark.parametrize("count", range(1, 7))
def test_all_orders_of_up_to_six_events_at_three_datacenters_give_one_state(count: int) -> None:
    for events in combinations(EVENTS, count):
        states = []
        for datacenter, arrival in zip((1, 2, 3) * 240, permutations(events), strict=False):
            tables = Tables(datacenter)
            for event in arrival:
                tables.merge([event])
            states.append(tables.state())
        assert all(state == states[0] for state in states)
        winner = max(events, key=order)
        assert states[0] == (set(map(known, events)), {b"a": known(winner)} if winner.living else {})


events = st.builds(
    version,
    st.sampled_from(KEYS),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from(VALUES),
)


@given(st.lists(events, max_size=6), st.data())
def test_versions_merge_alike_in_any_order_and_grouping_however_often_they_come(
    happened: list[Version], data: st.DataObject
) -> None:
    outcomes = []
    for datacenter in (1, 2, 3):
        arrival = data.draw(st.permutations(happened + happened))
        tables = Tables(datacenter)
        while arrival:
            size = data.draw(st.integers(1, len(arrival)))
            tables.merge(arrival[:size])
            arrival = arrival[size:]
        outcomes.append(tables.state())
    assert outcomes[0] == outcomes[1] == outcomes[2]
    newest = {key: max((e for e in happened if e.key == key), key=order, default=None) for key in KEYS}
    expected = {key: known(found) for key, found in newest.items() if found is not None and found.living}
    assert outcomes[0] == (set(map(known, happened)), expected)


puts = st.builds(
    Put,
    st.just(Space.NAME),
    st.just(1),
    st.sampled_from(KEYS),
    st.sampled_from(VALUES),
    st.sampled_from([Expect.ANY, Expect.ABSENT, Expect.PRESENT]),
)
groups = st.lists(puts, min_size=1, max_size=2, unique_by=lambda change: change.key)


@given(st.lists(st.tuples(st.integers(1, 3), st.lists(groups, max_size=3), st.integers(0, 9)), max_size=6))
def test_datacenters_that_wrote_apart_are_equal_once_each_has_seen_all(
    happened: list[tuple[int, list[list[Put]], int]],
) -> None:
    stores = {number: Tables(number) for number in (1, 2, 3)}
    for number, together, wall_ms in happened:
        # The clocks jump as they like: what a store writes is later than all that it has seen.
        before = stores[number].head.time
        stores[number].write(together, wall_ms)
        assert stores[number].head.time >= before
    for taker, giver in product(stores.values(), repeat=2):
        taker.merge([*giver.past.values(), *giver.register.values()])
    for taker, giver in product(stores.values(), repeat=2):
        assert taker.merge([*giver.past.values(), *giver.register.values()]) == 0
    assert stores[1].state() == stores[2].state() == stores[3].state()


def test_a_group_that_conflicts_leaves_nothing_of_itself_in_the_plan() -> None:
    tables = Tables(1)
    tables.write([[Put(Space.NAME, 1, b"a", b"x")]], 5)
    plan = tables.plan([RegisterKey(Space.NAME, 1, b"a"), RegisterKey(Space.NAME, 1, b"b")], 6)
    with pytest.raises(Conflict):
        plan.write([Put(Space.NAME, 1, b"b", b"y"), Put(Space.NAME, 1, b"a", b"z", Expect.ABSENT)])
    assert plan.empty
    assert plan.head == tables.head
