"""How listings and histories are put together, whatever engine has the rows. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from frontend.metadata.store import KEY_BYTES_MAX, Version, order

_LAST = b"\xff" * (KEY_BYTES_MAX + 1)


def common_prefix(key: bytes, prefix: bytes, delimiter: bytes) -> bytes | None:
    """What stands in a listing for a key that has the delimiter beyond the prefix."""
    at = key.find(delimiter, len(prefix))
    return None if at < 0 else key[: at + len(delimiter)]


def last_of(prefix: bytes) -> bytes:
    """A key that all with this prefix lie below, and no other between: longer than keys are."""
    return prefix + _LAST


def resumed(after: bytes | None, prefix: bytes, delimiter: bytes) -> bytes | None:
    """Where a listing with a delimiter goes on, when `after` was its last key or common prefix."""
    if after is None or not after.startswith(prefix):
        return after
    seen = common_prefix(after, prefix, delimiter)
    return after if seen is None else last_of(seen)


def newest_first(versions: Iterable[Version], before: Version | None, limit: int) -> list[Version]:
    """The part of a history that is older than `before`."""
    found = sorted(versions, key=order, reverse=True)
    if before is not None:
        bound = order(before)
        found = [version for version in found if order(version) < bound]
    return found[:limit]
