"""The replica of a stopped node in real files: three segments and a tombstone; and a way to damage it."""

from __future__ import annotations

from pathlib import Path

from datanode.store.files import OsFiles
from tests.support.samples import (
    DELETED,
    append,
    blob_id,
    content,
    open_replica,
    put_record,
    stop_cleanly,
    update_record,
)

FILES = OsFiles()
FIRST = "00000001.segment"


def stopped_replica(directory: Path) -> Path:
    """Make one in `directory`."""
    store = open_replica(FILES, directory)
    append(store, update_record(blob_id(9), DELETED), put_record(blob_id(8), b"odd"))
    for number in range(1, 6):
        append(store, put_record(blob_id(number), content(number, 30_000)))
    assert store.segment_count() == 3
    stop_cleanly(store)
    return directory


def flip(path: Path, offset: int, bit: int) -> None:
    """Turn over one bit of a file."""
    with path.open("r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)[0] ^ 1 << bit
        stream.seek(offset)
        stream.write(bytes([byte]))
