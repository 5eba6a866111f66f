"""Pages of names as they are told: the entries of a list, the versions of a history, and the tokens that go on with them."""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Sequence

import msgspec

from ambry.blob import NEVER_MS
from ambry.errors import InvalidRequest
from frontend.metadata.store import PAGE_MAX, CommonPrefix, Space, Stamp, Version
from frontend.names.names import NameVersion

_STAMP = struct.Struct(">QI")


class ListedName(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    """An entry of a list, with Ambry's names of the fields and the blob's id beside them. Times are milliseconds since 1970."""

    blob_name: str
    is_directory: bool
    """Whether it is what some names begin with, up to the delimiter."""
    blob_id: str | None = None
    blob_size: int | None = None
    modified_time_ms: int | None = None
    expiration_time_ms: int | None = None
    """As it was when the blob got the name; none for a blob that lives for ever."""


class NamePage(msgspec.Struct, rename="camel"):
    entries: list[ListedName]
    next_page_token: str | None
    """What `page` says to go on; none at the end."""


class ListedVersion(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    """One version of a name, the newest first."""

    modified_time_ms: int
    datacenter: int
    """By its id: where it was made."""
    deleted: bool = False
    blob_id: str | None = None
    blob_size: int | None = None


class HistoryPage(msgspec.Struct, rename="camel"):
    versions: list[ListedVersion]
    next_page_token: str | None


def entry_of(each: NameVersion | CommonPrefix, now_ms: int) -> ListedName | None:
    """What is told of a name; None where its blob is over."""
    if isinstance(each, CommonPrefix):
        return ListedName(each.prefix.decode("utf-8", "replace"), True)
    blob = each.blob
    if blob is None or blob.expires_at_ms <= now_ms:
        return None
    return ListedName(
        blob_name=each.key.decode(),
        is_directory=False,
        blob_id=base64.urlsafe_b64encode(blob.id).decode(),
        blob_size=blob.size,
        modified_time_ms=each.stamp.wall_ms,
        expiration_time_ms=None if blob.expires_at_ms == NEVER_MS else blob.expires_at_ms,
    )


def history_page(found: Sequence[NameVersion]) -> HistoryPage:
    """A page of a history; one that is full has a token."""
    versions = [
        ListedVersion(
            modified_time_ms=each.stamp.wall_ms,
            datacenter=each.stamp.datacenter,
            deleted=each.blob is None,
            blob_id=None if each.blob is None else str(each.id),
            blob_size=None if each.blob is None else each.blob.size,
        )
        for each in found
    ]
    last = found[-1].stamp if len(found) == PAGE_MAX else None
    return HistoryPage(versions, None if last is None else token_of(_STAMP.pack(last.time, last.datacenter)))


def version_before(token: str, scope: int, key: bytes) -> Version:
    """Where the next page of a history begins. Raises InvalidRequest."""
    raw = key_of(token)
    if len(raw) != _STAMP.size:
        raise InvalidRequest("page is the nextPageToken of the page before, as it was told")
    time, datacenter = _STAMP.unpack(raw)
    return Version(Space.NAME, scope, key, Stamp(time, datacenter), None, 0)


def token_of(key: bytes) -> str:
    """What `page` says to go on behind this key."""
    check = binascii.crc32(key).to_bytes(4, "big")
    return base64.urlsafe_b64encode(check + key).decode().rstrip("=")


def key_of(token: str) -> bytes:
    """The key behind which a page begins. Raises InvalidRequest."""
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) <= 4 or binascii.crc32(raw[4:]).to_bytes(4, "big") != raw[:4]:
        raise InvalidRequest("page is the nextPageToken of the page before, as it was told")
    return raw[4:]


def limit_of(text: str) -> int:
    """How many entries a page has, by `max-keys`. Raises InvalidRequest."""
    if not text:
        return PAGE_MAX
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= PAGE_MAX):
        raise InvalidRequest(f"max-keys is a number from 1 to {PAGE_MAX}, not {text[:20]!r}")
    return int(text)
