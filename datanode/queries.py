"""What this node knows of blobs, without reading their bytes."""

from __future__ import annotations

from collections.abc import Sequence

from ambry.clock import Clock
from ambry.errors import AmbryError, BlobDeleted
from ambry.ids import BlobId
from ambry.protocol.messages.upkeep import Fate, FatesReply
from datanode.config import CompactionSection
from datanode.replicas import Replica, Replicas
from datanode.store.entry import IndexEntry
from datanode.store.retention import retention_at
from datanode.upkeep.fates import fate_of


class Queries:
    """Answers from the indexes."""

    def __init__(self, replicas: Replicas, *, retention: CompactionSection, clock: Clock) -> None:
        self._replicas = replicas
        self._retention = retention
        self._clock = clock

    def replica_of(self, blob_id: bytes) -> Replica:
        """Raises PartitionUnknown, ReplicaUnavailable."""
        return self._replicas.holding(blob_id)

    def refuse_late_undelete(self, entry: IndexEntry) -> None:
        """What compaction may drop already must not come back: nobody may hold its bytes any more. Raises BlobDeleted."""
        if retention_at(self._retention, self._clock.wall_ms()).bytes_dead(entry):
            raise BlobDeleted(
                f"blob {BlobId(entry.id)} was deleted more than {self._retention.deleted_retention_s} s ago: "
                "too late to undelete it"
            )

    def presence(self, blob_id: bytes) -> str:
        """One of the words of PresenceReply."""
        try:
            replica = self.replica_of(blob_id)
            entry = replica.store.lookup(blob_id)
        except AmbryError:
            return "unsure"
        if entry is None:
            return "absent" if replica.store.serving else "unsure"
        if entry.state.deleted:
            return "deleted"
        return "present" if entry.present and blob_id not in replica.store.damaged else "unsure"

    def fates(self, ids: Sequence[bytes]) -> FatesReply:
        """What became of blobs, as far as this node knows (datanode/upkeep/fates.py)."""
        retention = retention_at(self._retention, self._clock.wall_ms())
        found: list[tuple[Fate, int]] = []
        for blob_id in ids:
            try:
                replica = self.replica_of(blob_id)
                entry = replica.store.lookup(blob_id)
                found.append(fate_of(entry, serving=replica.store.serving, retention=retention))
            except AmbryError:
                found.append((Fate.UNSURE, 0))
        return FatesReply([fate for fate, _ in found], [since_ms for _, since_ms in found])
