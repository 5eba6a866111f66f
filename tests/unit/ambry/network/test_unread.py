"""The bytes of answers of a whole process."""

from __future__ import annotations

from ambry.network.unread import Unread


class Held:
    """A connection that holds so much."""

    def __init__(self, unread_bytes: int) -> None:
        self.unread_bytes = unread_bytes


def test_it_is_full_while_all_together_hold_more_than_the_bound() -> None:
    unread = Unread(bytes_max=100)
    first, second = Held(60), Held(41)
    unread.connections = {first: None, second: None}
    assert not unread.full()  # nothing was answered: nothing can be held
    unread.at_most += 101
    assert unread.full()
    second.unread_bytes = 40
    assert not unread.full()


def test_it_is_measured_only_when_the_bound_may_have_been_reached() -> None:
    unread = Unread(bytes_max=100)
    held = Held(30)
    unread.connections = {held: None}
    unread.at_most = 101
    assert not unread.full()
    assert unread.at_most == 30
    held.unread_bytes = 1000
    unread.at_most += 70
    assert not unread.full()
    unread.at_most += 1
    assert unread.full()
