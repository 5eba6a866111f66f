"""What is old enough to go is said by the store's clock, whatever this machine's says."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from ambry import AmbryClient
from ambry.clock import SystemClock
from ambry.ml.store_time import store_time


@pytest.mark.parametrize("days", [-8, 8])
def test_it_is_the_time_of_what_is_stored_there(
    client: AmbryClient, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """The frontend, in a thread of its own, has the right time."""
    real = SystemClock.wall_ms

    def wall_ms(clock: SystemClock) -> int:
        wrong_ms = days * 86_400_000 if threading.current_thread() is threading.main_thread() else 0
        return real(clock) + wrong_ms

    monkeypatch.setattr(SystemClock, "wall_ms", wall_ms)
    assert abs(SystemClock().wall_ms() - datetime.now(UTC).timestamp() * 1_000) > 7 * 86_400_000
    before = client.put(b"before").created
    now = store_time(client)
    after = client.put(b"after").created
    assert before is not None and after is not None
    # An answer tells whole seconds.
    assert before <= now < after + timedelta(seconds=1)
