"""What users of the client see of what is stored and what was asked for: frozen values. Bytes are of users."""

from __future__ import annotations

import msgspec


class Requested(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What was asked for at one datacenter, since `since_ms` (milliseconds since 1970; None: nothing was)."""

    requests: int = 0
    refused: int = 0
    """Of them, those that were answered 401, 403 or 429."""
    bytes_in: int = 0
    bytes_out: int = 0
    since_ms: int | None = None


class UsedByAccount(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What all containers of an account have. None of a quota is no bound."""

    account: str
    bytes: int
    blobs: int
    quota_bytes: int | None = None
    quota_blobs: int | None = None


class UsedByContainer(Requested, frozen=True, kw_only=True, rename="camel"):
    """What a container has, and what was asked for in it."""

    account: str
    container: str
    bytes: int
    blobs: int
    reclaimable_bytes: int = 0
    """Deleted or expired, and not given back yet."""
    quota_bytes: int | None = None
    quota_blobs: int | None = None
    open_uploads: int = 0
    """Uploads in parts that are under way."""
    open_upload_bytes: int = 0
    """What is kept of them beside their parts."""


class UsedByKey(Requested, frozen=True, kw_only=True, rename="camel"):
    """What was asked for with a key."""

    id: str
    name: str
    open_uploads: int = 0
    """Uploads in parts that it began and that are under way."""


class UsageReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """As far as it concerns whoever asks."""

    at_ms: int
    accounts: tuple[UsedByAccount, ...] = ()
    containers: tuple[UsedByContainer, ...] = ()
    keys: tuple[UsedByKey, ...] = ()
    without_key: Requested | None = None
    """For who administers everything."""
    partitions_missing: tuple[int, ...] = ()
    """Partitions of which nobody told what they hold."""
