"""Ambry's older form of uploads in parts: chunks that name a session of the client's own, and a list that joins them.

A session here is an upload session (frontend/uploads/sessions.py) that is found by its container and the client's text. A
chunk is a part under a number that nobody else has, and what stands for it is not to be guessed: it holds the session's
own id, and all that it says is compared with what arrived.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import msgspec

from ambry.errors import InvalidRequest, PreconditionFailed, UploadGone
from ambry.ids import BlobId
from frontend.uploads.completion import WantedPart
from frontend.uploads.open_session import OpenSession
from frontend.uploads.rows import PARTS_MAX, SESSION_ID_SIZE, UploadPart
from frontend.uploads.sessions import Sessions

PREFIX = "signedId/"
CHUNK_TTL_MAX_S = 90 * 86_400
CHUNK_TTL_S = 28 * 86_400
"""Of a chunk that does not say its own."""


class SignedChunk(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What a signed id holds, in JSON."""

    session: str
    part: int
    size: int
    digest: str
    expiration_time_ms: int


def signed_id(found: OpenSession, part: UploadPart, expires_ms: int) -> str:
    """What stands for a chunk."""
    chunk = SignedChunk(found.id.hex(), part.number, part.size, part.digest.hex(), expires_ms)
    return PREFIX + base64.urlsafe_b64encode(msgspec.json.encode(chunk)).rstrip(b"=").decode()


def parse_signed(text: str) -> SignedChunk:
    """Raises InvalidRequest."""
    token = text.removeprefix("/")
    if not token.startswith(PREFIX):
        raise InvalidRequest(f"{text[:60]!r} is no signed id: the Location of an uploaded chunk begins with /{PREFIX}")
    token = token.removeprefix(PREFIX)
    try:
        chunk = _chunk.decode(base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True))
        if len(bytes.fromhex(chunk.session)) == SESSION_ID_SIZE and len(bytes.fromhex(chunk.digest)) == 16:
            return chunk
    except (binascii.Error, msgspec.DecodeError, ValueError):
        pass
    raise InvalidRequest(f"{text[:60]!r} is no signed id; send the Location of an uploaded chunk as it was told")


def session_of(chunks: Sequence[SignedChunk]) -> bytes:
    """The one session that all of them are of. Raises InvalidRequest."""
    if not 1 <= len(chunks) <= PARTS_MAX:
        raise InvalidRequest(f"1 to {PARTS_MAX} chunks are stitched, not {len(chunks)}")
    if len({chunk.session for chunk in chunks}) > 1:
        raise InvalidRequest("the chunks are of several sessions; those of one blob have one x-ambry-session")
    if len({chunk.part for chunk in chunks}) < len(chunks):
        raise InvalidRequest("a chunk stands in the list twice; upload it again to have its bytes twice")
    return bytes.fromhex(chunks[0].session)


def check_container(blob_id: BlobId, account: int, container: int) -> None:
    """Whether chunks of this blob may be stitched there. Raises PreconditionFailed."""
    if (blob_id.account, blob_id.container) != (account, container):
        raise PreconditionFailed("the chunks were uploaded to another container than the request says")


async def wanted_of(
    sessions: Sessions, found: OpenSession, chunks: Sequence[SignedChunk], now_ms: int
) -> list[WantedPart]:
    """The chunks in the order of the blob, compared with what arrived. Raises InvalidRequest, UploadGone."""
    arrived = {part.number: part async for part in sessions.parts(found)}
    for chunk in chunks:
        part = arrived.get(chunk.part)
        if part is None or (part.size, part.digest.hex()) != (chunk.size, chunk.digest):
            raise InvalidRequest(f"there is no chunk {signed_text(chunk)}; send the Location as it was told")
        if chunk.expiration_time_ms <= now_ms:
            raise UploadGone(f"chunk {signed_text(chunk)} has expired; upload it again")
    return [WantedPart(chunk.part) for chunk in chunks]


def signed_text(chunk: SignedChunk) -> str:
    """A chunk as messages name it: not by what must not be guessed."""
    return f"of {chunk.size} bytes with the xxh3-128 {chunk.digest}"


_chunk = msgspec.json.Decoder(SignedChunk)
