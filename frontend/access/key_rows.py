"""Keys as registers of the metadata store.

    space  scope  key                     value, JSON
    KEY    0      key id                  StoredKey; or ff, and when it was revoked, and by whom
    KEY    1      a datacenter's number   anything: its stamp tells that a key changed
    KEY    2      key id                  0; buried when the key is revoked: what is looked through for the keys there are

A revoked key stays in scope 0 for ever, where nobody lists it.

Nothing that would let anybody in stands there: of a secret its hash alone.

A register here keeps its newest value alone, and one that says revoked is newer than any that does not
(frontend/metadata/store.py:order): no datacenter brings a revoked key back, whatever it changes of it, and whenever.
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
LISTED = 2
"""Scopes of the space."""


class OldSecret(msgspec.Struct, frozen=True, kw_only=True):
    """A secret that another took the place of, for as long as it still opens."""

    hash: str
    until_ms: int


class SharedRates(msgspec.Struct, frozen=True, kw_only=True):
    """A key whose limits another one shares, as they were when it began to: they hold when that key is gone."""

    id: str
    limits: Rates


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
    shares: tuple[SharedRates, ...] = ()
    """The limits that its own are a part of (frontend/access/sharing.py)."""

    def hashes(self, now_ms: int) -> tuple[str, ...]:
        """Of the secrets that open with it now: its own, and those whose overlap lasts."""
        return (self.hash, *(old.hash for old in self.old if now_ms < old.until_ms))


class RevokedKey(msgspec.Struct, frozen=True, kw_only=True):
    """One that opens nothing any more, for ever: when, and by which key."""

    at_ms: int
    by: str


_LISTED = b"\0"
"""Of no rank before its time, so that it can be buried."""
_REVOKED = b"\xff"
"""Above the first byte of what stands there else, which is an object in JSON."""
_decode = msgspec.json.Decoder(StoredKey).decode


def encode_revoked(revoked: RevokedKey) -> bytes:
    return _REVOKED + msgspec.json.encode(revoked)


def decode(value: bytes | None) -> StoredKey | None:
    """None for one that was revoked, or is not here yet. Raises DataCorrupt."""
    if not value or value[:1] == _REVOKED:
        return None
    try:
        return _decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as cause:
        raise DataCorrupt(f"a key's row cannot be read: {cause}") from cause


def listed_puts(id: str, stored: StoredKey | RevokedKey, *, new: bool) -> list[Put]:
    """What goes along with a key that is made or revoked, before what tells of it, so that whoever hears of it finds it."""
    key = id.encode()
    if isinstance(stored, RevokedKey):
        return [Put(Space.KEY, LISTED, key, None)]
    return [Put(Space.KEY, LISTED, key, _LISTED)] if new else []


def told_put(datacenter: int) -> Put:
    """Tells everybody that a key changed; goes in one group with the change."""
    return Put(Space.KEY, CHANGES, str(datacenter).encode(), b"true")
