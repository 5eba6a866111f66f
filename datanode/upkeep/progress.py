"""How far a background loop is with the replica that it works at, for the admin port (`/workers`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(slots=True, kw_only=True)
class RoundProgress:
    """One round over one replica. `done` of `total`, both of `unit`; a `total` of 0 is not known. Counted up on any thread."""

    partition: int
    unit: str
    total: int = 0
    segments: Sequence[int] = ()
    done: int = 0

    def counting(self, pause: Callable[[int], None]) -> Callable[[int], None]:
        """`pause`, which is called with the size of every piece of work, counted as done."""

        def count(size: int) -> None:
            self.done += size
            pause(size)

        return count


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
