"""A replica of four segments, for tests that take some of them away."""

from __future__ import annotations

from pathlib import Path

from datanode.store.blob_store import BlobStore
from datanode.store.index import FindToken
from datanode.store.segment import segment_name
from tests.support.fake_files import FakeFiles
from tests.support.samples import (
    ALIVE,
    DELETED,
    append,
    blob_id,
    content,
    open_replica,
    put_record,
    read_all,
    stop_cleanly,
    update_record,
)

TOKENS = {"peer": FindToken(b"p" * 16, 4096)}
COUNT = 80
SIZE = 3_000


class FourSegments:
    """A replica of four segments that has authority; `where`: in which segment each of its blobs is."""

    def __init__(self, root: Path) -> None:
        self.disk = FakeFiles(root)
        self.directory = root / "r"
        self.store: BlobStore = open_replica(self.disk, self.directory)
        for number in range(1, COUNT + 1):
            append(self.store, put_record(blob_id(number), content(number, SIZE)))
        # The states that change last stand in the last segment, whatever the place of their bytes.
        append(self.store, *(update_record(blob_id(number), DELETED) for number in range(1, COUNT + 1, 10)))
        assert self.store.segment_count() == 4
        self.end = self.store.end_lsn
        self.where = {number: self.place(number) for number in range(1, COUNT + 1)}
        self.store.serving = True

    def place(self, number: int) -> int:
        entry = self.store.lookup(blob_id(number))
        assert entry is not None, number
        return entry.segment

    def path(self, number: int) -> Path:
        return self.directory / segment_name(number)

    def stop(self) -> None:
        stop_cleanly(self.store, tokens=TOKENS)

    def kill(self) -> None:
        self.disk.kill()
        self.store.close()

    def open(self) -> BlobStore:
        self.store = open_replica(self.disk, self.directory)
        return self.store

    def expect_without(self, *segments: int) -> None:
        """Every blob reads but those of some segments; of these the state is known, and only that."""
        for number, segment in self.where.items():
            entry = self.store.lookup(blob_id(number))
            assert entry is not None, number
            assert entry.state == (DELETED if number % 10 == 1 else ALIVE), number
            assert entry.present is (segment not in segments), number
            if entry.present:
                assert read_all(self.store, blob_id(number)) == content(number, SIZE), number

    def expect_new_lsns(self) -> None:
        (lsn,) = append(self.store, put_record(blob_id(900), b"new"))
        assert lsn >= self.end, "peers may have seen everything before"

    def regain_authority(self) -> None:
        """As if it had caught up with its peers, and then stopped."""
        self.store.serving = True
        self.stop()
