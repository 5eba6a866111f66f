"""How the room of one answer about changes is divided among the partitions of a pair of nodes. Pure.

One partition far behind has more changes than any answer holds, and fetching what they name takes long. So each partition that
has something to tell gets an equal part of what is left, of the changes and of the bytes that fetching them may take; those
with the least to tell come first, so that what they leave goes to the others.
"""

from __future__ import annotations

from collections.abc import Sequence

CHANGES_BYTES_MAX = 64 << 20
"""Bytes of records that one answer names: what its asker may have to fetch before it asks again."""


class Shares:
    """The room of one answer for `partitions` that have something to tell."""

    def __init__(self, *, partitions: int, changes_max: int, bytes_max: int | None = None) -> None:
        self._partitions = partitions
        self._changes = changes_max
        self._bytes = CHANGES_BYTES_MAX if bytes_max is None else bytes_max

    @property
    def changes(self) -> int:
        """How many changes the next partition may tell: one at least."""
        return max(1, self._changes // max(1, self._partitions))

    def take(self, sizes: Sequence[int]) -> int:
        """How many of its first changes, with records of these sizes in bytes, the next partition tells.

        Not more than its part of the bytes, but one if there is any. The partition after it is the next then.
        """
        share = self._bytes // max(1, self._partitions)
        taken = 0
        total = 0
        for size in sizes[: self.changes]:
            if taken and total + size > share:
                break
            total += size
            taken += 1
        self._partitions -= 1
        self._changes -= taken
        self._bytes -= min(total, self._bytes)
        return taken
