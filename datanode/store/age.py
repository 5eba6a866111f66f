"""How old what is in a log is, without a wall clock: by the time that its replica has been open since it came. Pure.

A mark says that everything below an LSN was here when the replica had been open for so many seconds, over all its runs. Marks
are part of the checkpoint, so what a crash takes of them makes records younger, never older: the same goes for an index that is
rebuilt, and for a directory that was put back from a backup.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ambry.clock import Clock

MARK_EVERY_S = 60.0
MARKS_MAX = 64
"""A checkpoint holds no more. Beyond it the older half is thinned out: ages there become coarser, and only younger."""


class Mark(NamedTuple):
    """Everything before `lsn` was here when the replica had been open for `open_s`."""

    open_s: float
    lsn: int


class LogAge:
    """The age of one log. `open_s` and `marks` are those of the checkpoint that it was opened with."""

    def __init__(self, clock: Clock, *, open_s: float, marks: Sequence[Mark]) -> None:
        self._clock = clock
        self._before_s = open_s - clock.monotonic()
        self._marks = list(marks)

    @property
    def open_s(self) -> float:
        """Seconds that this replica has been open, all runs together, as far as checkpoints kept them."""
        return self._before_s + self._clock.monotonic()

    def mark(self, end_lsn: int) -> list[Mark]:
        """Note that everything before `end_lsn` is here now. Returns all marks, for a checkpoint."""
        marks, now_s = self._marks, self.open_s
        if end_lsn > (marks[-1].lsn if marks else 0):
            if len(marks) > 1 and now_s - marks[-2].open_s < MARK_EVERY_S:
                marks.pop()  # the last one moves along until it is that far from the one before it
            marks.append(Mark(now_s, end_lsn))
        if len(marks) > MARKS_MAX:
            del marks[: MARKS_MAX // 2 : 2]
        return list(marks)

    def older_than(self, seconds: float) -> int:
        """The LSN before which everything has been here for at least so long."""
        latest_s = self.open_s - seconds
        return max((mark.lsn for mark in self._marks if mark.open_s <= latest_s), default=0)
