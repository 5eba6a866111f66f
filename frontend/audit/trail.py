"""Writes an audit down, beside the event loop: nothing waits for a disk.

A line waits HELD_S at most until it is written, and SYNC_EVERY_S more until it is on the disk: so much is lost when a process
is killed, or a machine loses power. Where the file cannot be written the lines wait for it, up to WAITING_BYTES_MAX; what is
beyond that is lost, counted and logged. With `required`, changes are refused from half of that on: none is made that nobody
reads of.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ambry.clock import Clock
from ambry.errors import Overloaded, must_have
from ambry.service.logs import get_logger
from frontend import metrics
from frontend.audit.file import AuditFile
from frontend.audit.line import audit_lines
from frontend.limits.bucket import Bucket
from frontend.request import RequestContext

log = get_logger()

HELD_S = 0.1
SYNC_EVERY_S = 1.0
RETRY_S = 1.0
CLOSE_WITHIN_S = 5.0
WAITING_BYTES_MAX = 16 << 20
REFUSALS_PER_S = 200.0
REFUSALS_AT_ONCE = 2_000.0
"""Of those that are refused so many have a line: whoever floods us must not push out what others did."""


class AuditTrail:
    """That of one process."""

    def __init__(self, file: AuditFile, *, clock: Clock, required: bool = False) -> None:
        self._file = file
        self._clock = clock
        self._required = required
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="audit")
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Future[None] | None = None
        self._failing = False
        self._unsynced = False
        self._synced_at = 0.0
        self._lost = 0
        self._refusals = Bucket(REFUSALS_PER_S, REFUSALS_AT_ONCE, clock.monotonic())
        self._left_out = 0
        metrics.AUDIT_WAITING.set_function(lambda: self._waiting_bytes)

    @property
    def takes_changes(self) -> bool:
        """Whether what is changed now can be written down."""
        return not self._required or self._waiting_bytes < WAITING_BYTES_MAX // 2

    def check_takes_changes(self) -> None:
        """Raises Overloaded where it cannot, and must be."""
        if not self.takes_changes:
            raise Overloaded(
                "changes are refused: the audit cannot be written, and must be (audit.required); the log says why",
                retry_after_s=5,
            )

    def tell(
        self,
        context: RequestContext,
        *,
        method: str,
        op: str,
        status: int,
        refused: bool,
        noted: Mapping[str, Any],
    ) -> None:
        """Of a request that is over, or was `refused`."""
        left_out = 0
        if refused:
            if self._refusals.take(1.0, self._clock.monotonic()):
                self._left_out += 1
                metrics.AUDIT_LEFT_OUT.value += 1
                return
            left_out, self._left_out = self._left_out, 0
        lines = audit_lines(
            context,
            wall_ms=self._clock.wall_ms(),
            method=method,
            op=op,
            status=status,
            noted=noted,
            left_out=left_out,
        )
        if self._waiting_bytes + len(lines) > WAITING_BYTES_MAX:
            if not self._lost:
                log.error("lines of the audit are lost", waiting_bytes=self._waiting_bytes, request_id=context.id)
            self._lost += 1
            metrics.AUDIT_LOST.value += 1
            return
        self._waiting.append(lines)
        self._waiting_bytes += len(lines)
        self._soon(HELD_S)

    async def close(self) -> None:
        """Write what waits. Nobody tells anything any more."""
        async with asyncio.timeout(CLOSE_WITHIN_S):
            self._end_timer()
            while self._writing is not None or (not self._failing and (self._waiting or self._unsynced)):
                if self._writing is None:
                    self._write(sync=True)
                await asyncio.wait([must_have(self._writing, "the write that was begun")])
                self._end_timer()
        if self._waiting:
            log.error("lines of the audit are lost", waiting_bytes=self._waiting_bytes)
        self._pool.shutdown(wait=not self._writing)
        self._file.close()

    def _soon(self, wait_s: float) -> None:
        if self._timer is None and self._writing is None:
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._write)

    def _end_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _write(self, *, sync: bool = False) -> None:
        self._timer = None
        lines, self._waiting = b"".join(self._waiting), []
        sync = sync or self._clock.monotonic() - self._synced_at >= SYNC_EVERY_S
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(self._pool, lambda: self._file.write(lines, sync=sync))
        self._writing.add_done_callback(lambda done: self._written(done, lines, sync))

    def _written(self, done: asyncio.Future[None], lines: bytes, sync: bool) -> None:
        self._writing = None
        error = None if done.cancelled() else done.exception()
        if error is not None:
            if not self._failing:
                log.error("the audit cannot be written; its lines wait", error=str(error))
            self._failing = True
            if lines:
                self._waiting.insert(0, lines)
            self._soon(RETRY_S)
            return
        if self._failing:
            log.info("the audit is written again", lost=self._lost)
        self._failing, self._lost = False, 0
        self._waiting_bytes -= len(lines)
        metrics.AUDIT_LINES.value += lines.count(b"\n")
        self._unsynced = not sync
        if sync:
            self._synced_at = self._clock.monotonic()
        if self._waiting:
            self._soon(HELD_S)
        elif self._unsynced:
            self._soon(SYNC_EVERY_S)
