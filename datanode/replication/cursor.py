"""How far the replicas of this node have followed their peers. Pure.

`next_lsn` is where the next request goes on. The durable token may be behind it: it never passes a blob that should be here
and is not yet, so a crash forgets none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ambry.clustermap.model import Node, Partition
from ambry.protocol.messages.replication import PartitionChanges
from datanode.store.index import FindToken
from datanode.store.lineage import Seen

NO_TOKEN = FindToken(b"", 0)


@dataclass(slots=True)
class Cursor:
    """Progress of one replica against the log of one peer, named by its incarnation and epoch. LSNs in bytes of that log."""

    incarnation: bytes = b""
    next_lsn: int = 0
    end_lsn: int = 0
    outstanding: dict[bytes, int] = field(default_factory=dict)
    """Blob id -> LSN of blobs that could not be fetched yet."""
    caught_up: bool = False
    """Whether everything of the peer was here at some moment since this replica was opened."""
    serving: bool = True
    """Whether the peer itself had the authority to say "not found", when it last answered."""
    epoch: bytes = b""
    complete: bool = False
    """Whether everything of this log was here at some moment: what lies before the token is not only compared once more."""
    opened: FindToken = NO_TOKEN
    """Where the last checkpoint before the opening stood."""
    answered: bool = False
    """Whether the peer answered since the opening, and said how far it has seen us."""
    vouches: bool = False
    """Whether it knew nothing of our log that we do not know."""
    proves: bool = False
    """Whether it has shown since the opening that our replica was put back from a backup."""
    seen_lsn: int = 0
    """How far it has seen our log, where that is our log."""
    put_back: bool = False
    """Whether the peer was put back from a backup, and tells nothing yet."""
    untold: bool = False
    """Whether the peer had dropped tombstones, when it answered, of behind where it was asked from."""
    lacking: set[bytes] = field(default_factory=set)
    """Those of `outstanding` of which a comparison showed that they should have been here."""
    lag_shown: int = -1
    """What the metrics say of `lag_bytes`."""
    on_moved: Callable[[], None] = lambda: None
    """Called when what may be made durable changed."""

    @property
    def lag_bytes(self) -> int:
        return max(0, self.end_lsn - self.next_lsn)

    @property
    def known(self) -> FindToken:
        """How far the peer's log was seen, durable or not."""
        return FindToken(self.incarnation, self.next_lsn, self.epoch)

    def token(self) -> FindToken:
        """What may be made durable."""
        return FindToken(
            self.incarnation, min([self.next_lsn, *self.outstanding.values()]), self.epoch, complete=self.complete
        )

    def hear(self, answer: PartitionChanges, seen: Seen) -> bool:
        """What an answer says beside its changes; `seen`: what the peer's own cursor says of our log.

        Returns whether anything of that is news which may decide something (datanode/replication/{authority,recovery}.py).
        """
        before = (self.answered, self.vouches, self.serving, self.put_back, self.untold, self.incarnation)
        self.answered = True
        self.vouches = seen is not Seen.BEYOND
        self.seen_lsn = answer.known.lsn if seen is Seen.HERE else 0
        self.serving = answer.serving
        self.put_back = answer.put_back
        if not answer.put_back:
            self.follow(answer.incarnation)
            self.end_lsn = answer.end_lsn
        # Those that it drops later were told: it waits until this replica has them for good.
        self.untold = self.untold or self.next_lsn < answer.purged_lsn
        return before != (True, self.vouches, self.serving, self.put_back, self.untold, self.incarnation)

    def follow(self, incarnation: bytes) -> None:
        """The peer's log is `incarnation`: start over if it is another one than before."""
        if incarnation != self.incarnation:
            self.incarnation = incarnation
            self.epoch = b""
            self.next_lsn = self.end_lsn = 0
            self.outstanding.clear()
            self.lacking.clear()
            self.caught_up = self.complete = False
            self.on_moved()

    def advance(self, next_lsn: int, end_lsn: int, failed: dict[bytes, int], epoch: bytes = b"") -> None:
        """Everything before `next_lsn` is here and durable, but for `failed`."""
        before = (self.next_lsn, self.epoch, self.complete)
        self.outstanding.update(failed)
        self.next_lsn = max(self.next_lsn, next_lsn)
        self.end_lsn = end_lsn
        self.epoch = epoch
        self._note_end()
        if failed or before != (self.next_lsn, self.epoch, self.complete):
            self.on_moved()

    def found(self, blob_id: bytes) -> None:
        """A blob that was outstanding is here now, or gone for good."""
        was_outstanding = self.outstanding.pop(blob_id, None) is not None
        self.lacking.discard(blob_id)
        if self.incarnation:
            self._note_end()
        if was_outstanding:
            self.on_moved()

    def lack(self, blobs: Mapping[bytes, int]) -> None:
        """What the peer holds, by blob id and LSN, never came, though its log was followed beyond: it is outstanding again."""
        self.outstanding.update(blobs)
        self.lacking.update(blobs)
        self.caught_up = False
        self.on_moved()

    def _note_end(self) -> None:
        if self.next_lsn >= self.end_lsn and not self.outstanding:
            self.caught_up = self.complete = True

    def missed(self, *, put_back: bool) -> bool:
        """Whether the peer may have dropped a tombstone that never came here, of a blob that we hold.

        A replica that compares everything anew has seen it before, or holds nothing from before: unless it was put back.
        """
        opened = self.opened
        from_before = opened.complete and opened.incarnation == self.incarnation and opened.lsn > 0
        return self.untold and (put_back or from_before)


class Cursors:
    """The cursors of one node, `own`: one per partition and peer that holds it."""

    def __init__(self, own: Node) -> None:
        self._own = own
        self._cursors: dict[int, dict[str, Cursor]] = {}
        self._held: set[int] = set()
        self.restored = 0
        """Counts what `restore` and `look_again` did: whoever keeps a Cursor looks for it again."""
        self.on_durable: Callable[[int], None] = lambda _partition: None
        """Hears of the partitions whose tokens became durable."""
        self.on_moved: Callable[[int], None] = lambda _partition: None
        """Hears of the partitions whose tokens are others by now."""

    def restore(self, partition: Partition, tokens: Mapping[str, FindToken]) -> None:
        """A replica was opened: its peers are followed from the tokens of its checkpoint on."""
        self.restored += 1
        self._held.discard(partition.id)
        self._cursors[partition.id] = {
            node.name: _from_token(tokens.get(node.name, NO_TOKEN), lambda: self.on_moved(partition.id))
            for node in partition.others(self._own.name)
        }

    def look_again(self) -> None:
        """Which of the cursors are followed has changed."""
        self.restored += 1

    def get(self, peer: str, partition: int) -> Cursor | None:
        return self._cursors.get(partition, {}).get(peer)

    def of(self, partition: int) -> dict[str, Cursor]:
        """By peer; empty for a partition that was never opened."""
        return self._cursors.get(partition, {})

    def known_of(self, peer: str, partition: int) -> FindToken | None:
        """How far this node has seen a peer's log; None where it never followed it."""
        cursor = self.get(peer, partition)
        return cursor.known if cursor is not None and cursor.incarnation else None

    def tokens_of(self, partition: int) -> dict[str, FindToken]:
        """What the next checkpoint may say about the peers of a partition.

        Where tombstones were dropped that never came here, the tokens of the opening are what shows it: they stay until the
        replica is another one, or has caught up with somebody who dropped none of them. Else a crash would hide it.
        """
        if partition in self._held or self._missed_some(partition):
            return {name: cursor.opened for name, cursor in self.of(partition).items() if cursor.opened.incarnation}
        return {name: cursor.token() for name, cursor in self.of(partition).items() if cursor.incarnation}

    def hold(self, partition: int) -> None:
        """Its replica was put back from a backup: tokens stay as they are until it is opened as another one."""
        self._held.add(partition)

    def _missed_some(self, partition: int) -> bool:
        cursors = self.of(partition).values()
        if not any(cursor.answered and cursor.missed(put_back=False) for cursor in cursors):
            return False
        return not any(c.answered and c.serving and c.caught_up and not c.missed(put_back=False) for c in cursors)

    def note_durable(self, partition: int) -> None:
        """A checkpoint with the tokens of a partition was written."""
        self.on_durable(partition)

    def found(self, partition: int, blob_id: bytes) -> None:
        """A blob that was outstanding is here now, or gone for good."""
        for cursor in self.of(partition).values():
            cursor.found(blob_id)

    def may_serve(self, partition: Partition) -> bool:
        """Whether the replica of this node has caught up with every replica of its own datacenter.

        What a sibling without authority holds proves nothing: all disks of the datacenter may have been lost. Then it must
        have caught up with the replicas of the other datacenters as well.
        """
        siblings, others = self._by_distance(partition)
        if any(cursor.lacking for cursor in others):
            return False
        asked = siblings
        if not all(cursor.serving for cursor in siblings):
            asked = siblings + others
        return all(cursor.caught_up for cursor in asked)

    def vouched(self, partition: Partition, *, waited: bool) -> bool:
        """Whether enough peers said that they know nothing of our log that we do not know.

        All of them, or once they had their time (`waited`) one of our datacenter and one of another, where there are such.
        """
        siblings, others = self._by_distance(partition)
        cursors = siblings + others
        if not all(cursor.vouches for cursor in cursors if cursor.answered):
            return False
        if all(cursor.answered for cursor in cursors):
            return True
        return waited and all(any(cursor.answered for cursor in some) for some in (siblings, others) if some)

    def all_vouch(self, partition: int) -> bool:
        """Whether every peer said so."""
        return all(cursor.answered and cursor.vouches for cursor in self.of(partition).values())

    def _by_distance(self, partition: Partition) -> tuple[list[Cursor], list[Cursor]]:
        """The cursors of the peers in our datacenter, and of those elsewhere."""
        cursors = self.of(partition.id)
        peers = partition.others(self._own.name)
        near = [node.datacenter_id == self._own.datacenter_id for node in peers]
        found = [cursors.get(node.name, Cursor()) for node in peers]
        return (
            [cursor for cursor, is_near in zip(found, near, strict=True) if is_near],
            [cursor for cursor, is_near in zip(found, near, strict=True) if not is_near],
        )

    # --- a replica that was put back, or away for long ---

    def must_rebuild(self, partition: int, *, put_back: bool, waited: bool) -> bool:
        """Whether our replica holds blobs that may have been deleted, and nobody can tell any more.

        A tombstone is dropped only when all peers have seen it: so one that has authority and dropped none that we missed
        knows all that we must hear; all are heard first, or have had their time (`waited`). But where we were put back, such a
        one may have been as well, and not know it yet: who proves that we were tells what there is to be heard.
        """
        cursors = self.of(partition).values()
        sure = [cursor for cursor in cursors if cursor.answered and cursor.serving]
        if not sure:
            return False
        if any(cursor.proves and cursor.answered and cursor.missed(put_back=True) for cursor in cursors):
            return True
        heard = waited or all(cursor.answered for cursor in cursors)
        return heard and all(cursor.missed(put_back=put_back) for cursor in sure)

    def taken_in_lsn(self, partition: int, begin_lsn: int) -> int:
        """Up to where a peer with authority has taken in our log; of what there was at the opening, before `begin_lsn`."""
        peers = [cursor for cursor in self.of(partition).values() if cursor.answered and cursor.serving]
        if not all(cursor.vouches for cursor in peers):
            return begin_lsn  # it has seen all of that, and more
        known = max((cursor.seen_lsn for cursor in peers), default=0)
        return min(begin_lsn, known) if known else begin_lsn

    def witnessed(self, partition: int, *, waited: bool) -> bool:
        """Whether our replica, which was put back, has heard all that was deleted since.

        From a peer with authority. Where none has it after some time (`waited`), from all that tell anything: the whole
        cluster was put back, or lost its indexes.
        """
        cursors = self.of(partition).values()
        if any(cursor.proves and not cursor.answered for cursor in cursors):
            return False  # it knows better than all others
        if any(c.caught_up and c.serving and not c.put_back and not c.missed(put_back=True) for c in cursors):
            return True
        nobody = waited and all(cursor.answered and not cursor.serving for cursor in cursors)
        return nobody and all(cursor.caught_up or cursor.put_back for cursor in cursors)


def _from_token(token: FindToken, on_moved: Callable[[], None]) -> Cursor:
    return Cursor(
        token.incarnation, token.lsn, epoch=token.epoch, complete=token.complete, opened=token, on_moved=on_moved
    )
