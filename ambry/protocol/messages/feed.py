"""Messages of the change feed: what a frontend asks data nodes about the blobs of one container (frontend/feed).

A place says how far a replica's log was told: its tag names the replica, its incarnation and its epoch in few bytes, since the
tokens of users are made of places. One tag stands for another by mistake once in 2**24 times that a replica is made anew, and
then only where the new log is longer than what was told of the old one.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

import msgspec

from ambry.blob import BlobState
from ambry.checksum import xxh64
from ambry.protocol.messages.base import IDS_MAX, PARTITIONS_MAX, IdBytes, Lsn, Message, StampMs
from ambry.protocol.messages.upkeep import Container

TAG_SIZE = 4
PLACES_MAX = 31
"""Of one partition: one for each replica that there may be."""
CHANGES_MAX = 1_000
"""In one answer."""
WATCH_ID_SIZE = 16
Tag = Annotated[bytes, msgspec.Meta(min_length=TAG_SIZE, max_length=TAG_SIZE)]


def node_hint(name: str) -> int:
    """The first byte of the tags of a node's replicas: by it whoever has a tag asks the right node first."""
    return xxh64(name.encode()) & 0xFF


def place_tag(node: str, incarnation: bytes, epoch: bytes) -> bytes:
    """The tag of a replica's log as of one opening."""
    return bytes((node_hint(node),)) + (xxh64(incarnation + epoch) & 0xFF_FFFF).to_bytes(3, "big")


class FeedPlace(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Everything of a log before `lsn` was told."""

    tag: Tag
    lsn: Lsn


class FeedPartition(msgspec.Struct, frozen=True, array_like=True):
    """Of one partition: what was told, by the places of some of its replicas, any of which will do.

    Without places: from the `beginning`, or from now on. `floor` is where the log ended when it was begun from the beginning;
    a tombstone before it was never missed. `ids` are blobs that must be here: which are not is told. `behind`: so far before
    the first place the last end lies that was come to; puts from there on are told with what became of them since.
    """

    partition: int
    places: Annotated[list[FeedPlace], msgspec.Meta(max_length=PLACES_MAX)]
    beginning: bool = True
    floor: Lsn = 0
    ids: Annotated[list[IdBytes], msgspec.Meta(max_length=IDS_MAX)] = msgspec.field(default_factory=list)
    behind: Lsn = 0


class FeedRequest(Message, frozen=True, array_like=True):
    """What changed in these partitions of one container? At most `limit` blobs, shared among them. Answered at once."""

    container: Container
    partitions: Annotated[list[FeedPartition], msgspec.Meta(max_length=PARTITIONS_MAX)]
    limit: Annotated[int, msgspec.Meta(ge=1, le=CHANGES_MAX)]


class FeedOutcome(IntEnum):
    """Values are on the wire, never renumber."""

    TOLD = 0
    UNKNOWN = 1
    """None of the places is of this replica's log."""
    PURGED = 2
    """Tombstones behind the place were dropped: whoever stands there may believe that a blob lives which was deleted."""
    AWAY = 3
    """The replica is not here or not open, or does not know for sure that it lacks nothing."""


class FeedChange(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One blob as it is now, standing at its latest change; no chunk of a larger one.

    `put`: its put was not told, or may not have been; then `size` is the blob's, -1 where that cannot be told. `updated`: it
    was changed behind the place since it was put, or may have been.
    """

    id: IdBytes
    state: BlobState
    changed_at_ms: StampMs
    put: bool
    updated: bool
    size: int


class FeedAnswer(msgspec.Struct, frozen=True, array_like=True):
    """Of one partition. Where it was told, `place` covers `changes`, and `at_end` says that there is nothing more yet.

    `seen` are places of other replicas: what their logs have before them has been told too. `lacking` are ids of the request
    that this replica does not have, or that came or changed behind `place`.
    """

    partition: int
    outcome: FeedOutcome
    changes: list[FeedChange] = msgspec.field(default_factory=list)
    place: FeedPlace | None = None
    floor: Lsn = 0
    at_end: bool = False
    seen: Annotated[list[FeedPlace], msgspec.Meta(max_length=PLACES_MAX)] = msgspec.field(default_factory=list)
    lacking: list[IdBytes] = msgspec.field(default_factory=list)
    behind: Lsn = 0
    """As of a FeedPartition."""


class FeedReply(Message, frozen=True, array_like=True):
    """In the order of the request."""

    partitions: list[FeedAnswer]


class WatchRequest(Message, frozen=True, array_like=True):
    """In which containers do blobs change? Waits up to `wait_ms` for something, then `delay_ms` for more to come with it.

    `watch` names the asker, 16 bytes of chance; `step` counts its answers. A step that is not the next one means that an answer
    got lost.
    """

    watch: Annotated[bytes, msgspec.Meta(min_length=WATCH_ID_SIZE, max_length=WATCH_ID_SIZE)]
    step: Annotated[int, msgspec.Meta(ge=0)]
    wait_ms: Annotated[int, msgspec.Meta(ge=0, le=60_000)]
    delay_ms: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 0


class ContainerPartitions(msgspec.Struct, frozen=True, array_like=True):
    """One container, and the partitions in which it changed."""

    container: Container
    partitions: list[int]


class WatchReply(Message, frozen=True, array_like=True):
    """What changed since the answer before. `anything`: it is not known, any container may have changed."""

    changed: list[ContainerPartitions]
    anything: bool = False
