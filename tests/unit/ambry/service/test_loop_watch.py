"""A loop that is late is measured; one that is held up is named with the place that holds it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from ambry.clock import SystemClock
from ambry.service import loop_watch
from ambry.service.loop_watch import LoopWatch
from tests.support.captured_log import capture_log, said
from tests.support.eventually import eventually


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[LoopWatch]:
    monkeypatch.setattr(loop_watch, "STUCK_S", 0.2)
    monkeypatch.setattr(loop_watch, "LOOK_EVERY_S", 0.01)
    made = LoopWatch(SystemClock())
    yield made
    made.stop()


async def test_a_loop_that_is_held_up_is_said_once_with_the_place(
    watch: LoopWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = capture_log(monkeypatch, loop_watch)
    named = threading.Event()

    def hang_as_a_disk_does() -> None:
        deadline = time.monotonic() + 30
        while not said(events, "event loop is held up") and time.monotonic() < deadline:
            named.wait(0.01)

    watch.start()
    hang_as_a_disk_does()
    await eventually(lambda: said(events, "event loop goes on"))
    (held,) = said(events, "event loop is held up")
    assert any("hang_as_a_disk_does" in place for place in held["at"])
    assert said(events, "event loop goes on")[0]["seconds"] >= 0.2


async def test_a_loop_that_keeps_its_times_is_silent_and_idle(
    watch: LoopWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = capture_log(monkeypatch, loop_watch)
    watch.start()
    before = loop_watch.LAG.collect()
    await eventually(lambda: loop_watch.LAG.collect() != before)
    assert 0.0 <= watch.load() <= 1.0
    assert events == []


async def test_work_on_the_loop_shows_as_its_load(watch: LoopWatch) -> None:
    watch.start()

    def work() -> bool:
        until = time.thread_time() + 0.02
        while time.thread_time() < until:
            pass
        return watch.load() > 0.2

    await eventually(work)


def test_stopping_one_that_never_started_is_harmless() -> None:
    LoopWatch(SystemClock()).stop()
