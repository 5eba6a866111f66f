"""Requests and answers of the REST API as plain values; no I/O, shared by both clients.

Header names are lower-case throughout; header values are `str`, UTF-8 on the wire. Answers are judged, not trusted:
what does not look like an ambry frontend is a ProtocolViolation, because a 404 of some other server proves no absence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from ambry.blob import Durability
from ambry.client.model import BlobInfo, ByteRange, EndpointHealth, Metadata, Ref
from ambry.errors import (
    AccessDenied,
    AlreadyExists,
    AmbryError,
    BlobGone,
    BlobNotFound,
    HeadersTooLarge,
    InsufficientStorage,
    InternalError,
    InvalidBlobId,
    InvalidRequest,
    MethodNotAllowed,
    NotSupported,
    PeerConnectionLost,
    PreconditionFailed,
    ProtocolViolation,
    QuotaExceeded,
    RangeNotSatisfiable,
    RequestTimeout,
    TooLarge,
    Unavailable,
    UriTooLong,
    error_class,
)
from ambry.ids import ID_TEXT_SIZE, BlobId

Headers = Mapping[str, str]

ERROR_BODY_MAX = 64 << 10
METADATA_KEYS_MAX = 64
METADATA_SIZE_MAX = 8 << 10
FOREVER = -1

_METADATA = "x-ambry-um-"
_ENCODED_METADATA = "x-ambry-enc-um-"
_TOKEN = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_PLAIN = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")
_DIGEST = re.compile(r"[0-9a-f]{32}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")

_BY_STATUS: dict[int, type[AmbryError]] = {
    401: AccessDenied,
    403: AccessDenied,
    404: BlobNotFound,
    405: MethodNotAllowed,
    408: RequestTimeout,
    409: AlreadyExists,
    410: BlobGone,
    412: PreconditionFailed,
    413: TooLarge,
    414: UriTooLong,
    416: RangeNotSatisfiable,
    429: QuotaExceeded,
    431: HeadersTooLarge,
    500: InternalError,
    501: NotSupported,
    507: InsufficientStorage,
}


class ConnectFailed(PeerConnectionLost):
    """No connection, so nothing was sent and any request may be repeated elsewhere."""


class StaleConnection(PeerConnectionLost):
    """A kept connection had been closed by the server before it saw the request."""


def connect_failed(endpoint: str, reason: str) -> ConnectFailed:
    return ConnectFailed(
        f"cannot connect to {endpoint}: {reason}; check that a frontend runs there, "
        "or name others (--endpoint, AMBRY_ENDPOINTS)"
    )


@dataclass(frozen=True, slots=True)
class Request:
    """One request but for its body. `subject` is what its messages speak of."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    subject: str = ""


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
) -> Request:
    """A put. `digest` is what the server must find, empty when it is only known at the end."""
    headers = {"content-type": "application/octet-stream", "x-ambry-ttl": str(ttl_seconds(ttl))}
    if size is not None:
        headers["content-length"] = str(size)
    if digest:
        headers["x-ambry-digest"] = digest
    if content_type is not None:
        headers["x-ambry-content-type"] = _plain_header("content_type", content_type)
    if filename:
        headers["x-ambry-filename"] = _plain_header("filename", filename)
    if durability is not None:
        headers["x-ambry-durability"] = _durability(durability)
    headers.update(encode_metadata(metadata or {}))
    return Request("POST", "/", headers, "the upload")


def blob_request(method: str, blob: BlobId, byte_range: ByteRange | None = None) -> Request:
    """GET, HEAD or DELETE of one blob."""
    headers = {"range": byte_range.header()} if byte_range is not None else {}
    return Request(method, f"/{blob}", headers, f"blob {blob}")


def ttl_request(blob: BlobId, ttl: timedelta | int | None) -> Request:
    headers = {"x-ambry-blob-id": str(blob), "x-ambry-ttl": str(ttl_seconds(ttl)), "content-length": "0"}
    return Request("PUT", "/updateTtl", headers, f"blob {blob}")


def undelete_request(blob: BlobId) -> Request:
    return Request("PUT", "/undelete", {"x-ambry-blob-id": str(blob), "content-length": "0"}, f"blob {blob}")


def health_request() -> Request:
    return Request("GET", "/healthCheck", {}, "the health check")


def endpoint_health(endpoint: str, headers: Headers) -> EndpointHealth:
    """What a frontend that answered its health check well says of itself."""
    return EndpointHealth(
        endpoint=endpoint,
        ok=True,
        datacenter=headers.get("x-ambry-datacenter", ""),
        frontend=headers.get("x-ambry-frontend", ""),
    )


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


def parse_put(request: Request, headers: Headers) -> BlobInfo:
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


def content_range(headers: Headers) -> tuple[int, int, int]:
    """(start, stop, size of the blob) of a 206. Raises ProtocolViolation."""
    found = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    if found is None:
        raise ProtocolViolation(f"206 with the Content-Range {headers.get('content-range', '')!r}; check the endpoint")
    return int(found[1]), int(found[2]) + 1, int(found[3])


def header_int(headers: Headers, name: str) -> int:
    text = headers.get(name, "")
    if not (text.isascii() and text.isdigit()):
        raise ProtocolViolation(f"the answer has {name} {text!r} where a number belongs; check the endpoint")
    return int(text)


def created_at(blob: BlobId) -> datetime:
    """The time in the id's uuid, version 7."""
    return datetime.fromtimestamp(int.from_bytes(blob.key[:6], "big") / 1000, UTC)


def parse_time(text: str) -> datetime | None:
    """A time in milliseconds since 1970, as an HTTP date or in ISO 8601; None for anything else."""
    try:
        if text.isascii() and text.isdigit():
            return datetime.fromtimestamp(int(text) / 1000, UTC)
        if "," in text:
            return parsedate_to_datetime(text).astimezone(UTC)
        return datetime.fromisoformat(text).astimezone(UTC) if text else None
    except (ValueError, OverflowError, OSError):
        return None


def retry_after(headers: Headers, now_ms: int) -> float | None:
    """Seconds to wait, from either form of Retry-After (RFC 9110 section 10.2.3)."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    when = parse_time(text) if "," in text else None
    return max(0.0, when.timestamp() - now_ms / 1000) if when is not None else None


def error_of(request: Request, status: int, headers: Headers, body: bytes, *, now_ms: int) -> AmbryError:
    """The error that an answer stands for. `body` may be empty (HEAD) or cut off."""
    problem: dict[str, Any] = {}
    if "json" in headers.get("content-type", ""):
        try:
            decoded = msgspec.json.decode(body) if body else {}
            problem = decoded if isinstance(decoded, dict) else {}
        except msgspec.DecodeError:
            pass
    code = str(problem.get("code") or headers.get("x-ambry-error-code") or "")
    request_id = str(problem.get("request_id") or headers.get("x-ambry-request-id") or "")
    cls = error_class(code)
    if cls is None and 300 <= status < 500 and not code and status not in (400, 408, 413, 414, 429, 431):
        # A proxy or a foreign server. Its 404 must not pass for ours, which is a proof of absence.
        return ProtocolViolation(
            f"{request.method} {request.path} was answered {status}, but not by ambry; check the endpoint",
            request_id=request_id,
        )
    if cls is None:
        cls = _BY_STATUS.get(status) or (Unavailable if status >= 500 else InvalidRequest)
    detail = str(problem.get("detail") or "") or _describe(cls, request, status)
    error = cls(detail, request_id=request_id)
    error.retry_after_s = retry_after(headers, now_ms)
    if isinstance(error, RangeNotSatisfiable):
        size = headers.get("content-range", "").rpartition("/")[2]
        error.size = int(size) if size.isascii() and size.isdigit() else 0
    return error


def _describe(cls: type[AmbryError], request: Request, status: int) -> str:
    subject = request.subject or f"{request.method} {request.path}"
    if issubclass(cls, BlobGone):
        return f"{subject} was deleted or has expired"
    if issubclass(cls, BlobNotFound):
        return f"{subject} does not exist; check the id and the cluster it belongs to"
    reason = (cls.__doc__ or cls.__name__).split(".")[0].split(";")[0]
    return f"{subject} was refused with status {status} ({cls.__name__}): {reason[:1].lower()}{reason[1:]}"


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


def _plain_header(what: str, text: str) -> str:
    if _CONTROL.search(text):
        raise InvalidRequest(f"{what} {text!r} holds control characters, which a header cannot carry")
    return text.strip()
