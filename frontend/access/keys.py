"""Making, changing and revoking keys. It takes admin where a key has something, and nobody gives more than they have.

More is: a role, a place, a time after which their own key opens nothing any more, or a rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice

import msgspec

from ambry.clock import Clock, iso_utc
from ambry.errors import AccessDenied, InvalidRequest, KeyNotFound, UpdateConflict
from ambry.rest import values
from ambry.rest.access import (
    ANY,
    KEY_NAME_SIZE_MAX,
    Grant,
    KeyText,
    Role,
    hash_of,
    is_key_id,
    is_key_name,
    key_text,
    new_key,
    role_of,
)
from ambry.rest.accounts import is_name
from frontend.access.key_rows import (
    KEYS,
    OldSecret,
    RevokedKey,
    StoredKey,
    decode,
    encode_revoked,
    listed_puts,
    told_put,
)
from frontend.access.key_sync import KeySync
from frontend.access.sharing import SHARED_MAX, joined, sharers, shares_of
from frontend.access.verified import Access
from frontend.limits.rates import UNBOUNDED, ChangedRates, Rates
from frontend.metadata.spaces import Space
from frontend.metadata.store import Conflict, Expect, MetadataStore, Put, Stamp
from frontend.who import Who

KEYS_MAX = 10_000
KEYS_SHARE_MAX = 1_000
"""Of them, those that have something only where one has admin who does not have it everywhere."""
GRANTS_MAX = 64
SAME_NAME_MAX = 10
"""Of other keys with its name, so many are told of one that is made."""
PREFIX_BYTES_MAX = 1_024
OVERLAP_MAX_S = 30 * 86_400


class MadeKey(msgspec.Struct, frozen=True):
    """A key, and its text, which nobody will see again."""

    id: str
    stored: StoredKey
    text: str


class ChangeOfKey(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of a key that changes; what is left unset stays."""

    name: str | msgspec.UnsetType = msgspec.UNSET
    grants: Sequence[Grant] | msgspec.UnsetType = msgspec.UNSET
    """In place of all before."""
    expires_ms: int | msgspec.UnsetType | None = msgspec.UNSET
    """None: never."""
    limits: ChangedRates | msgspec.UnsetType | None = msgspec.UNSET
    """None takes them all off."""

    def of(self, stored: StoredKey) -> StoredKey:
        """What becomes of a key."""
        return msgspec.structs.replace(
            stored,
            name=stored.name if self.name is msgspec.UNSET else self.name,
            grants=stored.grants if self.grants is msgspec.UNSET else tuple(self.grants),
            expires_ms=stored.expires_ms if self.expires_ms is msgspec.UNSET else self.expires_ms,
            limits=stored.limits
            if self.limits is msgspec.UNSET
            else UNBOUNDED
            if self.limits is None
            else self.limits.of(stored.limits),
        )


class Keys:
    """The changes of keys that this frontend makes."""

    def __init__(
        self,
        access: Access,
        sync: KeySync,
        store: MetadataStore,
        *,
        clock: Clock,
        chance: Callable[[int], bytes],
    ) -> None:
        self._access = access
        self._sync = sync
        self._store = store
        self._clock = clock
        self._chance = chance

    async def all(self, who: Who) -> list[tuple[str, StoredKey]]:
        """Those that somebody may administer, and their own, by name."""
        await self._sync.refresh()
        found = [(id, key) for id, key in self._access.keys.items() if id == who.id or _administers(who, key)]
        return sorted(found, key=lambda each: (each[1].name, each[0]))

    async def find(self, who: Who, id: str) -> StoredKey:
        """One that is their own, or that they may administer. Raises KeyNotFound, AccessDenied."""
        await self._sync.refresh()
        key = self._access.keys.get(id)
        if key is None or not is_key_id(id) or not (id == who.id or _administers(who, key)):
            raise _unknown(who, id)
        return key

    def called(self, who: Who, name: str, *, besides: str) -> list[str]:
        """The ids of some of the other keys of a name, of those that somebody may administer."""
        found = (
            id for id, key in self._access.keys.items() if key.name == name and id != besides and _administers(who, key)
        )
        return sorted(islice(found, SAME_NAME_MAX))

    def shares(self, id: str, key: StoredKey) -> list[str]:
        """The ids of the keys with limits that it shares."""
        found = sharers(id, key, self._access.keys)
        return [each.id for each in found if each.limits != UNBOUNDED]

    def name_of(self, id: str) -> str | None:
        """What a key that is known here is called."""
        key = self._access.keys.get(id)
        return None if key is None else key.name

    async def create(
        self, who: Who, name: str, grants: Sequence[Grant], *, expires_ms: int | None, limits: Rates
    ) -> MadeKey:
        """A new one; known everywhere within a second. Raises InvalidRequest, AccessDenied, and what the store raises."""
        self._check(who, name, grants, expires_ms, limits)
        await self._sync.refresh()
        self._access.check_standing(who)
        if len(self._access.keys) >= KEYS_MAX:
            raise InvalidRequest(f"there are {KEYS_MAX} keys already; revoke some first")
        if not who.everywhere(Role.ADMIN):
            # Whoever administers one place takes none of the room of the others.
            count = sum(_administers(who, key) for key in self._access.keys.values())
            if count >= KEYS_SHARE_MAX:
                raise InvalidRequest(
                    f"there are {count} keys already where the key {who.id} has admin, and room for {KEYS_SHARE_MAX}; revoke "
                    "some first, or ask whoever has admin everywhere"
                )
        made = new_key(self._chance)
        shares = shares_of(who.id, who.key, self._access.keys)
        # One that was not made yet shares with its maker and all of those.
        if len(sharers(who.id, who.key, self._access.keys) if who.key is not None else ()) >= SHARED_MAX - 1:
            raise InvalidRequest(
                f"the key {who.id} was made by a key that was made by a key, and so on, {SHARED_MAX} deep: limits are shared "
                "by no more; have it made by one of those"
            )
        stored = StoredKey(
            name=name,
            hash=hash_of(made.secret),
            grants=tuple(grants),
            created_ms=self._clock.wall_ms(),
            created_by=who.id,
            expires_ms=expires_ms,
            limits=limits,
            shares=shares,
        )
        await self._write(made.id, stored, Expect.ABSENT)
        return _made(made, stored)

    async def change(self, who: Who, id: str, change: ChangeOfKey) -> StoredKey:
        """Let it be good for something else. Raises as create, and KeyNotFound."""
        stored, stamp = await self._stored(who, id)
        changed = change.of(stored)
        self._check(who, changed.name, changed.grants, changed.expires_ms, changed.limits)
        await self._write(id, changed, stamp)
        return changed

    async def rotate(self, who: Who, id: str, *, overlap_s: int) -> MadeKey:
        """Another secret, for whoever may all that the key may; the old one opens for `overlap_s` more. Raises as change.

        When the key expires and what its limits are stays; it shares those of whoever gives it the secret from then on.
        """
        if not 0 <= overlap_s <= OVERLAP_MAX_S:
            raise InvalidRequest(f"overlapS is 0 to {OVERLAP_MAX_S} seconds")
        stored, stamp = await self._stored(who, id)
        _check_gives(who, stored.grants, stored.expires_ms, stored.limits)
        made = new_key(self._chance, id)
        now_ms = self._clock.wall_ms()
        old = [each for each in stored.old if each.until_ms > now_ms and overlap_s]
        if overlap_s:
            old.append(OldSecret(hash=stored.hash, until_ms=now_ms + overlap_s * 1000))
        shares = joined(stored.shares, shares_of(who.id, who.key, self._access.keys), without=id)
        if len(shares) >= SHARED_MAX:
            raise InvalidRequest(
                f"the key {id} shares the limits of {len(stored.shares)} keys already, which made it or gave it a secret; make "
                "another key in its place"
            )
        changed = msgspec.structs.replace(stored, hash=hash_of(made.secret), old=tuple(old[-4:]), shares=shares)
        await self._write(id, changed, stamp)
        return _made(made, changed)

    async def revoke(self, who: Who, id: str) -> None:
        """It opens nothing any more, nor does what it signed. Raises as change."""
        _, stamp = await self._stored(who, id)
        await self._write(id, RevokedKey(at_ms=self._clock.wall_ms(), by=who.id), stamp)

    async def _stored(self, who: Who, id: str) -> tuple[StoredKey, Stamp]:
        """One that may be changed here, and when it was made so."""
        await self.find(who, id)
        if self._access.is_root(id):
            raise InvalidRequest(
                f"the key {id} stands in the configuration (access.root_keys), and is changed there alone"
            )
        version = await self._store.get(Space.KEY, KEYS, id.encode())
        stored = None if version is None else decode(version.value)
        if version is None or stored is None:
            raise _unknown(who, id)
        # What is known by heart may be older than the stamp that the change is bound to.
        self._access.check_standing(who)
        if not _administers(who, stored):
            raise _unknown(who, id)
        return stored, version.stamp

    async def _write(self, id: str, stored: StoredKey | RevokedKey, condition: Expect | Stamp) -> None:
        value = encode_revoked(stored) if isinstance(stored, RevokedKey) else msgspec.json.encode(stored)
        put = Put(Space.KEY, KEYS, id.encode(), value, condition)
        try:
            await self._store.write(
                [put, *listed_puts(id, stored, new=condition is Expect.ABSENT), told_put(self._store.datacenter)]
            )
        except Conflict as conflict:
            raise UpdateConflict(
                "somebody else changed this key at the same moment; look again, and retry"
            ) from conflict
        await self._sync.refresh()

    def _check(self, who: Who, name: str, grants: Sequence[Grant], expires_ms: int | None, limits: Rates) -> None:
        if not is_key_name(name):
            raise InvalidRequest(f"a key has a name of 1 to {KEY_NAME_SIZE_MAX} characters of printable ASCII")
        if not 1 <= len(grants) <= GRANTS_MAX:
            raise InvalidRequest(f"a key has 1 to {GRANTS_MAX} grants")
        if expires_ms is not None and not self._clock.wall_ms() < expires_ms <= values.TIME_MS_MAX:
            raise InvalidRequest(
                f"expiresMs is a time that is to come, in milliseconds since 1970, of the year 9999 at the latest "
                f"({values.TIME_MS_MAX}), or null for never"
            )
        wrong = limits.wrong()
        if wrong is not None:
            raise InvalidRequest(wrong)
        for grant in grants:
            for what, text in (("account", grant.account), ("container", grant.container)):
                if text != ANY and not is_name(text):
                    raise InvalidRequest(f"{what} of a grant is the name of one, or {ANY} for all")
            if len(grant.prefix.encode("utf-8", "surrogatepass")) > PREFIX_BYTES_MAX:
                raise InvalidRequest(f"prefix of a grant has at most {PREFIX_BYTES_MAX} bytes")
            if not role_of(grant.roles):
                raise InvalidRequest("a grant has at least one role")
            if grant.prefix and role_of(grant.roles) & Role.ADMIN:
                raise InvalidRequest("admin is had in a container or an account, not for some names in it")
        for grant in grants:
            if not _administers_place(who, grant):
                raise AccessDenied(
                    f"the key {who.id} does not have admin in {grant.account}/{grant.container}, so it makes no keys there"
                )
        _check_gives(who, grants, expires_ms, limits)


def _administers_place(who: Who, grant: Grant) -> bool:
    """Whether somebody has admin where a grant gives something."""
    return who.gives(msgspec.structs.replace(grant, roles=("admin",), prefix=""))


def _administers(who: Who, key: StoredKey) -> bool:
    """Whether somebody has admin wherever a key has anything."""
    return all(_administers_place(who, grant) for grant in key.grants)


def _unknown(who: Who, id: str) -> KeyNotFound | AccessDenied:
    """There is no such key, or somebody does not have admin wherever it has something: only who has it everywhere is told."""
    if who.everywhere(Role.ADMIN):
        return KeyNotFound(f"there is no key {id[:40]!r}; `ambry key ls` shows those there are")
    return AccessDenied(
        f"there is no key {id[:40]!r}, or the key {who.id} does not have admin wherever that has something; "
        "`ambry key ls` shows those that it may administer"
    )


def _check_gives(who: Who, grants: Sequence[Grant], expires_ms: int | None, limits: Rates) -> None:
    """Whoever makes a key, or gets its secret, may all that it may. Raises AccessDenied."""
    for grant in grants:
        if not who.gives(grant):
            raise AccessDenied(f"the key {who.id} cannot give what it does not have itself: {shown(grant)}")
    if who.expires_ms is not None and (expires_ms is None or expires_ms > who.expires_ms):
        until = "never expires" if expires_ms is None else f"expires at {iso_utc(expires_ms)}"
        raise AccessDenied(
            f"the key {who.id}, with the secret that was sent, opens until {iso_utc(who.expires_ms)}, so it gives no key that "
            f"{until}; say an end that is no later (--expires; expiresMs of at most {who.expires_ms})"
        )
    if who.key is not None and not limits.within(who.key.limits):
        raise AccessDenied(
            f"the key {who.id} has limits ({who.key.limits.shown()}), so it gives no key with wider ones "
            f"({limits.shown()}); say limits that are no wider, each in a second and at once"
        )


def shown(grant: Grant) -> str:
    """A grant as sentences and the audit name it."""
    return f"{','.join(grant.roles)} in {grant.account}/{grant.container}" + (
        f" for {grant.prefix}*" if grant.prefix else ""
    )


def _made(text: KeyText, stored: StoredKey) -> MadeKey:
    return MadeKey(text.id, stored, key_text(text))
