"""What users of the client see of datasets, their versions and their aliases: frozen values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal, TypedDict

from ambry.client.model import Metadata
from ambry.client.refs import VersionRef
from ambry.ids import BlobId

Schema = Literal["TIMESTAMP", "MONOTONIC", "SEMANTIC", "SEMANTIC_LONG"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetInfo:
    """A dataset. `retention_count` and `retention` bound which versions are kept; None is without end."""

    name: str
    account: str
    container: str
    schema: str
    retention_count: int | None = None
    retention: timedelta | None = None
    tags: Metadata = field(default_factory=Metadata)
    newest: VersionEntry | None = None
    """The newest version, in a list that was asked for it; None elsewhere, and where there is no version."""


class DatasetChange(TypedDict, total=False):
    """What holds for a dataset, as far as it is said; None is without end."""

    retention_count: int | None
    """So many of the newest versions are kept."""
    retention: timedelta | int | None
    """Versions are kept for so long: a timedelta, or seconds."""
    tags: Mapping[str, str]
    """In place of those that there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionEntry:
    """A version in a list; `ref` can be read."""

    ref: VersionRef
    id: BlobId
    size: int
    modified: datetime

    @property
    def version(self) -> str:
        return self.ref.version


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasInfo:
    """Where an alias points since `modified`, who moved it there and why; `version` None: it was deleted then."""

    dataset: str
    alias: str
    version: str | None
    who: str = ""
    why: str = ""
    modified: datetime | None = None
    datacenter: int = 0
    """By its id: where it was moved."""


def holds(found: DatasetInfo, schema: str, asked: DatasetChange) -> bool:
    """Whether a dataset is what was asked to be made."""
    kept = asked.get("retention")
    return (found.schema, found.retention_count, found.retention, found.tags) == (
        schema.upper(),
        asked.get("retention_count"),
        kept if kept is None or isinstance(kept, timedelta) else timedelta(seconds=kept),
        asked.get("tags", {}),
    )


def version_before(history: Sequence[AliasInfo]) -> str | None:
    """Where an alias is rolled back to, by its moves, the newest first; None where there is nothing before.

    A move to the version before is the way back, and what it left is not gone to again: each roll back goes one further.
    """
    way: list[str] = []
    for move in reversed(history):
        if move.version is None or move.version in way[-1:]:
            continue
        if move.version in way[-2:-1]:
            way.pop()
        else:
            way.append(move.version)
    return way[-2] if len(way) > 1 else None


def own_move(
    known: Sequence[AliasInfo], since: Sequence[AliasInfo], asked: AliasInfo, expected: str | None
) -> AliasInfo | None:
    """The move that was `asked` for among those of an alias that came after `known`; both have the newest first.

    Others may have moved it on since. None where it did not happen.
    """
    end = since.index(known[0]) if known and known[0] in since else len(since)
    for place, each in enumerate(since[:end]):
        before = since[place + 1].version if place + 1 < len(since) else None
        alike = (each.version, each.who, each.why) == (asked.version, asked.who, asked.why)
        if before == expected and (alike or (asked.version is None and each.version is None)):
            return each
    return None
