"""What a replica does that was put back from a backup, or was away for longer than tombstones stay.

That it was put back shows when a peer has seen more of its log than there is (datanode/store/lineage.py). One that lost its
index and a part of its log knows as little, and is treated alike; its opening tells (datanode/store/opening/own_index.py). From
then on it has no authority, and tells nothing of its log: peers would start over with it, and fetch blobs whose tombstones they
have dropped.
It goes on following them from where the backup stood, and so hears what was deleted since. When it has caught up with one that
has authority, it takes a new incarnation, and all start over with each other: what was acknowledged comes together.

But a tombstone that was dropped before it saw it is told by nobody. Peers say up to where they dropped some. One that stood
before that must be rebuilt: its directory is set aside, a fresh one takes its place (datanode/store/opening/start_over.py), and
peers fill it. What it took in since it was opened, nobody else may have: that goes over into the fresh one.
"""

from __future__ import annotations

from collections import deque

from ambry.clock import Clock
from ambry.service.logs import get_logger
from datanode import metrics
from datanode.disk import Disk
from datanode.replicas import Replica, Replicas
from datanode.replication.authority import Authority
from datanode.replication.cursor import Cursors
from datanode.store.blob_store import BlobStore, StoreState
from datanode.store.index import FindToken
from datanode.store.trouble import put_off

log = get_logger()

PATIENCE_S = 10.0
"""Peers that can give each other their authority back have done so by then."""


class Recovery:
    """Finds out what such a replica needs, and sets it off."""

    def __init__(self, replicas: Replicas, cursors: Cursors, authority: Authority, *, disk: Disk, clock: Clock) -> None:
        self._replicas = replicas
        self._cursors = cursors
        self._authority = authority
        self._disk = disk
        self._clock = clock
        self._young: deque[Replica] = deque()
        """Those that were opened less than PATIENCE_S ago, or are to be tried again, in the order of their openings."""

    def opened(self, replica: Replica) -> None:
        """A replica was opened: what it needs shows in the answers of its peers, or when they had their time.

        That it must ask them may be known already; one without peers has nobody to ask.
        """
        self._young.append(replica)
        store = replica.store
        if store.put_back and self._cursors.of(store.partition):
            self._begin(replica, store.put_back)
        elif store.put_back:
            log.error("nobody to ask what a replica lost", partition=store.partition, why=store.put_back)
            store.put_back = ""
            self._authority.check(replica)

    def look(self) -> None:
        """Check those whose peers had their time by now, again and again where the disk refused what they need."""
        refused: list[Replica] = []
        while self._young and self._clock.monotonic() - self._young[0].opened_at >= PATIENCE_S:
            replica = self._young.popleft()
            if self._replicas.get(replica.partition.id) is replica:
                self.check(replica)
                if self._replicas.changes.undone(replica.partition.id):
                    refused.append(replica)
        self._young.extendleft(reversed(refused))

    def recognise(self, replica: Replica, peer: str, token: FindToken) -> None:
        """`peer` has seen more of this replica's log than there is."""
        store = replica.store
        cursor = self._cursors.get(peer, store.partition)
        if cursor is not None:
            cursor.proves = True
        if store.put_back:
            return
        put_back = (
            f"{peer} has seen it up to LSN {token.lsn} of epoch {token.epoch.hex()}, incarnation {token.incarnation.hex()}; "
            f"here it ends at {store.end_lsn}"
        )
        self._begin(replica, put_back)
        self.check(replica)

    def _begin(self, replica: Replica, put_back: str) -> None:
        self._cursors.hold(replica.partition.id)
        self._authority.withdraw(replica, put_back=put_back)
        metrics.PUT_BACK.inc()
        log.error("replica put back from a backup", partition=replica.partition.id, why=put_back)

    def forgets(self, replica: Replica, *, purged: bool, followed: bytes = b"") -> bool:
        """Whether a crash would make it forget what a peer's answer told: `remember` it then. Arguments as there."""
        store = replica.store
        lineage = store.lineage
        return store.state is StoreState.OPEN and (
            (purged and not lineage.purged_lsn)
            or (bool(store.put_back) and not lineage.put_back)
            or lineage.is_elder(store.incarnation, followed)
            or (lineage.sure_epoch != lineage.epoch and self._cursors.all_vouch(store.partition))
        )

    async def remember(self, replica: Replica, *, purged: bool, followed: bytes = b"") -> None:
        """After a peer's answer: make durable what no crash may make it forget.

        `purged`: the peer has dropped tombstones; `followed`: the incarnation of which it has seen the log.

        Without room, descriptors or memory for it that is tried again when the peer is asked again; a disk that fails it fences
        the replica, as any failed write does. Raises Overloaded, InsufficientStorage, ReplicaUnavailable.
        """
        if not self.forgets(replica, purged=purged, followed=followed):
            return
        store = replica.store
        lineage = store.lineage
        # What was dropped there never comes here: whoever missed it must not believe that we would know.
        purged = purged and not lineage.purged_lsn
        sure = lineage.sure_epoch != lineage.epoch and self._cursors.all_vouch(store.partition)
        put_back = bool(store.put_back) and not lineage.put_back
        elder = followed if lineage.is_elder(store.incarnation, followed) else b""
        try:
            await self._disk.submit(_write_down, store, purged=purged, sure=sure, put_back=put_back, elder=elder)
        except (OSError, MemoryError) as error:
            later = put_off(error, f"the identity of partition {store.partition} is not written yet: {error!r}")
            if later is not None:
                raise later from error
            store.fence(f"its identity could not be written: {error!r}")

    def check(self, replica: Replica) -> None:
        """Go on if something has become clear; call it whenever that may be."""
        store = replica.store
        put_back = bool(store.put_back)
        waited = self._clock.monotonic() - replica.opened_at >= PATIENCE_S
        if self._cursors.must_rebuild(store.partition, put_back=put_back, waited=waited):
            lineage = store.lineage
            since_lsn = lineage.unsure_lsn if put_back else lineage.begin_lsn
            keep_lsn = self._cursors.taken_in_lsn(store.partition, since_lsn)
            why = store.put_back or "it was away for longer than tombstones stay"
            if self._replicas.start_over(replica, keep_lsn=keep_lsn):
                metrics.STARTED_OVER.inc()
                log.error(
                    "replica must be rebuilt: set aside, peers fill a fresh one", partition=store.partition, why=why
                )
        elif put_back and self._cursors.witnessed(store.partition, waited=waited):
            self._replicas.renew(replica)


def _write_down(store: BlobStore, *, purged: bool, sure: bool, put_back: bool, elder: bytes) -> None:
    """Blocking. Raises OSError; ReplicaUnavailable where it was closed meanwhile."""
    if put_back:
        store.identity.note_put_back(store.put_back)
    if purged:
        store.identity.note_purged(1)
    if sure:
        store.identity.note_sure()
    if elder:
        store.identity.note_elder(elder)
