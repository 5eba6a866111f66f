"""The file of an index: LMDB, opened with care, since it maps the file and takes it as it is. The only module that calls it.

The map is as small as the file allows, and grows by doubling when a transaction finds no page left: address space is what
thousands of partitions of one process share. To grow is to map anew, which would pull the pages from under whoever reads. So
readers are counted; growing bars new ones, waits for those that read, and gives up after BAR_S: a disk that hangs under one
reader must not stop the others.

Descriptors: LMDB holds three for each open file (the data twice, once for synchronous writes of its meta pages, and its lock).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb

from ambry.errors import AmbryError, IndexCorrupt, InsufficientStorage, Overloaded, ReplicaUnavailable
from datanode.store.tables import Pair, Table, Writing
from datanode.store.trouble import put_off

MAP_SIZE_MIN = 1 << 20
"""Address space of an index of up to some 4,000 blobs, bytes. A power of two, as all sizes of maps."""
MAP_SIZE_MAX = 64 << 30
"""Enough for half a billion blobs in one partition. Address space, not disk: the file grows with its content."""
META_BYTES = 8192
"""LMDB's two meta pages."""
INDEX_NAME = "index"
"""Its directory, in a replica's."""
FILE_NAMES = ("data.mdb", "lock.mdb")
READ_BYTES = 64 << 10
"""Less than the allocator maps by itself (mallopt(3), M_MMAP_THRESHOLD): freeing a larger piece raises that threshold, and
the 3 MiB that LMDB reserves for each open file, and hardly touches, come from the heap then, cleared, and so in memory."""
DESCRIPTORS = 3
READERS_MAX = 64
"""Threads that read at once; those of a killed process leave slots behind, which the next opening clears."""
BAR_S = 0.05
"""So long a reader may have to wait while the map grows."""


class IndexFile:
    """An open index file; see datanode/store/tables.py."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._env: Any = None
        """None while there was no address space even for a map as large as before; then whoever comes tries to open it."""
        self._tables: tuple[Any, ...] = ()
        self.map_size = 0
        """Address space that it has, bytes."""
        self._inside = 0
        self._bars = 0
        """How many wait for those inside to leave; nobody enters meanwhile."""
        self._closed = False
        self._guard = threading.Lock()
        """Of all the above."""
        self._turn = threading.Condition(self._guard)
        """Notified when the last one leaves that somebody waits for, and when the map has grown."""
        self._open(max(MAP_SIZE_MIN, _power_of_two(2 * self._proven_size())))

    def _proven_size(self) -> int:
        """Bytes of the file, all of which can be read; 0 where there is none yet."""
        path = self._directory / FILE_NAMES[0]
        try:
            size = path.stat().st_size
            if size >= META_BYTES:
                _read_through(path)
        except FileNotFoundError:
            return 0
        except OSError as cause:
            raise self._trouble("cannot be opened", cause) from cause
        if size < META_BYTES:
            # LMDB would make a new, empty index of a file that lost even its meta pages.
            raise IndexCorrupt(f"{path} has not even its first {META_BYTES} bytes")
        return size

    def _open(self, map_size: int) -> None:
        path = self._directory / FILE_NAMES[0]
        try:
            env = lmdb.open(
                str(self._directory),
                map_size=map_size,
                max_dbs=len(Table),
                max_readers=READERS_MAX,
                subdir=True,
                readahead=False,
            )
            try:
                size = path.stat().st_size
                expected = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
                if size < expected:
                    # Touching a page of the map that was cut off would end the process with SIGBUS, at every start.
                    raise IndexCorrupt(f"{path} has {size} bytes instead of {expected}")
                env.reader_check()
                with env.begin(write=True) as txn:
                    self._tables = tuple(env.open_db(table.name.lower().encode(), txn=txn) for table in Table)
            except BaseException:
                env.close()  # left open, it could not be opened again by this process
                raise
        except (lmdb.Error, OSError, MemoryError) as cause:
            raise self._trouble("cannot be opened", cause) from cause
        self._env, self.map_size = env, map_size

    def _trouble(self, what: str, cause: Exception) -> AmbryError:
        """What to raise for `cause`: IndexCorrupt, unless it says nothing about the file."""
        reason = f"the index in {self._directory} {what}: {cause!r}"
        return put_off(cause, reason) or IndexCorrupt(reason)

    # --- reading ---

    def _enter(self) -> Any:
        """The environment, which stays open, and its map where it is, until `_leave`. One thread enters once at a time."""
        with self._guard:
            if self._bars or self._env is None:
                self._wait_for_map()
            self._inside += 1
            return self._env

    def _wait_for_map(self) -> None:
        """Until there is one; `_guard` is held."""
        while self._bars:
            self._turn.wait()
        if self._closed:
            raise ReplicaUnavailable(f"the index in {self._directory} is closed")
        if self._env is None:
            self._open(self.map_size)

    def _leave(self) -> None:
        with self._guard:
            self._inside -= 1
            if self._bars and not self._inside:
                self._turn.notify_all()

    @contextmanager
    def _transaction(self) -> Iterator[Any]:
        """A transaction to read in. No other may be begun in it: one that grows the map meanwhile would stop both."""
        env = self._enter()
        try:
            with env.begin() as txn:
                yield txn
        except (lmdb.Error, MemoryError) as cause:
            raise self._trouble("cannot be read", cause) from cause
        finally:
            self._leave()

    def get(self, table: Table, key: bytes) -> bytes | None:
        return self.get_all(table, (key,))[0]

    def get_all(self, table: Table, keys: Collection[bytes]) -> list[bytes | None]:
        with self._transaction() as txn:
            get, db = txn.get, self._tables[table]
            return [get(key, db=db) for key in keys]

    def page(self, table: Table, start: bytes, limit: int) -> list[Pair]:
        found: list[Pair] = []
        with self._transaction() as txn, txn.cursor(db=self._tables[table]) as cursor:
            if limit > 0 and cursor.set_range(start):
                for key, value in cursor:
                    found.append(Pair(key, value))
                    if len(found) >= limit:
                        break
        return found

    def last_key(self, table: Table) -> bytes:
        with self._transaction() as txn, txn.cursor(db=self._tables[table]) as cursor:
            return bytes(cursor.key()) if cursor.last() else b""

    def count(self, table: Table) -> int:
        with self._transaction() as txn:
            return int(txn.stat(self._tables[table])["entries"])

    # --- writing ---

    def write(self, change: Callable[[Writing], None]) -> None:
        while True:
            env = self._enter()
            map_size = self.map_size
            try:
                with env.begin(write=True) as txn:
                    change(_Transaction(txn, self._tables))
                return
            except lmdb.MapFullError as cause:
                # The transaction is undone. Pages that it would have freed are no help to itself: it needs a larger map.
                if map_size >= MAP_SIZE_MAX:
                    reason = f"the index in {self._directory} has reached {MAP_SIZE_MAX} bytes"
                    raise InsufficientStorage(reason) from cause
            except (lmdb.Error, MemoryError) as cause:
                raise self._trouble("cannot be written", cause) from cause
            finally:
                self._leave()
            self._grow(2 * map_size)

    def _grow(self, map_size: int) -> None:
        """Map anew, larger. Raises Overloaded with everything as it was."""
        with self._turn, self._barred():
            if not self._turn.wait_for(lambda: not self._inside, timeout=BAR_S):
                raise Overloaded(f"the index in {self._directory} cannot grow: a read of it takes long")
            if self._env is None:
                return  # it was closed meanwhile: the next attempt says so
            env, self._env = self._env, None
            try:
                env.set_mapsize(map_size)
            except (lmdb.Error, MemoryError) as cause:
                # The old map is gone by then, and LMDB would follow pointers into it (py-lmdb issue 164).
                env.close()
                self._open(self.map_size)
                raise self._trouble(f"cannot have a map of {map_size} bytes", cause) from cause
            self._env, self.map_size = env, map_size

    @contextmanager
    def _barred(self) -> Iterator[None]:
        """Nobody enters meanwhile. `_turn` is held."""
        self._bars += 1
        try:
            yield
        finally:
            self._bars -= 1
            self._turn.notify_all()

    def close(self) -> None:
        # A reader or a writer may be on a disk thread: its map must not go away under it. Nor may LMDB end a transaction of
        # another thread, which leaves a lock behind that nobody ever gets.
        with self._turn, self._barred():
            self._turn.wait_for(lambda: not self._inside)
            env, self._env = self._env, None
            self._closed = True
            if env is not None:
                env.close()


class _Transaction:
    """One of LMDB that writes; see Writing."""

    def __init__(self, txn: Any, tables: tuple[Any, ...]) -> None:
        self._txn = txn
        self._tables = tables

    def get(self, table: Table, key: bytes) -> bytes | None:
        value: bytes | None = self._txn.get(key, db=self._tables[table])
        return value

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        self._txn.put(key, value, db=self._tables[table])

    def delete(self, table: Table, key: bytes) -> None:
        self._txn.delete(key, db=self._tables[table])


def _read_through(path: Path) -> None:
    """Read the whole file, as a file: where the disk cannot (EIO), this says so. Raises OSError.

    Through LMDB's map such a page is a SIGBUS, which ends the process, and would at every start. Found here, the index is
    rebuilt from the log. And what was read needs no waiting for the disk by those who look something up.
    """
    buffer = bytearray(READ_BYTES)
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass


def _power_of_two(size: int) -> int:
    """The least that is not below `size`."""
    return 1 << max(0, size - 1).bit_length()
