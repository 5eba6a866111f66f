"""What a peer says of blobs is brought into a replica here: states merged, missing blobs fetched, damage looked after."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ambry.network.pool import Peer
from ambry.protocol.messages.replication import Change
from datanode.replicas import Replica
from datanode.replication.decide import Action, decide, joined_state
from datanode.replication.healer import Healer
from datanode.replication.intake import Intake
from datanode.store.index import Held
from datanode.store.known import UNKNOWN, Known
from datanode.store.retention import Retention


class Taken(NamedTuple):
    """What became of some changes: blobs that the peer could not give, with their LSNs, and whether anything was new here."""

    failed: dict[bytes, int]
    news: bool


NOTHING_NEW = Taken({}, news=False)


class Merger:
    """Takes in the changes of peers, however they were found out.

    `certain_retention` says what is over for sure: nothing, while there is a doubt about the clock (datanode/upkeep/skew.py).
    """

    def __init__(self, intake: Intake, healer: Healer, *, certain_retention: Callable[[], Retention]) -> None:
        self._intake = intake
        self._healer = healer
        self._certain_retention = certain_retention

    @staticmethod
    def knows(replica: Replica, changes: list[Change]) -> bool:
        """Whether memory tells that all of this is here already, as most is: puts reach every replica by themselves."""
        known = replica.store.index.known
        return all(_told_already(known(change.id), change) for change in changes)

    async def take_in(self, peer: Peer, replica: Replica, changes: list[Change]) -> Taken:
        """Make everything in `changes` durable here. Raises AmbryError."""
        if self.knows(replica, changes):
            return NOTHING_NEW
        async with replica.lookups.hold([change.id for change in changes]) as here:
            return await self._take_in(peer, replica, changes, here)

    async def _take_in(self, peer: Peer, replica: Replica, changes: list[Change], here: Held) -> Taken:
        retention: Retention | None = None
        merges: list[Change] = []
        fetches: dict[bytes, Change] = {}
        for change in changes:
            entry = here.get(change.id)
            if _told_already(entry, change):
                continue
            retention = retention or self._certain_retention()
            action = decide(entry, change, retention)
            if action is Action.MERGE:
                merges.append(change)
            elif action is Action.FETCH:
                fetches[change.id] = change
        failed: set[bytes] = set()
        if fetches:
            wanted = {blob_id: joined_state(here.get(blob_id), change.dated) for blob_id, change in fetches.items()}
            failed = await self._intake.fetch(replica, peer, wanted)
            # Nobody needs these bytes as long as there is no undelete, which is a change of its own: the tombstone is recorded.
            buried = [blob_id for blob_id in fetches if blob_id in failed and wanted[blob_id].state.deleted]
            failed.difference_update(buried)
            merges += [fetches[blob_id] for blob_id in buried]
        if merges:
            states = {change.id: joined_state(here.get(change.id), change.dated) for change in merges}
            await self._intake.merge_all(replica, states)
        for blob_id in sorted(failed):
            self._healer.want(replica.partition.id, blob_id, fetches[blob_id].dated)
        return Taken({blob_id: fetches[blob_id].lsn for blob_id in sorted(failed)}, news=bool(fetches or merges))


def _told_already(entry: Known, change: Change) -> bool:
    """Whether this entry has all that a change says: its blob came here directly, or from another peer."""
    if entry is None or entry is UNKNOWN or not entry.present:
        return False
    return entry.state == change.state and entry.changed_at_ms == change.changed_at_ms
