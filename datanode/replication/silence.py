"""How long nothing was heard of each peer's log: the lag of one that is unreachable is what it was when it last answered."""

from __future__ import annotations

from collections.abc import Callable

from ambry.clock import Clock
from datanode import metrics


class Silence:
    """Of the peers that this node follows. An answer ends the silence, whether it says that something changed or not."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heard: dict[str, list[float]] = {}
        """By peer: when each of those that follow it last had an answer, monotonic."""

    def follow(self, peer: str) -> Callable[[], None]:
        """Somebody begins to follow a peer, and calls what this returns at every answer."""
        heard = self._heard.setdefault(peer, [])
        place = len(heard)
        heard.append(self._clock.monotonic())
        metrics.REPLICATION_SILENCE.labels(peer).set_function(lambda: self.seconds(peer))

        def answered() -> None:
            heard[place] = self._clock.monotonic()

        return answered

    def seconds(self, peer: str) -> float:
        """Since the follower that waits longest had an answer; 0 for a peer that nobody follows. On any thread."""
        return self._clock.monotonic() - min(self._heard.get(peer, ()), default=self._clock.monotonic())
