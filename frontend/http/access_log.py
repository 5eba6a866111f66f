"""One line and one observation for each request."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any

from ambry.service.logs import bulk, get_logger
from frontend import metrics
from frontend.audit.hiding import without_secrets
from frontend.audit.trail import AuditTrail
from frontend.http.connections import Connection
from frontend.http.exchange import Exchange
from frontend.limits.meters import UseTally
from frontend.request import RequestContext

log = get_logger()

STATUS_CLIENT_GONE = 499
"""For metrics and logs: the answer did not reach its end."""
REFUSALS = frozenset({401, 403, 429})
"""Answers to what somebody may not do, or not so often."""
QUIET_OPERATION = "health"
"""Load balancers ask every second: an answer that is well has no line, and no rate bounds them."""
_TRACEPARENT = re.compile("(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""W3C Trace Context, section 3.2; what a later version may have behind it is not read."""
_READS = ("GET", "HEAD")
"""Their lines may be written a moment later; those of changes and errors are, before the turn ends in which they did."""


def trace_of(traceparent: str) -> str:
    """The id of the trace that a `traceparent` names; empty where it names none."""
    found = _TRACEPARENT.fullmatch(traceparent)
    return "" if found is None else found[1]


class _Observed:
    """The bound metrics of one operation."""

    def __init__(self, op: str) -> None:
        self.op = op
        self.seconds = metrics.LATENCY.labels(op)
        self._statuses: dict[int, Any] = {}

    def record(self, status: int, seconds: float) -> None:
        counter = self._statuses.get(status)
        if counter is None:
            counter = self._statuses[status] = metrics.REQUESTS.labels(self.op, str(status))
        counter.value += 1
        self.seconds.observe(seconds)


class AccessLog:
    """Tells about requests when they are over."""

    def __init__(
        self,
        *,
        enabled: bool,
        random_source: random.Random,
        reads_one_in: int = 1,
        audit: AuditTrail | None = None,
    ) -> None:
        """Not `enabled`, only failures of ours have a line; of `reads_one_in` successful reads one has."""
        self._enabled = enabled
        self.audit = audit
        """Tells of changes and refusals, and of reads where the container says so; None where nobody does."""
        self._random = random_source
        self._reads_one_in = reads_one_in
        self.by_container: dict[int, UseTally] = {}
        """What was asked for, by the scope of a container."""
        self._bulk = bulk("request") if enabled else None
        self._observed: dict[str, _Observed] = {}

    def record(self, exchange: Exchange, status: int, seconds: float) -> None:
        """Called when the last byte of the answer was handed to the kernel, or none will be any more."""
        http = exchange.http
        self.tell(
            exchange.op,
            exchange.method,
            exchange.connection,
            exchange.context,
            status=status,
            seconds=seconds,
            received=http.content.total_bytes,
            sent=http.writer.output_size,
            noted=exchange.noted,
        )

    def tell(
        self,
        op: str,
        method: str,
        connection: Connection | None,
        context: RequestContext,
        *,
        status: int,
        seconds: float,
        received: int,
        sent: int,
        noted: Mapping[str, Any],
    ) -> None:
        """Tell of a request that is over: `received` and `sent` are bytes, of its body and of the whole answer."""
        observed = self._observed.get(op)
        if observed is None:
            observed = self._observed[op] = _Observed(op)
        observed.record(status, seconds)
        if status == STATUS_CLIENT_GONE and connection is not None:
            # Of what was written these never arrived, as far as we know.
            sent = max(0, sent - connection.unsent)
        refused, meter, container = status in REFUSALS, context.meter, context.container
        if meter is not None:
            meter.tally.add(received, sent, refused=refused)
            if meter.slows:
                meter.reserve(max(0, received + sent - context.paced))
        if container is not None and container.known:
            scope = container.account_id << 32 | container.container_id  # as `scope`, without its calls
            tally = self.by_container.get(scope)
            if tally is None:
                tally = self.by_container[scope] = UseTally()
            tally.add(received, sent, refused=refused)
        if self.audit is not None and (
            context.changes or refused or context.items or (container is not None and container.settings.audit_reads)
        ):
            self.audit.tell(context, method=method, op=op, status=status, refused=refused, noted=noted)
        if received and 200 <= status < 300:
            metrics.BYTES_IN.value += received
        if sent:
            metrics.BYTES_OUT.value += sent
        if status < 500 and (not self._enabled or (op == QUIET_OPERATION and status < 400)):
            return
        one_in = self._reads_one_in if status < 400 and method in _READS else 1
        if one_in > 1 and self._random.random() * one_in >= 1:
            return
        pairs = {
            "request_id": context.id,
            "client": context.client,
            "method": method,
            "op": op,
            "status": status,
            "ms": round(seconds * 1000, 2),
            "bytes_in": received,
            "bytes_out": sent,
            **noted,
        }
        if context.proxy:
            pairs["proxy"] = context.proxy
        if context.trace:
            pairs["trace_id"] = context.trace
        if "error" in pairs:
            pairs["error"] = without_secrets(pairs["error"])
        for key in ("account", "container"):
            if key in pairs:
                pairs[f"{key}_name"] = pairs.pop(key)
        if container is not None:
            pairs["account"], pairs["container"] = container.account_id, container.container_id
        if one_in > 1:
            pairs["one_in"] = one_in
        if status >= 500:
            log.warning("request", **pairs)
        elif self._bulk is not None:
            self._bulk.info(pairs, this_turn=status >= 300 or method not in _READS)
        else:
            log.info("request", **pairs)
