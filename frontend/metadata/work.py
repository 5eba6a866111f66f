"""What may be asked of whoever writes to a metadata store, whatever its engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from ambry.clock import Clock
from ambry.errors import DataCorrupt, InsufficientStorage, MetadataUnavailable, Overloaded
from frontend import metrics
from frontend.metadata.store import Change, LocalPut, Version

ENDED_ROWS = 200
"""Local rows past their end that one transaction takes away in passing."""
SWEEP_EVERY_S = 1.0
SWEEP_AFTER_S = 60.0
"""A frontend's clock is put right by the data nodes'; before it has met them, nothing goes by it."""
CHANGE_BYTES = 200
"""What a change costs while it waits, beside its key and its value."""
WAITING_MAX = 20_000
WAITING_BYTES_MAX = 32 << 20


def failed(error: BaseException) -> BaseException:
    """Counts what is the store's own failure, not its answer; `error` itself."""
    if isinstance(error, (MetadataUnavailable, Overloaded, InsufficientStorage, DataCorrupt)):
        metrics.METADATA_FAILED.labels(type(error).__name__).inc()
    return error


class Sweeps:
    """When a writer takes local rows away that are past their end."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next = clock.monotonic() + SWEEP_AFTER_S

    @property
    def due(self) -> bool:
        return self._clock.monotonic() >= self._next

    def done(self) -> None:
        self._next = self._clock.monotonic() + SWEEP_EVERY_S


class Group(NamedTuple):
    """An atomic group of changes."""

    changes: Sequence[Change]

    @property
    def size(self) -> int:
        """Bytes, about."""
        return sum(
            CHANGE_BYTES + len(change.key) + len(getattr(change, "value", None) or b"") for change in self.changes
        )


class Merge(NamedTuple):
    """Versions of other stores, and what is noted with them."""

    versions: Sequence[Version]
    along: Sequence[LocalPut]

    @property
    def size(self) -> int:
        return sum(CHANGE_BYTES + len(version.key) + len(version.value or b"") for version in self.versions)


Work = Group | Merge


class Request(Protocol):
    """One of several that share a transaction, and what came of it."""

    result: Any
    error: BaseException | None

    @property
    def what(self) -> Work: ...
