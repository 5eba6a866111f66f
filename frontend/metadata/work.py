"""What may be asked of whoever writes to a metadata store, whatever its engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from ambry.errors import DataCorrupt, InsufficientStorage, MetadataUnavailable, Overloaded
from frontend import metrics
from frontend.metadata.store import Change, LocalPut, Version

ENDED_ROWS = 200
"""Local rows past their end that one transaction takes away in passing."""
SWEEP_EVERY_MS = 1_000
CHANGE_BYTES = 200
"""What a change costs while it waits, beside its key and its value."""
WAITING_MAX = 20_000
WAITING_BYTES_MAX = 32 << 20


def failed(error: BaseException) -> BaseException:
    """Counts what is the store's own failure, not its answer; `error` itself."""
    if isinstance(error, (MetadataUnavailable, Overloaded, InsufficientStorage, DataCorrupt)):
        metrics.METADATA_FAILED.labels(type(error).__name__).inc()
    return error


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
