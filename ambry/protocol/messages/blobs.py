"""Messages between frontends and data nodes: blobs, their bytes and their state."""

from __future__ import annotations

from typing import Annotated

import msgspec

from ambry.blob import BlobState
from ambry.checksum import BLOCK_SIZE
from ambry.format.record import PAYLOAD_SIZE_MAX, TAG_SIZE
from ambry.protocol.messages.base import (
    IDS_MAX,
    DigestBytes,
    IdBytes,
    Message,
    RequestId,
    SectionBytes,
    StampMs,
    TimeMs,
)

Features = Annotated[int, msgspec.Meta(ge=0, le=0xFFFF)]
Tags = Annotated[bytes, msgspec.Meta(max_length=PAYLOAD_SIZE_MAX // BLOCK_SIZE * TAG_SIZE)]


class PutRequest(Message, frozen=True, array_like=True):
    """Store one record; the body is its payload, the frame's checks are the record's.

    `features` and `tags` as in a record (ambry/format/record.py): what a data node stores and ships, and does not understand.
    """

    request_id: RequestId
    id: IdBytes
    kind: int
    created_at_ms: StampMs
    expires_at_ms: TimeMs
    properties: SectionBytes
    metadata: SectionBytes
    digest: DigestBytes
    sync: bool
    features: Features = 0
    tags: Tags = b""


class GetRequest(Message, frozen=True, array_like=True):
    """Read payload bytes `first` to `end` (exclusive; clipped to the payload) of one record.

    `first == end` reads no payload. `any_state` reads deleted and expired blobs too. `unchecked`: the asker verifies the body
    anyway, so the node need not do so before; where it proves damaged the asker asks again without this, and so the node
    finds out (docs/decisions/0033-a-large-read-is-verified-by-who-asked.md).
    """

    request_id: RequestId
    id: IdBytes
    first: int
    end: int
    any_state: bool = False
    unchecked: bool = False


class GetReply(Message, frozen=True, array_like=True, gc=False):
    """The record's head; the body holds the blocks that cover the range, from payload byte `start` on.

    Where only the state of the blob is known, or the blob is gone and was not asked for all the same, `present` is false and
    all but `state`, `gone` and `deleted_at_ms` is empty. `gone`: deleted, or expired by the data node's clock. `deleted_at_ms`:
    when it was deleted, wall clock, 0 where it is not. `tags` are those of the blocks in the body.
    """

    state: BlobState
    present: bool
    kind: int
    created_at_ms: int
    properties: bytes
    metadata: bytes
    digest: bytes
    payload_size: int
    start: int
    gone: bool = False
    deleted_at_ms: int = 0
    features: int = 0
    tags: bytes = b""


class UpdateRequest(Message, frozen=True, array_like=True):
    """Join `state` into the blob's state and make the result durable. A replica that lacks the blob keeps the state.

    An undelete says in `deleted_at_ms` when the delete was made that it undoes, so that a replica which has not heard of that
    knows whether it comes too late; and it is recorded only where the blob's bytes are
    (docs/decisions/0022-an-undelete-tells-what-it-undoes.md). 0: it is no undelete.
    """

    request_id: RequestId
    id: IdBytes
    state: BlobState
    changed_at_ms: StampMs
    deleted_at_ms: StampMs = 0


class UpdateReply(Message, frozen=True, array_like=True):
    """The state after the join; `deleted_at_ms` as in GetReply."""

    state: BlobState
    deleted_at_ms: int = 0


class PresenceRequest(Message, frozen=True, array_like=True):
    """Which of these blobs does this node hold?"""

    request_id: RequestId
    ids: Annotated[list[bytes], msgspec.Meta(max_length=IDS_MAX)]


class PresenceReply(Message, frozen=True, array_like=True):
    """Per id of the request: "present", "deleted", "absent" or "unsure"."""

    states: list[str]


GETS_MAX = 256
"""Blobs of one GetsRequest: they are read in some turns of the event loop."""


class WantedBytes(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Payload bytes of one blob, as in GetRequest."""

    id: IdBytes
    first: int
    end: int


class GetsRequest(Message, frozen=True, array_like=True):
    """Read some bytes of many records: whatever is here, alive and quick to read. At most `room` bytes in all."""

    request_id: RequestId
    wanted: Annotated[list[WantedBytes], msgspec.Meta(max_length=GETS_MAX)]
    room: Annotated[int, msgspec.Meta(ge=0, le=16 << 20)]


class GotBytes(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The record's head, its `start` that of the very bytes that were asked for, and which bytes of the body these are.

    Nothing else in the body means anything. Of a record that has tags it is whole blocks, from `start` on, which is theirs.
    """

    reply: GetReply
    size: int
    at: int


class GetsReply(Message, frozen=True, array_like=True):
    """Per blob of the request, in its order. None says nothing about a blob: ask for it alone."""

    got: list[GotBytes | None]


PUTS_MAX = 512
"""Blobs of one PutsRequest."""


class NewBlob(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One blob of one record, as in PutRequest; `size` of the body's bytes are its payload."""

    id: IdBytes
    created_at_ms: StampMs
    expires_at_ms: TimeMs
    properties: SectionBytes
    metadata: SectionBytes
    digest: DigestBytes
    size: Annotated[int, msgspec.Meta(ge=0, le=1 << 32)]
    features: Features = 0
    tags: Tags = b""


class PutsRequest(Message, frozen=True, array_like=True):
    """Store many new blobs; the body is their payloads, one after the other. Each is stored or not for itself."""

    request_id: RequestId
    sync: bool
    blobs: Annotated[list[NewBlob], msgspec.Meta(max_length=PUTS_MAX)]


class NotStored(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Why one blob of the request was not stored: its place in it, and an error as in ErrorReply."""

    place: int
    code: int
    message: str


class PutsReply(Message, frozen=True, array_like=True):
    """All others are stored."""

    failed: list[NotStored]
