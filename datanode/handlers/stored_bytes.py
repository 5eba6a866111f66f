"""Blocks of a record that are sent as they stand in the file."""

from __future__ import annotations

import contextlib

from ambry.buffers import Allocate
from ambry.network.sending import FileBody
from datanode.store.record_reader import Located


class StoredBytes(FileBody):
    """What was located in this turn of the event loop, and is sent in it: it is in the page cache."""

    def __init__(self, located: Located, allocate: Allocate) -> None:
        self._located = located
        self._allocate = allocate

    def __len__(self) -> int:
        return self._located.size

    def send(self, target: int, start: int) -> int:
        located = self._located
        return located.file.send(target, located.offset + start, located.size - start)

    def rest(self, start: int) -> memoryview:
        located = self._located
        memory = self._allocate(located.size - start)
        count = -1
        with contextlib.suppress(OSError):
            count = located.file.pread_cached(memory, located.offset + start)
        if count != len(memory):
            memory[:] = bytes(len(memory))
        return memory
