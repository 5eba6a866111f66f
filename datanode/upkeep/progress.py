"""How far a background loop is with the replica that it works at, for the admin port (`/workers`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from datanode.store.pieces import Pieces, counted

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class RoundProgress:
    """One round over one replica. `done` of `total`, both of `unit`; a `total` of 0 is not known. Counted up on any thread."""

    partition: int
    unit: str
    total: int = 0
    segments: Sequence[int] = ()
    done: int = 0

    def counting(self, pieces: Pieces[T]) -> Pieces[T]:
        """The same work, counted as it is done."""
        return counted(pieces, self._count)

    def _count(self, size: int) -> None:
        self.done += size


def describe(progress: RoundProgress | None) -> dict[str, Any]:
    """What the admin port shows; empty between rounds."""
    if progress is None:
        return {}
    shown: dict[str, Any] = {"partition": progress.partition, progress.unit: progress.done}
    if progress.total:
        shown[f"{progress.unit}_total"] = progress.total
    if progress.segments:
        shown["segments"] = list(progress.segments)
    return shown
