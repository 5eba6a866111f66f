"""What a replica does that was put back from a backup, or was away for longer than tombstones stay.

That it was put back shows when a peer has seen more of its log than there is (datanode/store/lineage.py). From then on it has
no authority, and tells nothing of its log: peers would start over with it, and fetch blobs whose tombstones they have dropped.
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
from datanode.replicas import Replica, Replicas
from datanode.replication.authority import Authority
from datanode.replication.cursor import Cursors
from datanode.store.index import FindToken

log = get_logger()

PATIENCE_S = 10.0
"""Peers that can give each other their authority back have done so by then."""


class Recovery:
    """Finds out what such a replica needs, and sets it off."""

    def __init__(self, replicas: Replicas, cursors: Cursors, authority: Authority, *, clock: Clock) -> None:
        self._replicas = replicas
        self._cursors = cursors
        self._authority = authority
        self._clock = clock
        self._young: deque[Replica] = deque()
        """Those that were opened less than PATIENCE_S ago, in that order."""

    def opened(self, replica: Replica) -> None:
        """A replica was opened: what it needs shows in the answers of its peers, or when they had their time."""
        self._young.append(replica)

    def look(self) -> None:
        """Check those whose peers had their time by now."""
        while self._young and self._clock.monotonic() - self._young[0].opened_at >= PATIENCE_S:
            replica = self._young.popleft()
            if self._replicas.get(replica.partition.id) is replica:
                self.check(replica)

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
        self._authority.withdraw(replica, put_back=put_back)
        metrics.PUT_BACK.inc()
        log.error("replica put back from a backup", partition=store.partition, why=store.put_back)
        self.check(replica)

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
