"""A request on the short way, whatever it asks for: it is counted, answered, told of, and given to the ordinary way, here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ambry.checksum import Buffer
from ambry.clock import Clock
from frontend import metrics
from frontend.http.access_log import STATUS_CLIENT_GONE
from frontend.http.connections import Connection
from frontend.http.pipeline import Pipeline
from frontend.http.short import Begun, ShortAnswer
from frontend.http.wire import status_line
from frontend.request import RequestContext


class ShortRequest(ShortAnswer):
    """One of them. What it asks for is its maker's, who overrides `drop` and `given_up`."""

    __slots__ = (
        "_clock",
        "_method",
        "_op",
        "_pipeline",
        "_received",
        "_started",
        "_status",
        "context",
        "noted",
    )

    def __init__(
        self,
        pipeline: Pipeline,
        clock: Clock,
        connection: Connection,
        request: bytes,
        context: RequestContext,
        *,
        op: str,
        method: str,
        received: int = 0,
    ) -> None:
        """`received` is the size of its body, bytes; `op` and `method` are for metrics and log."""
        super().__init__(connection, request)
        self._pipeline = pipeline
        self._clock = clock
        self.context = context
        self._op = op
        self._method = method
        self._received = received
        self._status = STATUS_CLIENT_GONE
        self._started = clock.monotonic()
        self.noted: dict[str, Any] = {}
        """Pairs for its log line."""
        metrics.begun.value += 1

    # --- what its maker says ---

    def given_up(self) -> None:
        """Nobody waits for the answer any more."""

    # --- what its maker calls ---

    def whole(self, status: int, lines: str, body: Buffer) -> bytes:
        """The whole answer; `lines` are those of its head that this request's operation tells, each with its end."""
        self._status = status
        common = self._pipeline.common_lines(self.context)
        close = "Connection: close\r\n" if self.is_last else ""
        head = f"{status_line(status)}{lines}{common}Content-Length: {len(body)}\r\n{close}\r\n"
        return head.encode() + body

    def turn_back(self, what: Any, drop: Callable[[], None]) -> None:
        """Go the ordinary way, with `what` was begun; `drop` gives back what that holds, unless it was taken over."""
        metrics.over.value += 1  # there it begins again

        def lost() -> None:
            drop()
            self._tell_of_loss()

        self.go_the_ordinary_way(Begun(context=self.context, started=self._started, what=what, drop=drop, lost=lost))

    # --- its end ---

    def ended(self) -> None:
        self.drop()
        metrics.over.value += 1
        self._tell(self._status)

    def lost(self) -> None:
        super().lost()
        self.given_up()
        metrics.over.value += 1
        self._tell_of_loss()

    def _tell_of_loss(self) -> None:
        self.noted["error"] = self.connection.broken or "the client went away"
        self._tell(STATUS_CLIENT_GONE)

    def _tell(self, status: int) -> None:
        self._pipeline.log.tell(
            self._op,
            self._method,
            self.connection,
            self.context,
            status=status,
            seconds=self._clock.monotonic() - self._started,
            received=self._received,
            sent=self.size,
            noted=self.noted,
        )
