"""The giving side of replication: "what changed after this LSN?", answered as soon as something did.

The answer is state, not events: every blob that changed stands once, as it is now. So it may be asked again at any time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container

import msgspec

from ambry.clock import Clock
from ambry.errors import PartitionUnknown, ReplicaUnavailable
from ambry.protocol.messages.replication import (
    Change,
    ChangesCursor,
    ChangesReply,
    ChangesRequest,
    Known,
    PartitionChanges,
    Subscription,
)
from datanode.disk import Disk
from datanode.replicas import Replica, Replicas
from datanode.replication.horizon import Horizon
from datanode.replication.shares import Shares
from datanode.replication.subscriptions import Follower, Followers
from datanode.store.blob_store import BlobStore
from datanode.store.changes import Past
from datanode.store.entry import IndexEntry
from datanode.store.index import FindToken
from datanode.store.lineage import Seen

CHANGES_MAX = 4_000
"""In one answer: it is made and encoded in one turn of the event loop, in some ten milliseconds."""
ANSWERS_AT_ONCE = 100
"""So many partitions are looked at in one turn of the event loop."""
CHANGE_SIZE = 100
"""Bytes that one change takes in an answer, about."""
Admit = Callable[[int], Awaitable[None]]
"""Waits until an answer of so many bytes may be made (ambry/network/serving.py)."""
WAIT_MS_MAX = 60_000
NOTHING_KNOWN = Known()
SUSPICION_S = 30.0
"""For so long a replica that was opened, and could not ask its peers, may be one that was put back from a backup."""


def change_of(store: BlobStore, entry: IndexEntry) -> Change:
    """What a peer is told of an entry: a blob whose record is damaged is not here."""
    present = entry.present and entry.id not in store.damaged
    return Change(entry.id, entry.lsn, entry.state, present, entry.size, entry.changed_at_ms)


class ChangeFeed:
    """Answers the change requests of peers.

    `nodes` are the names of the layout: what anybody else follows is kept for the time of its answer alone. `known_of` says how
    far this node has seen a peer's replica of a partition; `on_beyond` hears of a replica of which a peer, by its name, has
    seen more than there is.
    """

    def __init__(
        self,
        replicas: Replicas,
        followers: Followers,
        *,
        disk: Disk,
        horizon: Horizon,
        nodes: Container[str],
        clock: Clock,
        known_of: Callable[[str, int], FindToken | None],
        on_beyond: Callable[[Replica, str, FindToken], None],
    ) -> None:
        self._replicas = replicas
        self._followers = followers
        self._disk = disk
        self._horizon = horizon
        self._nodes = nodes
        self._clock = clock
        self._known_of = known_of
        self._on_beyond = on_beyond

    async def changes(self, request: ChangesRequest, admit: Admit | None = None) -> ChangesReply:
        """Wait until there is something after the cursors, or the time is over, and then until `admit` lets the answer be made.

        With `wait_ms` 0 the answer comes at once and lists every partition that is named: it tells the asker where it stands.
        """
        self._horizon.asked(request.name)
        request = self._about_us(request)
        told = request.subscription
        if told.session and request.name not in self._nodes:
            if told.step:
                return ChangesReply([], anew=True)
            request = msgspec.structs.replace(request, subscription=Subscription())
        follower = self._followers.of(request)
        if follower is None:
            return ChangesReply([], anew=True)
        try:
            anything = self._anything(follower)
            if request.wait_ms and not anything:
                await follower.wait(min(request.wait_ms, WAIT_MS_MAX))
                anything = self._anything(follower)
            if request.delay_ms and anything:
                # Let a burst gather: one answer for many changes costs both ends far less.
                await asyncio.sleep(min(request.delay_ms, WAIT_MS_MAX) / 1000)
            limit = max(1, min(request.limit, CHANGES_MAX))
            if admit is not None:
                await admit(limit * CHANGE_SIZE)
            return await self._collect(request, follower, limit)
        finally:
            if not request.subscription.session:
                follower.end()

    def _about_us(self, request: ChangesRequest) -> ChangesRequest:
        """Without the partitions that this node does not hold: what is kept of an asker is bounded by the layout."""
        cursors = [cursor for cursor in request.cursors if self._holds(cursor.partition)]
        if len(cursors) == len(request.cursors):
            return request
        return msgspec.structs.replace(request, cursors=cursors)

    def _holds(self, partition: int) -> bool:
        """Whether this node has a replica of it, open or not."""
        if partition in self._replicas:
            return True
        try:
            return self._replicas[partition] is not None
        except PartitionUnknown:
            return False
        except ReplicaUnavailable:
            return True

    def _note_seen(self, name: str, cursor: ChangesCursor) -> None:
        """Where a peer stands: whether it knows more of our log than we do, and what it no longer needs tombstones for."""
        replica = self._replicas.get(cursor.partition)
        if replica is None or not any(node.name == name for node in replica.partition.replicas):
            return
        token = FindToken(cursor.incarnation, cursor.lsn, cursor.epoch)
        if replica.store.judge(token) is Seen.BEYOND:
            self._on_beyond(replica, name, token)
        else:
            # Not how far it has got: it may come back with an older token, and would have missed what was dropped since.
            self._horizon.note(name, cursor.partition, FindToken(cursor.incarnation, cursor.durable_lsn))

    async def _stored_entries(self, store: BlobStore, lsn: int, limit: int, past: Past) -> list[IndexEntry]:
        """What changed since an LSN before those that memory has. Raises ReplicaUnavailable."""
        return await self._disk.submit(store.changes_since, lsn, limit, past)

    def _anything(self, follower: Follower) -> bool:
        """Whether there is something to tell. Those that have nothing are not looked at again before they publish."""
        follower.listen()
        anything = False
        for partition in list(follower.marked):
            cursor = follower.cursors[partition]
            # Here, and not where the cursor comes: the replica may have been opened since.
            self._note_seen(follower.name, cursor)
            replica = self._replicas.get(partition)
            if replica is None or not self._tells(replica, cursor):
                continue  # it stays marked: that ends without a publication
            store = replica.store
            news = cursor.incarnation != store.incarnation or cursor.lsn < store.end_lsn
            if news or follower.must_hear(partition, authority=store.authority):
                anything = True
            else:
                follower.marked.discard(partition)
        return anything

    def _tells(self, replica: Replica, cursor: ChangesCursor) -> bool:
        """Whether a replica tells this asker of its log."""
        store = replica.store
        return self.tells_all(replica) or (not store.put_back and cursor.incarnation == store.incarnation)

    def tells_all(self, replica: Replica) -> bool:
        """Whether it tells everybody.

        Not where it was put back: it does not know yet what was deleted since. And as long as that may turn out, for a while,
        not to those who start over with it, and would take all of it.
        """
        store = replica.store
        if store.put_back:
            return False
        if store.vouched or store.unsuspected or store.lineage.young:
            return True
        return self._clock.monotonic() - replica.opened_at >= SUSPICION_S

    def _lag_bytes(self, cursor: ChangesCursor) -> int:
        """How far an asker is behind of what it is told, in bytes of log."""
        replica = self._replicas.get(cursor.partition)
        if replica is None or not self._tells(replica, cursor):
            return 0
        store = replica.store
        return max(0, store.end_lsn - (cursor.lsn if cursor.incarnation == store.incarnation else 0))

    async def _collect(self, request: ChangesRequest, follower: Follower, limit: int) -> ChangesReply:
        answers: list[PartitionChanges] = []
        listed = {cursor.partition for cursor in request.cursors if not request.wait_ms}
        cursors = [
            follower.cursors[number] for number in sorted(follower.marked | listed) if number in follower.cursors
        ]
        # The least to tell first, and no more than a part of the room each: one far behind does not keep the others waiting.
        lags = {cursor: self._lag_bytes(cursor) for cursor in cursors}
        shares = Shares(partitions=sum(lag > 0 for lag in lags.values()), changes_max=limit)
        for number, cursor in enumerate(sorted(lags, key=lags.__getitem__), start=1):
            if number % ANSWERS_AT_ONCE == 0:
                await asyncio.sleep(0)
            list_it = cursor.partition in listed
            replica = self._replicas.get(cursor.partition)
            if replica is None:
                continue
            store = replica.store
            if not self._tells(replica, cursor):
                if list_it:
                    answers.append(self._answer(request.name, store, cursor.lsn, cursor.lsn, [], silent=True))
                continue
            same = cursor.incarnation == store.incarnation
            lsn = cursor.lsn if same else 0
            end_lsn = store.end_lsn
            known = same and lsn >= end_lsn and not follower.must_hear(cursor.partition, authority=store.authority)
            if known and not list_it:
                continue
            # It is told up to `end_lsn`: what comes later marks it anew, and so does the cursor that goes on from there.
            follower.marked.discard(cursor.partition)
            asked = shares.changes
            past = store.past()
            try:
                if lsn >= past.stored_lsn:
                    entries = store.changes_since(lsn, asked)  # memory has all of it
                else:
                    entries = await self._stored_entries(store, lsn, asked, past)
                    if self._replicas.get(cursor.partition) is not replica or not self._tells(replica, cursor):
                        follower.mark(cursor.partition)
                        continue  # since it was asked; the next request meets it as it is now
            except ReplicaUnavailable:
                follower.mark(cursor.partition)
                continue  # its index is being rebuilt
            told = shares.take([entry.size for entry in entries]) if entries else 0
            next_lsn = entries[told - 1].lsn + 1 if told and (told < len(entries) or told == asked) else end_lsn
            changes = [change_of(store, entry) for entry in entries[:told]]
            follower.note_told(cursor.partition, authority=store.authority)
            answers.append(self._answer(request.name, store, next_lsn, end_lsn, changes))
        return ChangesReply(answers)

    def _answer(
        self,
        name: str,
        store: BlobStore,
        next_lsn: int,
        end_lsn: int,
        changes: list[Change],
        *,
        silent: bool = False,
    ) -> PartitionChanges:
        known = self._known_of(name, store.partition)
        return PartitionChanges(
            store.partition,
            store.incarnation,
            next_lsn,
            end_lsn,
            changes,
            store.authority,
            store.lineage.epoch_bytes,
            store.lineage.purged_lsn,
            NOTHING_KNOWN if known is None else Known(known.incarnation, known.lsn, known.epoch),
            silent,
        )
