"""Every mutating call that a replica makes to its disk fails once, fails for ever, or is the last one before a crash.

A scenario runs the product's own node (datanode/wiring.py) over a disk in memory (fake_files.py), once to count its
mutating calls, and then once for every point: a call's number and what happens there. A transaction of LMDB, whose file is
real, counts as one call. After each point the disk is mended, the replica opened, and held against a ledger of what was
written and acknowledged.

What happens        at call n
    ONCE            EIO: a write leaves half of its bytes, a sync loses them and says nothing later
    FULL            ENOSPC, for the calls that need room
    EVER            EIO at this and at every later call
    CORRUPT         LMDB reports damage; only for its transactions
    LATE            LMDB reports damage, though the transaction is durable
    LAST            the process ends between call n and call n + 1; n = 0 is before the first, the highest n after all

A process ends by a power cut (each seed lets other un-synced bytes and names survive), by kill -9, or, where it still runs
after a failure, by reopening the fenced replica in place. All jobs run on one thread, in an order that is the same in every
run: a job starts a few turns of the event loop after it was submitted, and where a scenario asks for it, jobs that wait run
whole in front of every mutating call of the running one, as other disk threads would.
"""

from __future__ import annotations

import functools
import logging
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import lmdb
import pytest
import structlog

from ambry.blob import BlobState
from datanode.store.batch import Batch
from datanode.store.blob_store import BlobStore
from datanode.store.index import Checkpoint, Frozen, Index
from datanode.store.index_file import FILE_NAMES
from datanode.store.log import Run
from datanode.store.opening import steps as opening
from tests.support import virtual_loop
from tests.support.fake_clock import SettableClock
from tests.support.fake_files import FakeFiles
from tests.support.samples import (
    append,
    blob_id,
    content,
    put_record,
    stop_cleanly,
)
from tests.support.sweep_ledger import Image, Ledger, fingerprint
from tests.support.sweep_node import (
    INDEX_WRITE,
    PROBES,
    TAKES_ROOM,
    Happens,
    Node,
    Point,
    Scenario,
    Tap,
)

LOGGING = (
    "upkeep.compactor",
    "replicas",
    "store.blob_store",
    "store.opening.inventory",
    "store.opening.steps",
    "store.opening.replay",
)


@dataclass(slots=True)
class Tally:
    """`points` of a scenario, the `ends` of processes that they led to, and how many different disks those left."""

    points: int = 0
    ends: int = 0
    disks: int = 0
    failures: list[str] = field(default_factory=list)


class Sweep:
    """Takes scenarios through all their points, `seeds` power cuts each. Use with `with`."""

    def __init__(self, root: Path, *, seeds: int, first_seed: int = 0) -> None:
        self._root = root
        self._seeds = range(first_seed, first_seed + seeds)
        self._tap: Tap | None = None
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> Sweep:
        real_index_write, real_runs = Index.write, Batch._runs

        def index_write(index: Index, frozen: Frozen, checkpoint: Checkpoint) -> None:
            if self._tap is None:
                real_index_write(index, frozen, checkpoint)
            else:
                self._tap.write_index(real_index_write, index, frozen, checkpoint)

        def runs(batch: Batch) -> list[Run]:
            if self._tap is not None:
                self._tap.write_records(batch)
            return real_runs(batch)

        self._patch.setattr(Index, "write", index_write)
        self._patch.setattr(Batch, "_runs", runs)
        self._patch.setattr(opening, "PROGRESS_RECORDS", 5)
        # What a power cut leaves of LMDB's file is not the question here: a transaction is there whole or not at all.
        self._patch.setattr(lmdb, "open", functools.partial(lmdb.open, sync=False))
        quiet = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        for module in LOGGING:
            self._patch.setattr(f"datanode.{module}.log", quiet)
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.undo()

    def run(self, scenario: Scenario) -> Tally:
        root = self._root / scenario.name.replace(" ", "-")
        root.mkdir()
        disk, ledger, clock = FakeFiles(root), Ledger(), SettableClock()
        scenario.prepare(disk, ledger, clock)
        image = Image.of(disk, ledger, clock)
        tally = Tally()
        seen: set[int] = set()
        calls, _ = self._live(scenario, image, Point(1 << 30, Happens.LAST))
        for point in points_of(calls):
            tally.points += 1
            where = f"{scenario.name}: {point} ({name_of(calls, point)})"
            try:
                _, ends = self._live(scenario, image, point)
            except Exception as error:
                tally.failures.append(f"{where}: {error!r}")
                continue
            for how, left in ends:
                killed = point.happens is Happens.LAST
                for seed in (None, *self._seeds) if not how else self._seeds:
                    tally.ends += 1
                    try:
                        tally.disks += self._end(scenario, left, seed, killed and seed is None, seen)
                    except Exception as error:
                        end = how or ("kill -9" if seed is None else f"power cut, seed {seed}")
                        tally.failures.append(f"{where}, {end}: {error!r}")
        shutil.rmtree(root)
        return tally

    def _live(self, scenario: Scenario, image: Image, point: Point) -> tuple[list[str], list[tuple[str, Image]]]:
        node = Node(image, point)
        self._tap = node.tap
        try:
            virtual_loop.run(node.live(scenario))
            assert not node.unexpected, node.unexpected
            assert node.tap.fired or point.happens is Happens.LAST or scenario.interleaved, "nothing happened"
        finally:
            self._tap = None
            node.close()
        return node.tap.calls, node.ends

    def _end(self, scenario: Scenario, left: Image, seed: int | None, killed: bool, seen: set[int]) -> bool:
        """End the process and look at what is left. Returns whether no other point left just that."""
        disk = left.restore()
        if seed is not None:
            disk.crash(random.Random(seed))
        writes = [(write.record.id, write.record.state, write.acknowledged, write.sure) for write in left.ledger.writes]
        print_ = hash((killed, seed is None, left.index, fingerprint(disk), *writes, *left.ledger.given))
        if print_ in seen:
            return False
        seen.add(print_)
        self._verify(scenario, left, disk, killed)
        return True

    def _verify(self, scenario: Scenario, left: Image, disk: FakeFiles, killed: bool) -> None:
        ledger, now_ms = left.ledger, left.clock.wall_ms()
        stores: list[BlobStore] = []

        def opened() -> BlobStore:
            stores.append(left.open(disk))
            ledger.check(stores[-1], now_ms, killed=killed)
            nothing_lies_about(disk, left.directory, stores[-1])
            return stores[-1]

        try:
            store = opened()
            assert scenario.serving or not store.serving, "it says not found, though it may have lost something"
            lsn = append(store, put_record(blob_id(PROBES[1] + 1), content(0, 100)))[0]
            assert lsn >= max((end for _, end in ledger.given), default=0), "LSN given twice"
            before = changes(store, now_ms)
            assert max(before.values())[0] == lsn
            disk.kill()
            store.close()
            store = opened()
            assert changes(store, now_ms) == before, "opened again, it finds something else"
            stop_cleanly(store)
            (left.directory / "index" / FILE_NAMES[0]).unlink()
            store = opened()
            assert store.opened.rebuilt
            assert changes(store, now_ms) == before, "rebuilt from the log, it finds something else"
        finally:
            for store in stores:
                store.close()


def points_of(calls: list[str]) -> Iterator[Point]:
    for at in range(len(calls) + 1):
        yield Point(at, Happens.LAST)
    for at, call in enumerate(calls, 1):
        yield Point(at, Happens.ONCE)
        yield Point(at, Happens.EVER)
        if call in TAKES_ROOM:
            yield Point(at, Happens.FULL)
        if call == INDEX_WRITE:
            yield Point(at, Happens.CORRUPT)
            yield Point(at, Happens.LATE)


def name_of(calls: list[str], point: Point) -> str:
    return calls[point.at - 1] if point.at else "nothing"


def changes(store: BlobStore, now_ms: int) -> dict[bytes, tuple[int, BlobState, bool]]:
    """What peers are told; of an expired blob nobody needs to hear."""
    listed = [entry for entry in store.changes_since(0, 10_000) if not entry.state.expired(now_ms)]
    found = {entry.id: (entry.lsn, entry.state, entry.present) for entry in listed}
    assert len(found) == len(listed), "a blob stands once"
    assert [entry.lsn for entry in listed] == sorted(entry.lsn for entry in listed)
    return found


def files_below(disk: FakeFiles, directory: Path) -> list[Path]:
    if not disk.exists(directory):
        return []
    found = []
    for name in disk.list_directory(directory):
        try:
            disk.content(directory / name)
            found.append(directory / name)
        except KeyError:
            found += files_below(disk, directory / name)
    return found


def nothing_lies_about(disk: FakeFiles, directory: Path, store: BlobStore) -> None:
    names = [path.name for path in files_below(disk, directory)]
    assert not [name for name in names if name.endswith(".tmp")], f"left lying about: {names}"
    assert len([name for name in names if name.endswith(".segment")]) == store.segment_count(), names
