"""Accounts and containers as they travel in JSON: Ambry's names of the fields, and what each may say.

What holds for a container stands in its settings. Accounts hold containers; both have ids, which stand in blob ids for ever,
and names. Times are milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any, Literal

import msgspec

from ambry.errors import InvalidRequest
from ambry.rest.text import is_plain
from ambry.rest.wrong_values import why_not

NAME_SIZE_MAX = 64
"""Characters of a name that answers carry."""
DESCRIPTION_SIZE_MAX = 1024
ORIGINS_MAX = 16
ANY_ORIGIN = "*"

Amount = Annotated[int, msgspec.Meta(ge=0, le=(1 << 53) - 1)]
"""What every reader of JSON takes for the same number (RFC 8259 section 6)."""


class AccountStatus(Enum):
    """Of an account or a container."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    """Nothing in it is read or written."""


class NamedBlobMode(Enum):
    """What names may be used for in a container."""

    DISABLED = "DISABLED"
    OPTIONAL = "OPTIONAL"
    NO_UPDATE = "NO_UPDATE"
    """A name that points to a blob keeps doing so."""


class ContainerSettings(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All that may be said about a container, and what holds where nothing is said."""

    status: AccountStatus = AccountStatus.ACTIVE
    description: str = ""
    is_private: bool | None = None
    """False: whoever comes may read its blobs, without a key, and caches that many share may keep them. None: nobody said."""
    encrypted: bool = False
    """Whether new blobs are encrypted where they lie; those that are there stay as they were stored."""
    cacheable: bool = True
    """Whether any cache may keep its blobs."""
    ttl_required: bool = False
    """Whether no blob in it lives for ever."""
    named_blob_mode: NamedBlobMode = NamedBlobMode.OPTIONAL
    override_account_acl: bool = False
    """Whether its own access rules hold in place of its account's."""
    default_durability: Literal["memory", "disk", "geo"] = "disk"
    strict_reads: bool = False
    """Whether every read is confirmed by so many replicas that a delete which was acknowledged is seen."""
    quota_bytes: Amount | None = None
    quota_blobs: Amount | None = None
    access_control_allow_origin: str = ""
    """Origins whose pages may use it, separated by commas, or ANY_ORIGIN."""
    audit_reads: bool = False
    """Whether the audit tells of reads, too, and not of changes and refusals alone."""
    retention_lock_until: Amount = 0
    """Until then nobody deletes or overwrites what is in it; 0 for no lock."""


class AccountSettings(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """All that may be said about an account."""

    status: AccountStatus = AccountStatus.ACTIVE
    quota_bytes: Amount | None = None
    quota_blobs: Amount | None = None
    """All its containers together."""
    acl_inherited_by_container: bool = False
    """Whether its access rules hold for its containers."""


_ACCOUNT_BESIDE = frozenset({"accountId", "accountName", "snapshotVersion", "lastModifiedTime", "containers"})
_CONTAINER_BESIDE = frozenset({
    "containerId", "containerName", "parentAccountId", "snapshotVersion", "lastModifiedTime",
})  # fmt: skip
"""What stands beside settings: which one is meant, and what is only told."""
_NOT_HAD: dict[str, tuple[object, ...]] = {
    "version": (1, 2),
    "backupEnabled": (False, None),
    "mediaScanDisabled": (False, None),
    "previouslyEncrypted": (False, None),
    "securePathRequired": (False, None),
    "replicationPolicy": ("", None),
    "contentTypeWhitelistForFilenamesOnDownload": ([], None),
    "deleteTriggerTime": (0, None),
    "cacheTtlInSecond": (None,),
    "userMetadataKeysToNotPrefixInResponse": ([], None),
    "paranoidDurabilityEnabled": (False, None),
    "quotaResourceType": ("CONTAINER", None),
    "rampControl": (None,),
    "migrationConfigs": (None,),
}
"""Fields of Ambry's that are not had here, and the values that ask for nothing."""


def container_changes(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among the fields of a container in JSON, by name. Raises InvalidRequest naming the field."""
    changes = _changes(ContainerSettings, given, _CONTAINER_BESIDE)
    if len(changes.get("description", "")) > DESCRIPTION_SIZE_MAX:
        raise InvalidRequest(f"description has at most {DESCRIPTION_SIZE_MAX} characters")
    if "accessControlAllowOrigin" in changes:
        origins_of(changes["accessControlAllowOrigin"])
    return changes


def account_changes(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings among the fields of an account in JSON, by name. Raises InvalidRequest naming the field."""
    return _changes(AccountSettings, given, _ACCOUNT_BESIDE)


def _changes(shape: type[msgspec.Struct], given: Mapping[str, Any], beside: frozenset[str]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for name, value in given.items():
        if name in shape.__struct_encode_fields__:
            try:
                msgspec.convert({name: value}, shape)
            except msgspec.ValidationError as cause:
                raise InvalidRequest(f"{name}: {why_not(cause, shape).partition(' - at ')[0]}") from cause
            changes[name] = value
        elif name in _NOT_HAD:
            if value not in _NOT_HAD[name]:
                raise InvalidRequest(f"{name} is not implemented, and would be ignored; leave it out")
        elif name not in beside:
            raise InvalidRequest(f"there is no field {name[:40]!r} here; there are {', '.join(_known(shape, beside))}")
    return changes


def _known(shape: type[msgspec.Struct], beside: frozenset[str]) -> list[str]:
    return sorted({*shape.__struct_encode_fields__, *beside})


def name_of(what: str, given: object) -> str:
    """A name of an account or a container. Raises InvalidRequest."""
    if not isinstance(given, str) or not is_name(given):
        raise InvalidRequest(
            f"{what} stands in headers and paths: 1 to {NAME_SIZE_MAX} characters of printable ASCII, without a slash"
        )
    return given


def is_name(text: str) -> bool:
    """Whether an account or a container can be called that."""
    return 0 < len(text) <= NAME_SIZE_MAX and is_plain(text) and "/" not in text


def origins_of(text: str) -> frozenset[str]:
    """The origins of `accessControlAllowOrigin` (RFC 6454 section 6.2). Raises InvalidRequest."""
    origins = [origin for part in text.split(",") if (origin := part.strip(" "))]
    if len(origins) > ORIGINS_MAX:
        raise InvalidRequest(f"accessControlAllowOrigin lists at most {ORIGINS_MAX} origins, or says * for all")
    for origin in origins:
        scheme, separator, host = origin.partition("://")
        plain = origin.isascii() and origin.isprintable() and not any(c in origin for c in " \"'<>\\^`{|}@?#")
        if origin != ANY_ORIGIN and not (plain and scheme and separator and host and "/" not in host):
            raise InvalidRequest(
                f"accessControlAllowOrigin lists origins such as https://app.example.org, or says * for all: {origin[:80]!r}"
            )
    return frozenset(ANY_ORIGIN if origin == ANY_ORIGIN else origin.lower() for origin in origins)
