"""Pages are read ahead, in order; what fails is asked again, or told."""

from __future__ import annotations

import threading

import pytest

from ambry.client.changes import ToldChanges
from ambry.errors import AccessDenied, Unavailable
from ambry.streams import pages
from ambry.streams.pages import AHEAD, PagesAhead

WAIT_S = 30.0


class Scripted:
    """A feed that gives these, one after the other."""

    def __init__(self, *script: ToldChanges | Exception) -> None:
        self.script = list(script)
        self.asked = 0

    def next_page(self) -> ToldChanges:
        self.asked += 1
        found = self.script.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


def page(token: str, *, at_end: bool = False) -> ToldChanges:
    return ToldChanges(changes=(), token=token, at_end=at_end)


def test_pages_come_in_order_and_the_last_one_ends_it() -> None:
    feed = Scripted(*[page(str(number)) for number in range(9)], page("end", at_end=True))
    with PagesAhead(feed, follows=False, tell=print) as ahead:
        found = [ahead.get(WAIT_S) for _ in range(10)]
    assert [each.token for each in found if each] == [*map(str, range(9)), "end"]


def test_not_more_than_some_are_held() -> None:
    feed = Scripted(*[page(str(number)) for number in range(100)])
    with PagesAhead(feed, follows=True, tell=print) as ahead:
        while feed.asked < AHEAD + 1:
            threading.Event().wait(0.01)
        assert ahead.get(WAIT_S) is not None
        assert feed.asked <= AHEAD + 2


def test_who_follows_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "AGAIN_S", 0.0)
    told: list[str] = []
    feed = Scripted(Unavailable("nobody answers"), page("after"), AccessDenied("the key was revoked"))
    with PagesAhead(feed, follows=True, tell=told.append) as ahead:
        found = ahead.get(WAIT_S)
        assert found is not None and found.token == "after"
        with pytest.raises(AccessDenied):
            ahead.get(WAIT_S)
    assert told == ["nobody answers; it is tried again"]


def test_who_does_not_follow_is_told() -> None:
    with (
        PagesAhead(Scripted(Unavailable("nobody answers")), follows=False, tell=print) as ahead,
        pytest.raises(Unavailable),
    ):
        ahead.get(WAIT_S)


def test_who_follows_gives_up_where_it_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "AGAIN_S", 0.01)
    feed = Scripted(page("first"), *[Unavailable("nobody answers")] * 1000)
    with PagesAhead(feed, follows=True, tell=lambda text: None, give_up_after_s=0.1) as ahead:
        assert ahead.get(WAIT_S) is not None
        with pytest.raises(Unavailable):
            ahead.get(WAIT_S)
    assert 3 < feed.asked < 1000
