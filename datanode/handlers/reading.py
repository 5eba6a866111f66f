"""Reading records for requests. What cannot be read is reported, so that it is repaired, and read elsewhere meanwhile."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from ambry.checksum import Buffer
from ambry.errors import AmbryError, DataCorrupt, InternalError, Overloaded, ReplicaUnavailable
from ambry.ids import BlobId
from ambry.service.logs import get_logger
from datanode import metrics
from datanode.disk import Disk
from datanode.replicas import Replica, Replicas
from datanode.store.entry import IndexEntry
from datanode.store.record_reader import Payload
from datanode.store.trouble import is_shortage

log = get_logger()


def by_replica(replicas: Replicas, ids: Sequence[bytes]) -> list[tuple[Replica, list[bytes]]]:
    """Those replicas that are here and open, each with its blobs; what is no blob id is of none."""
    found: dict[int, list[bytes]] = {}
    for blob_id in ids:
        with contextlib.suppress(AmbryError):
            found.setdefault(BlobId(blob_id).partition, []).append(blob_id)
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
        self._refuse_while_it_hangs()
        try:
            payload = await self._disk.submit(replica.store.read, entry, first, end, cached_only=False)
        except (DataCorrupt, OSError, MemoryError) as error:
            raise self.unreadable(replica, entry, error, request_id) from error
        if payload is None:
            raise InternalError("a waiting read returned nothing")
        return payload

    async def image(self, replica: Replica, entry: IndexEntry) -> Buffer:
        """As BlobStore.read_image. Raises DataCorrupt, Overloaded, ReplicaUnavailable."""
        self._refuse_while_it_hangs()
        try:
            return await self._disk.submit(replica.store.read_image, entry)
        except (DataCorrupt, OSError, MemoryError) as error:
            raise self.unreadable(replica, entry, error) from error

    def _refuse_while_it_hangs(self) -> None:
        hang = self._disk.hanging
        if hang is not None and hang.all:
            raise ReplicaUnavailable(f"the disk of {self._own_name} hangs; read elsewhere")

    def unreadable(self, replica: Replica, entry: IndexEntry, error: Exception, request_id: str = "") -> AmbryError:
        """What to answer after a read of `entry` raised `error`; a damage of the record is noted."""
        if is_shortage(error):
            return Overloaded(f"{self._own_name} has no descriptors or memory left: {error!r}; read elsewhere")
        metrics.CORRUPT.inc()
        log.error("record unreadable", blob=entry.id.hex(), error=str(error), request_id=request_id)
        replica.store.damaged.add(entry.id)
        self._on_damaged(replica, entry.id)
        return error if isinstance(error, DataCorrupt) else DataCorrupt(f"the disk failed to read a record: {error}")
