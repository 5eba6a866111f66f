"""The asking side of a subscription: everything once, and then what moved."""

from __future__ import annotations

from itertools import count

from ambry.protocol.messages.replication import ChangesCursor, Subscription
from datanode.replication.standing import Standing


def at(partition: int, lsn: int) -> ChangesCursor:
    return ChangesCursor(partition, b"i" * 16, lsn)


def test_what_was_told_is_told_again_only_where_it_moved() -> None:
    standing = Standing(channel=1, sessions=count(5))
    assert standing.fresh
    assert standing.empty
    told = standing.tell({1: at(1, 10), 2: at(2, 10), 3: None}, ())
    assert (told.cursors, told.gone, told.subscription) == ([at(1, 10), at(2, 10)], [], Subscription(1, 5, 0))
    assert not standing.fresh
    told = standing.tell({1: at(1, 10), 2: at(2, 30)}, ())
    assert (told.cursors, told.gone, told.subscription) == ([at(2, 30)], [], Subscription(1, 5, 1))
    told = standing.tell({1: at(1, 10), 2: at(2, 30)}, {1})
    assert (told.cursors, told.subscription.step) == ([at(1, 10)], 2), "one that is named is told all the same"
    assert standing.tell({}, ()).cursors == []


def test_what_is_not_followed_any_more_is_told_once_and_anew_when_it_comes_back() -> None:
    standing = Standing(channel=0, sessions=count(1))
    standing.tell({1: at(1, 10)}, ())
    told = standing.tell({1: None}, ())
    assert (told.cursors, told.gone) == ([], [1])
    assert standing.empty
    assert standing.tell({1: None}, ()).gone == []
    assert standing.tell({1: at(1, 10)}, ()).cursors == [at(1, 10)]


def test_a_new_beginning_tells_everything_in_a_session_of_its_own() -> None:
    standing = Standing(channel=0, sessions=count(1))
    standing.tell({1: at(1, 10)}, ())
    standing.begin_anew()
    assert standing.fresh
    told = standing.tell({1: at(1, 10)}, ())
    assert (told.cursors, told.subscription) == ([at(1, 10)], Subscription(0, 2, 0))
