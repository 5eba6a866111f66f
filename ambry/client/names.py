"""What users of the client see of names and of lists: frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from ambry.client.refs import NameRef
from ambry.ids import BlobId

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Some of a list; `next_token` goes on with it, None at its end."""

    entries: tuple[T, ...]
    next_token: str | None

    @property
    def prefixes(self) -> tuple[str, ...]:
        """Of a list of names with a delimiter: what several names begin with, up to it."""
        return tuple(each.name for each in self.entries if isinstance(each, NameEntry) and each.is_prefix)


@dataclass(frozen=True, slots=True, kw_only=True)
class NameEntry:
    """A name in a list; or, with a delimiter, what several names begin with: then there is no `id`."""

    ref: NameRef
    id: BlobId | None = None
    size: int | None = None
    modified: datetime | None = None
    expires: datetime | None = None
    """As it was when the blob got the name; None for ever."""

    @property
    def name(self) -> str:
        return self.ref.name

    @property
    def is_prefix(self) -> bool:
        return self.id is None


@dataclass(frozen=True, slots=True, kw_only=True)
class NameChange:
    """What a name pointed to from `modified` on; `id` None: it was deleted."""

    modified: datetime
    datacenter: int
    """By its id: where it was changed."""
    id: BlobId | None = None
    size: int | None = None

    @property
    def deleted(self) -> bool:
        return self.id is None
