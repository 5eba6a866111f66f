"""Blobs: what is asked of them, and what the answers say they are."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote

from ambry.blob import Durability
from ambry.client.model import BlobInfo, ByteRange, Metadata, Ref
from ambry.client.wire.message import ApiRequest, Headers, header_int, parse_time, plain_header
from ambry.errors import HeadersTooLarge, InvalidBlobId, InvalidRequest, ProtocolViolation
from ambry.ids import ID_TEXT_SIZE, BlobId

METADATA_KEYS_MAX = 64
METADATA_SIZE_MAX = 8 << 10
FOREVER = -1

_METADATA = "x-ambry-um-"
_ENCODED_METADATA = "x-ambry-enc-um-"
_TOKEN = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_PLAIN = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")
_DIGEST = re.compile(r"[0-9a-f]{32}")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Bytes `start` up to but not including `stop`, of a blob of `size` bytes."""

    start: int
    stop: int
    size: int


def parse_ref(ref: Ref) -> BlobId:
    """The id that a caller means. Raises InvalidRequest for what cannot be one."""
    if isinstance(ref, BlobId):
        return ref
    if not isinstance(ref, str):
        raise TypeError(f"a blob is named by its id, as text or BlobId, not by {type(ref).__name__}")
    text = ref.removeprefix("/")  # As it stands in a Location header.
    if len(text) != ID_TEXT_SIZE:
        raise InvalidRequest(
            f"{ref!r} is not a blob id: an id has {ID_TEXT_SIZE} characters; names are not supported by this release"
        )
    return BlobId.parse(text)


def ttl_seconds(ttl: timedelta | int | None) -> int:
    """What `x-ambry-ttl` says: whole seconds, -1 for ever. Raises InvalidRequest."""
    if ttl is None:
        return FOREVER
    seconds = int(ttl.total_seconds()) if isinstance(ttl, timedelta) else ttl
    if seconds < 1:
        raise InvalidRequest(f"a ttl of {ttl} is over before it began; give at least 1 second, or None for ever")
    return seconds


def upload_request(
    *,
    size: int | None,
    digest: str,
    ttl: timedelta | int | None,
    content_type: str | None,
    metadata: Mapping[str, str] | None,
    filename: str | None,
    durability: Durability | str | None,
) -> ApiRequest:
    """A put. `digest` is what the server must find, empty when it is only known at the end."""
    headers = {"content-type": "application/octet-stream", "x-ambry-ttl": str(ttl_seconds(ttl))}
    if size is not None:
        headers["content-length"] = str(size)
    if digest:
        headers["x-ambry-digest"] = digest
    if content_type is not None:
        headers["x-ambry-content-type"] = plain_header("content_type", content_type)
    if filename:
        headers["x-ambry-filename"] = plain_header("filename", filename)
    if durability is not None:
        headers["x-ambry-durability"] = _durability(durability)
    headers.update(encode_metadata(metadata or {}))
    return ApiRequest("POST", "/", headers, "the upload")


def blob_request(method: str, blob: BlobId, byte_range: ByteRange | None = None) -> ApiRequest:
    """GET, HEAD or DELETE of one blob."""
    headers = {"range": byte_range.header()} if byte_range is not None else {}
    return ApiRequest(method, f"/{blob}", headers, f"blob {blob}")


def ttl_request(blob: BlobId, ttl: timedelta | int | None) -> ApiRequest:
    headers = {"x-ambry-blob-id": str(blob), "x-ambry-ttl": str(ttl_seconds(ttl)), "content-length": "0"}
    return ApiRequest("PUT", "/updateTtl", headers, f"blob {blob}")


def undelete_request(blob: BlobId) -> ApiRequest:
    return ApiRequest("PUT", "/undelete", {"x-ambry-blob-id": str(blob), "content-length": "0"}, f"blob {blob}")


def checksum_text(checksum: str) -> str:
    """A digest given by a caller. Raises InvalidRequest."""
    text = checksum.lower()
    if not _DIGEST.fullmatch(text):
        raise InvalidRequest(f"checksum {checksum!r} is not an xxh3-128 in 32 hexadecimal digits")
    return text


def encode_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """User metadata as headers: plain where HTTP carries the value unchanged, else percent-encoded UTF-8.

    Raises InvalidRequest for a key that would not come back as it was given.
    """
    headers: dict[str, str] = {}
    for key, value in metadata.items():
        if not isinstance(key, str) or not _TOKEN.fullmatch(key):
            raise InvalidRequest(f"metadata key {key!r} travels as a header name: use a-z, 0-9, '-' and '_'")
        if not isinstance(value, str):
            raise InvalidRequest(f"metadata value of {key!r} must be text, not {type(value).__name__}")
        if _PLAIN.fullmatch(value):
            headers[_METADATA + key] = value
        else:
            headers[_ENCODED_METADATA + key] = quote(value, safe="")
    size = sum(len(name) + len(value) for name, value in headers.items())
    if len(headers) > METADATA_KEYS_MAX or size > METADATA_SIZE_MAX:
        raise HeadersTooLarge(
            f"user metadata of {len(headers)} keys and {size} bytes exceeds the limit of "
            f"{METADATA_KEYS_MAX} keys and {METADATA_SIZE_MAX} bytes; put larger things into a blob"
        )
    return headers


def decode_metadata(headers: Headers) -> Metadata:
    found: dict[str, str] = {}
    for name, value in headers.items():
        if name.startswith(_ENCODED_METADATA):
            found[name.removeprefix(_ENCODED_METADATA)] = unquote(value)
        elif name.startswith(_METADATA):
            found[name.removeprefix(_METADATA)] = value
    return Metadata(found)


def parse_info(blob: BlobId, headers: Headers) -> BlobInfo:
    """What the headers of a GET or HEAD say of a blob. Raises ProtocolViolation."""
    created = parse_time(headers.get("x-ambry-creation-time", "")) or created_at(blob)
    return BlobInfo(
        id=blob,
        size=header_int(headers, "x-ambry-blob-size"),
        created=created,
        expires=_expires(created, headers.get("x-ambry-ttl", "")),
        content_type=headers.get("x-ambry-content-type") or headers.get("content-type") or "application/octet-stream",
        metadata=decode_metadata(headers),
        checksum=digest_of(headers),
        filename=headers.get("x-ambry-filename", "") or unquote(headers.get("x-ambry-enc-filename", "")),
        account=headers.get("x-ambry-target-account-name", ""),
        container=headers.get("x-ambry-target-container-name", ""),
        service_id=headers.get("x-ambry-service-id", ""),
        etag=headers.get("etag", ""),
        datacenter=headers.get("x-ambry-datacenter", ""),
    )


def parse_put(request: ApiRequest, headers: Headers) -> BlobInfo:
    """What a put made: the answer's headers, completed by what was asked for. Raises ProtocolViolation."""
    try:
        blob = BlobId.parse(headers.get("location", "").rpartition("/")[2])
    except InvalidBlobId as cause:
        raise ProtocolViolation(
            f"the upload was acknowledged without a valid id in Location ({headers.get('location', '')!r}); "
            "check that the endpoint is an ambry frontend"
        ) from cause
    sent = {name: value for name, value in request.headers.items() if name.startswith("x-ambry-")}
    sent.pop("x-ambry-digest", None)
    merged = {**sent, **headers, "x-ambry-durability": headers.get("x-ambry-durability", "")}
    if "x-ambry-content-type" not in merged:
        merged["x-ambry-content-type"] = "application/octet-stream"
    return replace(parse_info(blob, merged), durability=merged["x-ambry-durability"].lower())


def digest_of(headers: Headers) -> str:
    """The answer's digest, empty when it has none. Raises ProtocolViolation for something else in its place."""
    text = headers.get("x-ambry-digest", "").lower()
    if text and not _DIGEST.fullmatch(text):
        raise ProtocolViolation(f"x-ambry-digest {text!r} is not 32 hexadecimal digits; check the endpoint")
    return text


def span_of(asked: ByteRange | None, size: int) -> Span:
    """What a range, or None for all, means in a blob of `size` bytes."""
    if asked is None:
        return Span(start=0, stop=size, size=size)
    if asked.start < 0:
        return Span(start=max(0, size + asked.start), stop=size, size=size)
    return Span(start=asked.start, stop=size if asked.stop is None else min(asked.stop, size), size=size)


def content_range(headers: Headers) -> Span:
    """What a 206 carries. Raises ProtocolViolation."""
    found = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    if found is None:
        raise ProtocolViolation(f"206 with the Content-Range {headers.get('content-range', '')!r}; check the endpoint")
    return Span(start=int(found[1]), stop=int(found[2]) + 1, size=int(found[3]))


def created_at(blob: BlobId) -> datetime:
    """The time in the id's uuid, version 7."""
    return datetime.fromtimestamp(int.from_bytes(blob.key[:6], "big") / 1000, UTC)


def _expires(created: datetime, ttl: str) -> datetime | None:
    try:
        return None if not ttl or int(ttl) < 0 else created + timedelta(seconds=int(ttl))
    except (ValueError, OverflowError):
        return None


def _durability(durability: Durability | str) -> str:
    text = (durability.name if isinstance(durability, Durability) else str(durability)).lower()
    known = [each.name.lower() for each in Durability]
    if text not in known:
        raise InvalidRequest(f"durability {durability!r} is not one of {', '.join(known)}")
    return text
