"""Datasets, versions and aliases as they stand in the metadata store at a moment."""

from __future__ import annotations

import msgspec

from ambry.rest.versions import DatasetVersion
from frontend.datasets.rows import AliasMove, Dataset
from frontend.metadata.spaces import Space
from frontend.metadata.store import Condition, Expect, MetadataStore, Stamp, Version
from frontend.names.names import AskOthers, NameVersion


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


def as_seen(version: Version | None) -> Condition:
    """That a register is as it was seen."""
    return Expect.ABSENT if version is None else version.stamp


async def newest_anywhere(
    store: MetadataStore, ask_others: AskOthers | None, space: Space, scope: int, key: bytes
) -> Version | None:
    """What stands there, here or else in other datacenters. Raises Unavailable where one cannot be asked that may know."""
    found = await store.get(space, scope, key)
    if found is None and ask_others is not None:
        found = await ask_others(space, scope, key)
    return found
