"""What a replica makes of the digests of another: which ranges to look into, and what of them it lacks. Pure.

Digests may differ by what is on its way, since every replica has them as of its own last checkpoint. So they only say where to
look. What counts is a blob or a state that the peer has, that is missing here, and that still is once everything of the peer's
log before its answer was taken in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from ambry.blob import join
from ambry.protocol.messages.replication import Change, RangeDigest
from datanode.replication.decide import Action, decide
from datanode.store.entry import IndexEntry
from datanode.store.ranges import Sum
from datanode.store.retention import Retention

WITNESSES = 2
"""So many replicas must hold a blob that may have been deleted so long ago that the tombstone is forgotten here."""


class KeyRange(NamedTuple):
    """Keys from `low` on and before `high`."""

    low: bytes
    high: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What comparing one replica with one peer came to: what is missing here. What that peer lacks, it finds out itself.

    `undecided` says why that is not known. `lacking` blobs or states were missing, of which `repaired` no longer are.
    `doubtful` ones live there and may have been deleted long ago. `more`: so much differed that the rest was not looked at.
    """

    undecided: str = ""
    lacking: int = 0
    repaired: int = 0
    doubtful: int = 0
    more: bool = False

    @property
    def complete(self) -> bool:
        """Whether all that the peer has was here."""
        return not (self.undecided or self.lacking or self.doubtful or self.more)


def bounds_of(span: KeyRange, ranges: Sequence[RangeDigest]) -> list[bytes]:
    """The keys at which the ranges of an answer meet."""
    return [span.low, *(item.start for item in ranges[1:]), span.high]


def differing(span: KeyRange, theirs: Sequence[RangeDigest], ours: Sequence[Sum]) -> list[KeyRange]:
    """The ranges of an answer that are not the same here."""
    spans = [KeyRange(low, high) for low, high in pairwise(bounds_of(span, theirs))]
    return [
        span
        for span, their, our in zip(spans, theirs, ours, strict=True)
        if (their.digest, their.blobs) != (our.digest.to_bytes(16, "big"), our.blobs)
    ]


def lacks(entry: IndexEntry | None, change: Change, retention: Retention) -> bool:
    """Whether `change` is more than we know, given our own `entry`.

    Not where a peer still has a tombstone of what is forgotten here, or the bytes of what is deleted, and not where only times
    differ.
    """
    joined = change.state if entry is None else join(entry.state, change.state)
    if joined.deleted:
        return entry is not None and joined != entry.state
    action = decide(entry, change, retention)
    if action is Action.MERGE and entry is not None:
        return joined != entry.state
    return action is not Action.NOTHING


def may_be_forgotten(
    entry: IndexEntry | None, change: Change, retention: Retention, *, now_ms: int, purged_lsn: int
) -> bool:
    """Whether a blob that is not known here may have been deleted so long ago that even its tombstone was dropped."""
    kept_ms = max(retention.deleted_ms, retention.tombstone_ms)
    created_at_ms = int.from_bytes(change.id[16:22], "big")
    return entry is None and purged_lsn > 0 and created_at_ms + kept_ms <= now_ms
