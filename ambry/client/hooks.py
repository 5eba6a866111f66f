"""What a client tells of each of its requests, and the trace that they belong to. No I/O.

Invariants: an attempt of which `began` heard is told to `ended` exactly once, when its answer was read or given up. What a
hook raises stays here: it is logged once, and the transfer goes on. Where there are no hooks, nothing is counted.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ambry.client.transfer import BlobUpload
from ambry.client.wire.message import ApiRequest, Headers, request_id_of
from ambry.clock import Clock

_TRACEPARENT = re.compile("00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""Version 00 of W3C Trace Context, section 3.2."""

Traceparent = Callable[[], str | None]
"""The `traceparent` of what goes on now; None where nothing is traced."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RequestAttempt:
    """One try of one request at one endpoint, of which `began` and `ended` get the same object.

    `path` is what stands in the URL behind the endpoint, without its query. `attempt` counts from 1 within a call; a request
    that a kept connection did not take, as it was closed meanwhile, goes again under the same number.
    """

    method: str
    path: str
    endpoint: str
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttemptOutcome:
    """What became of one. `status` is 0 and `request_id` empty where no answer came.

    The bytes are those of the bodies, as far as they went; the seconds those from the beginning until the answer was read. An
    answer that its reader did not want to the end has no `error`.
    """

    status: int
    request_id: str
    bytes_sent: int
    bytes_received: int
    duration_s: float
    error: BaseException | None


class Hooks(Protocol):
    """What hears of every request of a client: `AmbryClient(hooks=...)`. Derive from it and override what you need.

    Called in the thread, or in the task, that sends and reads; by several of them at the same time. Be quick: the transfer
    waits. What is raised here is logged once, and stops nothing.
    """

    def began(self, attempt: RequestAttempt) -> None:
        """Just before it is sent, and before `traceparent` is asked for."""

    def ended(self, attempt: RequestAttempt, outcome: AttemptOutcome) -> None:
        """Once for each that began. A reader has ended when it was read to its end, or closed."""


class AttemptWatch:
    """Counts one attempt, and tells of its end."""

    def __init__(self, tracing: Tracing, attempt: RequestAttempt, upload: BlobUpload | None) -> None:
        self._tracing = tracing
        self._attempt = attempt
        self._upload = upload
        self._began = tracing.clock.monotonic()
        self._status = 0
        self._request_id = ""
        self._received = 0
        self._over = False

    def answered(self, status: int, headers: Headers) -> None:
        self._status = status
        self._request_id = request_id_of(headers)

    def received(self, size: int) -> None:
        self._received += size

    def ended(self, error: BaseException | None) -> None:
        """Again is fine: the first counts."""
        if self._over:
            return
        self._over = True
        outcome = AttemptOutcome(
            status=self._status,
            request_id=self._request_id,
            bytes_sent=0 if self._upload is None else self._upload.sent,
            bytes_received=self._received,
            duration_s=self._tracing.clock.monotonic() - self._began,
            error=error,
        )
        self._tracing.tell_ended(self._attempt, outcome)


class Tracing:
    """The hooks of one client, behind which nothing of theirs is raised."""

    def __init__(self, hooks: Hooks | None, traceparent: Traceparent | None, clock: Clock) -> None:
        """Raises TypeError for what cannot be called."""
        for name in ("began", "ended"):
            if hooks is not None and not callable(getattr(hooks, name, None)):
                raise TypeError(f"hooks is an object with began and ended (ambry.Hooks); {hooks!r} has no {name}")
        if traceparent is not None and not callable(traceparent):
            raise TypeError(f"traceparent is called for each request, and is not one of them: {repr(traceparent)[:60]}")
        self.clock = clock
        self._hooks = hooks
        self._traceparent = traceparent or current_traceparent
        self._logged: set[str] = set()

    def begin(self, endpoint: str, request: ApiRequest, number: int, upload: BlobUpload | None) -> AttemptWatch | None:
        """One attempt begins; None where nobody wants to hear of it."""
        if self._hooks is None:
            return None
        path = request.path.partition("?")[0]
        attempt = RequestAttempt(method=request.method, path=path, endpoint=endpoint, attempt=number)
        try:
            self._hooks.began(attempt)
        except Exception:
            self._log("began")
        return AttemptWatch(self, attempt, upload)

    def tell_ended(self, attempt: RequestAttempt, outcome: AttemptOutcome) -> None:
        if self._hooks is not None:
            try:
                self._hooks.ended(attempt, outcome)
            except Exception:
                self._log("ended")

    def headers(self) -> dict[str, str]:
        """What tells a server the trace that a request belongs to."""
        try:
            found = self._traceparent()
            if found is not None and not _TRACEPARENT.fullmatch(found):
                raise ValueError(f"traceparent is 00-TRACE-SPAN-FLAGS in small hexadecimal letters, not {found[:60]!r}")
        except Exception:
            self._log("traceparent")
            return {}
        return {} if found is None else {"traceparent": found}

    def _log(self, name: str) -> None:
        if name not in self._logged:
            self._logged.add(name)
            import logging

            logging.getLogger("ambry.client").exception("%s of a client failed; it is not told again", name)


def current_traceparent() -> str | None:
    """That of OpenTelemetry's current span. Who has one has imported its API, so nothing is imported for it."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return None
    span = trace.get_current_span().get_span_context()
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}" if span.is_valid else None
