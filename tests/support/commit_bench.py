"""A replica with its committer on a fake disk: what the tests of group commit share."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ambry.errors import AmbryError
from ambry.format.record import Record
from datanode.committer import Committer
from datanode.disk import Disk
from datanode.lookups import Lookups
from datanode.store.blob_store import BlobStore
from datanode.store.bounded_files import BoundedFiles
from datanode.write_queue import WriteQueue
from tests.support.fake_clock import SettableClock
from tests.support.fake_files import FakeFiles
from tests.support.node_parts import store_section
from tests.support.samples import SEGMENT_SIZE, blob_id, content, open_replica, put_record

RESERVE = 10 * SEGMENT_SIZE


class CommitBench:
    """One replica with its committer; `acks` are the outcomes in the order in which they came.

    With `open_files_max` its files are bounded.
    """

    def __init__(self, tmp_path: Path, *, open_files_max: int = 0, **changes: int) -> None:
        self.files = FakeFiles(tmp_path)
        self.bounded = BoundedFiles(self.files, open_max=open_files_max)
        self.store: BlobStore = open_replica(self.bounded if open_files_max else self.files, tmp_path / "r")
        self.clock = SettableClock()
        self.disk = Disk(threads=2, clock=self.clock)
        self.writes = WriteQueue(pending_bytes_max=changes.pop("pending_bytes_max", 1 << 20), clock=self.clock)
        settings = {"batch_bytes_max": 1 << 20, "batch_records_max": 100, "reserve_bytes": RESERVE} | changes
        lookups = Lookups(self.store, self.disk, read_bytes_max=1 << 20)
        self.committer = Committer(self.store, self.disk, lookups, self.writes, store_section(**settings))
        self.acks: list[tuple[int, AmbryError | None]] = []

    def submit(
        self, number: int, record: Record | None = None, *, sync: bool = True, deadline: float = float("inf")
    ) -> asyncio.Future[AmbryError | None]:
        """Append blob `number`; the future has its outcome."""
        done: asyncio.Future[AmbryError | None] = asyncio.get_running_loop().create_future()

        def acknowledged(error: AmbryError | None) -> None:
            self.acks.append((number, error))
            done.set_result(error)

        self.committer.append(
            record or put_record(blob_id(number), content(number, 1000)),
            sync=sync,
            done=acknowledged,
            deadline=deadline,
        )
        return done

    def barrier(self) -> asyncio.Future[AmbryError | None]:
        done: asyncio.Future[AmbryError | None] = asyncio.get_running_loop().create_future()
        self.committer.barrier(done.set_result)
        return done

    def data_calls(self) -> list[str]:
        """The calls that touched a segment's bytes, in order, since the last look."""
        calls = [
            call for call, name in self.files.calls if name.endswith(".segment") and call in ("pwritev", "fdatasync")
        ]
        self.files.calls.clear()
        return calls

    def durable(self, number: int) -> bool:
        """Whether the bytes of a blob stand on the disk, not only in the cache."""
        wanted = content(number, 1000)
        names = self.files.list_directory(self.store.directory)
        return any(
            wanted in self.files.durable_content(self.store.directory / name)
            for name in names
            if name.endswith(".segment")
        )
