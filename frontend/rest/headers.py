"""Between HTTP headers and blobs: what an upload asks for, and what a read tells."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

from ambry.blob import NEVER_MS, BlobProperties, BlobState, Durability
from ambry.errors import HeadersTooLarge, InvalidRequest
from ambry.format.properties import encode_metadata
from frontend.http.conditions import etag_of, http_date
from frontend.metadata.accounts import DEFAULT, Accounts
from frontend.request import ContainerId
from frontend.router.get import BlobInfo
from frontend.router.put import PutSpec

METADATA_PREFIX = "x-ambry-um-"
ENCODED_METADATA_PREFIX = "x-ambry-enc-um-"
METADATA_BYTES_MAX = 8 << 10
METADATA_KEYS_MAX = 64
NAME_BYTES_MAX = 1024
TTL_SECONDS_MAX = 10**11
DEFAULT_CONTENT_TYPE = "application/octet-stream"

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ACTIVE_TYPES = ("text/html", "text/xml", "application/xml")


def target_container(headers: Mapping[str, str], accounts: Accounts) -> ContainerId:
    """The container that a new blob goes to. Raises InvalidRequest for a name that is none."""
    return accounts.resolve(
        headers.get("x-ambry-target-account-name", DEFAULT), headers.get("x-ambry-target-container-name", DEFAULT)
    )


def put_spec(headers: Mapping[str, str], *, filename: str, now_ms: int) -> PutSpec:
    """What an upload's headers ask for. Raises InvalidRequest naming the header, HeadersTooLarge."""
    properties = BlobProperties(
        size=0,
        digest=b"",
        content_type=_text(headers, "x-ambry-content-type") or _text(headers, "Content-Type") or DEFAULT_CONTENT_TYPE,
        service_id=_text(headers, "x-ambry-service-id"),
        owner_id=_text(headers, "x-ambry-owner-id"),
        content_encoding=_text(headers, "x-ambry-content-encoding") or _text(headers, "Content-Encoding"),
        filename=utf8_text(headers.get("x-ambry-filename", "")) or filename,
        private=_flag(headers, "x-ambry-private"),
    )
    if len(properties.filename.encode()) > NAME_BYTES_MAX or _CONTROL.search(properties.filename):
        raise InvalidRequest(f"x-ambry-filename is text of at most {NAME_BYTES_MAX} bytes without control characters")
    return PutSpec(
        properties=properties,
        metadata=encode_metadata(user_metadata(headers)),
        expires_at_ms=expiry(headers.get("x-ambry-ttl"), now_ms),
        durability=_durability(headers.get("x-ambry-durability")),
    )


def utf8_text(value: str) -> str:
    """Header text that holds UTF-8; what is none comes from aiohttp as surrogates and is replaced."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _text(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name, "")
    if len(value) > NAME_BYTES_MAX or not value.isascii():
        raise InvalidRequest(f"{name} is ASCII text of at most {NAME_BYTES_MAX} bytes")
    return value


def _flag(headers: Mapping[str, str], name: str) -> bool:
    value = headers.get(name, "false").lower()
    if value not in ("true", "false"):
        raise InvalidRequest(f"{name} is true or false, not {value!r}")
    return value == "true"


def expiry(value: str | None, now_ms: int) -> int:
    """The expiry that an `x-ambry-ttl` of seconds means; -1 or none is never. Raises InvalidRequest."""
    if value is None or value == "-1":
        return NEVER_MS
    if not value.isascii() or not value.isdigit() or not 0 < int(value) <= TTL_SECONDS_MAX:
        raise InvalidRequest(f"x-ambry-ttl is a positive number of seconds, or -1 for ever, not {value!r}")
    return now_ms + int(value) * 1000


def _durability(value: str | None) -> Durability:
    if value is None:
        return Durability.DISK
    try:
        return Durability[value.upper()]
    except KeyError:
        raise InvalidRequest(f"x-ambry-durability is memory, disk or geo, not {value!r}") from None


def user_metadata(headers: Mapping[str, str]) -> dict[str, str]:
    """The `x-ambry-um-*` pairs, and `x-ambry-enc-um-*` with percent-encoded UTF-8. Raises HeadersTooLarge, InvalidRequest."""
    pairs: dict[str, str] = {}
    size = 0
    for name, value in headers.items():
        key = name.lower()
        if key.startswith(METADATA_PREFIX):
            key = key.removeprefix(METADATA_PREFIX)
            text = utf8_text(value)
        elif key.startswith(ENCODED_METADATA_PREFIX):
            key = key.removeprefix(ENCODED_METADATA_PREFIX)
            text = unquote(utf8_text(value))
        else:
            continue
        if not key or key in pairs:
            raise InvalidRequest(f"the user metadata key {key!r} is empty or stands there twice")
        pairs[key] = text
        size += len(key) + len(text.encode())
    if size > METADATA_BYTES_MAX or len(pairs) > METADATA_KEYS_MAX:
        raise HeadersTooLarge(
            f"user metadata has at most {METADATA_KEYS_MAX} keys and {METADATA_BYTES_MAX} bytes together; "
            f"this has {len(pairs)} and {size}"
        )
    return pairs


def _plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and text == text.strip()


def metadata_headers(pairs: Mapping[str, str]) -> dict[str, str]:
    """User metadata as response headers: percent-encoded where a header could not carry the text."""
    return {
        f"{METADATA_PREFIX}{key}" if _plain(text) else f"{ENCODED_METADATA_PREFIX}{key}": (
            text if _plain(text) else quote(text, safe="")
        )
        for key, text in pairs.items()
    }


def ttl_text(state: BlobState, created_at_ms: int) -> str:
    """`x-ambry-ttl`: seconds from creation to expiry, -1 for ever."""
    return "-1" if state.expires_at_ms == NEVER_MS else str(round((state.expires_at_ms - created_at_ms) / 1000))


def _active(content_type: str) -> bool:
    """Whether a browser may run it. Of several types in one header it takes one, so any of them counts."""
    types = [part.partition(";")[0].strip().lower() for part in content_type.split(",")]
    return any(each in _ACTIVE_TYPES or each.endswith("+xml") for each in types)


def blob_headers(info: BlobInfo, accounts: Accounts) -> dict[str, str]:
    """The headers that tell about a blob, on every read of it; without those of its length."""
    properties = info.properties
    account, container = accounts.names(ContainerId(info.id.account, info.id.container))
    permanent = info.state.expires_at_ms == NEVER_MS
    cacheable = permanent and not properties.private
    headers = {
        "Content-Type": properties.content_type,
        "Accept-Ranges": "bytes",
        "ETag": etag_of(properties.digest),
        "Last-Modified": http_date(info.created_at_ms),
        "Cache-Control": "public, immutable, max-age=31536000" if cacheable else "private, no-cache",
        "X-Content-Type-Options": "nosniff",
        "x-ambry-blob-size": str(info.size),
        "x-ambry-digest": properties.digest.hex(),
        "x-ambry-creation-time": http_date(info.created_at_ms),
        "x-ambry-content-type": properties.content_type,
        "x-ambry-service-id": properties.service_id,
        "x-ambry-owner-id": properties.owner_id,
        "x-ambry-target-account-name": account,
        "x-ambry-target-container-name": container,
        "x-ambry-private": str(properties.private).lower(),
        "x-ambry-ttl": ttl_text(info.state, info.created_at_ms),
        "x-ambry-life-version": str(info.state.life_version),
        "x-ambry-encrypted-in-storage": "false",
    }
    if properties.content_encoding:
        headers["Content-Encoding"] = headers["x-ambry-content-encoding"] = properties.content_encoding
    if properties.filename:
        headers["x-ambry-filename"] = properties.filename
    if _active(properties.content_type):
        # What a browser would run must not run under our name.
        headers["Content-Disposition"] = "attachment"
    if info.metadata:
        headers.update(metadata_headers(info.metadata))
    return headers
