"""Lines of JSON in blobs below one name, from any number of processes.

    <folder>2026-11-27/<12 hexadecimal digits>-000000.jsonl
    {"at": 1764280000000, ...}

A process has a random name of its own and counts its files, so that no two write the same. A day is the one of a file's first
line, in UTC. What was not stored when a process died is lost.

A put whose answer is lost may have stored its file. It is tried again as it was, with the same bytes, as the same put, so that
whoever follows the names counts each line once.

When a line was taken is told by the store's time, asked once for each file: clocks of machines differ, and which of two lines
was first decides something (exposures.py).
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, NamedTuple, Self

from ambry.client.refs import NameRef
from ambry.client.sync.client import AmbryClient
from ambry.errors import AlreadyExists, AmbryError
from ambry.ml.watching import RepeatedWork

LINES_MAX = 10_000
"""A file has at most so many."""
FILE_SIZE_MAX = 8 << 20
"""Bytes of a file, unless one line has more."""
KEPT_MAX = 10 * LINES_MAX
"""Lines that are kept while the store takes none; older ones are dropped, and counted."""
KEPT_SIZE_MAX = 64 << 20
"""Their bytes."""
_AT_SIZE = len(',"at":1764280000000')


class _Line(NamedTuple):
    """One that was taken."""

    text: str
    """Without its time."""
    at_ms: int | None
    """As who took it said; None is of now."""
    taken_s: float
    """By the monotonic clock of this process."""

    @property
    def size(self) -> int:
        return len(self.text) + _AT_SIZE

    def written(self, at_ms: int) -> str:
        return f'{self.text[:-1]}{"," if len(self.text) > 2 else ""}"at":{at_ms}}}\n'


class _File(NamedTuple):
    """One that is put, or was, as far as anybody knows."""

    name: str
    key: str
    """Of all its puts, which are one."""
    data: bytes
    lines: int


class LineLog:
    """Takes lines, and stores them in files. Usable by threads; close it, or use it in a `with`."""

    def __init__(
        self, client: AmbryClient, folder: NameRef, *, ttl_s: int | None = None, every_s: float | None = None
    ) -> None:
        """`ttl_s`: how long the files are kept; None for ever. With `every_s` a thread stores what was taken so often, and
        whoever takes one never waits for the store.
        """
        self._client = client
        self._folder = folder
        self._ttl_s = ttl_s
        self._process = secrets.token_hex(6)
        self._files = 0
        self._unsure: _File | None = None
        """The one whose put failed, which comes before all others."""
        self._lines: list[_Line] = []
        self._size = 0
        self._since_try = 0
        self._size_since_try = 0
        self._lock = threading.Lock()
        self._storing = threading.Lock()
        self.dropped = 0
        """Lines that were not stored, as far as is known, since the store took nothing for too long."""
        self._repeated = None if every_s is None else RepeatedWork(self.flush, every_s, name=f"ambry-log-{folder.name}")

    def take(self, told: Mapping[str, Any], *, at: datetime | None = None) -> None:
        """Take one, of now where no time is said. Without a thread of the log, who fills a file stores it before this returns,
        unless another one does.

        Where the store takes nothing, lines are kept, and it is tried again after as many as a file has. Raises ValueError,
        TypeError for what JSON does not have.
        """
        at_ms = None if at is None else int(at.timestamp() * 1000)
        if at_ms is not None:
            _day(at_ms)  # One that no calendar has would be in the way of all lines of its file.
        fields = {name: value for name, value in told.items() if name != "at"}
        text = json.dumps(fields, separators=(",", ":"), allow_nan=False)  # In ASCII, which holds any text.
        line = _Line(text, at_ms, time.monotonic())
        with self._lock:
            self._lines.append(line)
            self._size += line.size
            self._bound()
            self._since_try += 1
            self._size_since_try += line.size
            full = self._since_try >= LINES_MAX or self._size_since_try >= FILE_SIZE_MAX
            if full:
                self._since_try = self._size_since_try = 0
        if not full:
            return
        if self._repeated is not None:
            self._repeated.soon()
        elif self._storing.acquire(blocking=False):
            try:
                self._store()
            except AmbryError:
                return  # Kept; the next full file, flush or close tries again.
            finally:
                self._storing.release()

    def flush(self) -> None:
        """Store what was taken; durable on return. Raises what a put raises; nothing is lost then."""
        with self._storing:
            self._store()

    def close(self) -> None:
        """Flush. Raises what a put raises."""
        if self._repeated is not None:
            self._repeated.close()
        self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _store(self) -> None:
        """By one thread at a time; the others go on taking."""
        while file := self._next_file():
            try:
                self._client.put(
                    file.data,
                    name=NameRef(file.name, self._folder.account, self._folder.container),
                    # Once, also at another datacenter, which knows the name and not the key.
                    if_absent=True,
                    idempotency_key=file.key,
                    content_type="application/jsonl",
                    ttl=self._ttl_s,
                )
            except AlreadyExists:
                continue
            except BaseException:
                with self._lock:
                    self._unsure = file
                    self._bound()
                raise

    def _next_file(self) -> _File | None:
        with self._lock:
            unsure, self._unsure = self._unsure, None
        if unsure is not None:
            return unsure
        part = self._part()
        if not part:
            return None
        try:
            times = self._times(part)
        except BaseException:
            with self._lock:
                self._lines[:0] = part
                self._size += sum(line.size for line in part)
                self._bound()
            raise
        data = "".join(line.written(at_ms) for line, at_ms in zip(part, times, strict=True)).encode()
        own = f"{self._process}-{self._files:06}"
        self._files += 1
        return _File(f"{self._folder.name}{_day(times[0])}/{own}.jsonl", f"ambry-log-{own}", data, len(part))

    def _times(self, part: list[_Line]) -> list[int]:
        """In milliseconds. Raises what a get raises."""
        if all(line.at_ms is not None for line in part):
            return [line.at_ms for line in part if line.at_ms is not None]
        now_ms, now_s = self._client.store_time().timestamp() * 1000, time.monotonic()
        return [int(now_ms - (now_s - line.taken_s) * 1000) if line.at_ms is None else line.at_ms for line in part]

    def _part(self) -> list[_Line]:
        """The lines of the next file."""
        with self._lock:
            size = count = 0
            for line in self._lines[:LINES_MAX]:
                size += line.size
                if count and size > FILE_SIZE_MAX:
                    size -= line.size
                    break
                count += 1
            part = self._lines[:count]
            del self._lines[:count]
            self._size -= size
            return part

    def _bound(self) -> None:
        """Under the lock: the oldest lines go, and are counted."""
        if (file := self._unsure) is not None:
            if len(self._lines) + file.lines <= KEPT_MAX and self._size + len(file.data) <= KEPT_SIZE_MAX:
                return
            self.dropped += file.lines
            self._unsure = None
        over = max(0, len(self._lines) - KEPT_MAX)
        size = self._size - sum(line.size for line in self._lines[:over])
        while size > KEPT_SIZE_MAX:
            size -= self._lines[over].size
            over += 1
        if over:
            del self._lines[:over]
            self._size = size
            self.dropped += over


def _day(at_ms: int) -> str:
    """Raises ValueError, OverflowError."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).date().isoformat()
