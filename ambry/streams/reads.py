"""What a job reads of the store while frontends are away, slow, or stop in the middle; as deploy/streams/ActionsJob.java.

Any bytes are progress. Each frontend may be silent for `STORE_SILENCE_S`, then the next one is asked; nothing new may come for
`STORE_WAIT_S`; and a file may take as long as the job has until it is given up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Self

from ambry.client.model import RetryPolicy
from ambry.client.sync.client import AmbryClient
from ambry.clock import SystemClock
from ambry.errors import AmbryError, BlobNotFound, InternalError, Unavailable
from ambry.ml.line_log import FILE_SIZE_MAX

READ_MAX = 8 * FILE_SIZE_MAX
"""Bytes of a file; a larger one is left out, and told."""
STORE_WAIT_S = 30.0
"""While nothing comes; then the job is set up again. Well below the time after which an attempt counts as sound."""
STORE_SILENCE_S = 10.0
"""Of one frontend at most: the others are to be asked, too."""
_PIECE = 4 << 10
"""Bytes that are read between two looks at the clock. The client takes less than 1 KiB a second for silence."""
_PAUSE_S = 1.0
"""After all frontends were asked."""


class ReadFailed(Unavailable):
    """A file did not come, or was still coming when the job was to be given up."""

    def __init__(self, message: str, waited_s: float) -> None:
        """`waited_s` it was read in vain: an attempt was sound until then at most."""
        super().__init__(message)
        self.waited_s = waited_s


class FileReads:
    """Reads files by their ids, each of one frontend after the other. For one thread."""

    def __init__(
        self,
        client: AmbryClient,
        tell: Callable[[str], None] = lambda text: None,
        left_s: Callable[[], float] = lambda: math.inf,
    ) -> None:
        """Connections are its own. `left_s` says how long a file that is asked for now may take in all."""
        self._tell = tell
        self._left_s = left_s
        self._clock = SystemClock()
        self._next = 0
        options = client._options.copy()  # pyright: ignore[reportPrivateUsage]
        # The turns are taken here: what a client does of itself goes by other bounds.
        options["retry"] = RetryPolicy(max_attempts=1, retry_on=())
        self._open = ExitStack()
        self._frontends: list[AmbryClient] = []
        for url in client.endpoints:
            options["endpoints"] = (url,)
            self._frontends.append(self._open.enter_context(AmbryClient(**options)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        self.close()

    def close(self) -> None:
        self._open.close()

    def read(self, blob: str) -> bytes | None:
        """The bytes of a blob; None for one that is gone or too large, which is told.

        Raises ReadFailed where nothing came, or not all until the job is to be given up; AmbryError for what is for good.
        """
        began, left_s = self._clock.monotonic(), self._left_s()
        wait_s = min(STORE_WAIT_S, left_s)
        waits = _Waits(wait_s, began + wait_s, began + left_s)
        while True:
            try:
                return self._asked(blob, waits)
            except BlobNotFound:
                return None
            except AmbryError as error:
                if not error.retriable and not isinstance(error, InternalError):
                    raise
                now = self._clock.monotonic()
                if now >= min(waits.until, waits.end):
                    raise ReadFailed(str(error), now - began) from error
                self._tell(f"{error}; it is tried again")
            self._next = (self._next + 1) % len(self._frontends)
            if self._next == 0:
                self._clock.sleep(_PAUSE_S)

    def _asked(self, blob: str, waits: _Waits) -> bytes | None:
        client = self._frontends[self._next]
        of_client = client._timeout  # pyright: ignore[reportPrivateUsage]
        # One that says nothing leaves time for the others.
        share_s = min(of_client.read, STORE_SILENCE_S, waits.wait_s / len(self._frontends))
        bound_s = max(1.0, min(share_s, waits.until - self._clock.monotonic()))
        bound = replace(of_client, read=bound_s, total=min(of_client.total or bound_s, bound_s))
        with client.get(blob, timeout=bound) as reader:
            if reader.remaining > READ_MAX:
                self._tell(f"file {blob} has more than {READ_MAX:,} bytes, and is left out")
                return None
            size, data = reader.remaining, bytearray()
            while piece := reader.read1(_PIECE):
                data += piece
                waits.came(len(data), self._clock.monotonic())
                if len(data) < size and self._clock.monotonic() >= waits.end:
                    raise Unavailable(f"{len(data):,} of {size:,} bytes of {blob} came in the time that was left")
            return bytes(data)


class _Waits:
    """Those of one file, on the clock of its reader."""

    def __init__(self, wait_s: float, until: float, end: float) -> None:
        self.wait_s = wait_s
        self.until = until
        """Unless more comes than ever came."""
        self.end = end
        self._most = 0

    def came(self, size: int, now: float) -> None:
        """So many bytes, from the beginning: what comes again is no progress."""
        if size > self._most:
            self._most = size
            self.until = now + self.wait_s
