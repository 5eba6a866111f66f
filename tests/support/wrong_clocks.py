"""The clock of the main thread days off, where clients run; a frontend in threads of its own has the right time."""

from __future__ import annotations

import threading
import time

import pytest

from ambry.clock import SystemClock

DAYS = (-400, 400)


def set_wrong(monkeypatch: pytest.MonkeyPatch, days: int) -> None:
    """From now on, until the test ends."""
    real = SystemClock.wall_ms

    def wall_ms(clock: SystemClock) -> int:
        wrong_ms = days * 86_400_000 if threading.current_thread() is threading.main_thread() else 0
        return real(clock) + wrong_ms

    monkeypatch.setattr(SystemClock, "wall_ms", wall_ms)
    assert abs(SystemClock().wall_ms() / 1_000 - time.time()) > (abs(days) - 1) * 86_400
