"""Messages of housekeeping between data nodes: what became of a blob."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

import msgspec

from ambry.protocol.messages.base import IDS_MAX, IdBytes, Message, TimeMs


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
