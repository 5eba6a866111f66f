"""Those who wait for a log to grow; whoever hears of it, by whatever way, notes it here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress


class LogWaiters:
    """On the event loop. `first` is called when somebody begins to wait, `last` when nobody does any more."""

    def __init__(self, first: Callable[[], None], last: Callable[[], None]) -> None:
        self._first = first
        self._last = last
        self._seq = 0
        self._waiting: set[asyncio.Future[None]] = set()
        self._closed = False

    def note(self, seq: int) -> None:
        """The log has so much. Less than before: the store was put back."""
        if seq != self._seq:
            self._seq = seq
            self._wake()

    async def wait(self, after_seq: int, timeout_s: float) -> int:
        """As MetadataStore.wait."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s
        while self._seq <= after_seq and not self._closed and (left_s := end - loop.time()) > 0:
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiting.add(waiter)
            self._first()
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(left_s):
                        await waiter
            finally:
                self._waiting.discard(waiter)
                if not self._waiting:
                    self._last()
        return self._seq

    def close(self) -> None:
        """Nobody waits any more."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
