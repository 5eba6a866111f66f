"""Whose key a request carries.

What was verified is remembered by the header as it was sent, so that a request costs a look-up in a table; every change of a
key empties it. A secret is compared by its hash, in constant time.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping

from ambry.clock import Clock
from ambry.errors import ConfigInvalid, MetadataUnavailable, Unauthenticated, must_have
from ambry.rest.access import (
    ALL_ROLES,
    KEY_NAME_SIZE_MAX,
    Grant,
    hash_of,
    is_key_id,
    is_key_name,
    parse_key,
    role_texts,
)
from frontend.access.key_rows import StoredKey
from frontend.who import ANYBODY, NOBODY, Who

VERIFIED_MAX = 1_024
"""Keys that are remembered; beyond that all are verified anew."""
HEADER_SIZE_MAX = 256
_SCHEME = "bearer "
_HOW = "a key is sent as `Authorization: Bearer ambry_<id>_<secret>`"


class Access:
    """The keys that this process knows, and what they are good for."""

    def __init__(self, *, clock: Clock, root_keys: Iterable[str] = (), enabled: bool = True) -> None:
        """`root_keys` are administrators of the configuration, `<key id>:<SHA-256 of the secret>[:<name>]`.

        Not `enabled`: everybody may do everything, and no key is looked at. Raises ConfigInvalid.
        """
        self.enabled = enabled
        self._clock = clock
        self._root = dict(map(_root_key, root_keys))
        self._keys: Mapping[str, StoredKey] = self._root
        self._verified: dict[str | None, Who] = {}
        self._used: set[str] = set()
        """Of those that are not remembered any more."""
        self.certain = True
        """Whether the metadata store's word is in it, where there is one."""
        self.know(())

    @property
    def keys(self) -> Mapping[str, StoredKey]:
        """All keys by id."""
        return self._keys

    def is_root(self, id: str) -> bool:
        """Whether it stands in the configuration, and is changed there alone."""
        return id in self._root

    def know(self, stored: Iterable[tuple[str, StoredKey]]) -> None:
        """From now on these, beside those of the configuration, are all keys there are."""
        self._keys = {**dict(stored), **self._root}
        self._forget()

    def at_once(self, header: str | None) -> Who | None:
        """Whoever sent this Authorization, if that was verified and nothing speaks against it; else ask `of`."""
        who = self._verified.get(header)
        if who is None or (who.expires_ms is not None and self._clock.wall_ms() >= who.expires_ms):
            return None
        who.used = True
        return who

    def of(self, header: str | None) -> Who:
        """Whoever sent this Authorization. Raises Unauthenticated; MetadataUnavailable where no keys were heard of yet."""
        found = self.at_once(header)
        if found is not None:
            return found
        if not self.enabled:
            return ANYBODY
        header = must_have(header, "the Authorization of whoever is not known yet")
        who = self._verify(header)
        if len(self._verified) >= VERIFIED_MAX:
            self._forget()
        self._verified[header] = who
        who.used = True
        return who

    def _verify(self, header: str) -> Who:
        if len(header) > HEADER_SIZE_MAX or header[: len(_SCHEME)].lower() != _SCHEME:
            raise Unauthenticated(f"this Authorization is not understood; {_HOW}")
        sent = parse_key(header[len(_SCHEME) :].strip(" "))
        if sent is None:
            raise Unauthenticated(f"what Authorization says is no key of ambry: it is cut off or mistyped; {_HOW}")
        stored = self._keys.get(sent.id)
        hashed = hash_of(sent.secret)
        if stored is None:
            if not self.certain:
                raise MetadataUnavailable("which keys there are is not known here yet; retry", retry_after_s=1)
            raise Unauthenticated(f"there is no key {sent.id}: it was revoked, or is of another cluster")
        now_ms = self._clock.wall_ms()
        expires_ms = stored.expires_ms
        if not hmac.compare_digest(hashed, stored.hash):
            until = [old.until_ms for old in stored.old if hmac.compare_digest(hashed, old.hash)]
            if not until:
                raise Unauthenticated(f"that is not the secret of the key {sent.id}; it may have been rotated")
            expires_ms = min([*until, *([] if expires_ms is None else [expires_ms])])
        if expires_ms is not None and now_ms >= expires_ms:
            raise Unauthenticated(_why_over(sent.id, stored, expires_ms))
        return Who(stored.grants, id=sent.id, name=stored.name, expires_ms=expires_ms, key=stored, hashed=hashed)

    def claimed(self, header: str | None) -> tuple[str, str] | None:
        """The id of the key that an Authorization says to be, which may be a lie, and what that is called here if it is."""
        sent = None if header is None else parse_key(header[len(_SCHEME) : HEADER_SIZE_MAX].strip(" "))
        if sent is None:
            return None
        stored = self._keys.get(sent.id)
        return sent.id, "" if stored is None else stored.name

    def check_standing(self, who: Who) -> None:
        """Raises Unauthenticated where a request could not come any more with the key that it began with, or might not do the
        same. Another name, other limits, and a rotation whose overlap lasts are no reason."""
        key = who.key
        if key is None:
            return
        current = self._keys.get(who.id)
        now_ms = self._clock.wall_ms()
        if current is not key and (current is None or not _still(key, current, who.hashed, now_ms)):
            how = "revoked" if current is None else "changed"
            raise Unauthenticated(f"the key {who.id} ({who.name}) was {how} while this request ran; send it again")
        if who.expires_ms is not None and now_ms >= who.expires_ms:
            why = _why_over(who.id, key, who.expires_ms)
            raise Unauthenticated(f"while this request ran: {why}")

    def was_used(self, id: str) -> None:
        """Note that a key was used without being sent, as by a URL that it signed."""
        self._used.add(id)

    def take_used(self) -> set[str]:
        """The ids of those that were used since this was last asked."""
        used = [who for who in self._verified.values() if who.used and who.id]
        for who in used:
            who.used = False
        ids, self._used = self._used | {who.id for who in used}, set()
        return ids

    def _forget(self) -> None:
        """Nobody is verified any more."""
        self._used |= {who.id for who in self._verified.values() if who.used and who.id}
        self._verified.clear()
        self._verified[None] = NOBODY if self.enabled else ANYBODY


def _why_over(id: str, key: StoredKey, expires_ms: int) -> str:
    """Why what was sent opens nothing since then."""
    if expires_ms == key.expires_ms:
        return f"the key {id} ({key.name}) has expired; ask for another one"
    return (
        f"that secret of the key {id} ({key.name}) was replaced by a rotation, whose overlap is over; use the new one"
    )


def _still(key: StoredKey, current: StoredKey, hashed: str, now_ms: int) -> bool:
    """Whether what a key is now lets whoever came with this secret do what it let them do then."""
    over = current.expires_ms is not None and now_ms >= current.expires_ms
    return (hashed or key.hash) in current.hashes(now_ms) and current.grants == key.grants and not over


def trusting(clock: Clock) -> Access:
    """Asks for no keys: for loopback alone."""
    return Access(clock=clock, enabled=False)


def _root_key(text: str) -> tuple[str, StoredKey]:
    id, _, rest = text.partition(":")
    hashed, _, name = rest.partition(":")
    if not is_key_id(id) or len(hashed) != 64 or not all(c in "0123456789abcdef" for c in hashed):
        raise ConfigInvalid(
            "access.root_keys: each is `<key id>:<SHA-256 of its secret, hexadecimal>` and perhaps `:<name>`; "
            "`ambry key new` makes one"
        )
    if name and not is_key_name(name):
        raise ConfigInvalid(
            f"access.root_keys: the name of the key {id} is 1 to {KEY_NAME_SIZE_MAX} characters of printable ASCII, and not "
            f"{name[:40]!r}: it stands in logs and in the audit"
        )
    everything = Grant(roles=tuple(role_texts(ALL_ROLES)))
    return id, StoredKey(
        name=name or "root", hash=hashed, grants=(everything,), created_ms=0, created_by="configuration"
    )
