"""What users of the client see of keys of encryption at rest: frozen values, in which no key is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderInfo:
    """Who keeps the master keys, by the frontend that answered. `name` None: nobody. `away` says why it does not answer."""

    name: str | None
    master_version: str | None
    away: str | None
    open_keys: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerKeyInfo:
    """A key that a container has, or had: then `deleted` says when it went for ever."""

    version: str
    current: bool = False
    made: datetime | None = None
    provider: str = ""
    master_version: str = ""
    deleted: datetime | None = None
    deleted_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerKeysInfo:
    """All of them. `encrypted`: whether new blobs are."""

    account: str
    container: str
    encrypted: bool
    keys: tuple[ContainerKeyInfo, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RewrapResult:
    """What one step of wrapping keys anew did. `next` goes into the step after it; None: that was the last."""

    master_version: str
    rewrapped: int
    already: int
    failed: tuple[str, ...]
    next: int | None
