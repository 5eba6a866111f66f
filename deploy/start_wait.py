"""How long is waited for processes that start: while anything of them moves, and within a bound that a busy machine keeps.

A machine with ten times as much to do as it has processors starts everything ten times as slowly; what hangs does not move.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable

from deploy.local_processes import wait_until

QUIET_S = 60.0
"""Nothing moved for so long: it will not become ready by itself."""
MOST_S = 900.0
"""Nobody waits for longer, whatever moves."""
TELL_EVERY_S = 10.0


def wait_while_moving(
    look: Callable[[], Hashable | None],
    *,
    quiet_s: float = QUIET_S,
    most_s: float = MOST_S,
    interval_s: float = 0.1,
    tell: Callable[[], None] | None = None,
) -> str:
    """Ask `look` until it gives None, which is the end that is waited for; else it gives another thing when something moved.

    Empty at that end, or why it was given up: `nothing moved for 60 s`. `tell` is called now and then while it lasts.
    """
    began = moved = told = time.monotonic()
    before: Hashable = None

    def over() -> bool:
        nonlocal before, moved, told
        now, seen = time.monotonic(), look()
        if seen is None:
            before = None
            return True
        if seen != before:
            before, moved = seen, now
        elif now - moved >= quiet_s:
            return True
        if tell is not None and now - told >= TELL_EVERY_S:
            told = now
            tell()
        return False

    if not wait_until(over, most_s, interval_s):
        return f"{time.monotonic() - began:.0f} s are over"
    return "" if before is None else f"nothing moved for {quiet_s:.0f} s"
