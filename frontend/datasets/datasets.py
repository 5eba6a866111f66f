"""Datasets: versions that never change, and aliases that move between them.

A version points to its blob as a name does, but is given once: neither its blob nor its number ever means anything else. An
alias points to a version and moves by compare-and-set; its history tells who moved it, when and why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ambry.errors import AlreadyExists, InvariantBroken, NameDeleted, NameNotFound, UpdateConflict
from ambry.rest.versions import DatasetVersion, VersionToken, is_outrun, is_there, text_of, was_there
from frontend.container import ids_shown
from frontend.datasets.aliases import Aliases
from frontend.datasets.kept import KeptDataset, KeptVersion, as_seen, newest_anywhere
from frontend.datasets.rows import (
    Dataset,
    dataset_key,
    decode_dataset,
    encode_dataset,
    moved_key,
    newest_key,
    version_prefix,
)
from frontend.datasets.versions import check_new, next_version, pack, unpack
from frontend.metadata.spaces import Space
from frontend.metadata.store import PAGE_MAX, Change, Condition, Conflict, Expect, MetadataStore, Put, Require, Version
from frontend.metadata.unreadable import readable
from frontend.names.names import AskOthers, Names, NameVersion, given_up
from frontend.names.rows import NamedBlob, encode_named

AGAIN = 16
"""Attempts at the next version while others take it."""
_SCANNED_PAGES_MAX = 4
"""Of versions that are read for one page of datasets."""


class Datasets:
    """Those of one datacenter; `scope` is a container's. All methods raise what the store raises."""

    def __init__(
        self,
        store: MetadataStore,
        ask_others: AskOthers | None = None,
        *,
        container_shown: Callable[[int], str] = ids_shown,
    ) -> None:
        """`ask_others` where there are other datacenters; `container_shown` tells people which container a scope is."""
        self._container_shown = container_shown
        self._store = store
        self._ask_others = ask_others
        self.versions = Names(store, ask_others, space=Space.VERSION)
        self.aliases = Aliases(store, ask_others)

    # --- datasets ---

    async def find(self, scope: int, name: str) -> KeptDataset:
        """Raises NameNotFound, NameDeleted; Unavailable where another datacenter may know it."""
        found = await newest_anywhere(self._store, self._ask_others, Space.DATASET, scope, dataset_key(name))
        if found is None:
            raise NameNotFound(f"there is no dataset {name!r} in the container {self._container_shown(scope)}")
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
            newest = await self._newest_ever(scope, name)
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
        newest = await self._newest_ever(known.scope, known.name)
        prefix = version_prefix(known.name)
        if await self._store.list(Space.VERSION, known.scope, prefix=prefix, limit=1):
            raise UpdateConflict(f"the dataset {known.name!r} has versions; delete them first")
        put = Put(Space.DATASET, known.scope, dataset_key(known.name), None, known.stamp)
        # Each new version changes it: there is none that came after they were looked for.
        none_since = Require(Space.DATASET, known.scope, newest_key(known.name), as_seen(newest))
        try:
            await self._store.write([put, none_since])
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

    async def newest_of(self, known: Sequence[KeptDataset]) -> dict[str, KeptVersion]:
        """The newest living version of each that has one, by name; `known` are neighbours in a container, as `all` gives them.

        Most datasets have few versions, and these lie beside each other: all are read at once, up to a bound. The rest are
        looked up one by one.
        """
        if not known:
            return {}
        by_key = {each.name.encode(): each for each in known}
        last = known[-1].name.encode()
        found: dict[str, KeptVersion] = {}
        after = version_prefix(known[0].name)
        whole = b""
        for _ in range(_SCANNED_PAGES_MAX):
            page = await self.versions.page(known[0].scope, prefix=b"", delimiter=b"", after=after, limit=PAGE_MAX)
            for each in page:
                name = each.key.partition(b"\0")[0]
                if name > last:
                    return found
                whole = name
                dataset = by_key.get(name)
                if dataset is not None and isinstance(each, NameVersion):
                    for kept in readable("version", [each], _version_of(dataset)):
                        found[dataset.name] = kept
            if len(page) < PAGE_MAX:
                return found
            after = page[-1].key
        for name, dataset in by_key.items():
            if name >= whole:
                found.pop(dataset.name, None)
                if newest := await self.page(dataset, after=None, limit=1, descending=True):
                    found[dataset.name] = newest[0]
        return found

    # --- versions ---

    async def choose(self, known: KeptDataset, asked: DatasetVersion | VersionToken, *, now_ms: int) -> DatasetVersion:
        """The version that a put gets. Raises UpdateConflict, AlreadyExists, InvalidRequest."""
        newest = await self._newest_ever(known.scope, known.name)
        number = None if newest is None else _number(known, newest)
        if isinstance(asked, VersionToken):
            return next_version(known.dataset.schema, number, asked, now_ms=now_ms)
        taken = await self.versions.newest(known.scope, self.key(known, asked))
        if taken is not None:
            shown = f"{known.name}@{text_of(asked)}"
            raise AlreadyExists(was_there(shown) if taken.blob is None else is_there(shown))
        check_new(known.dataset.schema, asked, number)
        return asked

    async def point(
        self,
        known: KeptDataset,
        asked: DatasetVersion | VersionToken,
        blob: NamedBlob,
        along: Callable[[DatasetVersion], Sequence[Change]],
        *,
        now_ms: int,
    ) -> DatasetVersion:
        """Give a version to a blob that is durable; what `along` says of that version happens in the same moment.

        Raises as `choose`; UpdateConflict also for a dataset that was deleted meanwhile.
        """
        for _ in range(AGAIN):
            newest = await self._newest_ever(known.scope, known.name)
            number = await self.choose(known, asked, now_ms=now_ms)
            highest = number if newest is None else max(number, _number(known, newest))
            dataset, newest_ever = dataset_key(known.name), newest_key(known.name)
            group: list[Change] = [
                Put(Space.VERSION, known.scope, self.key(known, number), encode_named(blob), Expect.ABSENT),
                # Also where it stays the same: a delete of the dataset is bound to it.
                Put(Space.DATASET, known.scope, newest_ever, _packed(highest), as_seen(newest)),
                Require(Space.DATASET, known.scope, dataset, known.stamp),
                *along(number),
            ]
            try:
                await self._store.write(group)
            except Conflict as conflict:
                change = conflict.change
                if not isinstance(change, Put | Require):
                    raise given_up() from None
                if change.space is not Space.DATASET and isinstance(change, Require):
                    raise  # it comes from whoever bound the change to something else
                if change.key == dataset:
                    known = await self._again(known)
                continue  # another one came first
            return number
        raise UpdateConflict(is_outrun(known.name))

    async def _again(self, known: KeptDataset) -> KeptDataset:
        """A dataset that was changed meanwhile. Raises UpdateConflict for one that is not the same any more."""
        stands = await self._store.get(Space.DATASET, known.scope, dataset_key(known.name))
        dataset = None if stands is None or stands.value is None else decode_dataset(stands.value)
        if stands is None or dataset is None or dataset.schema is not known.dataset.schema:
            raise UpdateConflict(f"the dataset {known.name!r} was deleted meanwhile; nothing was changed")
        return KeptDataset(known.name, known.scope, dataset, stands.stamp)

    async def bury(self, known: KeptDataset, version: NameVersion, along: Sequence[Change] = ()) -> None:
        """Delete a version, as Names.bury. Raises UpdateConflict where an alias points to it by then."""
        number = text_of(unpack(known.dataset.schema, version.key[len(version_prefix(known.name)) :]))
        for _ in range(AGAIN):
            moved = await self._store.get(Space.DATASET, known.scope, moved_key(known.name))
            pointing = [
                each.name for each in await self.aliases.all(known) if each.move and each.move.version == number
            ]
            if pointing:
                several = f"the aliases {', '.join(pointing[:5])} point to {number}; move them first"
                one = f"the alias {pointing[0]} points to {number}; move it first"
                raise UpdateConflict(one if len(pointing) == 1 else several)
            none_moved = Require(Space.DATASET, known.scope, moved_key(known.name), as_seen(moved))
            try:
                await self.versions.bury(known.scope, version.key, version.stamp, [none_moved, *along])
            except Conflict as conflict:
                if conflict.change != none_moved:
                    raise
                continue
            return
        raise UpdateConflict(f"aliases of {known.name!r} are moved all the time; try again")

    async def version(self, known: KeptDataset, asked: DatasetVersion | VersionToken) -> KeptVersion:
        """A living version; any token is the newest one. Raises NameNotFound, NameDeleted, Unavailable."""
        if isinstance(asked, VersionToken):
            found = await self.page(known, after=None, limit=1, descending=True)
            if not found:
                raise NameNotFound(f"the dataset {known.name!r} has no version yet")
            return found[0]
        number = text_of(asked)
        try:
            return KeptVersion(asked, await self.versions.find(known.scope, self.key(known, asked)))
        except NameDeleted:
            raise NameDeleted(
                f"the version {number} of {known.name!r} was deleted; its number is not given again"
            ) from None
        except NameNotFound:
            raise NameNotFound(f"the dataset {known.name!r} has no version {number}") from None

    async def page(
        self, known: KeptDataset, *, after: bytes | None, limit: int, descending: bool = False
    ) -> list[KeptVersion]:
        """Living versions in their order, beyond the key `after`; those of another schema are passed over."""
        prefix = version_prefix(known.name)
        kept = _version_of(known)
        found: list[KeptVersion] = []
        while True:
            room = limit - len(found)
            page = await self.versions.page(
                known.scope, prefix=prefix, delimiter=b"", after=after, limit=room, descending=descending
            )
            found += readable("version", [each for each in page if isinstance(each, NameVersion)], kept)
            if len(page) < room or len(found) == limit:
                return found
            after = page[-1].key

    @staticmethod
    def key(known: KeptDataset, number: DatasetVersion) -> bytes:
        """Where a version stands."""
        return version_prefix(known.name) + pack(number)

    async def _newest_ever(self, scope: int, name: str) -> Version | None:
        return await self._store.get(Space.DATASET, scope, newest_key(name))


def _version_of(known: KeptDataset) -> Callable[[NameVersion], KeptVersion]:
    """A version of a dataset out of what stands there; raises DataCorrupt for one of another schema."""
    size = len(version_prefix(known.name))
    return lambda named: KeptVersion(unpack(known.dataset.schema, named.key[size:]), named)


def _kept(version: Version) -> KeptDataset:
    return KeptDataset(version.key.decode(), version.scope, decode_dataset(version.value or b""), version.stamp)


def _number(known: KeptDataset, newest: Version) -> DatasetVersion:
    if newest.value is None:
        raise InvariantBroken("the newest version that ever was is never buried")
    schema = known.dataset.schema
    if newest.value[0] != schema.parts:
        raise UpdateConflict(
            f"the dataset {known.name!r} was made with two schemas by datacenters that were cut apart, and its newest version "
            f"is not of {schema.value}, which holds; its versions can be read, and new ones need a dataset with another name"
        )
    return unpack(schema, newest.value[1:])


def _packed(number: DatasetVersion) -> bytes:
    """The newest version that ever was, as a value."""
    return bytes([len(number)]) + pack(number)
