"""What users of the client see of accounts and containers: frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypedDict

from ambry.rest.accounts import AccountSettings, ContainerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerInfo:
    """A container. `snapshot_version` grows with every change, and a change may be bound to it."""

    name: str
    id: int
    account_id: int
    settings: ContainerSettings
    snapshot_version: int = 0
    modified: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountInfo:
    """An account, with its containers by name."""

    name: str
    id: int
    settings: AccountSettings
    containers: tuple[ContainerInfo, ...] = ()
    snapshot_version: int = 0
    modified: datetime | None = None


class AccountChange(TypedDict, total=False):
    """Settings of an account that are said; others stay."""

    status: Literal["ACTIVE", "INACTIVE"]
    quota_bytes: int | None
    quota_blobs: int | None
    acl_inherited_by_container: bool


class ContainerChange(TypedDict, total=False):
    """Settings of a container that are said; others stay. docs/rest.md tells what each does."""

    status: Literal["ACTIVE", "INACTIVE"]
    description: str
    is_private: bool | None
    """False: whoever comes may read, without a key."""
    encrypted: bool
    cacheable: bool
    ttl_required: bool
    named_blob_mode: Literal["DISABLED", "OPTIONAL", "NO_UPDATE"]
    override_account_acl: bool
    default_durability: Literal["memory", "disk", "geo"]
    strict_reads: bool
    quota_bytes: int | None
    quota_blobs: int | None
    access_control_allow_origin: str
    audit_reads: bool
    """Whether the audit of frontends tells of reads too."""
    retention_lock_until: int
    """Milliseconds since 1970."""
