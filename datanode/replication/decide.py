"""What a replica does about a change that a peer reports. Pure: states and times in, a decision out."""

from __future__ import annotations

from enum import Enum

from ambry.blob import BlobState, join
from ambry.protocol.messages.replication import Change
from datanode.store.entry import IndexEntry

EXPIRY_GRACE_MS = 3_600_000
"""Clocks differ: a blob counts as expired for replication only this long after its time."""


class Action(Enum):
    NOTHING = 0
    """We know all of it."""
    MERGE = 1
    """Record the joined state."""
    FETCH = 2
    """Get the blob's bytes; its record will carry the joined state."""


def joined_state(entry: IndexEntry | None, change: Change) -> BlobState:
    """The state after this change."""
    return change.state if entry is None else join(entry.state, change.state)


def decide(entry: IndexEntry | None, change: Change, now_ms: int) -> Action:
    """What to do about `change`, given our own `entry`.

    Bytes of a deleted blob are not fetched; should it be undeleted, that is a new change and they are fetched then. A
    tombstone is recorded even where the blob itself never arrived.
    """
    state = joined_state(entry, change)
    here = entry is not None and entry.present
    gone = state.deleted or state.expired(now_ms - EXPIRY_GRACE_MS)
    if change.present and not here and not gone:
        return Action.FETCH
    if entry is None:
        return Action.NOTHING if change.present and not state.deleted else Action.MERGE
    return Action.MERGE if state != entry.state else Action.NOTHING


def designated(replica_names: list[str], partition: int) -> str:
    """Which of a datacenter's replicas pulls a partition across datacenters at once; its siblings take it from there.

    The others ask the remote replicas too, but later, and by then find everything here: so when the designated one is down
    they take over without any election.
    """
    return sorted(replica_names)[partition % len(replica_names)]
