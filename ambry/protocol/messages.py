"""The headers of frames: what is asked and answered, as msgpack arrays.

Fields are only ever added at the end, with a default: an older peer ignores what it does not know. Byte strings named `id`
are the 36 bytes of a blob id. `request_id` names the user's request in every log.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Any, TypeVar

import msgspec

from ambry.blob import NEVER_MS, BlobState
from ambry.checksum import DIGEST_SIZE
from ambry.errors import AmbryError, ProtocolViolation, error_from_code
from ambry.format.record import SECTION_SIZE_MAX
from ambry.ids import ID_SIZE

T = TypeVar("T")

# What a field of the log cannot hold is refused when it is decoded: later it would fail a whole batch.
IdBytes = Annotated[bytes, msgspec.Meta(min_length=ID_SIZE, max_length=ID_SIZE)]
DigestBytes = Annotated[bytes, msgspec.Meta(min_length=DIGEST_SIZE, max_length=DIGEST_SIZE)]
SectionBytes = Annotated[bytes, msgspec.Meta(max_length=SECTION_SIZE_MAX)]
TimeMs = Annotated[int, msgspec.Meta(ge=0, le=NEVER_MS)]
Lsn = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class Message(msgspec.Struct, frozen=True, array_like=True):
    """Base of all headers."""


class Hello(Message, frozen=True, array_like=True):
    """The first frame of a connection, both ways. A node of another cluster, or another node than expected, is refused."""

    cluster: str
    name: str
    expected: str = ""


class Empty(Message, frozen=True, array_like=True):
    """Nothing to say."""


class ErrorReply(Message, frozen=True, array_like=True):
    """Why a request failed; `code` is a class of ambry/errors.py."""

    code: int
    message: str


class PutRequest(Message, frozen=True, array_like=True):
    """Store one record; the body is its payload, the frame's checks are the record's."""

    request_id: str
    id: IdBytes
    kind: int
    created_at_ms: TimeMs
    expires_at_ms: TimeMs
    properties: SectionBytes
    metadata: SectionBytes
    digest: DigestBytes
    sync: bool


class GetRequest(Message, frozen=True, array_like=True):
    """Read payload bytes `first` to `end` (exclusive; clipped to the payload) of one record.

    `first == end` reads no payload. `any_state` reads deleted and expired blobs too.
    """

    request_id: str
    id: IdBytes
    first: int
    end: int
    any_state: bool = False


class GetReply(Message, frozen=True, array_like=True):
    """The record's head; the body holds the blocks that cover the range, from payload byte `start` on.

    Where only the state of the blob is known, or the blob is gone and was not asked for all the same, `present` is false and
    all but `state` and `gone` is empty. `gone`: deleted, or expired by the data node's clock.
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


class UpdateRequest(Message, frozen=True, array_like=True):
    """Join `state` into the blob's state and make the result durable. A replica that lacks the blob keeps the state."""

    request_id: str
    id: IdBytes
    state: BlobState
    changed_at_ms: TimeMs


class UpdateReply(Message, frozen=True, array_like=True):
    """The state after the join."""

    state: BlobState


class PresenceRequest(Message, frozen=True, array_like=True):
    """Which of these blobs does this node hold?"""

    request_id: str
    ids: list[bytes]


class PresenceReply(Message, frozen=True, array_like=True):
    """Per id of the request: "present", "deleted", "absent" or "unsure"."""

    states: list[str]


class ChangesCursor(Message, frozen=True, array_like=True):
    """How far the asking replica has seen one partition of the asked node."""

    partition: int
    incarnation: bytes
    lsn: Lsn


class ChangesRequest(Message, frozen=True, array_like=True):
    """What changed after these cursors? Waits up to `wait_ms` for a change, then `delay_ms` for more to come with it.

    With `wait_ms` 0 every partition is listed in the answer, so the asker learns where it stands.
    """

    cursors: list[ChangesCursor]
    limit: int
    wait_ms: int
    delay_ms: int
    name: str = ""
    """The asking node: the asked one keeps tombstones until every peer is past them."""


class Change(Message, frozen=True, array_like=True, gc=False):
    """The present state of one blob, standing at its latest change."""

    id: IdBytes
    lsn: Lsn
    state: BlobState
    present: bool
    size: int


class PartitionChanges(Message, frozen=True, array_like=True):
    """`next_lsn` is the cursor that covers `changes`; `end_lsn - next_lsn` the lag that remains, in bytes.

    `serving` says whether the asked replica has the authority to say "not found"; an older peer does not tell.
    """

    partition: int
    incarnation: bytes
    next_lsn: Lsn
    end_lsn: Lsn
    changes: list[Change]
    serving: bool = True


class ChangesReply(Message, frozen=True, array_like=True):
    """Partitions without changes after the cursor are left out, but see ChangesRequest."""

    partitions: list[PartitionChanges]


class FetchRequest(Message, frozen=True, array_like=True):
    """Send these blobs of one partition whole, as they stand in the log; at most `bytes_max` together, at least one."""

    partition: int
    ids: list[IdBytes]
    bytes_max: int


class FetchReply(Message, frozen=True, array_like=True):
    """The body holds record images (ambry/format/record.py) back to back. `missing` are not here or not readable."""

    sizes: list[int]
    missing: list[bytes]


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

    ids: list[IdBytes]


class FatesReply(Message, frozen=True, array_like=True):
    """Per id of the request its fate, and since when it is dead: wall clock, 0 where it is not."""

    fates: list[Fate]
    since_ms: list[TimeMs]


_encoder = msgspec.msgpack.Encoder()
_decoders: dict[Any, Any] = {}


def encode(message: Message) -> bytes:
    return _encoder.encode(message)


def decode(data: bytes, shape: type[T]) -> T:
    """Raises ProtocolViolation."""
    decoder: msgspec.msgpack.Decoder[T] | None = _decoders.get(shape)
    if decoder is None:
        decoder = _decoders[shape] = msgspec.msgpack.Decoder(shape)
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as cause:
        raise ProtocolViolation(f"a {shape.__name__} cannot be read: {cause}") from cause


def error_of(header: bytes) -> AmbryError:
    """The error that an error reply carries."""
    reply = decode(header, ErrorReply)
    return error_from_code(reply.code, reply.message)
