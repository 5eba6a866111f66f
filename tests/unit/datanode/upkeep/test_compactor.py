"""The loop that gives space back, over real Stores on a fake disk."""

from __future__ import annotations

import asyncio
import errno
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ambry.blob import NEVER_MS, BlobState
from ambry.errors import AmbryError, Overloaded, ReplicaUnavailable
from ambry.format.record import Record
from datanode.config import CompactionSection
from datanode.lookups import Wish
from datanode.replicas import Replica
from datanode.store.blob_store import StoreState
from datanode.store.segment import segment_name
from tests.support.eventually import eventually
from tests.support.fake_clock import SettableClock
from tests.support.fake_files import FakeFiles
from tests.support.gate import Gate
from tests.support.node_parts import lone_node
from tests.support.samples import (
    DELETED,
    blob_id,
    content,
    forget,
    put_record,
    read_all,
    rot_index,
    update_record,
)

DAY_S = 86_400.0


class Bench:
    def __init__(self, root: Path) -> None:
        self.files = FakeFiles(root)
        self.root = root
        self.clock = SettableClock()
        self._start()

    def _start(self) -> None:
        self.parts = lone_node(self.files, self.root / "data", clock=self.clock)
        self.replicas = self.parts.replicas
        self.compactor = self.parts.compactor

    async def restart(self, *, rebuild: bool = False) -> None:
        directory = self.replica.store.directory
        await self.parts.close()
        if rebuild:
            shutil.rmtree(directory / "index")
        self._start()
        await self.parts.open_replicas()

    async def checkpoint(self) -> None:
        await self.parts.checkpointer.checkpoint(self.replica)

    @property
    def damaged(self) -> list[int]:
        """The partitions that the scrub was asked for."""
        return sorted(self.parts.scrubber._asked)

    @property
    def missing(self) -> list[bytes]:
        return [bytes.fromhex(item["blob"]) for item in self.parts.healer.describe()]

    @property
    def replica(self) -> Replica:
        return self.replicas[7]

    async def append(self, record: Record) -> None:
        done: asyncio.Future[AmbryError | None] = asyncio.get_running_loop().create_future()
        self.replica.committer.append(record, sync=True, done=done.set_result)
        assert await done is None

    async def fill(self) -> None:
        await self.parts.open_replicas()
        for number in range(1, 15):
            await self.append(put_record(blob_id(number), content(number, 14_000)))
        for number in range(1, 11, 2):
            await self.append(update_record(blob_id(number), DELETED))
        await self.checkpoint()
        self.clock.advance(8 * DAY_S)

    def check(self) -> None:
        for number in (*range(2, 11, 2), *range(11, 15)):
            assert read_all(self.replica.store, blob_id(number)) == content(number, 14_000)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    made = Bench(tmp_path)
    await made.fill()
    yield made
    await made.parts.close()


async def test_space_comes_back_and_then_there_is_no_more_to_do(bench: Bench) -> None:
    before, free = bench.replica.store.size_bytes(), bench.files.free
    for _ in range(10):
        if await bench.compactor.tick() > 0:
            break
    else:
        raise AssertionError("it never ends")
    assert bench.replica.store.size_bytes() <= before - 3 * 14_000
    assert bench.files.free > free
    bench.check()


async def test_nothing_goes_before_its_retention(bench: Bench) -> None:
    bench.clock.advance(-2 * DAY_S)
    assert await bench.compactor.tick() == CompactionSection().interval_s


async def test_damage_asks_for_a_scrub_and_changes_nothing(bench: Bench) -> None:
    numbers = bench.replica.store.scrub.segment_numbers()
    for number in range(2, 11, 2):
        entry = bench.replica.store.lookup(blob_id(number))
        assert entry is not None
        bench.files.flip(bench.replica.store.directory / segment_name(entry.segment), entry.offset + 700)
    assert not await bench.compactor.compact(bench.replica)
    assert bench.damaged == [7]
    assert bench.replica.store.scrub.segment_numbers() == numbers


async def test_a_blob_that_comes_back_to_life_meanwhile_is_kept(bench: Bench) -> None:
    numbers = bench.replica.store.scrub.segment_numbers()
    with Gate(bench.files, "fsync", name=".tmp") as gate:
        task = asyncio.create_task(bench.compactor.compact(bench.replica))
        await gate.arrived.wait()
        for number in range(1, 11, 2):
            await bench.append(update_record(blob_id(number), BlobState(1, False, NEVER_MS)))
    assert not await task
    assert bench.replica.store.scrub.segment_numbers() == numbers
    for number in range(1, 15):
        assert read_all(bench.replica.store, blob_id(number)) == content(number, 14_000)


async def test_one_that_comes_back_to_life_too_late_is_fetched(bench: Bench) -> None:
    """Its undelete was acknowledged elsewhere: this replica keeps the state, and its bytes are gone already."""
    with Gate(bench.files, "rename", name=".tmp") as gate:
        task = asyncio.create_task(bench.compactor.compact(bench.replica))
        await gate.arrived.wait()
        await bench.append(update_record(blob_id(1), BlobState(1, False, NEVER_MS)))
    assert await task
    assert bench.missing == [blob_id(1)]
    entry = bench.replica.store.lookup(blob_id(1))
    assert entry is not None
    assert (entry.present, entry.state) == (False, BlobState(1, False, NEVER_MS))


@pytest.mark.parametrize("call", ["create", "pwritev", "fsync"])
async def test_a_disk_without_room_puts_it_off(bench: Bench, call: str) -> None:
    bench.files.fail(call, errno.ENOSPC)
    assert not await bench.compactor.compact(bench.replica)
    assert bench.replica.store.state is StoreState.OPEN
    bench.files.mend()
    bench.check()
    assert await bench.compactor.compact(bench.replica)
    bench.check()


@pytest.mark.parametrize("call", ["create", "pwritev", "fsync", "rename", "sync_directory"])
async def test_a_disk_that_fails_a_write_fences_the_replica_and_loses_nothing(bench: Bench, call: str) -> None:
    bench.files.fail(call, errno.EIO)
    assert not await bench.compactor.compact(bench.replica)
    assert bench.replica.store.state is StoreState.FENCED
    assert "compaction could not" in bench.replicas.unready()[0]
    bench.files.mend()
    bench.check()
    await bench.replicas.reopen(7)
    assert bench.replicas.unready() == []
    bench.check()
    assert await bench.compactor.tick() >= 0
    bench.check()


@pytest.mark.parametrize("name", [".replaces", "identity.json"])
@pytest.mark.parametrize("call", ["create", "pwritev", "fsync"])
async def test_a_disk_that_is_full_when_the_copy_is_done_puts_it_off(bench: Bench, call: str, name: str) -> None:
    """The receipt found no room: the replica was fenced, until an operator came, by a disk that was full for a moment."""
    bench.files.fail(call, errno.ENOSPC, name=name)
    await bench.compactor.compact(bench.replica)
    assert bench.replica.store.state is StoreState.OPEN
    bench.files.mend()
    bench.check()
    while await bench.compactor.compact(bench.replica):
        pass
    bench.check()
    await bench.restart()
    bench.check()


async def test_a_full_disk_after_the_new_file_has_its_name_fences(bench: Bench) -> None:
    """Which files count is known only after a restart."""
    renamed: list[Path] = []

    def full(call: str, path: Path) -> None:
        if call == "rename" and path.name.endswith(".segment.tmp"):
            renamed.append(path)
        elif call == "sync_directory" and renamed:
            raise OSError(errno.ENOSPC, "full")

    bench.files.before = full
    assert not await bench.compactor.compact(bench.replica)
    bench.files.before = lambda _call, _path: None
    assert renamed
    assert bench.replica.store.state is StoreState.FENCED
    await bench.replicas.reopen(7)
    bench.check()


async def test_a_disk_that_fails_a_read_asks_for_a_scrub(bench: Bench) -> None:
    bench.files.fail("pread", errno.EIO, for_ever=True, name="segment")
    assert not await bench.compactor.compact(bench.replica)
    assert bench.damaged == [7]
    assert bench.replica.store.state is StoreState.OPEN


async def test_a_switch_that_has_begun_waits_for_the_index(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ended in the middle when the index could not be asked for lack of memory: its new segment counted beside the old."""
    forget(bench.replica.store)
    numbers = bench.replica.store.scrub.segment_numbers()
    lookups, refused = bench.replica.lookups, 3
    ask = lookups.ask

    def busy(wish: Wish) -> None:
        nonlocal refused
        if refused:
            refused -= 1
            raise Overloaded("no memory for it")
        ask(wish)

    monkeypatch.setattr(lookups, "ask", busy)
    assert await bench.compactor.compact(bench.replica)
    assert not refused
    assert not set(numbers) <= set(bench.replica.store.scrub.segment_numbers())
    bench.check()
    await bench.restart(rebuild=True)
    bench.check()


async def test_an_old_file_that_cannot_be_deleted_is_deleted_at_the_next_start(bench: Bench) -> None:
    bench.files.fail("unlink", errno.EIO)
    assert not await bench.compactor.compact(bench.replica)
    assert "could not delete what it replaced" in bench.replicas.unready()[0]
    bench.files.mend()
    bench.check()
    await bench.restart()
    bench.check()
    names = [name for name in bench.files.list_directory(bench.replica.store.directory) if "segment" in name]
    assert len(names) == bench.replica.store.segment_count()


async def test_a_segment_whose_damage_is_repaired_is_rewritten_without_it(bench: Bench) -> None:
    store = bench.replica.store
    entry = store.lookup(blob_id(2))
    assert entry is not None
    bench.files.flip(store.directory / segment_name(entry.segment), entry.offset + 700)
    store.compaction.damaged.add(entry.segment)
    assert not await bench.compactor.compact(bench.replica), "the index still points to it"
    await bench.append(put_record(blob_id(2), content(2, 14_000)))
    await bench.checkpoint()
    store.compaction.damaged.add(entry.segment)
    assert await bench.compactor.compact(bench.replica)
    bench.check()
    await bench.restart(rebuild=True)
    bench.check()
    assert bench.replica.store.opened.gaps == 0


async def test_without_room_nothing_is_tried(bench: Bench) -> None:
    bench.files.free = 0
    assert not await bench.compactor.compact(bench.replica)


async def test_stopping_is_no_failure_of_the_disk(bench: Bench) -> None:
    """ "Stopping" is an OSError, as everything that is unavailable: it used to fence the replica."""
    with Gate(bench.files, "pread", name="segment") as gate:
        task = asyncio.create_task(bench.compactor.compact(bench.replica))
        await gate.arrived.wait()
        bench.compactor.stop()
    with pytest.raises(ReplicaUnavailable, match="stopping"):
        await task
    assert bench.replica.store.state is StoreState.OPEN
    assert bench.damaged == []
    assert not [name for name in bench.files.list_directory(bench.replica.store.directory) if name.endswith(".tmp")]


async def test_a_damaged_index_is_rebuilt_and_the_replica_goes_on(bench: Bench) -> None:
    before = bench.replica
    rot_index(before.store, blob_id(2))
    assert not await bench.compactor.compact(before)
    await eventually(lambda: bench.replicas.get(7) not in (None, before))
    bench.check()


async def test_what_was_known_of_the_index_is_not_believed_for_long(bench: Bench) -> None:
    """A compaction much later used to plan with the figures of the one before, and find nothing to do."""
    while await bench.compactor.compact(bench.replica):
        known = dict(bench.compactor._known)
    assert known
    bench.compactor._known = known
    for number in range(2, 11, 2):
        await bench.append(update_record(blob_id(number), BlobState(0, True, NEVER_MS)))
    await bench.append(put_record(blob_id(50), content(50, 50_000)))
    await bench.checkpoint()
    bench.clock.advance(30 * DAY_S)
    assert await bench.compactor.compact(bench.replica)
