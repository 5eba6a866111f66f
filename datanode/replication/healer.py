"""Blobs that should be here and are not, or are damaged: looked for at every peer until they are found or gone.

In memory only: a damaged record is found again by the next read of it, and a missing one lies behind the durable token.
What a disk could not read once it may read later, when nobody else has it: so it is tried here again, too.
A tick looks at what is due, and at replicas without authority: what is well costs nothing, however much of it there is.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import count
from typing import Any, NamedTuple

from ambry.blob import DatedState
from ambry.clock import Clock
from ambry.clustermap.model import Node
from ambry.errors import AmbryError, Overloaded
from ambry.format import record as record_format
from ambry.ids import BlobId
from ambry.network.pool import PeerPool
from ambry.service.logs import get_logger
from datanode import metrics
from datanode.disk import Disk
from datanode.replicas import Replica, Replicas
from datanode.replication.authority import Authority
from datanode.replication.cursor import Cursors
from datanode.replication.decide import joined_state
from datanode.replication.intake import Intake
from datanode.replication.recovery import Recovery

log = get_logger()

WANTED_MAX = 100_000
PER_TICK = 64
RETRY_MIN_S = 0.2
RETRY_MAX_S = 60.0


@dataclass(slots=True)
class Wanted:
    partition: int
    dated: DatedState
    since: float
    due: float
    attempts: int = 0
    last_error: str = ""


class Alarm(NamedTuple):
    """When a wanted blob is due, monotonic, in seconds; `number` keeps those of one moment in order."""

    due: float
    number: int
    blob_id: bytes
    item: Wanted


class Healer:
    """The list of wanted blobs, and the work of finding them."""

    def __init__(
        self,
        *,
        own: Node,
        replicas: Replicas,
        pool: PeerPool,
        cursors: Cursors,
        authority: Authority,
        recovery: Recovery,
        intake: Intake,
        disk: Disk,
        clock: Clock,
    ) -> None:
        self._own = own
        self._replicas = replicas
        self._pool = pool
        self._cursors = cursors
        self._authority = authority
        self._recovery = recovery
        self._intake = intake
        self._disk = disk
        self._clock = clock
        self._wanted: dict[bytes, Wanted] = {}
        self._alarms: list[Alarm] = []
        """A heap. One whose blob is due at another time by now, or is not wanted any more, counts for nothing."""
        self._numbers = count()
        metrics.WANTED_AGE.set_function(self.oldest_s)

    def want(self, partition: int, blob_id: bytes, dated: DatedState) -> None:
        """Look for a blob. Raises Overloaded when the list is full: whoever follows a log must stop then."""
        known = self._wanted.get(blob_id)
        if known is not None:
            known.dated = known.dated.joined(dated)
            return
        if len(self._wanted) >= WANTED_MAX:
            raise Overloaded(f"{WANTED_MAX} blobs are wanted already; peers that hold them must come back first")
        now = self._clock.monotonic()
        item = self._wanted[blob_id] = Wanted(partition, dated, now, now)
        self._set_alarm(blob_id, item)
        metrics.WANTED.set(len(self._wanted))

    def note_damaged(self, replica: Replica, blob_id: bytes) -> None:
        """A record of ours cannot be read; a full list loses nothing, the next read finds it again."""
        if len(self._wanted) < WANTED_MAX:
            self.want(replica.partition.id, blob_id, DatedState())

    def wants(self, partition: int, blob_id: bytes) -> bool:
        item = self._wanted.get(blob_id)
        return item is not None and item.partition == partition

    async def search(self, replica: Replica, blob_id: bytes) -> dict[str, str] | None:
        """Ask every other replica once for a blob. None: it is here now. Else why each could not say; empty: it has none."""
        item = self._wanted.get(blob_id)
        if item is None or await self._intake.settle(replica, blob_id, item.dated):
            return None
        said: dict[str, str] = {}
        for node in replica.partition.others(self._own.name):
            try:
                failed = await self._intake.fetch(replica, self._pool[node.name], {blob_id: item.dated})
            except AmbryError as error:
                said[node.name] = str(error)
                continue
            if not failed:
                await self.look_again(blob_id)
                return None
            said[node.name] = ""
        if await self._reads_well(replica, blob_id):
            await self.look_again(blob_id)
            return None
        return said

    async def look_again(self, blob_id: bytes) -> None:
        """Something was learned about a wanted blob."""
        item = self._wanted.get(blob_id)
        if item is not None:
            await self._try(blob_id, item)

    def describe(self) -> list[dict[str, Any]]:
        """What the admin port shows, at most a thousand."""
        now = self._clock.monotonic()
        return [
            {
                "blob": blob_id.hex(),
                "id": str(BlobId(blob_id)),
                "partition": item.partition,
                "seconds": round(now - item.since, 1),
                "attempts": item.attempts,
                "last_error": item.last_error,
            }
            for blob_id, item in list(self._wanted.items())[:1000]
        ]

    def oldest_s(self) -> float:
        """For how long the blob is looked for that is looked for the longest; 0 when none is. On any thread."""
        item = next(iter(list(self._wanted.values())), None)  # they stand in the order in which they came
        return 0.0 if item is None else self._clock.monotonic() - item.since

    async def tick(self) -> float:
        """Try the wanted blobs that are due; the tick of a worker."""
        now = self._clock.monotonic()
        for _ in range(PER_TICK):
            if not self._alarms or self._alarms[0].due > now:
                break
            alarm = heapq.heappop(self._alarms)
            if self._wanted.get(alarm.blob_id) is alarm.item and alarm.item.due == alarm.due:
                await self._try(alarm.blob_id, alarm.item)
        metrics.WANTED.set(len(self._wanted))
        # A blob that was found may have been the last that kept a replica from its authority. What those that have it need
        # shows in the answers of peers, and is looked at there.
        for replica in self._authority.some_unsure(PER_TICK):
            if self._replicas.get(replica.partition.id) is replica:
                self._authority.check(replica)
                self._recovery.check(replica)
        self._recovery.look()
        return RETRY_MIN_S

    def _set_alarm(self, blob_id: bytes, item: Wanted) -> None:
        heapq.heappush(self._alarms, Alarm(item.due, next(self._numbers), blob_id, item))

    async def _try(self, blob_id: bytes, item: Wanted) -> None:
        replica = self._replicas.get(item.partition)
        if replica is not None and await self._get(replica, blob_id, item):
            self._wanted.pop(blob_id, None)
            replica.store.damaged.discard(blob_id)  # of one that is deleted or long expired nobody needs the bytes
            metrics.REPAIR_S.observe(self._clock.monotonic() - item.since)
            self._cursors.found(item.partition, blob_id)
            log.info("blob healed", blob=blob_id.hex(), partition=item.partition, attempts=item.attempts)
            return
        item.attempts += 1
        item.due = self._clock.monotonic() + min(RETRY_MAX_S, RETRY_MIN_S * 2 ** min(item.attempts, 20))
        self._set_alarm(blob_id, item)

    async def _get(self, replica: Replica, blob_id: bytes, item: Wanted) -> bool:
        dated = item.dated
        here = await self._intake.settle(replica, blob_id, dated) or await self._fetch_anywhere(replica, blob_id, item)
        # More may have been learned about it in the meantime: then the next tick brings that in.
        return here and item.dated == dated

    async def _fetch_anywhere(self, replica: Replica, blob_id: bytes, item: Wanted) -> bool:
        # A silent peer last: it would hold up every blob by a timeout.
        nodes = sorted(
            replica.partition.others(self._own.name),
            key=lambda node: (not self._pool[node.name].usable, node.datacenter_id != self._own.datacenter_id),
        )
        async with replica.lookups.hold([blob_id]) as here:
            dated = joined_state(here.get(blob_id), item.dated)
        for node in nodes:
            try:
                failed = await self._intake.fetch(replica, self._pool[node.name], {blob_id: dated})
            except AmbryError as error:
                item.last_error = str(error)
                continue
            if not failed:
                return True
            item.last_error = f"{node.name} does not hold it"
        return await self._reads_well(replica, blob_id) and await self._intake.settle(replica, blob_id, dated)

    async def _reads_well(self, replica: Replica, blob_id: bytes) -> bool:
        """Whether our own record, which could not be read, can be by now, whole and verified.

        Then it is appended again: in other blocks of that disk, and peers that were told that it is not here hear of it.
        """
        store = replica.store
        async with replica.lookups.hold([blob_id]) as here:
            entry = here.get(blob_id)
        if entry is None or not entry.present or blob_id not in store.damaged:
            return False
        try:
            image = await self._disk.submit(store.read_image, entry)
            await self._intake.append(replica, [record_format.decode(image)])
        except (AmbryError, OSError, MemoryError):
            return False
        log.warning("record reads well again", blob=blob_id.hex(), partition=store.partition)
        return True
