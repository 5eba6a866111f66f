"""Reading records for requests. What cannot be read is reported, so that it is repaired, and read elsewhere meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from ambry.checksum import Buffer
from ambry.errors import AmbryError, DataCorrupt, InternalError, Overloaded, ReplicaUnavailable
from ambry.ids import partition_of
from ambry.service.logs import get_logger
from datanode import metrics
from datanode.disk import Disk
from datanode.replicas import Replica, Replicas
from datanode.store.damage import note_damaged, successor
from datanode.store.entry import IndexEntry
from datanode.store.record_reader import Payload
from datanode.store.trouble import is_shortage

log = get_logger()
T = TypeVar("T")


def by_replica(replicas: Replicas, ids: Sequence[bytes]) -> list[tuple[Replica, list[bytes]]]:
    """Those replicas that are here and open, each with its blobs; what is no blob id is of none."""
    found: dict[int, list[bytes]] = {}
    for blob_id in ids:
        try:
            found.setdefault(partition_of(blob_id), []).append(blob_id)
        except AmbryError:
            continue
    return [(replicas[number], some) for number, some in found.items() if number in replicas]


class Reading:
    """Reads on the disk's threads. `on_damaged` hears of every blob whose record cannot be read."""

    def __init__(self, *, disk: Disk, own_name: str, on_damaged: Callable[[Replica, bytes], None]) -> None:
        self._disk = disk
        self._own_name = own_name
        self._on_damaged = on_damaged

    async def payload(
        self, replica: Replica, entry: IndexEntry, first: int, end: int, *, request_id: str = ""
    ) -> Payload:
        """As BlobStore.read. Raises DataCorrupt, Overloaded, ReplicaUnavailable."""

        def read(entry: IndexEntry) -> Payload | None:
            """Blocking."""
            return replica.store.read(entry, first, end, cached_only=False)

        payload = await self._read(replica, entry, read, request_id)
        if payload is None:
            raise InternalError("a waiting read returned nothing")
        return payload

    async def image(self, replica: Replica, entry: IndexEntry) -> Buffer:
        """As BlobStore.read_image. Raises DataCorrupt, Overloaded, ReplicaUnavailable."""

        def read(entry: IndexEntry) -> Buffer:
            """Blocking."""
            return replica.store.read_image(entry)

        return await self._read(replica, entry, read)

    async def _read(
        self, replica: Replica, entry: IndexEntry, read: Callable[[IndexEntry], T], request_id: str = ""
    ) -> T:
        """Read on a disk thread; again where a good copy came while that failed."""
        while True:
            self._refuse_while_it_hangs()
            try:
                return await self._disk.submit(read, entry)
            except (DataCorrupt, OSError, MemoryError) as error:
                newer = successor(replica.store, entry)
                if newer is None or not newer.present:
                    raise self.unreadable(replica, entry, error, request_id) from error
                entry = newer

    def _refuse_while_it_hangs(self) -> None:
        hang = self._disk.hanging
        if hang is not None and hang.all:
            raise ReplicaUnavailable(f"the disk of {self._own_name} hangs; read elsewhere")

    def unreadable(self, replica: Replica, entry: IndexEntry, error: Exception, request_id: str = "") -> AmbryError:
        """What to answer after a read of `entry` raised `error`; a damage of the record is noted."""
        if is_shortage(error):
            return Overloaded(f"{self._own_name} has no descriptors or memory left: {error!r}; read elsewhere")
        if not note_damaged(replica.store, entry):
            return ReplicaUnavailable(f"the record was replaced while {self._own_name} read it; read again")
        metrics.CORRUPT.inc()
        log.error("record unreadable", blob=entry.id.hex(), error=str(error), request_id=request_id)
        self._on_damaged(replica, entry.id)
        return error if isinstance(error, DataCorrupt) else DataCorrupt(f"the disk failed to read a record: {error}")
