"""How long nothing was heard of each peer's log, and for how long this node has not had all of it.

The lag in bytes of a peer that is unreachable is what it was when it last answered: it does not tell. These two grow meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ambry.clock import Clock
from datanode import metrics


@dataclass(slots=True)
class Follow:
    """What one follower of a peer last saw: an answer, and that it had everything. Monotonic, in seconds."""

    answered_at: float
    level_at: float


class Silence:
    """Of the peers that this node follows. An answer ends the silence, whether it says that something changed or not."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._follows: dict[str, list[Follow]] = {}

    def follow(self, peer: str) -> Callable[[bool], None]:
        """Somebody begins to follow a peer, and calls what this returns when it took in an answer: is everything here now?"""
        now = self._clock.monotonic()
        follow = Follow(now, now)
        self._follows.setdefault(peer, []).append(follow)
        metrics.REPLICATION_SILENCE.labels(peer).set_function(lambda: self.seconds(peer))
        metrics.REPLICATION_LAG_S.labels(peer).set_function(lambda: self.lag_seconds(peer))

        def answered(level: bool) -> None:
            follow.answered_at = self._clock.monotonic()
            if level:
                follow.level_at = follow.answered_at

        return answered

    def seconds(self, peer: str) -> float:
        """Since the follower that waits longest had an answer; 0 for a peer that nobody follows. On any thread."""
        return self._since(follow.answered_at for follow in self._follows.get(peer, ()))

    def lag_seconds(self, peer: str) -> float:
        """Since every follower had everything, as the last answers say; 0 for a peer that nobody follows. On any thread."""
        return self._since(follow.level_at for follow in self._follows.get(peer, ()))

    def _since(self, moments: Iterable[float]) -> float:
        now = self._clock.monotonic()
        return now - min(moments, default=now)
