"""How well the event loop of a process keeps its times: its lag, what share of a core it wants, and what holds it up.

A tick on the loop measures how late it comes. A thread beside it notices when no tick comes at all, and logs once what the
loop's thread is at: a disk that hangs under it, or work in one piece that should have been in many. It also asks the kernel
how long the loop's thread ran and how long it waited for a core (schedstat of proc(5)): where others keep the cores from it, it
runs little and wants much, and background work must not take that for idleness.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from pathlib import Path

from ambry.clock import Clock
from ambry.service.logs import get_logger
from ambry.service.metrics import Gauge, Histogram, registry

log = get_logger()

TICK_S = 0.05
STUCK_S = 1.0
LOOK_EVERY_S = 0.1
FRAMES_MAX = 12

LAG = Histogram(
    "ambry_event_loop_lag_seconds",
    "How late the event loop was, twenty times a second.",
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0),
    registry=registry,
)
SHARE = Gauge(
    "ambry_event_loop_share", "Share of a core that the event loop's thread wanted lately.", registry=registry
)


class LoopWatch:
    """Watches the loop that `start` is called on, until `stop`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._share = 0.0
        self._ticked_at = 0.0
        self._schedstat = Path()
        self._timer: asyncio.TimerHandle | None = None
        self._loop_thread = 0
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def load(self) -> float:
        """Share of a core that the loop's thread wanted a moment ago, from 0 to 1. On any thread."""
        return self._share

    def start(self) -> None:
        self._loop_thread = threading.get_ident()
        self._ticked_at = self._clock.monotonic()
        self._schedstat = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)
        self._thread = threading.Thread(target=self._watch, name="loop-watch", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            # At the limit of threads: the metrics are worth more than a start that fails for them.
            log.warning("nobody watches the event loop: no thread can be started")
            self._thread = None

    def stop(self) -> None:
        """End both; returns at once, or after one look of the thread."""
        if self._timer is not None:
            self._timer.cancel()
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _tick(self) -> None:
        now = self._clock.monotonic()
        LAG.observe(max(0.0, now - self._ticked_at - TICK_S))
        self._ticked_at = now
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _watch(self) -> None:
        stuck_since = 0.0
        looked_at, wanted_s = self._clock.monotonic(), self._wanted_s()
        while not self._stopped.wait(LOOK_EVERY_S):
            now, wanted_now_s = self._clock.monotonic(), self._wanted_s()
            # Over about half a second: one long answer is no load.
            share = min(1.0, (wanted_now_s - wanted_s) / max(now - looked_at, 1e-6))
            self._share += 0.25 * (share - self._share)
            SHARE.set(self._share)
            looked_at, wanted_s = now, wanted_now_s
            ticked_at = self._ticked_at
            silent_s = self._clock.monotonic() - ticked_at
            if stuck_since and ticked_at != stuck_since:
                log.warning("event loop goes on", seconds=round(ticked_at - stuck_since, 3))
                stuck_since = 0.0
            elif not stuck_since and silent_s > STUCK_S:
                stuck_since = ticked_at
                log.error("event loop is held up", seconds=round(silent_s, 3), at=self._stack())

    def _wanted_s(self) -> float:
        """How long the loop's thread ran, or waited for a core, since it began; 0 where the kernel does not count it."""
        try:
            ran_ns, waited_ns, _ = self._schedstat.read_text().split()
        except (OSError, ValueError):
            return 0.0
        return (int(ran_ns) + int(waited_ns)) / 1e9

    def _stack(self) -> list[str]:
        frame = sys._current_frames().get(self._loop_thread)
        found = traceback.extract_stack(frame, FRAMES_MAX) if frame is not None else []
        return [f"{place.filename}:{place.lineno} {place.name}" for place in found]
