"""Keys as registers of the metadata store.

    space  scope  key                     value, JSON
    KEY    0      key id                  StoredKey
    KEY    1      a datacenter's number   anything: its stamp tells that a key changed

Nothing that would let anybody in stands there: of a secret its hash alone.
"""

from __future__ import annotations

import msgspec

from ambry.errors import DataCorrupt
from ambry.rest.access import Grant
from frontend.limits.rates import Rates
from frontend.metadata.spaces import Space
from frontend.metadata.store import Put

KEYS = 0
CHANGES = 1
"""Scopes of the space."""


class OldSecret(msgspec.Struct, frozen=True, kw_only=True):
    """A secret that another took the place of, for as long as it still opens."""

    hash: str
    until_ms: int


class StoredKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is kept. Times are milliseconds since 1970."""

    name: str
    hash: str
    grants: tuple[Grant, ...]
    created_ms: int
    created_by: str
    expires_ms: int | None = None
    old: tuple[OldSecret, ...] = ()
    limits: Rates = Rates()


_decode = msgspec.json.Decoder(StoredKey).decode


def decode(value: bytes) -> StoredKey:
    """Raises DataCorrupt."""
    try:
        return _decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as cause:
        raise DataCorrupt(f"a key's row cannot be read: {cause}") from cause


def told_put(datacenter: int) -> Put:
    """Tells everybody that a key changed; goes in one group with the change."""
    return Put(Space.KEY, CHANGES, str(datacenter).encode(), b"true")
