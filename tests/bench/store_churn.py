"""Row churn: whether the space of dead blobs comes back, over more than a year of a made-up clock.

Every day the same number of blobs of 20 to 50 KB; one in ten lives for a week; of the others three in
nine are deleted, at a random time within six months; the rest stays. Segments are small, so that there are many of them.
At the end the replica is opened again and every blob that must be there is read and compared.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import msgspec

from ambry.blob import NEVER_MS, BlobState
from ambry.checksum import block_checks, digest
from ambry.errors import AmbryError
from ambry.format.record import Record, RecordKind
from ambry.ids import BlobId, IdKind, uuid7
from datanode.config import CompactionSection, StoreSection
from datanode.parts import Parts
from tests.bench.store_blobs import PROPERTIES, delete_record, open_node
from tests.bench.store_figures import Samples
from tests.bench.store_job import Job, Wrong, on_loop
from tests.bench.store_machine import blocks_mb, written_mb
from tests.support.fake_clock import SettableClock

DAY_MS = 86_400_000
HALF_A_YEAR_DAYS = 182
TTL_DAYS = 7
EXPIRING_SHARE = 0.10
DELETED_SHARE = 0.30
SIZE_MIN, SIZE_MAX = 20_000, 50_000
SEGMENT_SIZE = 1 << 20
POOL_SIZE = 1 << 20
SHOWN_EVERY_DAYS = 20
COMPACTIONS_A_DAY_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """What becomes of one blob. Days count from 0; `dies_on` None: it stays."""

    number: int
    size: int
    expires: bool
    dies_on: int | None


def lives(day: int, count: int, chance: random.Random) -> Iterator[Life]:
    """The blobs of one day. Sizes are uniform; so are the times until a deletion."""
    for number in range(count):
        size = chance.randint(SIZE_MIN, SIZE_MAX)
        fate = chance.random()
        if fate < EXPIRING_SHARE:
            yield Life(number=number, size=size, expires=True, dies_on=day + TTL_DAYS)
        elif fate < EXPIRING_SHARE + DELETED_SHARE:
            dies_on = day + chance.randint(1, HALF_A_YEAR_DAYS)
            yield Life(number=number, size=size, expires=False, dies_on=dies_on)
        else:
            yield Life(number=number, size=size, expires=False, dies_on=None)


class Blob(msgspec.Struct, frozen=True):
    """One blob that was put; its bytes are `size` bytes of the pool from `start` on."""

    id: bytes
    start: int
    life: Life


class Year:
    """One replica and everything that was put into it."""

    def __init__(self, parts: Parts, clock: SettableClock, *, compacted: bool) -> None:
        self._parts = parts
        (self._replica,) = parts.replicas.all()
        self._clock = clock
        self._compacted = compacted
        self._chance = random.Random(8)
        self._pool = random.Random(9).randbytes(POOL_SIZE)
        self.blobs: list[Blob] = []
        self.put_bytes = 0

    async def day(self, day: int, count: int) -> None:
        """Put, delete, checkpoint, and compact as long as something is worth it."""
        due = [blob for blob in self.blobs if blob.life.dies_on == day and not blob.life.expires]
        await self._append([delete_record(blob.id, at_ms=self._clock.wall_ms()) for blob in due], sync=True)
        await self._append([self._put(life) for life in lives(day, count, self._chance)], sync=False)
        await self._parts.checkpointer.checkpoint(self._replica)
        if self._compacted:
            for _ in range(COMPACTIONS_A_DAY_MAX):
                if await self._parts.compactor.tick():
                    break

    def _put(self, life: Life) -> Record:
        now_ms = self._clock.wall_ms()
        self._clock.advance(0.001)
        raw_id = BlobId.make(
            kind=IdKind.SIMPLE,
            datacenter=1,
            account=2,
            container=3,
            partition=self._replica.partition.id,
            uuid=uuid7(self._clock.wall_ms(), self._chance),
        ).raw
        blob = Blob(raw_id, self._chance.randrange(POOL_SIZE - life.size), life)
        self.blobs.append(blob)
        self.put_bytes += life.size
        payload = self.content(blob)
        expires_at_ms = now_ms + TTL_DAYS * DAY_MS if life.expires else NEVER_MS
        return Record(
            kind=RecordKind.BLOB,
            id=raw_id,
            state=BlobState(0, False, expires_at_ms),
            written_at_ms=now_ms,
            properties=PROPERTIES,
            digest=digest(payload),
            checks=block_checks(payload),
            payload=payload,
        )

    def content(self, blob: Blob) -> memoryview:
        return memoryview(self._pool)[blob.start : blob.start + blob.life.size]

    async def _append(self, wanted: list[Record], *, sync: bool) -> None:
        waiting = []
        for record in wanted:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._replica.committer.append(record, sync=sync, done=partial(_settle, future))
            waiting.append(future)
        await asyncio.gather(*waiting)

    def alive(self, day: int) -> list[Blob]:
        """The blobs that users can read at the end of a day."""
        return [blob for blob in self.blobs if blob.life.dies_on is None or blob.life.dies_on > day]

    def needed_bytes(self, day: int) -> int:
        """What no compaction may take yet: the living, and the dead within their retention."""
        last = day - CompactionSection().deleted_retention_s // 86_400
        return sum(blob.life.size for blob in self.blobs if blob.life.dies_on is None or blob.life.dies_on > last)


def _settle(future: asyncio.Future[None], error: AmbryError | None) -> None:
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


def churn(job: Job) -> Samples:
    """More than a year, compacted when `number` is 1; the last entries of the series are those at the end."""
    return on_loop(_churn(job))


async def _churn(job: Job) -> Samples:
    plan = job.plan
    clock = SettableClock()
    config = StoreSection(segment_size_bytes=SEGMENT_SIZE, checkpoint_interval_s=1e9, reserve_bytes=0)
    parts = await open_node(job.path, 1, store=config, clock=clock)
    year = Year(parts, clock, compacted=bool(job.number))
    found: Samples = {"day": [], "disk": [], "live": []}
    midnight = clock.wall
    before = written_mb()
    for day in range(plan.churn_days):
        clock.advance(max(0, midnight + day * DAY_MS - clock.wall) / 1000)
        await year.day(day, plan.churn_puts_per_day)
        if day % SHOWN_EVERY_DAYS == SHOWN_EVERY_DAYS - 1 or day == plan.churn_days - 1:
            found["day"].append(float(day + 1))
            found["disk"].append(blocks_mb(job.path))
            found["live"].append(sum(blob.life.size for blob in year.alive(day)) / 1e6)
    found["needed"] = [year.needed_bytes(plan.churn_days - 1) / 1e6]
    found["put"] = [year.put_bytes / 1e6]
    found["dead"] = [found["put"][0] - found["needed"][0]]
    found["written"] = [written_mb() - before]
    if damaged := parts.healer.describe():
        raise Wrong(f"compaction met damage: {damaged}")
    await parts.close()
    await _verify(job, year, clock, plan.churn_days - 1)
    return found


async def _verify(job: Job, year: Year, clock: SettableClock, day: int) -> None:
    """After a restart every blob that must be there is, byte for byte."""
    config = StoreSection(segment_size_bytes=SEGMENT_SIZE)
    parts = await open_node(job.path, 1, store=config, clock=clock)
    store = parts.replicas[1].store
    for blob in year.alive(day):
        entry = store.lookup(blob.id)
        if entry is None or not entry.present:
            raise Wrong(f"blob {blob.id.hex()} is lost")
        payload = store.read(entry, 0, entry.payload_size, cached_only=False)
        if payload is None or payload.data != year.content(blob):
            raise Wrong(f"blob {blob.id.hex()} has other bytes than were put")
    await parts.close()
