"""What a replica does about a change that a peer reports. Pure: states and times in, a decision out."""

from __future__ import annotations

from enum import Enum

from ambry.blob import DatedState
from ambry.clustermap.model import Node, Partition
from ambry.protocol.messages.replication import Change
from datanode.store.entry import IndexEntry
from datanode.store.retention import Retention


class Action(Enum):
    NOTHING = 0
    """We know all of it."""
    MERGE = 1
    """Record the joined state."""
    FETCH = 2
    """Get the blob's bytes; its record will carry the joined state."""


def joined_state(entry: IndexEntry | None, news: DatedState) -> DatedState:
    """The state after this news, with the later of the two times: so replicas agree when it was made."""
    return news if entry is None else entry.dated.joined(news)


def decide(entry: IndexEntry | None, change: Change, retention: Retention) -> Action:
    """What to do about `change`, given our own `entry`.

    Bytes of a deleted or expired blob are fetched like any others until they are so long dead that the peer may drop them: an
    undelete may want them, and whoever holds them now may be lost before. From then on its state is recorded, so that no
    clock makes us say that there is no such blob; and so is a tombstone whose bytes nobody can give. What is dead and whose
    bytes the peer has dropped is not spread any further.
    """
    after = joined_state(entry, change.dated)
    here = entry is not None and entry.present
    dead = retention.state_dead(after.state, after.changed_at_ms)
    if change.present and not here and not dead:
        return Action.FETCH
    if entry is None:
        return Action.NOTHING if dead and not after.state.deleted and not change.present else Action.MERGE
    return Action.MERGE if after != entry.dated else Action.NOTHING


def is_designated(partition: Partition, own: Node) -> bool:
    """Whether `own` is the replica of its datacenter that pulls this partition across."""
    names = [node.name for node in partition.in_datacenter(own.datacenter_id)]
    return designated(names, partition.id) == own.name


def designated(replica_names: list[str], partition: int) -> str:
    """Which of a datacenter's replicas pulls a partition across datacenters at once; its siblings take it from there.

    The others ask the remote replicas too, but later, and by then find everything here: so when the designated one is down
    they take over without any election.
    """
    return sorted(replica_names)[partition % len(replica_names)]
