"""Upload sessions as local rows of the metadata store (frontend/metadata/store.py).

    space    key                                 value
    SESSION  "s", the session's id (16 bytes)    version and a Session in msgpack, until all that it left behind is gone
    SESSION  "d", the session's id               the same from then on, for a while
    SESSION  "o", the session's id               empty: there while it takes parts; the row's end is when the session is idle
    SESSION  "n", container (8 bytes), a text    the id of the session that a client calls so
    SESSION  "c", container, stripe              how many are open there (frontend/uploads/places.py)
    SESSION  "l", blob id                        a bound blob whose life is to be lengthened (frontend/uploads/bound.py)
    PART     id, part (2 bytes), row (1 byte)    version and a PartRow in msgpack
    PART     id, ff ff, 8 bytes of chance, row   the same, of a part that another one took the place of

A part is in one row or more, written in one group; what row 0 says of their number counts, so a longer part's rows that were
left behind by a shorter one under the same number mean nothing. Of a session that made a blob, row 0 of each of its parts stays
as long as the session says how it ended, without chunks: what a repeated completion is held against. Numbers are big-endian.

Version 2 is of a session whose blob will be encrypted: what tells of its content is sealed (frontend/uploads/row_seal.py).

    of          sealed                                                  place
    Session     its file name (left empty) and `metadata` together      "said", blob id
    Completion  `digest`; `chosen`                                      "digest", blob id; "chosen", blob id
    PartRow     `digest`                                                the key of the row
    ChunkRef    `digest`                                                the id of the chunk

So the numbers, sizes and ids are there for whoever lets go of them, keys or no keys.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from ambry.blob import BlobProperties, ChunkRef
from ambry.checksum import digest, new_digester
from ambry.durability import Durability
from ambry.errors import DataCorrupt, FormatUnknown, InvalidBlobId
from ambry.ids import BlobId
from frontend.uploads.row_seal import RowSeal, WrappedBy

SESSION_ID_SIZE = 16
PARTS_MAX = 10_000
REFS_PER_ROW = 600
"""Chunks in a row: 84 bytes each at most, and a row has at most 64 KiB."""
ROWS_MAX = 255

T = TypeVar("T")

_PLAIN = b"\x01"
_SEALED = b"\x02"
RECORD_FORM = 2
"""Goes up where another release would make other bytes of what a completion says, and makes those of the forms before still.

2: the record of a blob for a name expires unless it is bound (frontend/uploads/bound.py); those for none are as in 1.
"""
REPLACED = 0xFFFF
"""Stands for the number of parts that another one took the place of."""
_PART_KEY = struct.Struct(">16sHB")
_REPLACED_KEY = struct.Struct(">16sH8sB")
_encode = msgspec.msgpack.Encoder().encode


class SessionState(IntEnum):
    """The numbers are in rows: never renumber."""

    OPEN = 1
    COMPLETING = 2
    """Its composite record may be written, any number of times alike, and no part is taken any more."""
    DONE = 3
    ABORTED = 4


class Completion(msgspec.Struct, frozen=True, array_like=True):
    """What a session is completed to: decided once, so that whoever repeats it makes the same record."""

    parts: tuple[int, ...]
    """Their numbers, in the order of the blob."""
    size: int
    digest: bytes
    of_parts: bool
    """Whether `digest` is of the parts' digests, and not of the bytes."""
    created_at_ms: int
    """Of the blob, as everybody is told; wall clock."""
    chosen: bytes
    """What its parts were when that was decided: the xxh3-128 of their numbers, digests and chunks."""
    others: bool = False
    """Whether more had arrived than `parts`."""
    key: WrappedBy | None = None
    """The data key of the record to be, where that is sealed."""
    form: int = 1
    """How its record is made: whoever repeats it writes the same bytes under the same id, or none (RECORD_FORM)."""


class CountedPlace(msgspec.Struct, frozen=True, array_like=True):
    """Where an open session is counted (frontend/uploads/places.py)."""

    stripe: int
    owner: str
    """The id of the key that began it; empty where none is told apart."""
    size: int
    """Of its row, bytes, as it began."""


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """One upload in parts. `properties` and `metadata` are those of the blob to be, without its size and digest.

    Of one that ended neither stands there any more; of one that made a blob `metadata` is their digest (`digest_of_said`).
    """

    blob: bytes
    """The id that the blob will have, 36 bytes; its chunks name it, and it says the container."""
    properties: BlobProperties
    metadata: bytes
    ttl_s: int | None
    """Seconds that the blob lives from its completion on, None for ever."""
    durability: Durability
    created_at_ms: int
    state: SessionState = SessionState.OPEN
    completion: Completion | None = None
    name: str = ""
    """What the blob is for, where it is for a name: who may put that goes on with it."""
    key: WrappedBy | None = None
    """The session's own, where the blob will be encrypted."""
    place: CountedPlace | None = None
    """None: it ended, or an earlier release began it."""
    brief: bool = False
    """Whether what was said of the blob does not stand there any more."""

    @property
    def blob_id(self) -> BlobId:
        return BlobId(self.blob)


class UploadPart(msgspec.Struct, frozen=True, array_like=True):
    """What arrived under one number. `digest` is the xxh3-128 of its bytes."""

    number: int
    size: int
    digest: bytes
    arrived_at_ms: int
    refs: tuple[ChunkRef, ...] = ()


class PartRow(msgspec.Struct, frozen=True, array_like=True):
    """Row 0 tells of the part and how many rows it has; every row holds the next of its chunks."""

    size: int
    digest: bytes
    arrived_at_ms: int
    rows: int
    refs: tuple[ChunkRef, ...]


def digest_of_parts(parts: Sequence[UploadPart]) -> bytes:
    """What says whether parts are still those: of their numbers, digests and chunks, in this order."""
    running = new_digester()
    for part in parts:
        running.update(part.number.to_bytes(2, "big") + part.digest + len(part.refs).to_bytes(4, "big"))
        for ref in part.refs:
            running.update(ref.id + ref.digest)
    return running.digest()


_session = msgspec.msgpack.Decoder(Session)
_part = msgspec.msgpack.Decoder(PartRow)
_said = msgspec.msgpack.Decoder(tuple[str, bytes])


def digest_of_said(properties: BlobProperties, metadata: bytes, ttl_s: int | None) -> bytes:
    """What says whether the same was said of a blob."""
    return digest(_encode((properties, metadata, ttl_s)))


def brief(session: Session, state: SessionState) -> Session:
    """What stays of a session that ended: how it did, and of one that made its blob by what that is known again."""
    nothing = BlobProperties(size=0, digest=b"")
    if session.brief:
        return replace(session, state=state, place=None)
    if state is SessionState.ABORTED:
        return replace(session, state=state, properties=nothing, metadata=b"", completion=None, place=None, brief=True)
    said = digest_of_said(session.properties, session.metadata, session.ttl_s)
    return replace(session, state=state, properties=nothing, metadata=said, place=None, brief=True)


def count_prefix(scope: int | None = None) -> bytes:
    """What the keys of all counts begin with, or of those of a container."""
    return b"c" if scope is None else b"c" + scope.to_bytes(8, "big")


def count_key(scope: int, stripe: int) -> bytes:
    return count_prefix(scope) + stripe.to_bytes(1, "big")


def session_key(session: bytes) -> bytes:
    return b"s" + session


def ended_key(session: bytes) -> bytes:
    return b"d" + session


def open_key(session: bytes) -> bytes:
    return b"o" + session


def named_key(scope: int, text: str) -> bytes:
    return b"n" + scope.to_bytes(8, "big") + text.encode()


def part_prefix(session: bytes, number: int | None = None) -> bytes:
    """What the keys of all parts begin with, or of one."""
    return session if number is None else session + number.to_bytes(2, "big")


def encode_session(session: Session, seal: RowSeal | None = None) -> bytes:
    """Without `seal`, a session that has a key is one as `decode_session` gave it."""
    if seal is not None:
        session = _closed(session, seal)
    return (_PLAIN if session.key is None else _SEALED) + _encode(session)


def decode_session(value: bytes) -> Session:
    """As it stands there: what is sealed stays so. Raises DataCorrupt, FormatUnknown."""
    session = _decoded(_session, value)
    try:
        BlobId(session.blob)
    except InvalidBlobId as cause:
        raise DataCorrupt(f"an upload session has an id for its blob that is none: {cause}") from cause
    if (value[:1] == _SEALED) != (session.key is not None):
        raise DataCorrupt("the row of an upload session is not as sealed as it says")
    return session


def _closed(session: Session, seal: RowSeal) -> Session:
    said, completion = (session.properties.filename, session.metadata), session.completion
    return replace(
        session,
        properties=replace(session.properties, filename=""),
        metadata=seal.close(_encode(said), b"said" + session.blob),
        completion=completion
        and replace(
            completion,
            digest=seal.close(completion.digest, b"digest" + session.blob),
            chosen=seal.close(completion.chosen, b"chosen" + session.blob),
        ),
    )


def open_session(session: Session, seal: RowSeal) -> Session:
    """One that `decode_session` gave, with what its row does not show. Raises DataCorrupt."""
    filename, metadata = _said.decode(seal.open(session.metadata, b"said" + session.blob))
    completion = session.completion
    return replace(
        session,
        properties=replace(session.properties, filename=filename),
        metadata=metadata,
        completion=completion
        and replace(
            completion,
            digest=seal.open(completion.digest, b"digest" + session.blob),
            chosen=seal.open(completion.chosen, b"chosen" + session.blob),
        ),
    )


def encode_part(
    session: bytes, part: UploadPart, *, replaced: bytes = b"", seal: RowSeal | None = None
) -> list[tuple[bytes, bytes]]:
    """Keys and values of its rows, of which there are at most ROWS_MAX; the first is row 0.

    `replaced`: 8 bytes of chance for one that another one takes the place of.
    """
    pieces = [part.refs[start : start + REFS_PER_ROW] for start in range(0, max(1, len(part.refs)), REFS_PER_ROW)]
    rows = []
    for number, refs in enumerate(pieces):
        key = (
            _REPLACED_KEY.pack(session, REPLACED, replaced, number)
            if replaced
            else _PART_KEY.pack(session, part.number, number)
        )
        row = PartRow(part.size, part.digest, part.arrived_at_ms, len(pieces), refs)
        value = _PLAIN + _encode(row) if seal is None else _SEALED + _encode(_with_digests(row, key, seal.close))
        rows.append((key, value))
    return rows


def decode_part_row(key: bytes, value: bytes, seal: RowSeal | None = None) -> PartRow:
    """Without `seal` as it stands there: digests of one that is sealed stay so. Raises DataCorrupt, FormatUnknown."""
    row = _decoded(_part, value)
    if seal is None:
        return row
    if value[:1] != _SEALED:
        raise DataCorrupt("a plain row stands among those of an upload to an encrypted container")
    return _with_digests(row, key, seal.open)


def _with_digests(row: PartRow, key: bytes, change: Callable[[bytes, bytes], bytes]) -> PartRow:
    refs = tuple(ChunkRef(ref.id, ref.size, change(ref.digest, ref.id)) for ref in row.refs)
    return PartRow(row.size, change(row.digest, key), row.arrived_at_ms, row.rows, refs)


def without_refs(key: bytes, value: bytes) -> bytes:
    """Row 0 of a part, as what the part was like alone."""
    row = decode_part_row(key, value)
    return value[:1] + _encode(PartRow(row.size, row.digest, row.arrived_at_ms, 1, ()))


def place_of(key: bytes) -> tuple[int, int]:
    """The number of the part, and that of its row. Raises DataCorrupt."""
    if len(key) == _PART_KEY.size:
        _, number, row = _PART_KEY.unpack(key)
        return number, row
    if len(key) == _REPLACED_KEY.size:
        return REPLACED, key[-1]
    raise DataCorrupt("a row of an upload's part has a key that is none")


def _decoded(decoder: msgspec.msgpack.Decoder[T], value: bytes) -> T:
    if value[:1] not in (_PLAIN, _SEALED):
        raise FormatUnknown("a row of an upload session was written by a newer release; upgrade to go on with it")
    try:
        return decoder.decode(memoryview(value)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError) as cause:
        raise DataCorrupt(f"a row of an upload session cannot be read: {cause}") from cause
