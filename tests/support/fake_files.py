"""A disk in memory that may lose, tear, zero-fill and reorder what was not synced.

What is durable and what is only in the "page cache" are kept apart:

- `fdatasync` and `fsync` make the bytes of one file durable, not its name;
- `sync_directory` makes the creates, renames and unlinks in one directory durable;
- `crash(rng)` ends the process and cuts the power: of every un-synced write some 512-byte sectors survive, none, all, or
  zeros in their place, each write for itself and so in any order; of the un-synced names of a directory a prefix survives.
  Open files are dead afterwards, locks are free;
- `kill()` ends the process only: everything written stays.

A failed sync loses what it should have written and says nothing about it later (as ext4 does after EIO; docs/storage.md):
the page cache still shows the bytes, and the next sync succeeds without them.

LMDB maps a real file, so paths below a directory called `index` go to the real file system; unless the disk is asked to be
`wholly_simulated`: then the tables of an index are kept by the inode of its first file (tests/support/fake_tables.py, which
tells what can be wrong with them). Not all disks obey: `lose_transactions_max` is how many of the last transactions of each
index a crash may take back, none unless told.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ambry.checksum import Buffer
from datanode.store.files import File, FileKind, Lock, OsFiles
from datanode.store.index_file import FILE_NAMES
from datanode.store.tables import Tables
from tests.support.fake_tables import AskedTables, Content, FakeTables, Stored

SECTOR = 512
HOLE_BLOCK = 4096
REAL_DIRECTORY = "index"


@dataclass(frozen=True, slots=True)
class Change:
    """One un-synced change of a file: bytes at an offset, or with `data` None a new size."""

    offset: int
    data: bytes | None


@dataclass(slots=True)
class Inode:
    """`path` is its latest name; `live` what a read sees, `durable` what was synced, `pending` what lies between, in order.

    `tables` is what an index is that is kept here.
    """

    path: Path
    live: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)
    tables: Stored = field(default_factory=Stored)

    def change(self, change: Change) -> None:
        apply(self.live, change)
        self.pending.append(change)

    def sync(self) -> None:
        for change in self.pending:
            apply(self.durable, change)
        self.pending.clear()


@dataclass(frozen=True, slots=True)
class NameChange:
    """One un-synced change of a directory: `name` now means `inode`, or nothing."""

    path: Path
    inode: Inode | None
    removes: Path | None = None


@dataclass(frozen=True, slots=True)
class Backup:
    """What a disk held at some moment: `real` is of files on the real file system, `tables` of indexes that are not there."""

    files: dict[Path, bytes]
    directories: set[Path]
    real: dict[Path, bytes]
    tables: dict[Path, Content] = field(default_factory=dict)


@dataclass(slots=True)
class Fault:
    number: int
    at: int
    for_ever: bool
    name: str
    calls: int = 0


def apply(content: bytearray, change: Change) -> None:
    if change.data is None:
        if len(content) > change.offset:
            del content[change.offset :]
        else:
            content.extend(bytes(change.offset - len(content)))
        return
    end = change.offset + len(change.data)
    if change.data and len(content) < end:
        content.extend(bytes(end - len(content)))
    content[change.offset : end] = change.data


class FakeFile:
    def __init__(self, disk: FakeFiles, inode: Inode) -> None:
        self._disk = disk
        self._inode = inode
        self._generation = disk.generation
        self._closed = False

    def _begin(self, call: str) -> None:
        if self._generation != self._disk.generation or self._closed:
            raise OSError(errno.EBADF, f"{call} on a file that is not open any more", str(self._inode.path))
        self._disk.note(call, self._inode.path)

    def pread(self, buffer: bytearray | memoryview, offset: int) -> int:
        self._begin("pread")
        with self._disk.guard:
            data = self._inode.live[offset : offset + len(buffer)]
        memoryview(buffer)[: len(data)] = data
        return len(data)

    def pread_cached(self, buffer: bytearray | memoryview, offset: int) -> int:
        self._begin("pread_cached")
        if self._disk.cache_cold:
            return -1
        with self._disk.guard:
            data = self._inode.live[offset : offset + len(buffer)]
        if len(data) < len(buffer):
            return -1
        memoryview(buffer)[: len(data)] = data
        return len(data)

    def is_cached(self, offset: int, size: int) -> bool:
        if self._generation != self._disk.generation or self._closed:
            return False
        with self._disk.guard:
            return not self._disk.cache_cold and offset + size <= len(self._inode.live)

    def send(self, target: int, offset: int, size: int) -> int:
        self._begin("send")
        with self._disk.guard:
            data = self._inode.live[offset : offset + size]
        return os.write(target, data)

    def will_need(self, offset: int, size: int) -> None:
        self._disk.hints.append((self._inode.path, offset, size))

    def pwritev(self, buffers: Sequence[Buffer], offset: int) -> int:
        data = b"".join(buffers)
        try:
            self._begin("pwritev")
        except OSError:
            if self._generation == self._disk.generation:
                with self._disk.guard:
                    self._inode.change(Change(offset, data[: len(data) // 2]))
            raise
        with self._disk.guard:
            self._inode.change(Change(offset, data))
        return len(data)

    def _sync(self, call: str) -> None:
        try:
            self._begin(call)
        except OSError:
            # The kernel marks the pages clean: they are never written, and nobody hears of it again.
            with self._disk.guard:
                self._inode.pending.clear()
            raise
        with self._disk.guard:
            self._inode.sync()

    def fdatasync(self) -> None:
        self._sync("fdatasync")

    def fsync(self) -> None:
        self._sync("fsync")

    def allocate(self, size: int) -> None:
        self._begin("allocate")
        with self._disk.guard:
            growth = max(0, size - len(self._inode.live))
            if growth > self._disk.free:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._inode.path))
            self._disk.free -= growth
            if growth:
                self._inode.change(Change(size, None))

    def truncate(self, size: int) -> None:
        self._begin("truncate")
        with self._disk.guard:
            self._inode.change(Change(size, None))

    def drop_cache(self) -> None:
        self._begin("drop_cache")
        with self._disk.guard:
            self._inode.live = bytearray(self._inode.durable)
            for change in self._inode.pending:
                apply(self._inode.live, change)

    def size(self) -> int:
        self._begin("size")
        return len(self._inode.live)

    def next_data(self, offset: int) -> int:
        self._begin("next_data")
        with self._disk.guard:
            rest = bytes(self._inode.live[offset:])
        # Known by blocks, as real file systems know it.
        at = offset + len(rest) - len(rest.lstrip(b"\0"))
        return max(offset, at if at >= len(self._inode.live) else at - at % HOLE_BLOCK)

    def hold(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "hold of a file that is not open any more", str(self._inode.path))

    def release(self) -> None:
        pass

    def close(self) -> None:
        if self._closed:
            raise OSError(errno.EBADF, "close of a file that is not open any more", str(self._inode.path))
        self._closed = True


class FakeLock:
    def __init__(self, disk: FakeFiles, path: Path) -> None:
        self._disk = disk
        self._path = path
        self._generation = disk.generation

    def release(self) -> None:
        if self._generation == self._disk.generation:
            self._disk.locks.discard(self._path)


class FakeFiles:
    """The disk. `root` is a real, existing directory: its name is durable, and LMDB's files go below it."""

    def __init__(self, root: Path, *, wholly_simulated: bool = False) -> None:
        self.root = root
        self._wholly_simulated = wholly_simulated
        self.free = 1 << 40
        self.lose_transactions_max = 0
        self.cache_cold = False
        """Whether `pread_cached` finds nothing."""
        self.hints: list[tuple[Path, int, int]] = []
        """What `will_need` was told: path, offset, size."""
        self.before: Callable[[str, Path], None] = lambda _call, _path: None
        """Called ahead of every call, outside of the disk's own lock: may block or raise."""
        self.before_tables: Callable[[str, Path], None] = lambda _call, _directory: None
        """Called ahead of every call of a real index's tables, with its directory: may block or raise."""
        self.calls: list[tuple[str, str]] = []
        self.generation = 0
        self.guard = threading.RLock()
        self.locks: set[Path] = set()
        self._real = OsFiles()
        self._names: dict[Path, Inode] = {}
        self._durable_names: dict[Path, Inode] = {}
        self._directories: set[Path] = {root}
        self._durable_directories: set[Path] = {root}
        self._pending_names: dict[Path, list[NameChange]] = {}
        self._faults: dict[str, Fault] = {}

    # --- the test's side ---

    def fail(self, call: str, number: int, *, at: int = 1, for_ever: bool = False, name: str = "") -> None:
        """Make the `at`th call from now on fail with errno `number`, once or for ever; only on paths containing `name`."""
        self._faults[call] = Fault(number, at, for_ever, name)

    def mend(self) -> None:
        self._faults.clear()

    def note(self, call: str, path: Path) -> None:
        self.before(call, path)
        with self.guard:
            self.calls.append((call, path.name))
            fault = self._faults.get(call)
            if fault is None or fault.name not in str(path):
                return
            fault.calls += 1
            if fault.calls == fault.at or (fault.for_ever and fault.calls > fault.at):
                raise OSError(fault.number, os.strerror(fault.number), str(path))

    def flip(self, path: Path, offset: int, bit: int = 0) -> None:
        """Rot one bit, in the cache and on the disk."""
        inode = self._names[path]
        for content in (inode.live, inode.durable):
            if offset < len(content):
                content[offset] ^= 1 << bit

    def overwrite(self, path: Path, offset: int, data: bytes) -> None:
        """Damage bytes, in the cache and on the disk."""
        inode = self._names[path]
        for content in (inode.live, inode.durable):
            apply(content, Change(offset, data))

    def cut(self, path: Path, size: int) -> None:
        """Shorten a file behind everybody's back."""
        inode = self._names[path]
        del inode.live[size:]
        del inode.durable[size:]

    def content(self, path: Path) -> bytes:
        return bytes(self._names[path].live)

    def durable_content(self, path: Path) -> bytes:
        """What a crash that loses all un-synced bytes would leave."""
        return bytes(self._durable_names[path].durable)

    def stored_tables(self, directory: Path) -> Stored:
        """The file of an index that is kept here."""
        return self._names[directory / FILE_NAMES[0]].tables

    def remove(self, path: Path) -> None:
        """Take a file away as an operator might, durably."""
        del self._names[path]
        self._durable_names.pop(path, None)
        self._pending_names.pop(path.parent, None)

    def remove_indexes(self) -> None:
        """Take all files of indexes away, durably; nobody may have them open."""
        for path in self.root.rglob(f"{REAL_DIRECTORY}/*"):
            path.unlink()
        for path in [path for path in self._names if path.parent.name == REAL_DIRECTORY]:
            self.remove(path)

    def backup(self) -> Backup:
        """A copy of everything, as it reads now."""
        real: dict[Path, bytes] = {}
        for directory in self.root.rglob(REAL_DIRECTORY):
            real |= {path: path.read_bytes() for path in directory.iterdir()}
        files = {path: bytes(inode.live) for path, inode in self._names.items()}
        tables = {path: inode.tables.content for path, inode in self._names.items()}
        return Backup(files, set(self._directories), real, tables)

    def put_back(self, backup: Backup) -> None:
        """Everything is as in a backup, durably; whoever had files open is gone."""
        self.kill()
        for directory in list(self.root.rglob(REAL_DIRECTORY)):
            shutil.rmtree(directory)
        for path, content in backup.real.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self._names = {
            path: Inode(path, bytearray(data), bytearray(data), tables=Stored(backup.tables[path]))
            for path, data in backup.files.items()
        }
        self._durable_names = dict(self._names)
        self._directories = set(backup.directories)
        self._durable_directories = set(backup.directories)
        self._pending_names.clear()

    def kill(self) -> None:
        """kill -9: open files and locks are gone, everything written stays."""
        self.generation += 1
        self.locks.clear()

    def crash(self, rng: random.Random) -> None:
        """A power cut."""
        self.kill()
        for _, changes in sorted(self._pending_names.items()):
            self._keep_names(changes[: rng.randint(0, len(changes))])
        self._pending_names.clear()
        self._names = dict(self._durable_names)
        self._directories = set(self._durable_directories)
        orphans = [path for path in self._names if path.parent not in self._directories]
        for path in orphans:
            del self._names[path]
        for _, inode in sorted(self._names.items(), key=lambda item: item[0]):
            for change in inode.pending:
                self._survive(inode.durable, change, rng)
            inode.pending.clear()
            inode.live = bytearray(inode.durable)
            if self.lose_transactions_max:
                inode.tables.lose(rng.randint(0, self.lose_transactions_max))
        self._durable_names = dict(self._names)

    def _keep_names(self, changes: list[NameChange]) -> None:
        for change in changes:
            if change.removes is not None:
                self._durable_names.pop(change.removes, None)
            if change.inode is not None:
                self._durable_names[change.path] = change.inode
            elif change.removes is None:
                self._durable_directories.add(change.path)

    @staticmethod
    def _survive(durable: bytearray, change: Change, rng: random.Random) -> None:
        fate = rng.choice(("kept", "dropped", "torn", "sectors", "zeros"))
        if fate == "dropped":
            return
        if change.data is None or fate == "kept":
            apply(durable, change)
            return
        first = change.offset // SECTOR
        last = (change.offset + len(change.data) - 1) // SECTOR if change.data else first - 1
        count = last - first + 1
        torn_at = rng.randint(0, count) if count > 0 else 0
        for number in range(count):
            start = max(change.offset, (first + number) * SECTOR)
            end = min(change.offset + len(change.data), (first + number + 1) * SECTOR)
            data = change.data[start - change.offset : end - change.offset]
            if (fate == "torn" and number >= torn_at) or (fate == "sectors" and rng.random() < 0.5):
                continue
            apply(durable, Change(start, bytes(len(data)) if fate == "zeros" else data))

    # --- the file system ---

    def _is_real(self, path: Path) -> bool:
        return not self._wholly_simulated and REAL_DIRECTORY in path.relative_to(self.root).parts

    def _rename_pending(self, change: NameChange) -> None:
        self._pending_names.setdefault(change.path.parent, []).append(change)

    def create(self, path: Path) -> File:
        if self._is_real(path):
            return self._real.create(path)
        self.note("create", path)
        with self.guard:
            self._require_directory(path.parent)
            if path in self._names or path in self._directories:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            return FakeFile(self, self._new(path))

    def _new(self, path: Path) -> Inode:
        inode = self._names[path] = Inode(path)
        self._rename_pending(NameChange(path, inode))
        return inode

    def open(self, path: Path) -> File:
        if self._is_real(path):
            return self._real.open(path)
        self.note("open", path)
        return FakeFile(self, self._find(path))

    def _find(self, path: Path) -> Inode:
        inode = self._names.get(path)
        if inode is None:
            if path in self._directories:
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return inode

    def _require_directory(self, path: Path) -> None:
        if path in self._names:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        if path not in self._directories:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))

    def make_directory(self, path: Path) -> None:
        if self._is_real(path):
            self._real.make_directory(path)
            return
        self.note("make_directory", path)
        with self.guard:
            if path in self._names:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            missing = [
                step for step in (path, *path.parents) if step not in self._directories and self.root in step.parents
            ]
            for step in reversed(missing):
                self._directories.add(step)
                self._rename_pending(NameChange(step, None))

    def sync_directory(self, path: Path) -> None:
        if self._is_real(path):
            self._real.sync_directory(path)
            return
        self.note("sync_directory", path)
        with self.guard:
            self._require_directory(path)
            self._keep_names(self._pending_names.pop(path, []))

    def list_directory(self, path: Path) -> list[str]:
        if self._is_real(path):
            return self._real.list_directory(path)
        self.note("list_directory", path)
        self._require_directory(path)
        entries = (*self._names, *self._directories)
        return sorted(entry.name for entry in entries if entry.parent == path and entry != path)

    def exists(self, path: Path) -> bool:
        if self._is_real(path):
            return self._real.exists(path)
        return path in self._names or path in self._directories

    def is_regular_file(self, path: Path) -> bool:
        return self._real.is_regular_file(path) if self._is_real(path) else path in self._names

    def is_directory(self, path: Path) -> bool:
        return self._real.is_directory(path) if self._is_real(path) else path in self._directories

    def open_tables(self, directory: Path) -> Tables:
        if self._is_real(directory):
            return AskedTables(self._real.open_tables(directory), lambda call: self.before_tables(call, directory))
        path = directory / FILE_NAMES[0]
        with self.guard:
            self._require_directory(directory)
            inode = self._names.get(path) or self._new(path)

        return FakeTables(directory, inode.tables, begin=lambda call: self.note(call, path))

    def rename(self, source: Path, target: Path) -> None:
        self.note("rename", source)
        with self.guard:
            if source in self._directories:
                self._rename_directory(source, target)
                return
            inode = self._find(source)
            self._require_directory(target.parent)
            del self._names[source]
            self._names[target] = inode
            inode.path = target
            self._rename_pending(NameChange(target, inode, removes=source))

    def _rename_directory(self, source: Path, target: Path) -> None:
        """Durable at once: a directory that moves is all there or not at all on every file system that matters here."""

        def moved(path: Path) -> Path:
            return target / path.relative_to(source) if path == source or source in path.parents else path

        for parent in [path for path in self._pending_names if path == source or source in path.parents]:
            self._keep_names(self._pending_names.pop(parent))
        for names in (self._names, self._durable_names):
            for path in [path for path in names if source in path.parents]:
                inode = names.pop(path)
                inode.path = moved(path)
                names[inode.path] = inode
        self._directories = {moved(path) for path in self._directories}
        self._durable_directories = {moved(path) for path in self._durable_directories} | {target}
        if source.exists():
            source.rename(target)

    def unlink(self, path: Path) -> None:
        if self._is_real(path):
            self._real.unlink(path)
            return
        self.note("unlink", path)
        with self.guard:
            inode = self._find(path)
            del self._names[path]
            self.free += len(inode.live)
            self._rename_pending(NameChange(path, None, removes=path))

    def kind(self, path: Path) -> FileKind:
        if self._is_real(path):
            return self._real.kind(path)
        if path in self._names:
            return FileKind.FILE
        return FileKind.DIRECTORY if path in self._directories else FileKind.NOTHING

    def size(self, path: Path) -> int:
        return self._real.size(path) if self._is_real(path) else len(self._find(path).live)

    def changed_ms(self, path: Path) -> int:
        """Nothing here has a time of its own."""
        if self._is_real(path):
            return self._real.changed_ms(path)
        if not self.exists(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return 0

    def remove_directory(self, path: Path) -> None:
        if self._is_real(path):
            self._real.remove_directory(path)
            return
        self.note("remove_directory", path)
        with self.guard:
            self._require_directory(path)
            if any(entry.parent == path for entry in (*self._names, *self._directories)):
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(path))
            self._directories.discard(path)
            self._durable_directories.discard(path)

    def free_bytes(self, path: Path) -> int:
        self.note("free_bytes", path)
        if not self.exists(path):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return self.free

    def lock(self, path: Path) -> Lock:
        self.note("lock", path)
        with self.guard:
            if path in self.locks:
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), str(path))
            self._require_directory(path.parent)
            if path not in self._names:
                self._new(path)
            self.locks.add(path)
            return FakeLock(self, path)
