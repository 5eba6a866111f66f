"""The file of an index: opened with care, since LMDB maps it and takes it as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import lmdb

from ambry.errors import IndexCorrupt

MAP_SIZE = 64 << 30
"""Address space, not disk: the file grows with its content. Resizing a map under readers is not safe, so it starts large
enough for half a billion blobs in one partition."""
META_BYTES = 8192
"""LMDB's two meta pages."""
INDEX_NAME = "index"
"""Its directory, in a replica's."""
FILE_NAMES = ("data.mdb", "lock.mdb")


class IndexFile(NamedTuple):
    """An open index file: LMDB's environment, and its databases."""

    env: Any
    entries: Any
    changes: Any
    meta: Any


def open_index(directory: Path) -> IndexFile:
    """Open or create the index file in `directory`. Blocking. Raises IndexCorrupt, OSError, lmdb.Error."""
    path = directory / FILE_NAMES[0]
    if path.exists() and path.stat().st_size < META_BYTES:
        # LMDB would make a new, empty index of a file that lost even its meta pages.
        raise IndexCorrupt(f"{path} has not even its first {META_BYTES} bytes")
    # Readers of a killed process leave slots behind; a table of our own size, cleared at open, cannot fill up.
    env = lmdb.open(str(directory), map_size=MAP_SIZE, max_dbs=3, max_readers=64, subdir=True, readahead=False)
    try:
        size = path.stat().st_size
        expected = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
        if size < expected:
            # The file is mapped: touching a page that was cut off would end the process with SIGBUS, at every start.
            raise IndexCorrupt(f"{path} has {size} bytes instead of {expected}")
        env.reader_check()
        return IndexFile(env, *(env.open_db(name) for name in (b"entries", b"changes", b"meta")))
    except BaseException:
        env.close()  # left open, it could not be opened again by this process
        raise
