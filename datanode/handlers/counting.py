"""Every request of a data node, counted and timed in one place: when it is answered, whatever answered it."""

from __future__ import annotations

from ambry.errors import AmbryError
from ambry.protocol.frame import MessageType
from ambry.service.tallies import Count
from datanode import metrics


class RequestCounts:
    """Hears of every answer exactly once, as the tally of the connections (ambry/network/serving.py)."""

    def __init__(self) -> None:
        # Bound once: a request costs two look-ups, and no dict of labels.
        self.succeeded = {int(type): metrics.REQUESTS.labels(type.name.lower(), "ok").inc for type in MessageType}
        self.took = {int(type): metrics.LATENCY.labels(type.name.lower()).observe for type in MessageType}
        self._failed: dict[tuple[int, str], Count] = {}

    def failed(self, type: int, error: AmbryError, seconds: float) -> None:
        """A request was answered with an error."""
        if type in self.took:
            self.took[type](seconds)
        outcome = error.__class__.__name__
        counter = self._failed.get((type, outcome))
        if counter is None:
            name = MessageType(type).name.lower() if type in self.succeeded else "unknown"
            counter = metrics.REQUESTS.labels(name, outcome)
            self._failed[type, outcome] = counter
        counter.inc()
