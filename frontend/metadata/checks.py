"""What no metadata store takes, whatever its engine: keys, values, groups and pages beyond their bounds."""

from __future__ import annotations

from collections.abc import Sequence

from ambry.errors import FormatUnknown, InvalidRequest
from frontend.metadata.store import (
    GROUP_MAX,
    KEY_BYTES_MAX,
    PAGE_MAX,
    SPACE_MAX,
    TIME_MAX,
    VALUE_BYTES_MAX,
    Change,
    LocalPut,
    Put,
    Require,
    Version,
)


def check_key(key: bytes) -> None:
    if not 0 < len(key) <= KEY_BYTES_MAX:
        raise InvalidRequest(f"a key of the metadata has 1 to {KEY_BYTES_MAX} bytes, not {len(key)}")


def check_value(value: bytes | None) -> None:
    if value is not None and len(value) > VALUE_BYTES_MAX:
        raise InvalidRequest(f"a value of the metadata has at most {VALUE_BYTES_MAX} bytes, not {len(value)}")


def check_limit(limit: int) -> None:
    if not 1 <= limit <= PAGE_MAX:
        raise InvalidRequest(f"a page of the metadata has 1 to {PAGE_MAX} entries, not {limit}")


def check_delimiter(delimiter: bytes) -> None:
    if not 0 < len(delimiter) <= KEY_BYTES_MAX:
        raise InvalidRequest(f"a delimiter has 1 to {KEY_BYTES_MAX} bytes, not {len(delimiter)}")


def check_group(group: Sequence[Change]) -> None:
    """Raises InvalidRequest for a group that can never be written."""
    if len(group) > GROUP_MAX:
        raise InvalidRequest(f"a group has at most {GROUP_MAX} changes, not {len(group)}")
    seen = set()
    for change in group:
        check_key(change.key)
        if isinstance(change, Put | LocalPut):
            check_value(change.value)
        place = (change.space, change.scope if isinstance(change, Put | Require) else -1, change.key)
        if place in seen:
            raise InvalidRequest(f"a group names {change.key!r} of {change.space.name} twice")
        seen.add(place)


def check_merge(versions: Sequence[Version]) -> None:
    """Raises InvalidRequest for versions that no store of this release made, and none can hold.

    Spaces and values that only a later release knows are none of these: they are merged as they are, for it to read.
    """
    for version in versions:
        check_key(version.key)
        check_value(version.value)
        if not 0 < version.space <= SPACE_MAX:
            raise InvalidRequest(f"a version of {version.key!r} is of the impossible space {version.space}")
        stamp = version.stamp
        if not 0 < stamp.time <= TIME_MAX or not 0 < stamp.datacenter <= 0xFFFF:
            raise InvalidRequest(f"a version of {version.key!r} has the impossible stamp {stamp}")


def mergeable(version: Version) -> Version:
    """The version, for those who pass over what cannot be merged. Raises FormatUnknown where `check_merge` raises.

    It cannot be kept unread for a later release either: a key beyond its bound has no place in a list, and a time beyond its
    bound ends the clock of whoever holds it. So a release with wider bounds takes such versions before one writes them.
    """
    try:
        check_merge((version,))
    except InvalidRequest as error:
        raise FormatUnknown(error.message) from error
    return version
