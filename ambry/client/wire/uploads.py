"""Uploads in parts: their requests, and what is read of the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ambry.client.model import UploadedPart
from ambry.client.refs import NameRef
from ambry.client.wire.message import ApiRequest, Headers, violation
from ambry.client.wire.names import container_headers
from ambry.errors import ChecksumMismatch, InvalidBlobId, InvalidRequest
from ambry.ids import BlobId
from ambry.rest import names, values
from ambry.rest.text import percent_encoded

ID_TEXT_SIZE = 32
PARTS_MAX = 10_000


class SessionAnswer(msgspec.Struct, frozen=True):
    """What is told of an upload session."""

    upload: str
    id: str
    state: str = "open"
    parts: list[PartAnswer] = []
    next: int | None = None
    name: str = ""
    """What it is for; empty for nothing. `account` and `container` are where."""
    account: str = ""
    container: str = ""


class PartAnswer(msgspec.Struct, frozen=True):
    part: int
    size: int
    digest: str


def name_of(told: SessionAnswer) -> NameRef | None:
    """The name that the blob of an upload is for."""
    return NameRef(told.name, told.account, told.container) if told.name else None


def begin_request(headers: Mapping[str, str]) -> ApiRequest:
    """`headers` are those of an upload of no known size."""
    return ApiRequest("POST", "/uploads", {**headers, "content-length": "0"}, "the upload")


def naming_headers(place: NameRef) -> dict[str, str]:
    """What says of an upload that its blob is for a name."""
    return {**container_headers(place), names.UPLOAD_NAME: percent_encoded("a name", place.name)}


def part_request(upload: str, number: int, size: int | None, digest: str) -> ApiRequest:
    if not 1 <= number <= PARTS_MAX:
        raise InvalidRequest(f"parts are numbered from 1 to {PARTS_MAX}, not {number}")
    headers = {"content-type": "application/octet-stream"}
    if size is not None:
        headers["content-length"] = str(size)
    if digest:
        headers[names.DIGEST] = digest
    return ApiRequest("PUT", f"/uploads/{upload}/{number}", headers, f"part {number} of upload {upload}")


def show_request(upload: str, after: int) -> ApiRequest:
    return ApiRequest("GET", f"/uploads/{upload}?after={after}", {}, f"upload {upload}")


def complete_request(upload: str, size: int, checksum: str) -> ApiRequest:
    """`size` bytes of `complete_body`; `checksum` is of all bytes of the blob, empty where it is not known."""
    headers = {"content-type": "application/json", "content-length": str(size)}
    if checksum:
        headers[names.DIGEST] = checksum
    return ApiRequest("POST", f"/uploads/{upload}/complete", headers, f"upload {upload}")


def complete_body(parts: Sequence[UploadedPart] | None) -> bytes:
    """None: all that arrived."""
    if parts is None:
        return b"{}"
    listed = [{"part": each.part, "size": each.size, "digest": each.checksum} for each in parts]
    return msgspec.json.encode({"parts": listed})


def abort_request(upload: str) -> ApiRequest:
    return ApiRequest("DELETE", f"/uploads/{upload}", {}, f"upload {upload}")


def parse_session(headers: Headers, body: bytes) -> SessionAnswer:
    """Raises ProtocolViolation."""
    try:
        found = _session.decode(body)
        BlobId.parse(found.id)
    except (msgspec.DecodeError, InvalidBlobId) as cause:
        raise violation(headers, f"what was told of the upload cannot be read: {cause}") from cause
    return found


def part_of(answer: PartAnswer) -> UploadedPart:
    return UploadedPart(part=answer.part, size=answer.size, checksum=answer.digest)


def parse_id(text: Any) -> str:
    """The id of an upload session. Raises InvalidRequest."""
    if not isinstance(text, str) or len(text) != ID_TEXT_SIZE or set(text.lower()) - set("0123456789abcdef"):
        raise InvalidRequest(f"an upload has an id of {ID_TEXT_SIZE} hexadecimal digits, not {repr(text)[:60]}")
    return text.lower()


def check_acknowledged(headers: Headers, number: int, digest: str) -> None:
    """Raises ChecksumMismatch for a part that was stored with another digest than it was sent with, ProtocolViolation without
    one."""
    written = headers.get(names.DIGEST, "")
    try:
        found = values.digest(written).hex()
    except InvalidRequest as cause:
        raise violation(headers, f"a part was acknowledged with the {names.DIGEST} {written!r}") from cause
    if found != digest:
        raise ChecksumMismatch(
            f"part {number} was sent with the xxh3-128 {digest} and acknowledged with {found}; send it again",
            request_id=headers.get(names.REQUEST_ID, ""),
        )


_session = msgspec.json.Decoder(SessionAnswer)
