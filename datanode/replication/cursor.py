"""How far the replicas of this node have followed their peers. Pure.

`next_lsn` is where the next request goes on. The durable token may be behind it: it never passes a blob that should be here
and is not yet, so a crash forgets none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ambry.clustermap.model import Node, Partition
from datanode.store.index import FindToken


@dataclass(slots=True)
class Cursor:
    """Progress of one replica against the log of one peer, named by its incarnation. LSNs in bytes of that log."""

    incarnation: bytes = b""
    next_lsn: int = 0
    end_lsn: int = 0
    outstanding: dict[bytes, int] = field(default_factory=dict)
    """Blob id -> LSN of blobs that could not be fetched yet."""
    caught_up: bool = False
    """Whether everything of the peer was here at some moment since this process started."""
    serving: bool = True
    """Whether the peer itself had the authority to say "not found", when it last answered."""

    @property
    def lag_bytes(self) -> int:
        return max(0, self.end_lsn - self.next_lsn)

    def token(self) -> FindToken:
        """What may be made durable."""
        return FindToken(self.incarnation, min([self.next_lsn, *self.outstanding.values()]))

    def follow(self, incarnation: bytes) -> None:
        """The peer's log is `incarnation`: start over if it is another one than before."""
        if incarnation != self.incarnation:
            self.incarnation = incarnation
            self.next_lsn = self.end_lsn = 0
            self.outstanding.clear()
            self.caught_up = False

    def advance(self, next_lsn: int, end_lsn: int, failed: dict[bytes, int]) -> None:
        """Everything before `next_lsn` is here and durable, but for `failed`."""
        self.outstanding.update(failed)
        self.next_lsn = max(self.next_lsn, next_lsn)
        self.end_lsn = end_lsn
        if self.next_lsn >= end_lsn and not self.outstanding:
            self.caught_up = True

    def found(self, blob_id: bytes) -> None:
        """A blob that was outstanding is here now, or gone for good."""
        self.outstanding.pop(blob_id, None)
        if self.incarnation and self.next_lsn >= self.end_lsn and not self.outstanding:
            self.caught_up = True


class Cursors:
    """The cursors of one node, `own`: one per partition and peer that holds it."""

    def __init__(self, own: Node) -> None:
        self._own = own
        self._cursors: dict[int, dict[str, Cursor]] = {}

    def restore(self, partition: Partition, tokens: Mapping[str, FindToken]) -> None:
        """A replica was opened: its peers are followed from the tokens of its checkpoint on."""
        self._cursors[partition.id] = {
            node.name: Cursor(*tokens.get(node.name, FindToken(b"", 0)))
            for node in partition.replicas
            if node.name != self._own.name
        }

    def get(self, peer: str, partition: int) -> Cursor | None:
        return self._cursors.get(partition, {}).get(peer)

    def of(self, partition: int) -> dict[str, Cursor]:
        """By peer; empty for a partition that was never opened."""
        return self._cursors.get(partition, {})

    def tokens_of(self, partition: int) -> dict[str, FindToken]:
        """What the next checkpoint may say about the peers of a partition."""
        return {name: cursor.token() for name, cursor in self.of(partition).items() if cursor.incarnation}

    def found(self, partition: int, blob_id: bytes) -> None:
        """A blob that was outstanding is here now, or gone for good."""
        for cursor in self.of(partition).values():
            cursor.found(blob_id)

    def may_serve(self, partition: Partition) -> bool:
        """Whether the replica of this node has caught up with every replica of its own datacenter.

        What a sibling without authority holds proves nothing: all disks of the datacenter may have been lost. Then it must
        have caught up with the replicas of the other datacenters as well.
        """
        cursors = self.of(partition.id)
        peers = [node for node in partition.replicas if node.name != self._own.name]
        siblings = [cursors.get(node.name) for node in peers if node.datacenter_id == self._own.datacenter_id]
        asked = siblings
        if not all(cursor is not None and cursor.serving for cursor in siblings):
            asked = [cursors.get(node.name) for node in peers]
        return all(cursor is not None and cursor.caught_up for cursor in asked)
