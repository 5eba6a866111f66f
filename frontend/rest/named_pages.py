"""Pages of names as they are told: the entries of a list, and the versions of a history."""

from __future__ import annotations

import base64

import msgspec

from ambry.blob import NEVER_MS
from frontend.metadata.store import CommonPrefix
from frontend.names.names import NameVersion


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


class NameHistory(msgspec.Struct, rename="camel"):
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


def told_version(each: NameVersion) -> ListedVersion:
    """An entry of a history."""
    return ListedVersion(
        modified_time_ms=each.stamp.wall_ms,
        datacenter=each.stamp.datacenter,
        deleted=each.blob is None,
        blob_id=None if each.blob is None else str(each.id),
        blob_size=None if each.blob is None else each.blob.size,
    )
