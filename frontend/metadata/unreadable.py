"""What cannot be read of the rows of a store: it is told and counted, and keeps nobody from seeing to the others.

A row is unreadable because a later release wrote it, or because it was damaged. Whoever goes through many of them decodes each
for itself; whoever asks for that one row is told why it cannot be had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from ambry.errors import AmbryError, DataCorrupt, FormatUnknown
from ambry.service.logs import get_logger
from frontend import metrics

log = get_logger()

TOLD_MAX = 1_000

UNREADABLE = (DataCorrupt, FormatUnknown)
"""What decoding a row raises."""
_told: set[tuple[str, bytes]] = set()
"""Those that this process has written into its log: janitors come by again and again."""


class Keyed(Protocol):
    """A row, or a version."""

    @property
    def key(self) -> bytes: ...


Row = TypeVar("Row", bound=Keyed)
Value = TypeVar("Value")


@contextmanager
def passing_over(kind: str, key: bytes) -> Iterator[None]:
    """One of many rows, of that kind and key: where it cannot be read, that is told of and no failure."""
    try:
        yield
    except UNREADABLE as error:
        _note(kind, key, error)


def readable(kind: str, rows: Iterable[Row], decode: Callable[[Row], Value]) -> list[Value]:
    """Those of `rows`, decoded, that can be. The others are told of as `kind`."""
    found: list[Value] = []
    for row in rows:
        with passing_over(kind, row.key):
            found.append(decode(row))
    return found


def _note(kind: str, key: bytes, error: AmbryError) -> None:
    """Count one, and write it into the log the first time."""
    metrics.UNREADABLE.labels(kind).inc()
    if len(_told) < TOLD_MAX and (kind, key) not in _told:
        _told.add((kind, key))
        log.error("row of the metadata store cannot be read", kind=kind, key=key.hex(), error=error.message)
