"""The feed of changes: where some cannot be told, it does not end as if that were all."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from ambry.client.aio.changes import AsyncChangesFeed
from ambry.client.changes import ToldChange, ToldChanges
from ambry.client.sync.changes import ChangesFeed
from ambry.errors import Unavailable


def page(token: str, *, delayed: bool) -> ToldChanges:
    return ToldChanges(changes=(ToldChange(type="name.put", name=token),), token=token, at_end=True, delayed=delayed)


def calls(ask: Any) -> Any:
    return SimpleNamespace(_ask=ask, _timeout=SimpleNamespace(read=10.0), default_account="a", default_container="c")


def test_what_cannot_be_told_is_unavailable_and_comes_when_it_is_iterated_on() -> None:
    """The end of a part was the end of the loop, which nobody can tell from all."""
    script = [page("t1", delayed=True), page("t2", delayed=True), page("t3", delayed=False)]
    feed = ChangesFeed(calls(lambda *_: script.pop(0)), "beginning", follow=False, page_size=10, timeout=None)
    told: list[str | None] = []
    for _ in range(2):
        with pytest.raises(Unavailable, match="some changes cannot be told now"):
            told.extend(change.name for change in feed)
    assert feed.token == "t2" and feed.delayed
    told += [change.name for change in feed]
    assert told == ["t1", "t2", "t3"] and feed.token == "t3" and not feed.delayed and list(feed) == []


def test_who_follows_sees_that_some_are_delayed() -> None:
    """Whole pages alone said so."""
    script = [page("t1", delayed=False), page("t2", delayed=True), page("t3", delayed=False)]
    feed = ChangesFeed(calls(lambda *_: script.pop(0)), "beginning", follow=True, page_size=10, timeout=None)
    assert not feed.delayed
    assert [(next(feed).name, feed.delayed) for _ in range(3)] == [("t1", False), ("t2", True), ("t3", False)]


def test_who_awaits_it_is_told_as_well() -> None:
    script = [page("t1", delayed=True), page("t2", delayed=False)]

    async def ask(*_: Any) -> ToldChanges:
        return script.pop(0)

    async def both() -> list[str | None]:
        feed = AsyncChangesFeed(calls(ask), "beginning", follow=False, page_size=10, timeout=None)
        assert (await anext(feed)).name == "t1"
        with pytest.raises(Unavailable):
            await anext(feed)
        return [change.name async for change in feed]

    assert asyncio.run(both()) == ["t2"]
