"""Names of blobs: which blob a name points to, and every change of that.

A name is a register (frontend/metadata/store.py): within a datacenter its changes are linear and bound to what was there,
between datacenters the newest wins and all stay in its history.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgspec

from ambry.errors import (
    AlreadyExists,
    AmbryError,
    InvariantBroken,
    NameDeleted,
    NameNotFound,
    Unavailable,
    UpdateConflict,
    must_have,
)
from ambry.ids import BlobId
from frontend.container import ids_shown
from frontend.metadata.spaces import Space
from frontend.metadata.store import (
    PAGE_MAX,
    Change,
    CommonPrefix,
    Condition,
    Conflict,
    Expect,
    MetadataStore,
    Put,
    Require,
    Stamp,
    Version,
)
from frontend.metadata.unreadable import readable
from frontend.names.rows import NamedBlob, decode_named, decode_owner, encode_named, encode_owner

ASKED_AT_ONCE = 32
"""Names of one request that other datacenters are asked for."""
AskOthers = Callable[[Space, int, bytes], Awaitable[Version | None]]
"""What other datacenters have of a register that is not here. Raises Unavailable where one cannot be asked that might."""


class NameVersion(msgspec.Struct, frozen=True):
    """One version of a name; `blob` None: it was deleted."""

    key: bytes
    stamp: Stamp
    blob: NamedBlob | None
    version: Version

    @property
    def id(self) -> BlobId:
        if self.blob is None:
            raise InvariantBroken("a name that was deleted points to nothing")
        return BlobId(self.blob.id)


class Owner(msgspec.Struct, frozen=True):
    """The name that a blob goes with."""

    blob: BlobId
    scope: int
    name: bytes | None
    """None: the one that it was put under, if it was put under one."""
    stands: Condition
    """What holds as long as that is so."""

    def becomes(self, name: bytes) -> Put:
        """The change that has the blob go with another one, where nobody else changed that meanwhile."""
        return Put(Space.OWNER, self.scope, self.blob.raw, encode_owner(name), self.stands)


class Names:
    """Those of one datacenter; `scope` is a container's. All methods raise what the store raises."""

    def __init__(
        self,
        store: MetadataStore,
        ask_others: AskOthers | None = None,
        *,
        space: Space = Space.NAME,
        container_shown: Callable[[int], str] = ids_shown,
    ) -> None:
        """`ask_others` where there are other datacenters; `container_shown` tells people which container a scope is."""
        self._store = store
        self._ask_others = ask_others
        self._container_shown = container_shown
        self.space = space
        """NAME, or VERSION: a version of a dataset points to its blob as a name does."""

    async def find(self, scope: int, key: bytes) -> NameVersion:
        """What a name points to. Raises NameNotFound, NameDeleted; Unavailable where another datacenter may know it."""
        found = await self.newest(scope, key)
        if found is None and self._ask_others is not None:
            found = _named(await self._ask_others(self.space, scope, key))
        return self._living(scope, key, found)

    async def find_many(self, scope: int, keys: Sequence[bytes]) -> list[NameVersion | AmbryError]:
        """As `find`, of many at once, in their order; of each the error that it would raise.

        Those that are not known here are asked of the others a few at a time, until one cannot be asked: it may know any.
        """
        versions: list[Version | None] = []
        for start in range(0, len(keys), PAGE_MAX):
            try:
                versions += await self._store.get_many(self.space, scope, keys[start : start + PAGE_MAX])
            except AmbryError as error:
                return [error for _ in keys]
        found: list[NameVersion | AmbryError] = [
            self._judged(scope, key, each) for key, each in zip(keys, versions, strict=True)
        ]
        if self._ask_others is not None:
            missing = [number for number, version in enumerate(versions) if version is None]
            for start in range(0, len(missing), ASKED_AT_ONCE):
                some = missing[start : start + ASKED_AT_ONCE]
                asking = [self._ask_others(self.space, scope, keys[number]) for number in some]
                asked = await asyncio.gather(*asking, return_exceptions=True)
                for number, answer in zip(some, asked, strict=True):
                    if isinstance(answer, AmbryError):
                        found[number] = answer
                    elif isinstance(answer, BaseException):
                        raise answer
                    else:
                        found[number] = self._judged(scope, keys[number], answer)
                silent = next((answer for answer in asked if isinstance(answer, Unavailable)), None)
                if silent is not None:
                    for number in missing[start + ASKED_AT_ONCE :]:
                        found[number] = silent
                    break
        return found

    def _judged(self, scope: int, key: bytes, version: Version | None) -> NameVersion | AmbryError:
        """What `find` gives or raises."""
        try:
            return self._living(scope, key, _named(version))
        except AmbryError as error:
            return error

    def _living(self, scope: int, key: bytes, found: NameVersion | None) -> NameVersion:
        """Raises NameNotFound, NameDeleted."""
        if found is None:
            raise NameNotFound(f"there is no name {_shown(key)} in the container {self._container_shown(scope)}")
        if found.blob is None:
            raise NameDeleted(f"the name {_shown(key)} was deleted; its history is kept")
        return found

    async def newest(self, scope: int, key: bytes) -> NameVersion | None:
        """Its newest version here, deleted or not; None where it never was."""
        return _named(await self._store.get(self.space, scope, key))

    def known(self, scope: int, key: bytes) -> NameVersion | None:
        """Its newest version here, deleted or not, if that is known at once; None says nothing."""
        return _named(self._store.known(self.space, scope, key))

    async def point(
        self, scope: int, key: bytes, blob: NamedBlob, condition: Condition, along: Sequence[Change] = ()
    ) -> NameVersion:
        """Let a name point to a blob that is durable; `along` happens in the same moment.

        Raises AlreadyExists, UpdateConflict where the condition does not hold.
        """
        put = Put(self.space, scope, key, encode_named(blob), condition)
        return await self._write(put, along)

    def begin_point(
        self, scope: int, key: bytes, blob: NamedBlob, condition: Condition, along: Sequence[Change]
    ) -> asyncio.Future[list[Version]]:
        """As `point`, begun at once. Fails with Conflict; `refusal` says what to tell."""
        return self._store.begin_write([Put(self.space, scope, key, encode_named(blob), condition), *along])

    async def bury(self, scope: int, key: bytes, condition: Condition, along: Sequence[Change] = ()) -> NameVersion:
        """Delete a name. Raises UpdateConflict."""
        return await self._write(Put(self.space, scope, key, None, condition), along)

    async def rename(
        self, scope: int, source: NameVersion, key: bytes, condition: Condition, along: Sequence[Change] = ()
    ) -> NameVersion:
        """Move what one name points to to another, in one moment. Raises AlreadyExists, UpdateConflict."""
        if source.blob is None:
            raise InvariantBroken("a name that was deleted is not renamed")
        put = Put(self.space, scope, key, encode_named(source.blob), condition)
        gone = Put(self.space, scope, source.key, None, source.stamp)
        owner = await self.owner(scope, source.id)
        # Before the name that is gone: whoever follows this log and has seen that, knows where the blob went.
        moved = [owner.becomes(key)] if self._goes_with(source, owner) else []
        return await self._write(put, [*moved, gone, *along])

    async def owner(self, scope: int, blob: BlobId) -> Owner:
        """The name that a blob goes with."""
        found = await self._store.get(Space.OWNER, scope, blob.raw)
        name = None if found is None or found.value is None else decode_owner(found.value)
        return Owner(blob, scope, name, Expect.ABSENT if found is None else found.stamp)

    async def as_owner(self, version: NameVersion) -> NameVersion:
        """A version that says that its blob goes with the name, as one that says so only where that is still so."""
        if version.blob is None or not version.blob.owned:
            return version
        owned = self._goes_with(version, await self.owner(version.version.scope, version.id))
        return msgspec.structs.replace(version, blob=msgspec.structs.replace(version.blob, owned=owned))

    @staticmethod
    def _goes_with(version: NameVersion, owner: Owner) -> bool:
        return version.blob is not None and version.blob.owned and owner.name in (None, version.key)

    async def _write(self, put: Put, along: Sequence[Change]) -> NameVersion:
        try:
            versions = await self._store.write([put, *along])
        except Conflict as conflict:
            if isinstance(conflict.change, Require):
                raise  # it comes from whoever bound the change to something else
            raise refusal(conflict) from None
        return must_have(_named(versions[0]), "the name that was written in this moment")

    async def history(
        self, scope: int, key: bytes, *, before: Version | None = None, limit: int = 1_000
    ) -> list[NameVersion]:
        """The newest first. Empty where there never was such a name."""
        versions = await self._store.history(self.space, scope, key, before=before, limit=limit)
        return [_of(version) for version in versions]

    async def page(
        self,
        scope: int,
        *,
        prefix: bytes,
        delimiter: bytes,
        after: bytes | None,
        limit: int,
        descending: bool = False,
    ) -> list[NameVersion | CommonPrefix]:
        """Names that point to something, in the order of their bytes, beyond `after`; a delimiter is for that order alone.

        Less than `limit` is the end: what cannot be read is passed over, and others are told in its place.
        """
        store, space = self._store, self.space
        found: list[NameVersion | CommonPrefix] = []
        while True:
            room = limit - len(found)
            page: Sequence[Version | CommonPrefix]
            if delimiter:
                page = await store.prefixes(space, scope, prefix=prefix, delimiter=delimiter, after=after, limit=room)
            else:
                page = await store.list(space, scope, prefix=prefix, after=after, descending=descending, limit=room)
            found += readable("name", page, _of_page)
            if len(page) < room or len(found) == limit:
                return found
            after = page[-1].key

    async def last_blob(self, scope: int, deleted: NameVersion) -> NameVersion | None:
        """What a name pointed to before it was deleted; None where it never pointed to anything."""
        before: Version | None = deleted.version
        while True:
            older = await self.history(scope, deleted.key, before=before, limit=100)
            for version in older:
                if version.blob is not None:
                    return version
            if not older:
                return None
            before = older[-1].version


def _of(version: Version) -> NameVersion:
    blob = None if version.value is None else decode_named(version.value)
    return NameVersion(version.key, version.stamp, blob, version)


def _of_page(each: Version | CommonPrefix) -> NameVersion | CommonPrefix:
    return each if isinstance(each, CommonPrefix) else _of(each)


def _named(version: Version | None) -> NameVersion | None:
    return None if version is None else _of(version)


def refusal(conflict: Conflict) -> AlreadyExists | UpdateConflict:
    """What whoever asked for a change of a name is told of a conflict."""
    change, current = conflict.change, conflict.current
    if not isinstance(change, Put):
        return given_up()
    if change.space is Space.OWNER:
        return UpdateConflict("the blob got another name meanwhile, and goes with that; look at it and try again")
    if change.condition is Expect.ABSENT:
        return AlreadyExists(
            f"{_called(change.space, change.key)} exists; x-ambry-named-upsert: true lets it point to the new blob"
        )
    what = "was deleted" if isinstance(current, Version) and not current.living else "was changed"
    return UpdateConflict(f"{_called(change.space, change.key)} {what} meanwhile; look at it and try again")


def given_up() -> UpdateConflict:
    """For a change whose intent, or idempotency key, somebody else ended."""
    return UpdateConflict(
        "this took so long that it was given up, or another change of its blob, or an upload with its idempotency key, came "
        "in between; nothing was changed, try again"
    )


def _called(space: Space, key: bytes) -> str:
    """A register as people call it. What stands behind the 0 in the key of a version is packed, and nobody's to read."""
    if space is Space.VERSION:
        dataset, _, _ = key.partition(b"\0")
        return f"that version of {_shown(dataset)}"
    return f"the name {_shown(key)}"


def _shown(key: bytes) -> str:
    text = key.decode("utf-8", "replace")
    return repr(text if len(text) <= 80 else f"{text[:80]}...")
