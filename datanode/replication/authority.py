"""When a replica may say "not found": once its peers were asked, and it has caught up with those who could know better.

Two things are held against it. It may have lost something that it acknowledged: that shows when it is opened
(datanode/store/opening/steps.py), and then it must catch up. Or its directory was put back from a backup: nothing in it tells,
but the peers that followed its log do. So after every start it answers what it holds, and says "not found" no sooner than they
have told how far they have seen it: all of them, or after PATIENCE_S one of its own datacenter and one of another, where there
are such. A peer that answers nothing for so long is away; by C1 whatever was acknowledged here is on another replica too.
"""

from __future__ import annotations

from ambry.clock import Clock
from ambry.errors import InvalidRequest
from ambry.service.logs import get_logger
from datanode.replicas import Replica
from datanode.replication.cursor import Cursors

log = get_logger()

PATIENCE_S = 3.0
"""A peer that can be reached has answered by then."""


class Authority:
    """Gives replicas their authority back."""

    def __init__(self, cursors: Cursors, *, clock: Clock) -> None:
        self._cursors = cursors
        self._clock = clock

    def vouch(self, replica: Replica) -> None:
        """An operator says that its directory was not put back. Raises InvalidRequest where it must catch up all the same."""
        store = replica.store
        if store.put_back or not store.serving:
            why = store.put_back or "it may have lost something that it acknowledged"
            raise InvalidRequest(f"partition {store.partition} must catch up with its peers: {why}")
        store.vouched = True
        log.warning("operator vouches for a replica", partition=store.partition)

    def check(self, replica: Replica) -> None:
        """Let a replica serve if it may; call it whenever that may have become true."""
        store = replica.store
        if store.authority or store.put_back:
            return
        if not store.serving and self._cursors.may_serve(replica.partition):
            store.serving = True
            # Soon, so that a restart need not prove it again.
            replica.checkpointed_at = float("-inf")
        waited = self._clock.monotonic() - replica.opened_at >= PATIENCE_S
        if store.serving and self._cursors.vouched(replica.partition, waited=waited):
            store.vouched = True
            log.info("replica serving", partition=replica.partition.id)
