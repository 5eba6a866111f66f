"""Blocks of a record that are sent as they stand in the file."""

from __future__ import annotations

import contextlib

from ambry.buffers import Allocate
from ambry.network.sending import FileBody
from datanode.store.record_reader import Located


class StoredBytes(FileBody):
    """What was located in this turn of the event loop, and is sent in it: it is in the page cache."""

    __slots__ = ("_allocate", "_file", "_offset")

    def __init__(self, located: Located, allocate: Allocate) -> None:
        super().__init__(located.size)
        self._file = located.file
        self._offset = located.offset
        self._allocate = allocate

    def send(self, target: int, start: int) -> int:
        return self._file.send(target, self._offset + start, self.size - start)

    def rest(self, start: int) -> memoryview:
        memory = self._allocate(self.size - start)
        count = -1
        with contextlib.suppress(OSError):
            count = self._file.pread_cached(memory, self._offset + start)
        if count != len(memory):
            memory[:] = bytes(len(memory))
        return memory
