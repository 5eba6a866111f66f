"""What was written to a replica and acknowledged, and what must be found again; disks at rest to begin with."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from pathlib import Path

from ambry.blob import BlobState, join
from ambry.format.record import Record, RecordKind
from datanode.store.blob_store import BlobStore
from datanode.store.index_file import FILE_NAMES
from tests.support.fake_clock import SettableClock
from tests.support.fake_files import FakeFiles, Inode
from tests.support.samples import (
    PARTITION,
    open_replica,
    read_all,
)

DIRECTORY = f"partition-{PARTITION:08d}"


@dataclass(slots=True)
class Write:
    """A record that was handed in. `sure`: no crash may take it any more."""

    record: Record
    acknowledged: bool = False
    sure: bool = False


@dataclass(slots=True)
class Ledger:
    """What was written, and what became of it. `dead`: blobs past retention, which may be forgotten but never come back."""

    writes: list[Write] = field(default_factory=list)
    given: list[tuple[int, int]] = field(default_factory=list)
    """Start and end LSN of every record that the log began to write, lost ones included."""
    dead: set[bytes] = field(default_factory=set)

    def add(self, record: Record) -> Write:
        self.writes.append(Write(record))
        return self.writes[-1]

    def acknowledged(self) -> list[Write]:
        return [write for write in self.writes if write.acknowledged]

    def copy(self) -> Ledger:
        return Ledger([replace(write) for write in self.writes], list(self.given), set(self.dead))

    def check(self, store: BlobStore, now_ms: int, *, killed: bool) -> None:
        """Hold a replica against it; `killed`: what was acknowledged unsynced is there too."""
        for raw_id in dict.fromkeys(write.record.id for write in self.writes):
            mine = [write for write in self.writes if write.record.id == raw_id]
            kept = [write.record for write in mine if write.sure or (killed and write.acknowledged)]
            entry = store.lookup(raw_id)
            if entry is not None and entry.present:
                assert read_all(store, raw_id) == next(bytes(w.record.payload) for w in mine if w.record.checks)
            if raw_id in self.dead:
                gone = entry is None or entry.state.deleted or entry.state.expired(now_ms)
                assert gone, f"{raw_id.hex()} came back"
                continue
            if entry is None:
                assert not kept, f"acknowledged {raw_id.hex()} is lost"
                continue
            low = functools.reduce(join, (record.state for record in kept), BlobState())
            high = functools.reduce(join, (write.record.state for write in mine), BlobState())
            assert join(low, entry.state) == entry.state, f"{raw_id.hex()} went back from {low} to {entry.state}"
            assert join(high, entry.state) == high, f"{raw_id.hex()} has {entry.state}, which nobody wrote"
            if any(record.kind != RecordKind.UPDATE for record in kept):
                assert entry.present, f"the acknowledged bytes of {raw_id.hex()} are lost"


@dataclass(slots=True)
class Image:
    """A disk at rest: what a run begins with. `restore` may be called any number of times."""

    disk: FakeFiles
    ledger: Ledger
    clock: SettableClock
    index: bytes | None = None

    @property
    def directory(self) -> Path:
        return self.disk.root / DIRECTORY

    @classmethod
    def of(cls, disk: FakeFiles, ledger: Ledger, clock: SettableClock) -> Image:
        path = disk.root / DIRECTORY / "index" / "data.mdb"
        return cls(copy_disk(disk), ledger.copy(), clock, path.read_bytes() if path.exists() else None)

    def restore(self) -> FakeFiles:
        index = self.directory / "index"
        index.mkdir(parents=True, exist_ok=True)
        for name in FILE_NAMES:
            (index / name).unlink(missing_ok=True)
        if self.index is not None:
            (index / FILE_NAMES[0]).write_bytes(self.index)
        return copy_disk(self.disk)

    def open(self, disk: FakeFiles) -> BlobStore:
        return open_replica(disk, self.directory, clock=self.clock)


def copy_disk(disk: FakeFiles) -> FakeFiles:
    """The same disk once more, at the same place; nothing is open on it, no fault is planted."""
    inodes: dict[int, Inode] = {}

    def same(inode: Inode) -> Inode:
        if id(inode) not in inodes:
            inodes[id(inode)] = Inode(inode.path, inode.live[:], inode.durable[:], inode.pending[:])
        return inodes[id(inode)]

    made = FakeFiles(disk.root)
    made.free = disk.free
    made._names = {path: same(inode) for path, inode in disk._names.items()}
    made._durable_names = {path: same(inode) for path, inode in disk._durable_names.items()}
    made._directories = set(disk._directories)
    made._durable_directories = set(disk._durable_directories)
    made._pending_names = {
        path: [replace(change, inode=change.inode and same(change.inode)) for change in changes]
        for path, changes in disk._pending_names.items()
    }
    return made


def fingerprint(disk: FakeFiles) -> int:
    """Equal for disks on which everything that may still happen is equal."""
    return hash(
        tuple(
            (path, bytes(inode.live), bytes(inode.durable), len(inode.pending))
            for path, inode in sorted(disk._names.items())
        )
    )
