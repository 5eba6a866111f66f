"""The scenarios of the sweep (tests/support/store_sweep.py): one for each thing that changes a replica's files."""

from __future__ import annotations

import asyncio
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from ambry.blob import NEVER_MS, BlobState
from ambry.format.record import Record
from datanode.store.blob_store import BlobStore
from datanode.store.compaction.copy import DamagedInput
from datanode.store.retention import Retention
from datanode.store.segment import segment_name
from tests.support import virtual_loop
from tests.support.clusters import rounds, seed_of
from tests.support.fake_clock import SettableClock
from tests.support.fake_files import FakeFiles
from tests.support.pieces import all_of
from tests.support.samples import (
    DELETED,
    append,
    blob_id,
    checkpoint,
    content,
    copy_segments,
    open_replica,
    put_copy_in_place,
    put_record,
    stop_cleanly,
    update_record,
)
from tests.support.store_sweep import Sweep, Tally
from tests.support.sweep_ledger import DIRECTORY, Ledger
from tests.support.sweep_node import Node, Scenario

WRITTEN = 1_700_000_000_000
DAY_MS = 86_400_000
EXPIRED = BlobState(0, False, WRITTEN + 5)
UNDELETED = BlobState(1, False, NEVER_MS)
TTL = BlobState(0, False, WRITTEN + 400 * DAY_MS)
LONGER = BlobState(0, False, WRITTEN + 500 * DAY_MS)
ALL = Retention(now_ms=WRITTEN + 40 * DAY_MS, deleted_ms=7 * DAY_MS, tombstone_ms=30 * DAY_MS, horizon_lsn=1 << 60)


# --- what a run begins with ---


def begun(disk: FakeFiles, clock: SettableClock) -> BlobStore:
    store = open_replica(disk, disk.root / DIRECTORY, clock=clock)
    store.serving = True
    return store


def write(store: BlobStore, ledger: Ledger, *records: Record, sync: bool = True) -> None:
    append(store, *records, sync=sync)
    for record in records:
        made = ledger.add(record)
        made.acknowledged = made.sure = sync


def nothing(disk: FakeFiles, ledger: Ledger, clock: SettableClock) -> None:
    """A replica that never was."""


def some_blobs(disk: FakeFiles, ledger: Ledger, clock: SettableClock) -> None:
    """Six blobs, one of them deleted, fill most of the first segment."""
    store = begun(disk, clock)
    for number in range(1, 6):
        write(store, ledger, put_record(blob_id(number), content(number, 9_000)))
    write(store, ledger, put_record(blob_id(6), content(6, 9_000), state=TTL), update_record(blob_id(5), DELETED))
    stop_cleanly(store)


def dead_blobs(disk: FakeFiles, ledger: Ledger, clock: SettableClock) -> None:
    """Three segments with blobs in every state that compaction treats in its own way, and one behind them."""
    stop_cleanly(fill_with_dead_blobs(disk, ledger, clock))


def fill_with_dead_blobs(disk: FakeFiles, ledger: Ledger, clock: SettableClock) -> BlobStore:
    store = begun(disk, clock)
    for number in range(1, 19):
        state = EXPIRED if number % 3 == 0 else BlobState(0, False, NEVER_MS)
        write(store, ledger, put_record(blob_id(number), content(number, 9_000), state=state))
    write(store, ledger, *(update_record(blob_id(number), DELETED) for number in range(2, 19, 3)))
    write(
        store, ledger, deleted_on(20, 1), deleted_on(38, 4), deleted_on(38, 10), update_record(blob_id(10), UNDELETED)
    )
    for number in (21, 22):
        write(store, ledger, put_record(blob_id(number), content(number, 50_000)))
    ledger.dead = {blob_id(number) for number in (1, *range(2, 19, 3), *range(3, 19, 3))}
    checkpoint(store)
    clock.wall = ALL.now_ms
    return store


def deleted_on(day: int, number: int) -> Record:
    return msgspec.structs.replace(update_record(blob_id(number), DELETED), written_at_ms=WRITTEN + day * DAY_MS)


def a_torn_tail(disk: FakeFiles, ledger: Ledger, clock: SettableClock) -> None:
    """The last append before a kill reached the disk in part."""
    some_blobs(disk, ledger, clock)
    store = open_replica(disk, disk.root / DIRECTORY, clock=clock)
    assert store.serving
    for number in (7, 8, 9):
        write(store, ledger, put_record(blob_id(number), content(number, 9_000)), sync=number == 7)
    entry = store.lookup(blob_id(9))
    assert entry is not None
    path = disk.root / DIRECTORY / segment_name(entry.segment)
    disk.open(path).fdatasync()
    disk.overwrite(path, entry.offset + 5_000, bytes(2_000))
    disk.kill()
    store.close()


def killed_before_the_switch(disk: FakeFiles, ledger: Ledger, clock: SettableClock) -> None:
    """The new file counts, and the index does not know."""
    store = fill_with_dead_blobs(disk, ledger, clock)
    inputs, output = store.compaction.plan_output(store.scrub.segment_numbers()[:-1])
    copied = all_of(store.compaction.copier(ALL).run(inputs, output))
    store.compaction.put_in_place(copied)
    disk.kill()
    store.close()


def killed_while_deleting(disk: FakeFiles, ledger: Ledger, clock: SettableClock) -> None:
    """The index points to the new file, and an old one is left."""
    store = fill_with_dead_blobs(disk, ledger, clock)
    numbers = store.scrub.segment_numbers()[:-1]
    put_copy_in_place(store, copy_segments(store, numbers, ALL), ALL)
    store.compaction.delete_files(store.compaction.retire(numbers[1:]))
    disk.kill()
    store.close()


def no_index(disk: FakeFiles, ledger: Ledger, clock: SettableClock) -> None:
    """The index is gone, and the end of the log is torn."""
    fill_with_dead_blobs(disk, ledger, clock).close()
    shutil.rmtree(disk.root / DIRECTORY / "index")


# --- what it does ---


async def put(node: Node) -> None:
    await node.put(30)
    await node.put(31)


async def put_in_memory(node: Node) -> None:
    await node.put(30, sync=False)
    await node.put(31, sync=False)
    await node.put(32)
    await node.put(33, sync=False)


async def put_a_batch(node: Node) -> None:
    await node.put(30, size=1_000)
    await node.put(31, 32, 33, 34, size=20_000)
    await node.put(35, 36, size=40_000, sync=False)
    await node.put(37)


async def change_states(node: Node) -> None:
    await node.write(update_record(blob_id(1), DELETED))
    await node.write(update_record(blob_id(6), LONGER), update_record(blob_id(5), UNDELETED))
    await node.write(update_record(blob_id(2), DELETED), sync=False)
    await node.write(update_record(blob_id(2), UNDELETED))


async def make_checkpoints(node: Node) -> None:
    await node.put(30)
    await node.checkpoint()
    await node.put(31, sync=False)
    await node.checkpoint()
    await node.put(32, sync=False)
    await node.write(update_record(blob_id(30), DELETED), sync=False)
    await node.parts.close()


async def checkpoint_meanwhile(node: Node) -> None:
    for number, turns in ((30, 0), (40, 3), (50, 6)):
        await checkpoint_beside_a_put(node, number, turns, size=9_000)


async def checkpoint_beside_a_put(node: Node, number: int, turns: int, size: int) -> None:
    await node.put(number, size=size, sync=False)
    task = asyncio.create_task(node.checkpoint())
    for _ in range(turns):
        await asyncio.sleep(0)
    await node.put(number + 1, number + 2, size=size)
    await task


async def checkpoint_before_a_put(node: Node) -> None:
    await checkpoint_beside_a_put(node, 30, turns=3, size=500)


async def checkpoint_behind_a_put(node: Node) -> None:
    await checkpoint_beside_a_put(node, 30, turns=0, size=500)


async def compact(node: Node) -> None:
    await node.put(30)
    await node.compact()
    await node.put(31)


async def compact_meanwhile(node: Node) -> None:
    async def write_on() -> None:
        for number in (31, 32, 33):
            await node.put(number, size=30_000, sync=number != 32)
            await node.write(update_record(blob_id(number - 1), DELETED), update_record(blob_id(4), UNDELETED))
        await node.write(update_record(blob_id(7), DELETED), update_record(blob_id(13), TTL))

    await asyncio.gather(node.compact(), write_on(), node.checkpoint())
    await node.put(40)


async def rebuild(node: Node) -> None:
    await node.put(30, sync=False)
    if node.store is not None:
        node.replicas.rebuild(node.store, "asked for")
    await node.put(31)
    await virtual_loop.settle()
    await node.put(32)


async def one_more(node: Node) -> None:
    await node.put(30)


# --- the sweep ---

SEEDS = 3
MANY_SEEDS = 30
POINTS_MIN = 1_000

SCENARIOS = (
    Scenario(name="first start", prepare=nothing, run=one_more, opening=True, serving=False),
    Scenario(name="put", prepare=some_blobs, run=put),
    Scenario(name="put in memory", prepare=some_blobs, run=put_in_memory),
    Scenario(name="seal", prepare=some_blobs, run=put_a_batch),
    Scenario(name="delete", prepare=some_blobs, run=change_states),
    Scenario(name="checkpoint", prepare=some_blobs, run=make_checkpoints),
    Scenario(name="checkpoint before a put", prepare=some_blobs, run=checkpoint_before_a_put, interleaved=True),
    Scenario(name="checkpoint behind a put", prepare=some_blobs, run=checkpoint_behind_a_put, interleaved=True),
    Scenario(name="checkpoint meanwhile", prepare=some_blobs, run=checkpoint_meanwhile, interleaved=True),
    Scenario(name="compaction", prepare=dead_blobs, run=compact),
    Scenario(name="compaction meanwhile", prepare=dead_blobs, run=compact_meanwhile, interleaved=True),
    Scenario(name="recovery", prepare=a_torn_tail, run=one_more, opening=True, serving=False),
    Scenario(name="recovery before the switch", prepare=killed_before_the_switch, run=one_more, opening=True),
    Scenario(name="recovery while deleting", prepare=killed_while_deleting, run=one_more, opening=True),
    Scenario(name="rebuild", prepare=no_index, run=one_more, opening=True, serving=False),
    Scenario(name="rebuild in place", prepare=some_blobs, run=rebuild),
)


def swept(root: Path, scenario: Scenario, *, seeds: int, first_seed: int = 0) -> Tally:
    begun_at = time.perf_counter()
    with Sweep(root, seeds=seeds, first_seed=first_seed) as sweep:
        tally = sweep.run(scenario)
    seconds = time.perf_counter() - begun_at
    print(
        f"sweep: {scenario.name}: {tally.points:,} points, {tally.ends:,} ends of a process, {tally.disks:,} different disks, "
        f"seeds {first_seed} to {first_seed + seeds - 1}, {seconds:.1f} s"
    )
    return tally


@pytest.fixture(scope="module")
def points() -> Iterator[dict[str, int]]:
    """By scenario. The sum is printed, and must not shrink."""
    counted: dict[str, int] = {}
    yield counted
    if len(counted) == len(SCENARIOS):
        total = sum(counted.values())
        print(f"\nsweep: {total:,} points: " + ", ".join(f"{name} {count}" for name, count in counted.items()))
        assert total >= POINTS_MIN, "the sweep has shrunk"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_call_fails_once_or_for_ever_or_is_the_last(
    tmp_path: Path, scenario: Scenario, points: dict[str, int]
) -> None:
    tally = swept(tmp_path, scenario, seeds=SEEDS)
    points[scenario.name] = tally.points
    assert not tally.failures, "\n".join(tally.failures)


@pytest.mark.fault
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_call_with_many_power_cuts(tmp_path: Path, scenario: Scenario) -> None:
    """AMBRY_FAULT_ROUNDS scales the number of power cuts at each point, AMBRY_TEST_SEED sets the first one's seed."""
    tally = swept(tmp_path, scenario, seeds=MANY_SEEDS * rounds(1), first_seed=seed_of("sweep"))
    assert not tally.failures, "\n".join(tally.failures)


# --- what it found, reduced ---


def test_what_was_cut_off_outlasts_a_power_cut(tmp_path: Path) -> None:
    for seed in range(8):
        root = tmp_path / str(seed)
        root.mkdir()
        disk, ledger, clock = FakeFiles(root), Ledger(), SettableClock()
        a_torn_tail(disk, ledger, clock)
        open_replica(disk, root / DIRECTORY, clock=clock).close()
        disk.crash(random.Random(seed))
        open_replica(disk, root / DIRECTORY, clock=clock).close()
        assert disk.exists(root / DIRECTORY / "quarantine"), f"seed {seed}"
        assert len(disk.list_directory(root / DIRECTORY / "quarantine")) == 1


def test_a_sealed_segment_that_was_cut_short_does_not_hold_up_compaction_for_ever(tmp_path: Path) -> None:
    disk, ledger, clock = FakeFiles(tmp_path), Ledger(), SettableClock()
    store = fill_with_dead_blobs(disk, ledger, clock)
    number = store.scrub.segment_numbers()[0]
    disk.cut(tmp_path / DIRECTORY / segment_name(number), 20_000)
    calls = 0

    def before(_call: str, _path: Path) -> None:
        nonlocal calls
        calls += 1
        assert calls < 5_000, "it reads for ever"

    disk.before = before
    inputs, output = store.compaction.plan_output([number])
    with pytest.raises(DamagedInput):
        all_of(store.compaction.copier(ALL).run(inputs, output))
    store.close()
