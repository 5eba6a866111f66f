"""Waiting for a condition, never for a time: every wait is bounded, and says what it saw last when it gives up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_never = threading.Event()


def eventually(look: Callable[[], T | None], what: str, *, timeout_s: float = 30.0, interval_s: float = 0.05) -> T:
    """Ask until the answer is truthy, and return it. AssertionError with the last answer or failure when time is over.

    An AssertionError or OSError of `look` counts as "not yet".
    """
    deadline = time.monotonic() + timeout_s
    while True:
        seen: object
        try:
            answer = look()
            if answer:
                return answer
            seen = answer
        except (AssertionError, OSError) as error:
            seen = f"{type(error).__name__}: {error}"
        if time.monotonic() >= deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what}; last seen: {seen}")
        _never.wait(interval_s)


def settled(look: Callable[[], list[str]], what: str, *, timeout_s: float = 60.0, interval_s: float = 0.1) -> None:
    """Ask until no complaint is left; AssertionError with the first few of those that stayed."""
    deadline = time.monotonic() + timeout_s
    while True:
        complaints = look()
        if not complaints:
            return
        if time.monotonic() >= deadline:
            shown = "\n  ".join(complaints[:10])
            raise AssertionError(f"not within {timeout_s:g} s: {what}; {len(complaints)} complaints:\n  {shown}")
        _never.wait(interval_s)
