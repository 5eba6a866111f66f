"""Messages of housekeeping: what became of a blob, what containers have."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

import msgspec

from ambry.protocol.messages.base import IDS_MAX, IdBytes, Lsn, Message, TimeMs

CONTAINERS_MAX = 2_000
"""Of which one answer tells."""
Container = Annotated[bytes, msgspec.Meta(min_length=8, max_length=8)]
"""Account and container as they stand in ids."""
Count = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class Fate(IntEnum):
    """What became of a blob, as one replica knows. Values are on the wire, never renumber."""

    UNSURE = 0
    ALIVE = 1
    """There, or deleted so recently that an undelete would bring it back."""
    DEAD = 2
    """Deleted or expired, and nothing brings it back."""
    ABSENT = 3
    """Not known, by a replica that has the authority to say so."""


class FatesRequest(Message, frozen=True, array_like=True):
    """What became of these blobs?"""

    ids: Annotated[list[IdBytes], msgspec.Meta(max_length=IDS_MAX)]


class FatesReply(Message, frozen=True, array_like=True):
    """Per id of the request its fate, and since when it is dead: wall clock, 0 where it is not."""

    fates: list[Fate]
    since_ms: list[TimeMs]


class UsageRequest(Message, frozen=True, array_like=True):
    """What do containers have in a replica, as of its last checkpoint, at `now_ms` of the asker's wall clock?

    Those behind `after`, at most `limit` of them; empty: from the first on.
    """

    partition: int
    now_ms: TimeMs
    after: Annotated[bytes, msgspec.Meta(max_length=8)] = b""
    limit: Annotated[int, msgspec.Meta(ge=1, le=CONTAINERS_MAX)] = CONTAINERS_MAX


class UsageRow(msgspec.Struct, frozen=True, array_like=True):
    """What one container has: bytes are of users, without what it takes to keep them."""

    container: Container
    live_blobs: Count
    live_bytes: Count
    dead_blobs: Count
    """Deleted or expired, and their bytes are still here."""
    dead_bytes: Count


class UsageReply(Message, frozen=True, array_like=True):
    """In order of the containers' bytes; `after` is to go on with, empty at the end.

    `whole` False: it is being counted anew, and is too little. `lsn` is that of the checkpoint.
    """

    lsn: Lsn
    whole: bool
    containers: list[UsageRow]
    after: bytes = b""
