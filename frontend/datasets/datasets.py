"""Datasets: versions that never change, and aliases that move between them.

A version points to its blob as a name does, but is given once: neither its blob nor its number ever means anything else. An
alias points to a version and moves by compare-and-set; its history tells who moved it, when and why.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ambry.errors import AlreadyExists, NameDeleted, NameNotFound, UpdateConflict
from ambry.ids import BlobId
from frontend.datasets.rows import (
    AliasMove,
    Dataset,
    dataset_key,
    decode_dataset,
    decode_move,
    encode_dataset,
    encode_move,
    newest_key,
    version_prefix,
)
from frontend.datasets.versions import (
    DatasetVersion,
    VersionToken,
    check_new,
    next_version,
    pack,
    text_of,
    unpack,
)
from frontend.metadata.store import (
    Change,
    Condition,
    Conflict,
    Expect,
    LocalDelete,
    MetadataStore,
    Put,
    Space,
    Stamp,
    Version,
)
from frontend.metadata.unreadable import readable
from frontend.names.names import AskOthers, Names, NameVersion
from frontend.names.rows import NamedBlob, encode_named

AGAIN = 16
"""Attempts at the next version while others take it."""


class KeptDataset(msgspec.Struct, frozen=True):
    name: str
    scope: int
    dataset: Dataset
    stamp: Stamp


class KeptVersion(msgspec.Struct, frozen=True):
    """A version that lives."""

    number: DatasetVersion
    named: NameVersion


class KeptAlias(msgspec.Struct, frozen=True):
    """Where an alias points, or pointed; `move` None: it was deleted."""

    name: str
    move: AliasMove | None
    version: Version


class Datasets:
    """Those of one datacenter; `scope` is a container's. All methods raise what the store raises."""

    def __init__(self, store: MetadataStore, ask_others: AskOthers | None = None) -> None:
        """`ask_others` where there are other datacenters."""
        self._store = store
        self._ask_others = ask_others
        self.versions = Names(store, ask_others, space=Space.VERSION)

    # --- datasets ---

    async def find(self, scope: int, name: str) -> KeptDataset:
        """Raises NameNotFound, NameDeleted; Unavailable where another datacenter may know it."""
        found = await self._newest(Space.DATASET, scope, dataset_key(name))
        if found is None:
            raise NameNotFound(f"there is no dataset {name!r} in this container")
        if found.value is None:
            raise NameDeleted(f"the dataset {name!r} was deleted")
        return KeptDataset(name, scope, decode_dataset(found.value), found.stamp)

    async def save(self, scope: int, name: str, dataset: Dataset, *, update: bool) -> KeptDataset:
        """Make one, or change what holds for it. Raises AlreadyExists, NameNotFound, UpdateConflict."""
        condition: Condition = Expect.ABSENT
        if update:
            known = await self.find(scope, name)
            if known.dataset.schema is not dataset.schema:
                raise UpdateConflict(
                    f"the dataset {name!r} has versions of the schema {known.dataset.schema.value}, and keeps it"
                )
            condition = known.stamp
        else:
            newest = await self._store.get(Space.DATASET, scope, newest_key(name))
            if newest is not None and newest.value is not None and newest.value[:1] != bytes([dataset.schema.parts]):
                raise UpdateConflict(
                    f"a dataset {name!r} was here before, and its versions looked otherwise; take another name"
                )
        put = Put(Space.DATASET, scope, dataset_key(name), encode_dataset(dataset), condition)
        try:
            [version] = await self._store.write([put])
        except Conflict:
            if update:
                raise UpdateConflict(f"the dataset {name!r} was changed meanwhile; look at it and try again") from None
            raise AlreadyExists(
                f"there is a dataset {name!r} already; x-ambry-dataset-update: true changes it"
            ) from None
        return KeptDataset(name, scope, dataset, version.stamp)

    async def delete(self, known: KeptDataset) -> None:
        """Delete one that has no versions. Raises UpdateConflict for one that has."""
        prefix = version_prefix(known.name)
        if await self._store.list(Space.VERSION, known.scope, prefix=prefix, limit=1):
            raise UpdateConflict(f"the dataset {known.name!r} has versions; delete them first")
        put = Put(Space.DATASET, known.scope, dataset_key(known.name), None, known.stamp)
        try:
            await self._store.write([put])
        except Conflict:
            raise UpdateConflict(
                f"the dataset {known.name!r} was changed meanwhile; look at it and try again"
            ) from None

    async def all(self, scope: int, *, after: str | None, limit: int) -> list[KeptDataset]:
        """By name, beyond `after`."""
        known: list[KeptDataset] = []
        behind = None if after is None else newest_key(after)
        # Beside each stands its newest version, and of those that were deleted that alone.
        while len(known) < limit and (page := await self._store.list(Space.DATASET, scope, after=behind)):
            known += readable("dataset", [version for version in page if b"\0" not in version.key], _kept)
            behind = page[-1].key
        return known[:limit]

    # --- versions ---

    async def choose(self, known: KeptDataset, asked: DatasetVersion | VersionToken, *, now_ms: int) -> DatasetVersion:
        """The version that a put gets. Raises UpdateConflict, AlreadyExists, InvalidRequest."""
        newest = await self._newest_ever(known)
        number = None if newest is None else _number(known, newest)
        if isinstance(asked, VersionToken):
            return next_version(known.dataset.schema, number, asked, now_ms=now_ms)
        check_new(known.dataset.schema, asked, number)
        taken = await self.versions.newest(known.scope, self.key(known, asked))
        if taken is not None:
            what = "exists" if taken.blob is not None else "was deleted, and a version is given once"
            raise AlreadyExists(f"the version {text_of(asked)} of {known.name!r} {what}")
        return asked

    async def point(
        self,
        known: KeptDataset,
        asked: DatasetVersion | VersionToken,
        blob: NamedBlob,
        along: Sequence[Change],
        *,
        now_ms: int,
    ) -> DatasetVersion:
        """Give a version to a blob that is durable; `along` happens in the same moment. Raises as `choose`."""
        for _ in range(AGAIN):
            newest = await self._newest_ever(known)
            number = await self.choose(known, asked, now_ms=now_ms)
            group: list[Change] = [
                Put(Space.VERSION, known.scope, self.key(known, number), encode_named(blob), Expect.ABSENT),
                *along,
            ]
            if newest is None or number > _number(known, newest):
                condition: Condition = Expect.ABSENT if newest is None else newest.stamp
                group.append(Put(Space.DATASET, known.scope, newest_key(known.name), _packed(number), condition))
            try:
                await self._store.write(group)
            except Conflict as conflict:
                if isinstance(conflict.change, LocalDelete):
                    raise UpdateConflict(
                        "this took so long that it was given up; nothing was changed, try again"
                    ) from None
                continue  # another one came first
            return number
        raise UpdateConflict(f"others give versions to {known.name!r} all the time; try again")

    async def version(self, known: KeptDataset, asked: DatasetVersion | VersionToken) -> KeptVersion:
        """A living version; any token is the newest one. Raises NameNotFound, NameDeleted, Unavailable."""
        if isinstance(asked, VersionToken):
            found = await self.page(known, after=None, limit=1, descending=True)
            if not found:
                raise NameNotFound(f"the dataset {known.name!r} has no version yet")
            return found[0]
        return KeptVersion(asked, await self.versions.find(known.scope, self.key(known, asked)))

    async def number_of(self, known: KeptDataset, blob_id: BlobId) -> DatasetVersion | None:
        """The version that a blob got, among the newest that live."""
        for each in await self.page(known, after=None, limit=1_000, descending=True):
            if each.named.id == blob_id:
                return each.number
        return None

    async def page(
        self, known: KeptDataset, *, after: bytes | None, limit: int, descending: bool = False
    ) -> list[KeptVersion]:
        """Living versions in their order, beyond the key `after`."""
        prefix = version_prefix(known.name)
        found = await self.versions.page(
            known.scope, prefix=prefix, delimiter=b"", after=after, limit=limit, descending=descending
        )
        return [
            KeptVersion(unpack(known.dataset.schema, each.key[len(prefix) :]), each)
            for each in found
            if isinstance(each, NameVersion)
        ]

    @staticmethod
    def key(known: KeptDataset, number: DatasetVersion) -> bytes:
        """Where a version stands."""
        return version_prefix(known.name) + pack(number)

    async def _newest_ever(self, known: KeptDataset) -> Version | None:
        found = await self._store.get(Space.DATASET, known.scope, newest_key(known.name))
        return None if found is None or found.value is None else found

    # --- aliases ---

    async def alias(self, known: KeptDataset, name: str) -> KeptAlias:
        """Where an alias points. Raises NameNotFound, NameDeleted, Unavailable."""
        found = await self._newest(Space.ALIAS, known.scope, version_prefix(known.name) + name.encode())
        if found is None:
            raise NameNotFound(f"the dataset {known.name!r} has no alias {name!r}")
        alias = _alias(name, found)
        if alias.move is None:
            raise NameDeleted(f"the alias {name!r} of {known.name!r} was deleted")
        return alias

    async def move(self, known: KeptDataset, name: str, move: AliasMove | None, expected: str | None) -> KeptAlias:
        """Let an alias point to a version, or to nothing, if it points to `expected` now; None: if there is none.

        Raises UpdateConflict saying where it points.
        """
        key = version_prefix(known.name) + name.encode()
        stands = await self._store.get(Space.ALIAS, known.scope, key)
        alias = None if stands is None else _alias(name, stands)
        now = None if alias is None or alias.move is None else alias.move.version
        if now != expected:
            raise UpdateConflict(
                f"the alias {name!r} of {known.name!r} "
                + ("is not there" if now is None else f"points to {now}")
                + "; look at it and try again"
            )
        condition: Condition = Expect.ABSENT if stands is None else stands.stamp
        value = None if move is None else encode_move(move)
        try:
            [version] = await self._store.write([Put(Space.ALIAS, known.scope, key, value, condition)])
        except Conflict:
            raise UpdateConflict(
                f"the alias {name!r} of {known.name!r} was moved in this moment; look at it and try again"
            ) from None
        return _alias(name, version)

    async def aliases(self, known: KeptDataset) -> list[KeptAlias]:
        """All of a dataset."""
        prefix = version_prefix(known.name)
        found: list[Version] = []
        while page := await self._store.list(
            Space.ALIAS, known.scope, prefix=prefix, after=found[-1].key if found else None
        ):
            found += page
        return [_alias(version.key[len(prefix) :].decode(), version) for version in found]

    async def alias_history(self, known: KeptDataset, name: str, *, before: Version | None = None) -> list[KeptAlias]:
        """The newest first."""
        key = version_prefix(known.name) + name.encode()
        found = await self._store.history(Space.ALIAS, known.scope, key, before=before)
        return [_alias(name, version) for version in found]

    async def _newest(self, space: Space, scope: int, key: bytes) -> Version | None:
        found = await self._store.get(space, scope, key)
        if found is None and self._ask_others is not None:
            found = await self._ask_others(space, scope, key)
        return found


def _kept(version: Version) -> KeptDataset:
    return KeptDataset(version.key.decode(), version.scope, decode_dataset(version.value or b""), version.stamp)


def _number(known: KeptDataset, newest: Version) -> DatasetVersion:
    assert newest.value is not None
    return unpack(known.dataset.schema, newest.value[1:])


def _packed(number: DatasetVersion) -> bytes:
    """The newest version that ever was, as a value."""
    return bytes([len(number)]) + pack(number)


def _alias(name: str, version: Version) -> KeptAlias:
    return KeptAlias(name, None if version.value is None else decode_move(version.value), version)
