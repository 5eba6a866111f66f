"""When a replica may say "not found": once its peers were asked, and it has caught up with those who could know better.

Two things are held against it. It may have lost something that it acknowledged: that shows when it is opened
(datanode/store/opening/steps.py), and then it must catch up. Or its directory was put back from a backup: nothing in it tells,
but the peers that followed its log do. So after every start it answers what it holds, and says "not found" no sooner than they
have told how far they have seen it: all of them, or after PATIENCE_S one of its own datacenter and one of another, where there
are such. A peer that answers nothing for so long is away; by C1 whatever was acknowledged here is on another replica too.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from ambry.clock import Clock
from ambry.errors import InvalidRequest
from ambry.service.logs import get_logger
from datanode.replicas import Replica
from datanode.replication.cursor import Cursors
from datanode.store.blob_store import StoreState

log = get_logger()

PATIENCE_S = 3.0
"""A peer that can be reached has answered by then."""


class Authority:
    """Gives replicas their authority back, and takes it.

    `note_change` hears of partitions where that is to be written soon, `on_turn` of those where peers should know it.
    """

    def __init__(
        self,
        cursors: Cursors,
        *,
        clock: Clock,
        note_change: Callable[[int], None] = lambda _partition: None,
        on_turn: Callable[[int], None] = lambda _partition: None,
    ) -> None:
        self._cursors = cursors
        self._clock = clock
        self._note_change = note_change
        self._on_turn = on_turn
        self.unsure: dict[int, Replica] = {}
        """By partition: those without authority, to be checked again. One that is being reopened may still be among them."""

    def opened(self, replica: Replica) -> None:
        """A replica was opened: nobody has vouched for it yet."""
        self.unsure[replica.partition.id] = replica
        self.check(replica)

    def some_unsure(self, count: int) -> list[Replica]:
        """Those without authority that were not given here for the longest, at most `count`."""
        some = list(islice(self.unsure.items(), count))
        for partition, replica in some:
            del self.unsure[partition]
            self.unsure[partition] = replica
        return [replica for _, replica in some]

    def withdraw(self, replica: Replica, *, put_back: str = "") -> None:
        """It lacks what it should have; `put_back` says how a peer knows that its directory was put back from a backup."""
        store = replica.store
        store.serving = False
        if put_back:
            store.put_back, store.vouched = put_back, False
        self.unsure[replica.partition.id] = replica
        self._note_change(store.partition)  # so that a restart does not claim the authority again
        self._on_turn(store.partition)

    def vouch(self, replica: Replica) -> None:
        """An operator says that its directory was not put back. Raises InvalidRequest where it must catch up all the same."""
        store = replica.store
        if store.put_back or not store.serving:
            why = store.put_back or "it may have lost something that it acknowledged"
            raise InvalidRequest(f"partition {store.partition} must catch up with its peers: {why}")
        store.vouched = True
        self.unsure.pop(store.partition, None)
        self._on_turn(store.partition)
        log.warning("operator vouches for a replica", partition=store.partition)

    def check(self, replica: Replica) -> None:
        """Let a replica serve if it may; call it whenever that may have become true."""
        store = replica.store
        if store.authority or store.put_back or store.state is not StoreState.OPEN:
            return
        if not store.serving and self._cursors.may_serve(replica.partition):
            store.serving = True
            self._note_change(store.partition)  # so that a restart need not prove it again
        waited = self._clock.monotonic() - replica.opened_at >= PATIENCE_S
        vouched = self._cursors.vouched(replica.partition, waited=waited)
        store.unsuspected = store.unsuspected or vouched
        if store.serving and vouched:
            store.vouched = True
            self.unsure.pop(store.partition, None)
            self._on_turn(store.partition)
            log.info("replica serving", partition=replica.partition.id)
