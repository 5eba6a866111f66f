"""Messages between data nodes that copy segments: what there is, which records of it count, and its bytes.

Only nodes that announce the feature `segments` are asked. A segment is named by the incarnation of the replica, its number and
its generation. One that is gone is answered as such: a compaction has put its records elsewhere.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from ambry.blob import BlobState
from ambry.protocol.messages.base import IdBytes, Lsn, Message, StampMs

SEGMENT_BYTES_MAX = 40 << 20
"""Of one answer: more than any record has."""
RECORDS_MAX = 1_000
"""Records that one answer goes through: some ten milliseconds."""
SaltInt = Annotated[int, msgspec.Meta(ge=0)]
Offset = Annotated[int, msgspec.Meta(ge=0, le=(1 << 48) - 1)]
"""In a segment's file, or of so many bytes in it."""


class SegmentsRequest(Message, frozen=True, array_like=True):
    """Which segments of a partition take no more appends, and hold anything behind `since_lsn` of the log `incarnation`?

    All of them, where that is not the log that there is.
    """

    partition: int
    incarnation: bytes
    since_lsn: Lsn


class SegmentOffer(Message, frozen=True, array_like=True, gc=False):
    """One segment that may be copied. `salt` seeds the checks of its record headers; `size` is up to the last record's end."""

    number: int
    generation: int
    end_lsn: Lsn
    size: Offset
    salt: SaltInt


class SegmentsReply(Message, frozen=True, array_like=True):
    """In the order of their LSNs."""

    incarnation: bytes
    segments: list[SegmentOffer]


class SegmentRecordsRequest(Message, frozen=True, array_like=True):
    """Which blobs does a segment hold from `offset` on, or from the next record behind it?

    At most `limit` records are gone through. The segment is kept for a while then.
    """

    partition: int
    incarnation: bytes
    number: int
    generation: int
    offset: Offset
    limit: Annotated[int, msgspec.Meta(ge=1, le=RECORDS_MAX)] = RECORDS_MAX


class RecordOffer(Message, frozen=True, array_like=True, gc=False):
    """A blob that lives, whose record stands at `offset` of the segment; its state as it is now."""

    id: IdBytes
    offset: Offset
    size: Offset
    state: BlobState
    changed_at_ms: StampMs


class SegmentRecordsReply(Message, frozen=True, array_like=True):
    """In the order of their offsets. There may be more from `next_offset` on, which is 0 where there are none."""

    records: list[RecordOffer]
    next_offset: Offset
    gone: bool = False


class SegmentBytesRequest(Message, frozen=True, array_like=True):
    """Send these bytes of a segment as they stand in its file."""

    partition: int
    incarnation: bytes
    number: int
    generation: int
    offset: Offset
    size: Annotated[int, msgspec.Meta(ge=1, le=SEGMENT_BYTES_MAX)]


class SegmentBytesReply(Message, frozen=True, array_like=True):
    """The body has the bytes."""

    gone: bool = False
