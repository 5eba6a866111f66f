"""Every request of a data node, counted and timed in one place: when it is answered, whatever answered it."""

from __future__ import annotations

from ambry.errors import AmbryError
from ambry.protocol.frame import MessageType
from ambry.service.metrics import Counter
from datanode import metrics


class RequestCounts:
    """Hears of every answer exactly once, as `on_answered` of the connections (ambry/network/connection.py)."""

    def __init__(self) -> None:
        # Bound once: a request costs two look-ups, and no dict of labels.
        self._ok = {int(type): metrics.REQUESTS.labels(type.name.lower(), "ok").inc for type in MessageType}
        self._seconds = {int(type): metrics.LATENCY.labels(type.name.lower()).observe for type in MessageType}
        self._failed: dict[tuple[int, str], Counter] = {}

    def __call__(self, type: int, error: AmbryError | None, seconds: float) -> None:
        """A request was answered, with an error or without, so long after its last byte."""
        if error is None:
            self._seconds[type](seconds)
            self._ok[type]()
            return
        if type in self._seconds:
            self._seconds[type](seconds)
        self._count_failure(type, error.__class__.__name__)

    def _count_failure(self, type: int, outcome: str) -> None:
        counter = self._failed.get((type, outcome))
        if counter is None:
            name = MessageType(type).name.lower() if type in self._ok else "unknown"
            counter = metrics.REQUESTS.labels(name, outcome)
            self._failed[type, outcome] = counter
        counter.inc()
