"""Aliases of versions of a dataset: each points to one and moves by compare-and-set; its history tells who, when and why."""

from __future__ import annotations

from ambry.errors import NameDeleted, NameNotFound, UpdateConflict
from frontend.datasets.kept import KeptAlias, KeptDataset, KeptVersion, as_seen, newest_anywhere
from frontend.datasets.rows import AliasMove, decode_move, encode_move, moved_key, version_prefix
from frontend.metadata.spaces import Space
from frontend.metadata.store import PAGE_MAX, Change, Conflict, MetadataStore, Put, Require, Version
from frontend.metadata.unreadable import readable
from frontend.names.names import AskOthers


class Aliases:
    """Those of one datacenter. All methods raise what the store raises."""

    def __init__(self, store: MetadataStore, ask_others: AskOthers | None = None) -> None:
        """`ask_others` where there are other datacenters."""
        self._store = store
        self._ask_others = ask_others

    async def find(self, known: KeptDataset, name: str) -> KeptAlias:
        """Where an alias points. Raises NameNotFound, NameDeleted, Unavailable."""
        found = await newest_anywhere(
            self._store, self._ask_others, Space.ALIAS, known.scope, version_prefix(known.name) + name.encode()
        )
        if found is None:
            raise NameNotFound(f"the dataset {known.name!r} has no alias {name!r}")
        alias = _alias(name, found)
        if alias.move is None:
            raise NameDeleted(f"the alias {name!r} of {known.name!r} was deleted")
        return alias

    async def move(
        self, known: KeptDataset, name: str, move: AliasMove | None, to: KeptVersion | None, expected: str | None
    ) -> KeptAlias:
        """Let an alias point `to` a version, or to nothing, if it points to `expected` now; None: if there is none.

        Raises UpdateConflict saying where it points, or that the version was deleted in this moment.
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
        value = None if move is None else encode_move(move)
        group: list[Change] = [
            Put(Space.ALIAS, known.scope, key, value, as_seen(stands)),
            Put(Space.DATASET, known.scope, moved_key(known.name), b""),
        ]
        if to is not None:
            group.append(Require(Space.VERSION, known.scope, to.named.key, to.named.stamp))
        try:
            version, _ = await self._store.write(group)
        except Conflict as conflict:
            if isinstance(conflict.change, Require):
                raise UpdateConflict(
                    f"the version {expected if move is None else move.version} of {known.name!r} was deleted in this moment"
                ) from None
            raise UpdateConflict(
                f"the alias {name!r} of {known.name!r} was moved in this moment; look at it and try again"
            ) from None
        return _alias(name, version)

    async def all(self, known: KeptDataset) -> list[KeptAlias]:
        """All of a dataset."""
        found: list[KeptAlias] = []
        while page := await self.page(known, after=found[-1].name if found else None, limit=PAGE_MAX):
            found += page
        return found

    async def page(self, known: KeptDataset, *, after: str | None, limit: int) -> list[KeptAlias]:
        """Some of a dataset's, by name, beyond `after`."""
        prefix = version_prefix(known.name)
        behind = None if after is None else prefix + after.encode()
        found: list[KeptAlias] = []
        while page := await self._store.list(
            Space.ALIAS, known.scope, prefix=prefix, after=behind, limit=limit - len(found)
        ):
            found += readable("alias", page, lambda version: _alias(version.key[len(prefix) :].decode(), version))
            behind = page[-1].key
            if len(found) == limit:
                break
        return found

    async def history(
        self, known: KeptDataset, name: str, *, before: Version | None = None, limit: int = PAGE_MAX
    ) -> list[KeptAlias]:
        """The newest first."""
        key = version_prefix(known.name) + name.encode()
        found = await self._store.history(Space.ALIAS, known.scope, key, before=before, limit=limit)
        return [_alias(name, version) for version in found]


def _alias(name: str, version: Version) -> KeptAlias:
    return KeptAlias(name, None if version.value is None else decode_move(version.value), version)
