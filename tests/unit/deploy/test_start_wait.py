"""What moves is waited for, what does not is given up."""

from __future__ import annotations

import itertools
from collections.abc import Hashable

import pytest

from deploy import start_wait
from deploy.start_wait import wait_while_moving


def test_what_moves_is_waited_for_for_longer_than_what_does_not() -> None:
    steps = itertools.chain(range(30), itertools.repeat(None))
    assert wait_while_moving(lambda: next(steps), quiet_s=0.2, interval_s=0.03) == ""


def test_what_does_not_move_is_given_up() -> None:
    steps = itertools.chain([1, 2], itertools.repeat(3))
    assert wait_while_moving(lambda: next(steps), quiet_s=0.1, interval_s=0.01) == "nothing moved for 0 s"


def test_what_moves_without_end_is_given_up() -> None:
    steps = itertools.count()
    assert wait_while_moving(lambda: next(steps), most_s=0.2, interval_s=0.01) == "0 s are over"


def test_it_is_told_what_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_wait, "TELL_EVERY_S", 0.05)
    told: list[int] = []

    def look() -> Hashable | None:
        return None if len(told) == 2 else len(told)

    assert wait_while_moving(look, quiet_s=30, interval_s=0.01, tell=lambda: told.append(1)) == ""
