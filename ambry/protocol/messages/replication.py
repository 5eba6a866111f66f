"""Messages between data nodes: what changed, and the records that are missing."""

from __future__ import annotations

from typing import Annotated

import msgspec

from ambry.blob import BlobState, DatedState
from ambry.protocol.messages.base import IDS_MAX, PARTITIONS_MAX, DigestBytes, IdBytes, Lsn, Message, Name, StampMs

KeyBytes = Annotated[bytes, msgspec.Meta(max_length=17)]
"""The uuid of a blob id, or a place between two of them."""
TokenBytes = Annotated[bytes, msgspec.Meta(max_length=16)]
"""The name of an incarnation or of an epoch; empty: of none."""
CHANNELS_MAX = 16


class ChangesCursor(Message, frozen=True, array_like=True):
    """How far the asking replica has seen one partition of the asked node (datanode/store/lineage.py).

    `durable_lsn` is as far as it will have seen it after a crash: before that, tombstones are not needed for it any more.
    """

    partition: int
    incarnation: TokenBytes
    lsn: Lsn
    epoch: TokenBytes = b""
    durable_lsn: Lsn = 0


class Subscription(Message, frozen=True, array_like=True):
    """Which cursors a request leaves out, since the asked node knows them from the one before.

    With `step` 0 a request names all. The next ones of its `session` count up from there, and name those that moved since.
    `session` is new whenever the asker cannot know what the asked one took in; 0: nothing is kept. An asker has one session
    for each `channel`.
    """

    channel: Annotated[int, msgspec.Meta(ge=0, lt=CHANNELS_MAX)] = 0
    session: int = 0
    step: int = 0

    def before(self) -> Subscription:
        """What the request before had."""
        return Subscription(self.channel, self.session, self.step - 1)


class ChangesRequest(Message, frozen=True, array_like=True):
    """What changed after these cursors? Waits up to `wait_ms` for a change, then `delay_ms` for more to come with it.

    With `wait_ms` 0 every partition that is named is listed in the answer, so the asker learns where it stands.
    """

    cursors: Annotated[list[ChangesCursor], msgspec.Meta(max_length=PARTITIONS_MAX)]
    limit: int
    wait_ms: int
    delay_ms: int
    name: Name = ""
    """The asking node: the asked one keeps tombstones until every peer is past them."""
    subscription: Subscription = Subscription()
    gone: Annotated[list[int], msgspec.Meta(max_length=PARTITIONS_MAX)] = msgspec.field(default_factory=list)
    """Partitions that are not followed any more."""


class Change(Message, frozen=True, array_like=True, gc=False):
    """The present state of one blob, standing at its latest change."""

    id: IdBytes
    lsn: Lsn
    state: BlobState
    present: bool
    size: int
    changed_at_ms: StampMs = 0
    """When the latest change was made, by whoever made it: the later one wins."""

    @property
    def dated(self) -> DatedState:
        """The state with the time of its latest change."""
        return DatedState(self.state, self.changed_at_ms)


class Known(Message, frozen=True, array_like=True):
    """How far the asked replica has seen the log of the asking one, by its incarnation and epoch; all empty: not at all."""

    incarnation: bytes = b""
    lsn: Lsn = 0
    epoch: bytes = b""


class PartitionChanges(Message, frozen=True, array_like=True):
    """`next_lsn` is the cursor that covers `changes`; `end_lsn - next_lsn` the lag that remains, in bytes.

    `serving` says whether the asked replica has the authority to say "not found"; an older peer does not tell. `epoch` names
    what the cursor is of. Tombstones before `purged_lsn` may have been left out: who holds blobs and has not seen the log up to
    there may hold some that were deleted. `put_back`: the asked replica was put back from a backup, or may have been, and
    tells nothing of its log before it knows what it missed; the cursor stays.
    """

    partition: int
    incarnation: bytes
    next_lsn: Lsn
    end_lsn: Lsn
    changes: list[Change]
    serving: bool = True
    epoch: bytes = b""
    purged_lsn: Lsn = 0
    known: Known = Known()
    put_back: bool = False


class ChangesReply(Message, frozen=True, array_like=True):
    """Partitions without changes after the cursor are left out, but see ChangesRequest.

    `anew`: the asked node does not know the subscription; all cursors are to be named again.
    """

    partitions: list[PartitionChanges]
    anew: bool = False


class FetchRequest(Message, frozen=True, array_like=True):
    """Send these blobs of one partition whole, as they stand in the log; at most `bytes_max` together, at least one."""

    partition: int
    ids: Annotated[list[IdBytes], msgspec.Meta(max_length=IDS_MAX)]
    bytes_max: int


class FetchReply(Message, frozen=True, array_like=True):
    """The body holds record images (ambry/format/record.py) back to back. `missing` are not here or not readable."""

    sizes: list[int]
    missing: list[bytes]


class DigestsRequest(Message, frozen=True, array_like=True):
    """The digests of one partition from key `low` up to `high`, of what expires after `after_ms`, in at most `limit` ranges.

    `fresh`: of all that is published, not as of the last checkpoint (datanode/store/ranges.py).
    """

    partition: int
    low: KeyBytes
    high: KeyBytes
    after_ms: int
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)]
    fresh: bool = False


class RangeDigest(Message, frozen=True, array_like=True, gc=False):
    """The digest of the blobs from key `start` up to the next range, and how many they are."""

    start: KeyBytes
    digest: DigestBytes
    blobs: int


class DigestsReply(Message, frozen=True, array_like=True):
    """All of the log `incarnation` before `lsn` is in the digests. Not `whole`: they are being counted anew, ask later."""

    incarnation: bytes
    lsn: Lsn
    whole: bool
    ranges: list[RangeDigest]


class EntriesRequest(Message, frozen=True, array_like=True):
    """The blobs of one partition from key `low` up to `high`, as they stand now, at most `limit`."""

    partition: int
    low: KeyBytes
    high: KeyBytes
    limit: Annotated[int, msgspec.Meta(ge=1, le=2_000)]


class EntriesReply(Message, frozen=True, array_like=True):
    """`entries` in the order of their keys; there may be more from `next` on, which is empty where there are none.

    Who has seen the log `incarnation` up to `lsn` knows all of it.
    """

    incarnation: bytes
    lsn: Lsn
    entries: list[Change]
    next: bytes
