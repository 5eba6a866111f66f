"""When a replica may say "not found": once it has caught up with those who could know better."""

from __future__ import annotations

from ambry.service.logs import get_logger
from datanode.replicas import Replica
from datanode.replication.cursor import Cursors

log = get_logger()


class Authority:
    """Gives replicas their authority back."""

    def __init__(self, cursors: Cursors) -> None:
        self._cursors = cursors

    def check(self, replica: Replica) -> None:
        """Let a replica serve if it has caught up; call it whenever that may have become true."""
        if replica.store.serving or not self._cursors.may_serve(replica.partition):
            return
        replica.store.serving = True
        # Soon, so that a restart need not prove it again.
        replica.checkpointed_at = float("-inf")
        log.info("replica serving", partition=replica.partition.id)
