"""One run of the sweep (store_sweep.py): a replica of a data node, a disk that fails or ends at a point, and a ledger."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

from ambry.errors import AmbryError, ConfigInvalid, IndexCorrupt, ReplicaFenced, ReplicaUnavailable
from ambry.format.record import Record
from ambry.network.pool import ClockSample
from ambry.protocol.messages.replication import ChangesCursor, ChangesRequest
from datanode.disk import Disk
from datanode.store.batch import Batch
from datanode.store.blob_store import BlobStore, StoreState
from datanode.store.index import Checkpoint, Frozen, Index
from tests.support import virtual_loop
from tests.support.fake_clock import SettableClock
from tests.support.fake_files import FakeFiles
from tests.support.node_parts import SILENT, lone_map, lone_node, store_section
from tests.support.samples import (
    PARTITION,
    blob_id,
    content,
    put_record,
)
from tests.support.sweep_ledger import Image, Ledger

P = ParamSpec("P")
T = TypeVar("T")

INDEX_WRITE = "index transaction"
MUTATING = frozenset(
    (
        "create",
        "allocate",
        "pwritev",
        "fsync",
        "fdatasync",
        "rename",
        "unlink",
        "truncate",
        "sync_directory",
        "make_directory",
    )
)
SYNCS = ("fsync", "fdatasync", "sync_directory")
TAKES_ROOM = ("create", "allocate", "pwritev")
PROBES = (900, 901)
EVERYTHING = 1 << 60
TURNS_BEFORE_A_JOB = 2
STUCK_S = 0.005
"""A job beside another that takes longer waits for a lock of the other's; where it does not, no harm is done."""


class PowerCut(BaseException):
    """Nothing runs any more."""


class Happens(StrEnum):
    ONCE = "fails once"
    FULL = "finds no room"
    EVER = "fails for ever"
    CORRUPT = "reports damage"
    LATE = "reports damage after its commit"
    LAST = "is the last"


@dataclass(frozen=True, slots=True)
class Point:
    at: int
    happens: Happens

    def __str__(self) -> str:
        return f"call {self.at} {self.happens}"


class Tap:
    """Stands between the product and the disk: counts, fails, cuts."""

    def __init__(self, point: Point, ledger: Ledger) -> None:
        self.point = point
        self.ledger = ledger
        self.calls: list[str] = []
        self.armed = False
        self.off = False
        self.fired = ""
        self.deletes_only = False
        """Whether the failed call only took old files away."""
        self.on_off: Callable[[], None] = lambda: None
        self.between: Callable[[], None] = lambda: None
        self._deleting = False

    def cut(self) -> None:
        self.off = True
        self.on_off()
        raise PowerCut

    def before(self, call: str, path: Path) -> None:
        if self.off:
            raise PowerCut
        if not self.armed or (call not in MUTATING and call != INDEX_WRITE):
            return
        if call in SYNCS:
            self.between()
        if self.off:
            raise PowerCut
        self.calls.append(call)
        self._deleting = (self._deleting or call == "unlink") and call in ("unlink", "sync_directory")
        at, happens, count = self.point.at, self.point.happens, len(self.calls)
        if happens is Happens.LAST:
            if count > at:
                self.cut()
        elif (count == at and happens is not Happens.LATE) or (count > at and happens is Happens.EVER):
            if count == at:
                self.fired, self.deletes_only = call, self._deleting
            if call == INDEX_WRITE and happens is not Happens.ONCE:
                raise IndexCorrupt("planted")
            number = errno.ENOSPC if happens is Happens.FULL else errno.EIO
            raise OSError(number, os.strerror(number), str(path))

    def write_index(self, real: Callable[[Index, Frozen, Checkpoint], None], index: Index, *what: Any) -> None:
        try:
            self.before(INDEX_WRITE, Path())
            real(index, *what)
            if self.armed and self.point == Point(len(self.calls), Happens.LATE):
                self.fired = INDEX_WRITE
                raise IndexCorrupt("planted, after the commit")
        except IndexCorrupt as error:
            index._file._on_corrupt(error.message)
            raise

    def write_records(self, batch: Batch) -> None:
        self.ledger.given += [(place.lsn, place.lsn + place.size) for place in batch.places]


class Job(Generic[T]):
    """A call on its way to a disk thread. `run` calls, `settle` tells its future, on the event loop's thread."""

    def __init__(self, function: Callable[[], T]) -> None:
        self.future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._function = function
        self._outcome: T | Exception | None = None
        self._ended = False

    def run(self) -> None:
        # After a power cut the future stays as it is: nobody learns anything any more.
        with suppress(PowerCut):
            try:
                self._outcome = self._function()
            except Exception as error:
                self._outcome = error
            self._ended = True

    def settle(self) -> None:
        if self.future.cancelled():
            return
        if isinstance(self._outcome, Exception):
            self.future.set_exception(self._outcome)
        elif self._ended:
            self.future.set_result(self._outcome)  # type: ignore[arg-type]


class TurnDisk(Disk):
    """Runs its jobs on the event loop's thread, a few turns after they came."""

    def __init__(self) -> None:
        super().__init__(threads=1, clock=SettableClock())
        self.opened: list[BlobStore] = []
        """Every store that a job opened."""
        self._waiting: list[Job[Any]] = []
        self._beside: list[tuple[Job[Any], threading.Thread]] = []
        self._unsettled: dict[asyncio.Future[Any], None] = {}
        self._abandoned = False

    def abandon(self) -> None:
        """The process is gone: who waits for a job, or will, is cancelled, since nothing would ever wake it."""
        self._abandoned = True
        self._waiting.clear()
        for future in list(self._unsettled):
            future.cancel()

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        def call() -> T:
            result = function(*args, **kwargs)
            if isinstance(result, BlobStore):
                self.opened.append(result)
            return result

        job = Job(call)
        if self._abandoned:
            job.future.cancel()
            return job.future
        self._unsettled[job.future] = None
        job.future.add_done_callback(lambda future: self._unsettled.pop(future, None))
        self._waiting.append(job)
        self._later(job, TURNS_BEFORE_A_JOB)
        return job.future

    def submit_patiently(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        return self.submit(function, *args, **kwargs)

    def submit_end(self, function: Callable[[], T]) -> asyncio.Future[T]:
        return self.submit(function)

    def _later(self, job: Job[Any], turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(self._later, job, turns - 1)
        elif job in self._waiting:
            self._waiting.remove(job)
            job.run()
            beside, self._beside = self._beside, []
            for _, thread in beside:
                thread.join()
            for ended in (*(other for other, _ in beside), job):
                ended.settle()

    def run_beside(self) -> None:
        """Run whole what waits, before the running job goes on; what stands at a lock goes on later."""
        if threading.current_thread() is not threading.main_thread():
            return
        while self._waiting:
            job = self._waiting.pop(0)
            self._beside.append((job, threading.Thread(target=job.run)))
            self._beside[-1][1].start()
        for _, thread in self._beside:
            thread.join(STUCK_S)


class Node:
    """What a scenario drives: one replica of a data node."""

    def __init__(self, image: Image, point: Point) -> None:
        self.ledger = image.ledger.copy()
        self.clock = image.clock
        self.disk = image.restore()
        self.tap = Tap(point, self.ledger)
        self.disk.before = self.tap.before
        self.unexpected: list[object] = []
        self.ends: list[tuple[str, Image]] = []
        """The disks that the run may leave, each with the name of the process's end; "" stands for any end."""
        self.refused = False
        """Whether it did not start, as there was nowhere to keep anything (datanode/data_directory.py)."""
        self.turns = TurnDisk()
        self.parts = lone_node(
            self.disk,
            self.disk.root,
            clock=self.clock,
            disk=self.turns,
            cluster_map=lone_map(with_silent_peer=True),
            store=store_section(open_files_max=3),
        )
        self.replicas = self.parts.replicas

    @property
    def store(self) -> BlobStore | None:
        replica = self.replicas.get(PARTITION)
        return replica.store if replica is not None else None

    async def open(self) -> None:
        await self.parts.open_replicas()

    async def write(self, *records: Record, sync: bool = True) -> list[AmbryError | None]:
        """Submit some records in one turn, so that they are one batch. Returns the outcomes."""
        return await asyncio.gather(*(self._submit(record, sync) for record in records))

    async def put(self, *numbers: int, size: int = 9_000, sync: bool = True) -> list[AmbryError | None]:
        return await self.write(*(put_record(blob_id(number), content(number, size)) for number in numbers), sync=sync)

    def _submit(self, record: Record, sync: bool) -> asyncio.Future[AmbryError | None]:
        outcome: asyncio.Future[AmbryError | None] = asyncio.get_running_loop().create_future()
        write = self.ledger.add(record)

        def done(error: AmbryError | None) -> None:
            if self.tap.off:
                return
            if error is None:
                if store.state is not StoreState.OPEN:
                    self.unexpected.append("acknowledged by a fenced replica")
                write.acknowledged = True
                for covered in self.ledger.acknowledged() if sync else []:
                    covered.sure = True
            outcome.set_result(error)

        try:
            replica = self.replicas[PARTITION]
        except ReplicaUnavailable as refusal:
            outcome.set_result(refusal)
            return outcome
        store = replica.store
        replica.committer.append(record, sync=sync, done=done)
        return outcome

    async def checkpoint(self) -> None:
        replica = self.replicas.get(PARTITION)
        covered = self.ledger.acknowledged()
        if replica is not None and await self.parts.checkpointer.checkpoint(replica) and not self.tap.off:
            for write in covered:
                write.sure = True

    async def compact(self) -> None:
        replica = self.replicas.get(PARTITION)
        if replica is not None:
            # The peer has everything, and its clock agrees: nothing is kept for its sake.
            self.parts.clocks.sampled(SILENT.name, ClockSample(peer=SILENT.name, offset_ms=0.0, half_round_trip_ms=1.0))
            assert self.parts.clocks.judge.doubt() == ""
            cursor = ChangesCursor(PARTITION, replica.store.incarnation, replica.store.end_lsn, durable_lsn=EVERYTHING)
            await self.parts.feed.changes(ChangesRequest([cursor], 0, 0, 0, SILENT.name))
        # Old files that could not be deleted: the worker logs it, and the next start deletes them.
        with suppress(OSError, ReplicaUnavailable):
            if replica is not None:
                await self.parts.compactor.compact(replica)

    def _note_unexpected(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if isinstance(context.get("exception"), Exception):
            self.unexpected.append(context)

    async def live(self, scenario: Scenario) -> None:
        """Run the scenario up to its point, and what follows from a failure there."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._note_unexpected)
        off: asyncio.Future[None] = loop.create_future()
        self.tap.on_off = lambda: None if off.done() else off.set_result(None)
        task = loop.create_task(self._run(scenario))
        await asyncio.wait((task, off), return_when=asyncio.FIRST_COMPLETED)
        self.ends.append(("", Image.of(self.disk, self.ledger, self.clock)))
        if task.done() and not self.tap.off:
            await task
            if self.tap.fired and not self.refused:
                self.ends.append(("in place", await self._reopen_in_place()))
        self.tap.off = True
        self.turns.abandon()

    async def _run(self, scenario: Scenario) -> None:
        self.tap.armed = scenario.opening
        if scenario.interleaved:
            self.tap.between = self.turns.run_beside
        try:
            await self.open()
        except ConfigInvalid:
            self.refused = True
            return
        self.tap.armed = True
        before = self.store
        await scenario.run(self)
        await virtual_loop.settle()
        if self.tap.fired:
            await self._probe(before if not scenario.opening else None)

    async def _probe(self, before: BlobStore | None) -> None:
        """After a failure a replica acknowledges nothing, or it has taken no harm."""
        store = self.store
        must_fence = self.tap.point.happens in (Happens.ONCE, Happens.EVER) and not self.tap.deletes_only
        outcome = (await self.put(PROBES[0]))[0]
        if store is None:
            assert isinstance(outcome, ReplicaUnavailable)
        elif store.state is StoreState.FENCED:
            assert isinstance(outcome, ReplicaFenced)
            assert not store.serving
        elif self.tap.point.happens is Happens.EVER:
            assert outcome is not None
            assert store.state is StoreState.FENCED  # type: ignore[comparison-overlap]
        else:
            assert outcome is None
            assert not (must_fence and store is before), f"{self.tap.fired} failed, and nobody minded"

    async def _reopen_in_place(self) -> Image:
        self.tap.armed = False
        while self.replicas.unavailable().get(PARTITION, {}).get("state") == "reopening":  # noqa: ASYNC110 - tells nobody
            await asyncio.sleep(1.0)  # where there was no room it is tried again by itself
        if self.store is None or self.store.state is StoreState.FENCED:
            await self.replicas.reopen(PARTITION)
            for write in self.ledger.writes:
                write.acknowledged = write.sure  # a failed sync may have taken what was not synced
        assert await self.put(PROBES[1]) == [None]
        assert self.store is not None
        self.ledger.check(self.store, self.clock.wall_ms(), killed=False)
        await self.parts.close()
        return Image.of(self.disk, self.ledger, self.clock)

    def close(self) -> None:
        for store in self.turns.opened:
            store.close()
        self.turns.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """`opening`: the opening is what the faults hit. `serving`: whether the replica may keep its authority."""

    name: str
    prepare: Callable[[FakeFiles, Ledger, SettableClock], None]
    run: Callable[[Node], Awaitable[None]]
    opening: bool = False
    interleaved: bool = False
    serving: bool = True
