"""Whether a model is whole, and its parts are those that it was written with: told while they are read.

Of a part, 24 bytes a record are held, and of its bytes what is read at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import xxhash

from ambry.errors import InvalidRequest
from ambry.ml.photon.entities import EntityIndex


class PartCheck:
    """Whether the records of a part are those of an index. It is given the bytes of the part in their order."""

    def __init__(self, index: EntityIndex, part: str) -> None:
        self._offset, self._size, self._check = index.checks(part)
        self._record = 0
        """The one that is read, or comes next."""
        self._at = 0
        """How many bytes came."""
        self._next = 0
        """The place of the next byte of a record: at its beginning, where the one before it ended."""
        self._sum: Any = xxhash.xxh3_64()
        self._wrong = False

    def update(self, data: bytes) -> None:
        """The next bytes."""
        view, start = memoryview(data), self._at
        self._at += len(data)
        while not self._wrong and self._record < len(self._offset):
            begin, size = int(self._offset[self._record]), int(self._size[self._record])
            # Of one that begins within another, bytes are missed, and it is not what it was.
            here, end = max(begin, self._next), min(begin + size, self._at)
            if here >= end:
                return
            self._sum.update(view[here - start : end - start])
            self._next = end
            if end < begin + size:
                return
            self._wrong = self._sum.intdigest() != int(self._check[self._record])
            self._sum.reset()
            self._record += 1

    @property
    def intact(self) -> bool:
        """Behind the last bytes: whether all records of the index were there, as they were."""
        return not self._wrong and self._record == len(self._offset)


def changed(part: Path, said_by: Path, to_take: str) -> InvalidRequest:
    """What is raised for a part that is not the one which was written."""
    return InvalidRequest(
        f"{part} is not what {said_by} says: it is of another model, or was changed; copy the model again, or take {to_take} "
        "if the part is as it is to be"
    )


def incomplete(what: str) -> InvalidRequest:
    """What is raised for a model that lacks something."""
    return InvalidRequest(f"{what}: the model is not whole; copy or write it again")
