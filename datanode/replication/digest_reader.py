"""Reading the digests and entries of an open replica on a disk thread, between its checkpoints."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from ambry.errors import ReplicaUnavailable
from ambry.protocol.messages.replication import DigestsReply, DigestsRequest, EntriesReply, EntriesRequest, RangeDigest
from ambry.protocol.messages.upkeep import UsageReply, UsageRequest, UsageRow
from datanode.checkpointer import Checkpointer
from datanode.disk import Disk
from datanode.replicas import Replica, Replicas
from datanode.replication.feed import change_of
from datanode.store.blob_store import BlobStore, StoreState
from datanode.store.ranges import Sum


class DigestReader:
    """For the peers that ask, and for comparing with them. All methods raise ReplicaUnavailable, IndexCorrupt, Overloaded."""

    def __init__(self, replicas: Replicas, *, disk: Disk, checkpointer: Checkpointer) -> None:
        self._replicas = replicas
        self._disk = disk
        self._checkpointer = checkpointer
        self._untidy: dict[int, Replica] = {}
        """By partition: those whose digests wait for upkeep, as far as it was noticed."""

    def note(self, replica: Replica) -> None:
        """A replica was opened, its index written or read: see whether its digests want upkeep now."""
        if replica.store.digests.untidy:
            self._untidy[replica.partition.id] = replica

    def untidy(self) -> Replica | None:
        """One whose digests want upkeep, and may have it."""
        for partition, replica in list(self._untidy.items()):
            if self._replicas.get(partition) is not replica or not replica.store.digests.untidy:
                del self._untidy[partition]
            elif replica.store.vouched and replica.store.state is StoreState.OPEN:
                return replica
        return None

    async def refresh(self, replica: Replica) -> None:
        """Bring the digests up to what is published now."""
        if replica.store.recent_count:
            await self._checkpointer.checkpoint(replica)

    async def answer_digests(self, replica: Replica, request: DigestsRequest) -> DigestsReply:
        """What a peer asks for."""
        if request.fresh:
            await self.refresh(replica)
        async with self._between_checkpoints(replica) as store:
            lsn = store.checkpoint.lsn
            found = await self._disk.submit(
                store.digests.grouped, request.low, request.high, request.after_ms, request.limit
            )
            ranges = [RangeDigest(item.start, item.sum.digest.to_bytes(16, "big"), item.sum.blobs) for item in found]
            return DigestsReply(store.incarnation, lsn, store.digests.whole, ranges)

    async def answer_usage(self, replica: Replica, request: UsageRequest) -> UsageReply:
        """What a frontend asks for."""
        async with self._between_checkpoints(replica) as store:
            page = await self._disk.submit(store.digests.usage, request.after, request.now_ms, request.limit)
            found = [UsageRow(each.container, *each.live, *each.dead) for each in page.containers]
            return UsageReply(store.checkpoint.lsn, store.digests.whole, found, page.after)

    async def answer_entries(self, replica: Replica, request: EntriesRequest) -> EntriesReply:
        """What a peer asks for."""
        async with self._between_checkpoints(replica) as store:
            entries = await self._disk.submit(store.digests.entries, request.low, request.high, request.limit)
            changes = [change_of(store, entry) for entry in entries]
            after = entries[-1].id[16:32] + b"\0" if len(entries) == request.limit else b""
            return EntriesReply(store.incarnation, store.checkpoint.lsn, changes, after)

    async def sums(self, replica: Replica, bounds: Sequence[bytes], after_ms: int) -> list[Sum] | None:
        """The digest between every two neighbouring keys; None while digests are counted anew."""
        async with self._between_checkpoints(replica) as store:
            found = await self._disk.submit(store.digests.sums, bounds, after_ms)
            return found if store.digests.whole else None

    async def tidy(self, replica: Replica) -> bool:
        """Do one piece of the upkeep of digests; returns whether there is more."""
        async with self._between_checkpoints(replica) as store:
            return await self._disk.submit(store.digests.tidy)

    @asynccontextmanager
    async def _between_checkpoints(self, replica: Replica) -> AsyncIterator[BlobStore]:
        """While no checkpoint is written; a rebuild of the replica waits, too."""
        async with replica.checkpoint_lock:
            store = replica.store
            if self._replicas.get(replica.partition.id) is not replica or store.state is not StoreState.OPEN:
                raise ReplicaUnavailable(f"partition {replica.partition.id} is not open any more")
            if not store.vouched:
                # It may have been put back from a backup, or be empty: nobody is to compare with that.
                raise ReplicaUnavailable(f"partition {replica.partition.id} does not know yet what it missed")
            try:
                yield store
            finally:
                self.note(replica)
