"""How old a log is, by the time that its replica has been open: never older than it is, whatever was lost."""

from __future__ import annotations

import random

from datanode.store.age import MARK_EVERY_S, MARKS_MAX, LogAge, Mark
from tests.support.fake_clock import SettableClock


def test_what_was_here_at_a_mark_gets_older_from_then_on() -> None:
    clock = SettableClock()
    age = LogAge(clock, open_s=0.0, marks=[])
    clock.advance(50)
    assert age.older_than(0) == 0, "nobody looked yet"
    assert age.mark(1_000) == [Mark(50.0, 1_000)]
    clock.advance(100)
    assert (age.older_than(100), age.older_than(100.5)) == (1_000, 0)


def test_a_jump_of_the_wall_clock_is_nothing_to_it() -> None:
    clock = SettableClock()
    age = LogAge(clock, open_s=0.0, marks=[])
    age.mark(1_000)
    clock.wall += 10**12
    assert age.older_than(1) == 0


def test_it_goes_on_from_its_checkpoint() -> None:
    clock = SettableClock(seconds=5.0)
    age = LogAge(clock, open_s=3_600.0, marks=[Mark(3_000.0, 500), Mark(3_500.0, 900)])
    assert age.open_s == 3_600.0
    assert (age.older_than(100), age.older_than(101), age.older_than(601)) == (900, 500, 0)
    clock.advance(1)
    assert age.older_than(101) == 900


def test_an_idle_log_keeps_its_marks() -> None:
    clock = SettableClock()
    age = LogAge(clock, open_s=0.0, marks=[])
    age.mark(1_000)
    for _ in range(3):
        clock.advance(1)
        assert age.mark(1_000) == [Mark(0.0, 1_000)]


def test_marks_are_few_and_never_make_anything_older_than_it_is() -> None:
    source = random.Random(8)
    clock = SettableClock()
    age = LogAge(clock, open_s=0.0, marks=[])
    came: list[Mark] = []
    for step in range(5_000):
        clock.advance(source.choice([1, 1, 1, 30, 200, 4_000]))
        came.append(Mark(age.open_s, 10 * step))
        assert len(age.mark(10 * step + 10)) <= MARKS_MAX
    for seconds in (0, 10, 1_000, 100_000, 1_000_000):
        old = age.older_than(seconds)
        assert all(age.open_s - item.open_s >= seconds for item in came if item.lsn < old)
    # And it is not much younger either: the spacing is that of the newer half, a few times over.
    recent = age.older_than(10 * MARK_EVERY_S)
    assert recent > 0
    slack = [item for item in came if item.lsn >= recent and age.open_s - item.open_s >= 10_000 + 10 * MARK_EVERY_S]
    assert slack == []
