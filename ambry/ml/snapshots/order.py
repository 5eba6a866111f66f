"""Whether entities stand in their order, each once: who says that one is not there believes it, and so it is proved first.

What an index or a footer says of its batches is a claim. A batch that is read proves its own: its entities rise, and lie where
it was said. That nobody lies between two batches is what both of them say together, so for an entity in such a gap, or beyond
the ends, the batches around it are read as well, each once. What nothing was read of proves nothing, and is not answered from.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ambry.errors import DataCorrupt, InvalidRequest


class BatchBounds:
    """Between which entities each batch lies, as somebody says, and which of them are proved. Usable by threads."""

    def __init__(self, first: Any, last: Any, *, are_exact: bool) -> None:
        """Numpy arrays, by batch: entities that are there, or (of Parquet, which cuts texts) not exactly.

        Raises DataCorrupt for bounds that do not rise.
        """
        self.first = first
        self.last = last
        self._are_exact = are_exact
        self._is_proved = np.zeros(len(first), dtype=bool)
        wrong = np.flatnonzero(first > last)
        if not len(wrong):
            before = first[1:] <= last[:-1] if are_exact else (first[1:] < first[:-1]) | (last[1:] < last[:-1])
            wrong = np.flatnonzero(before) + 1
        if len(wrong):
            raise DataCorrupt(f"the entities do not rise from one batch to the next, at batch {int(wrong[0])}")

    def batches_of(self, keys: Any) -> Any:
        """Which batches have to be read to know of `keys` (a numpy array): each once, in order.

        Raises InvalidRequest for keys of another type than the entities.
        """
        if not len(self.first) or not len(keys):
            return np.zeros(0, dtype=np.int64)
        try:
            begins = np.searchsorted(self.last, keys, side="left")
            ends = np.searchsorted(self.first, keys, side="right")
        except TypeError:
            raise InvalidRequest("the keys are of another type than the entities of the snapshot") from None
        within = begins < ends
        # Bounds may touch: then a key may lie in both batches.
        wanted = [begins[within], ends[within] - 1]
        if not within.all():
            gaps = begins[~within]
            around = np.concatenate([gaps - 1, gaps])
            around = around[(around >= 0) & (around < len(self.first))]
            wanted.append(around[~self._is_proved[around]])
        return np.unique(np.concatenate(wanted))

    def prove(self, batch: int, keys: Any) -> None:
        """That the entities of a batch that was read (a pyarrow array) rise, and lie as its bounds say.

        Raises DataCorrupt.
        """
        check_rising(keys, f"batch {batch}")
        if not len(keys):
            raise DataCorrupt(f"batch {batch} has no entity")
        first, last = keys[0].as_py(), keys[-1].as_py()
        told = self.first[batch], self.last[batch]
        if (first, last) != told if self._are_exact else first < told[0] or last > told[1]:
            raise DataCorrupt(
                f"batch {batch} was said to go from {told[0]} to {told[1]}, and goes from {first} to {last}"
            )
        self._is_proved[batch] = True


def check_rising(keys: Any, where: str) -> None:
    """Whether entities (a pyarrow array) rise, so that each stands once. Raises DataCorrupt."""
    if keys.null_count:
        raise DataCorrupt(f"{where} has an entity that is null")
    if len(keys) < 2:
        return
    if pa.types.is_integer(keys.type):
        numbers = keys.to_numpy()
        rises = numbers[1:] > numbers[:-1]
        place = -1 if rises.all() else int(np.argmin(rises))
    else:
        place = pc.index(pc.less(keys.slice(0, len(keys) - 1), keys.slice(1)), False).as_py()
    if place >= 0:
        before, after = keys[place].as_py(), keys[place + 1].as_py()
        why = "stands twice" if before == after else f"stands after {before!r}"
        raise DataCorrupt(
            f"{where}: the entity {after!r} {why}, and so nobody knows who is there; write the snapshot again"
        )
