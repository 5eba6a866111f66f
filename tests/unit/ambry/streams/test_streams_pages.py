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


def page(token: str, *, at_end: bool = False, delayed: bool = False) -> ToldChanges:
    return ToldChanges(changes=(), token=token, at_end=at_end, delayed=delayed)


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
    away = [Unavailable("nobody answers", request_id=f"r{number}") for number in range(20)]
    feed = Scripted(*away, page("after"), AccessDenied("the key was revoked"))
    with PagesAhead(feed, follows=True, tell=told.append) as ahead:
        found = ahead.get(WAIT_S)
        assert found is not None and found.token == "after"
        with pytest.raises(AccessDenied):
            ahead.get(WAIT_S)
    assert told == ["nobody answers (request r0); it is tried again"], "once, though each request has an id of its own"


@pytest.mark.parametrize("trouble", [Unavailable("nobody answers"), page("some", at_end=True, delayed=True)])
def test_who_does_not_follow_asks_again_within_the_bound(
    monkeypatch: pytest.MonkeyPatch, trouble: ToldChanges | Exception
) -> None:
    """It was given up at the first failure, whatever --give-up-after said; and a page that is not all there is was the end."""
    monkeypatch.setattr(pages, "AGAIN_S", 0.0)
    told: list[str] = []
    feed = Scripted(*[trouble] * 3, page("all", at_end=True))
    with PagesAhead(feed, follows=False, tell=told.append) as ahead:
        found = [ahead.get(WAIT_S)]
        while found[-1] is not None and not found[-1].at_end:
            found.append(ahead.get(WAIT_S))
    assert found[-1] is not None and found[-1].token == "all" and len(told) == 1


def test_what_cannot_be_told_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "AGAIN_S", 0.01)
    feed = Scripted(*[page("some", at_end=True, delayed=True)] * 1000)
    with (
        PagesAhead(feed, follows=False, tell=lambda text: None, give_up_after_s=0.1) as ahead,
        pytest.raises(Unavailable, match="some changes cannot be told now, since no replica of theirs answers"),
    ):
        while (found := ahead.get(WAIT_S)) is not None:
            assert not found.at_end


def test_what_cannot_be_told_is_told_to_who_follows_and_gives_nothing_up() -> None:
    told: list[str] = []
    feed = Scripted(*[page(str(number), at_end=True, delayed=True) for number in range(50)])
    with PagesAhead(feed, follows=True, tell=told.append, give_up_after_s=0.0) as ahead:
        assert [found.token for _ in range(50) if (found := ahead.get(WAIT_S))] == [*map(str, range(50))]
    assert told == ["some changes cannot be told now, since no replica of theirs answers; it is tried again"]


def test_what_the_publisher_took_is_no_silence_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """While Kafka was away for longer than the bound, the next short failure of the store ended the run."""
    clock = Clock()
    monkeypatch.setattr(pages, "_clock", clock)
    feed = Scripted(*[page(str(number)) for number in range(AHEAD + 1)], Unavailable("for a moment"), page("after"))
    with PagesAhead(feed, follows=True, tell=lambda text: None, give_up_after_s=60.0) as ahead:
        while feed.asked < AHEAD + 1:
            threading.Event().wait(0.01)
        clock.now_s = 100.0  # The last page waits for room.
        found = [ahead.get(WAIT_S) for _ in range(AHEAD + 2)]
        assert found[-1] is not None and found[-1].token == "after"


class Clock:
    """Stands still."""

    now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        pass


@pytest.mark.parametrize("follows", [False, True])
def test_it_is_given_up_after_the_bound(monkeypatch: pytest.MonkeyPatch, follows: bool) -> None:
    monkeypatch.setattr(pages, "AGAIN_S", 0.01)
    feed = Scripted(page("first"), *[Unavailable("nobody answers")] * 1000)
    with PagesAhead(feed, follows=follows, tell=lambda text: None, give_up_after_s=0.1) as ahead:
        assert ahead.get(WAIT_S) is not None
        with pytest.raises(Unavailable):
            ahead.get(WAIT_S)
    assert 3 < feed.asked < 1000
