"""The giving side of replication: "what changed after this LSN?", answered as soon as something did.

The answer is state, not events: every blob that changed stands once, as it is now. So it may be asked again at any time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ambry.errors import ReplicaUnavailable
from ambry.protocol.messages.replication import Change, ChangesCursor, ChangesReply, ChangesRequest, PartitionChanges
from datanode.replicas import Replica, Replicas
from datanode.store.index import FindToken

CHANGES_MAX = 10_000
WAIT_MS_MAX = 60_000


class Publications:
    """Who waits for a partition of this node to publish something."""

    def __init__(self) -> None:
        self._watchers: dict[int, dict[Callable[[], None], None]] = {}

    def watchers(self, partition: int) -> dict[Callable[[], None], None]:
        """Who waits for this partition, now and later: its store calls them all whenever it published something."""
        return self._watchers.setdefault(partition, {})

    async def wait(self, partitions: list[int], wait_ms: int) -> None:
        """Until one of them publishes something, or the time is over."""
        event = asyncio.Event()
        for partition in partitions:
            self.watchers(partition)[event.set] = None
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await event.wait()
        except TimeoutError:
            return
        finally:
            for partition in partitions:
                self.watchers(partition).pop(event.set, None)


class ChangeFeed:
    """Answers the change requests of peers."""

    def __init__(self, replicas: Replicas, publications: Publications, *, own_name: str) -> None:
        self._replicas = replicas
        self._publications = publications
        self._own_name = own_name
        self._seen: dict[int, dict[str, FindToken]] = {}
        """By partition and peer."""

    def horizon(self, replica: Replica) -> int:
        """The LSN before which every peer of a replica has taken in everything, durably; 0 while one was not heard of."""
        store = replica.store
        seen = self._seen.get(store.partition, {})
        lsns: list[int] = []
        for node in replica.partition.replicas:
            if node.name != self._own_name:
                token = seen.get(node.name)
                lsns.append(token.lsn if token is not None and token.incarnation == store.incarnation else 0)
        return min(lsns, default=store.end_lsn)

    async def changes(self, request: ChangesRequest) -> ChangesReply:
        """Wait until there is something after the cursors, or the time is over.

        With `wait_ms` 0 the answer comes at once and lists every partition: it tells the asker where it stands.
        """
        if request.name:
            for cursor in request.cursors:
                # A peer moves its cursor only past what is durable there.
                self._seen.setdefault(cursor.partition, {})[request.name] = FindToken(cursor.incarnation, cursor.lsn)
        if request.wait_ms and not self._anything(request.cursors):
            partitions = [cursor.partition for cursor in request.cursors]
            await self._publications.wait(partitions, min(request.wait_ms, WAIT_MS_MAX))
        if request.delay_ms and self._anything(request.cursors):
            # Let a burst gather: one answer for many changes costs both ends far less.
            await asyncio.sleep(min(request.delay_ms, WAIT_MS_MAX) / 1000)
        return self._collect(request.cursors, min(request.limit, CHANGES_MAX), list_all=request.wait_ms == 0)

    def _anything(self, cursors: list[ChangesCursor]) -> bool:
        for cursor in cursors:
            replica = self._replicas.get(cursor.partition)
            if replica is None:
                continue
            if cursor.incarnation != replica.store.incarnation or cursor.lsn < replica.store.end_lsn:
                return True
        return False

    def _collect(self, cursors: list[ChangesCursor], limit: int, *, list_all: bool) -> ChangesReply:
        answers: list[PartitionChanges] = []
        for cursor in cursors:
            replica = self._replicas.get(cursor.partition)
            if replica is None or limit <= 0:
                continue
            store = replica.store
            same = cursor.incarnation == store.incarnation
            lsn = cursor.lsn if same else 0
            end_lsn = store.end_lsn
            if same and lsn >= end_lsn and not list_all:
                continue
            try:
                entries = store.changes_since(lsn, limit)
            except ReplicaUnavailable:
                continue  # its index is being rebuilt
            next_lsn = entries[-1].lsn + 1 if len(entries) == limit else end_lsn
            limit -= len(entries)
            changes = [
                Change(
                    entry.id,
                    entry.lsn,
                    entry.state,
                    entry.present and entry.id not in store.damaged,
                    entry.size,
                    entry.changed_at_ms,
                )
                for entry in entries
            ]
            answers.append(
                PartitionChanges(cursor.partition, store.incarnation, next_lsn, end_lsn, changes, store.serving)
            )
        return ChangesReply(answers)
