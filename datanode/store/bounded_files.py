"""A file system of which only so many files are open at a time.

A node holds a segment per 64 MiB; a process may open some thousand files, and needs them for connections too. So a file is
opened when it is used, and those used longest ago are closed for it.

Invariants: a descriptor is never closed under a call that uses it. A file with un-synced bytes keeps its descriptor: a failed
write-back is reported through those that were open when it failed (fsync(2)). An unlinked file keeps it too: there
is no other way to what a reader still wants of it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

from ambry.checksum import Buffer
from ambry.errors import ReplicaUnavailable
from datanode.store.files import File, FileKind, Files, Lock
from datanode.store.tables import Tables


class BoundedFile:
    """A file that is open while it is used and for as long as there is room."""

    def __init__(self, owner: BoundedFiles, path: Path, file: File) -> None:
        self.path = path
        self.file: File | None = file
        self.users = 0
        self.unlinked = False
        self.closed = False
        self._owner = owner
        self._writes = 0
        """Counted before and after each, so that a sync in the middle of one does not cover it."""
        self._synced = 0

    @property
    def idle(self) -> bool:
        """Whether its descriptor may be closed now and opened again later."""
        return not (self.users or self.unlinked or self._writes != self._synced)

    def pread(self, buffer: bytearray | memoryview, offset: int) -> int:
        file = self._owner.take(self)
        try:
            return file.pread(buffer, offset)
        finally:
            self._owner.give_back(self)

    def pread_cached(self, buffer: bytearray | memoryview, offset: int) -> int:
        return self._owner.pread_cached(self, buffer, offset)

    def is_cached(self, offset: int, size: int) -> bool:
        if self.file is None:
            return False  # opening it may wait for the disk
        file = self._owner.take(self)
        try:
            return file.is_cached(offset, size)
        finally:
            self._owner.give_back(self)

    def send(self, target: int, offset: int, size: int) -> int:
        file = self._owner.take(self)
        try:
            return file.send(target, offset, size)
        finally:
            self._owner.give_back(self)

    def will_need(self, offset: int, size: int) -> None:
        file = self._owner.take(self)
        try:
            file.will_need(offset, size)
        finally:
            self._owner.give_back(self)

    def pwritev(self, buffers: Sequence[Buffer], offset: int) -> int:
        file = self._owner.take(self)
        self._writes += 1
        try:
            return file.pwritev(buffers, offset)
        finally:
            self._writes += 1
            self._owner.give_back(self)

    def fdatasync(self) -> None:
        file = self._owner.take(self)
        writes = self._writes
        try:
            file.fdatasync()
            self._synced = writes
        finally:
            self._owner.give_back(self)

    def fsync(self) -> None:
        file = self._owner.take(self)
        writes = self._writes
        try:
            file.fsync()
            self._synced = writes
        finally:
            self._owner.give_back(self)

    def allocate(self, size: int) -> None:
        file = self._owner.take(self)
        self._writes += 1
        try:
            file.allocate(size)
        finally:
            self._writes += 1
            self._owner.give_back(self)

    def truncate(self, size: int) -> None:
        file = self._owner.take(self)
        self._writes += 1
        try:
            file.truncate(size)
        finally:
            self._writes += 1
            self._owner.give_back(self)

    def drop_cache(self) -> None:
        file = self._owner.take(self)
        try:
            file.drop_cache()
        finally:
            self._owner.give_back(self)

    def size(self) -> int:
        file = self._owner.take(self)
        try:
            return file.size()
        finally:
            self._owner.give_back(self)

    def next_data(self, offset: int) -> int:
        file = self._owner.take(self)
        try:
            return file.next_data(offset)
        finally:
            self._owner.give_back(self)

    def hold(self) -> None:
        self._owner.take(self)

    def release(self) -> None:
        self._owner.give_back(self)

    def close(self) -> None:
        self._owner.forget(self)


class BoundedFiles:
    """`files` with at most `open_max` descriptors, but for those that are in use or may not be closed; see above."""

    def __init__(self, files: Files, *, open_max: int) -> None:
        self._files = files
        self._open_max = open_max
        self._guard = threading.Lock()
        self._open: OrderedDict[BoundedFile, None] = OrderedDict()
        """Those with a descriptor, the one used longest ago first."""
        self._by_path: dict[Path, set[BoundedFile]] = {}

    @property
    def open_count(self) -> int:
        """Descriptors held now."""
        return len(self._open)

    # --- what a BoundedFile calls ---

    def take(self, bounded: BoundedFile) -> File:
        """Its file, open until `give_back`. Raises OSError; ReplicaUnavailable after `close`."""
        with self._guard:
            if bounded.closed:
                raise ReplicaUnavailable(f"{bounded.path} was closed: its replica is being reopened or stopped")
            bounded.users += 1
            if bounded.file is not None:
                self._open.move_to_end(bounded)
                return bounded.file
        # Outside of the guard: opening may wait for a slow disk, and those whose files are open must not.
        try:
            opened = self._files.open(bounded.path)
        except BaseException:
            self.give_back(bounded)
            raise
        with self._guard:
            surplus = [opened]
            if bounded.file is None:
                bounded.file = opened
                surplus = []
                if not bounded.closed:
                    self._open[bounded] = None
                    surplus = self._surplus()
            file = bounded.file
        _close(surplus)
        return file

    def give_back(self, bounded: BoundedFile) -> None:
        with self._guard:
            bounded.users -= 1
            if len(self._open) <= self._open_max and not bounded.closed:
                return
            surplus = self._surplus()
            if bounded.closed and not bounded.users and bounded.file is not None:
                surplus.append(bounded.file)
                bounded.file = None
        _close(surplus)

    def pread_cached(self, bounded: BoundedFile, buffer: bytearray | memoryview, offset: int) -> int:
        """As of its file; -1 also where that is not open, since opening it may wait for the disk."""
        # Under the guard all the while, which takes as long as copying does: of a small read it was half to take and give back.
        with self._guard:
            file = bounded.file
            if file is None:
                return -1
            if not bounded.closed:
                self._open.move_to_end(bounded)
            return file.pread_cached(buffer, offset)

    def forget(self, bounded: BoundedFile) -> None:
        """Close for good: now, or when the last call that uses it returns."""
        file: File | None = None
        with self._guard:
            bounded.closed = True
            self._open.pop(bounded, None)
            same = self._by_path.get(bounded.path, set())
            same.discard(bounded)
            if not same:
                self._by_path.pop(bounded.path, None)
            if not bounded.users:
                file, bounded.file = bounded.file, None
        if file is not None:
            file.close()

    def _surplus(self) -> list[File]:
        """Take descriptors from the files used longest ago until the bound holds, as far as that goes."""
        taken: list[File] = []
        if len(self._open) <= self._open_max:
            return taken
        for bounded in list(self._open):
            if len(self._open) <= self._open_max:
                break
            if bounded.idle and bounded.file is not None:
                taken.append(bounded.file)
                bounded.file = None
                del self._open[bounded]
        return taken

    def _adopt(self, path: Path, file: File) -> BoundedFile:
        bounded = BoundedFile(self, path, file)
        with self._guard:
            self._open[bounded] = None
            self._by_path.setdefault(path, set()).add(bounded)
            surplus = self._surplus()
        _close(surplus)
        return bounded

    # --- the file system ---

    def create(self, path: Path) -> BoundedFile:
        return self._adopt(path, self._files.create(path))

    def open(self, path: Path) -> BoundedFile:
        return self._adopt(path, self._files.open(path))

    def rename(self, source: Path, target: Path) -> None:
        self._files.rename(source, target)
        with self._guard:
            for bounded in self._by_path.pop(source, set()):
                bounded.path = target
                self._by_path.setdefault(target, set()).add(bounded)

    def unlink(self, path: Path) -> None:
        with self._guard:
            held = list(self._by_path.get(path, ()))
        taken: list[BoundedFile] = []
        try:
            for bounded in held:
                self.take(bounded)
                taken.append(bounded)
            self._files.unlink(path)
            for bounded in taken:
                bounded.unlinked = True
        finally:
            for bounded in taken:
                self.give_back(bounded)

    def make_directory(self, path: Path) -> None:
        self._files.make_directory(path)

    def sync_directory(self, path: Path) -> None:
        self._files.sync_directory(path)

    def list_directory(self, path: Path) -> list[str]:
        return self._files.list_directory(path)

    def exists(self, path: Path) -> bool:
        return self._files.exists(path)

    def is_regular_file(self, path: Path) -> bool:
        return self._files.is_regular_file(path)

    def is_directory(self, path: Path) -> bool:
        return self._files.is_directory(path)

    def kind(self, path: Path) -> FileKind:
        return self._files.kind(path)

    def size(self, path: Path) -> int:
        return self._files.size(path)

    def changed_ms(self, path: Path) -> int:
        return self._files.changed_ms(path)

    def remove_directory(self, path: Path) -> None:
        self._files.remove_directory(path)

    def open_tables(self, directory: Path) -> Tables:
        return self._files.open_tables(directory)

    def free_bytes(self, path: Path) -> int:
        return self._files.free_bytes(path)

    def lock(self, path: Path) -> Lock:
        return self._files.lock(path)


def _close(files: Sequence[File]) -> None:
    for file in files:
        file.close()
