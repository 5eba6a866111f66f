"""What all headers of frames share: they are msgpack arrays, read and written here.

Fields are only ever added at the end, with a default: an older peer ignores what it does not know. Byte strings named `id`
are the 36 bytes of a blob id. `request_id` names the user's request in every log.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec

from ambry.blob import NEVER_MS
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
StampMs = Annotated[int, msgspec.Meta(ge=0, le=(1 << 48) - 1)]
Lsn = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
RequestId = Annotated[str, msgspec.Meta(max_length=128)]
"""It stands in log lines."""
Name = Annotated[str, msgspec.Meta(max_length=256)]
IDS_MAX = 4_096
"""Blobs that one request names: each costs a look-up of some ten microseconds, all in one job of a disk thread."""
PARTITIONS_MAX = 65_536
ERROR_TEXT_MAX = 4_000
"""Characters of an error on the wire; it may repeat what a peer sent."""


class Message(msgspec.Struct, frozen=True, array_like=True):
    """Base of all headers."""


class Hello(Message, frozen=True, array_like=True):
    """The first frame of a connection, both ways: who speaks, to whom, and what it understands (ambry/network/introduction.py).

    What a peer does not say has its default here. `now_ms` is its wall clock, as wrong as it may be,
    0 where it does not say.
    """

    cluster: Name
    name: Name
    expected: Name = ""
    version_min: int = 1
    version_max: int = 1
    """The versions of the RPC that it speaks, the last one included."""
    features: Annotated[tuple[Name, ...], msgspec.Meta(max_length=1_000)] = ()
    layout_version: int = 0
    now_ms: int = 0
    instance: bytes = b""
    """Names the process: one that restarted is another."""
    release: Name = ""
    requests_max: int = 0
    bytes_max: int = 0
    """What it takes on this connection at once, not answered: requests, and bytes of their bodies. 0: it does not say."""


class Pong(Message, frozen=True, array_like=True):
    """The answer to a ping: the wall clock of who answers, 0 where it does not say, and its room for puts, -1 likewise."""

    now_ms: int = 0
    room_bytes: int = -1


class Empty(Message, frozen=True, array_like=True):
    """Nothing to say."""


class ErrorReply(Message, frozen=True, array_like=True):
    """Why a request failed; `code` is a class of ambry/errors.py."""

    code: int
    message: str

    @classmethod
    def of(cls, error: AmbryError) -> ErrorReply:
        """What is told of an error: no more of its message than any frame, and a line of a log, can hold."""
        return cls(error.code, error.message[:ERROR_TEXT_MAX])


encode: Callable[[Message], bytes] = msgspec.msgpack.Encoder().encode
"""A message as the bytes of a frame's header."""


def header_of(message: Message | bytes) -> bytes:
    """The bytes of a frame's header; a message that goes to several was encoded before."""
    return message if isinstance(message, bytes) else encode(message)


_decoders: dict[Any, Any] = {}
_making = threading.Lock()
"""Held while a decoder is made: what msgspec learns of a type is seen half by other threads meanwhile, and ends the process."""


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError)
"""What a reader raises for a header that is none of its shape: whoever serves requests answers it with a ProtocolViolation."""


def reader(shape: type[T]) -> Callable[[bytes], T]:
    """Decodes headers of one shape; for requests. Raises UNREADABLE."""
    with _making:
        return msgspec.msgpack.Decoder(shape).decode


def decode(data: bytes, shape: type[T]) -> T:
    """Raises ProtocolViolation."""
    decoder: msgspec.msgpack.Decoder[T] | None = _decoders.get(shape)
    if decoder is None:
        with _making:
            decoder = _decoders[shape] = msgspec.msgpack.Decoder(shape)
    try:
        return decoder.decode(data)
    except UNREADABLE as cause:
        raise ProtocolViolation(f"a {shape.__name__} cannot be read: {cause}") from cause


def error_of(header: bytes) -> AmbryError:
    """The error that an error reply carries."""
    reply = decode(header, ErrorReply)
    return error_from_code(reply.code, reply.message[:ERROR_TEXT_MAX])
