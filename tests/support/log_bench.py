"""The log of a replica on a fake disk, with an index that knows of nothing: what the tests of log and batch share."""

from __future__ import annotations

from pathlib import Path

from datanode.store.batch import Batch
from datanode.store.index import Index
from datanode.store.log import Log
from tests.support.fake_files import FakeFiles
from tests.support.samples import blob_id, content, put_record

SIZE = 16 << 10


class LogBench:
    """`segments` of `SIZE` bytes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.disk = FakeFiles(root)
        self.log = Log(self.disk, root, partition=7, incarnation=b"i" * 16, segment_size_bytes=SIZE)
        (root / "index").mkdir()
        self.index = Index(self.disk, root / "index", 7)

    def place(self, *sizes: int, sync: bool = True) -> Batch:
        """A batch of puts of so many bytes each, with its places."""
        records = [put_record(blob_id(number), content(number, size)) for number, size in enumerate(sizes)]
        batch = Batch(self.log, self.index, records, sync=sync, now_ms=5)
        batch.place()
        return batch

    def write(self, *sizes: int, sync: bool = True) -> Batch:
        """The same, written and taken into the books."""
        batch = self.place(*sizes, sync=sync)
        batch.write()
        self.log.note_written(batch.written, created=batch.created, synced=sync)
        self.log.mark_synced(batch.earlier)
        return batch

    def close(self) -> None:
        self.log.close()
        self.index.close()
