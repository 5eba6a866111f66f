"""What users of the client see of keys of the API: frozen values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypedDict

from ambry.client.credentials import SecretText
from ambry.rest.access import Grant

Expiry = datetime | timedelta | int | None
"""When a key expires: a time (local where it has no zone), a time from now on, or never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """What a key may ask for in a second; `burst_s` is for how many seconds it may ask at once. None is no bound."""

    requests_per_s: float | None = None
    bytes_per_s: float | None = None
    burst_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyInfo:
    """A key, without its secret. `last_used` is exact to about a minute.

    What is asked for with it counts in the limits of the keys `shares_limits_of` as well. `same_name`, of one that was just
    made or renamed: ids of others with that name.
    """

    id: str
    name: str
    grants: tuple[Grant, ...]
    created: datetime | None = None
    created_by: str = ""
    expires: datetime | None = None
    last_used: datetime | None = None
    limits: KeyLimits = KeyLimits()
    shares_limits_of: tuple[str, ...] = ()
    same_name: tuple[str, ...] = ()


class KeyChange(TypedDict, total=False):
    """What is said of a key that changes; the rest stays, each of its limits by itself."""

    name: str
    grants: Grant | Iterable[Grant]
    """In place of all before."""
    expires: Expiry
    """None: never."""
    requests_per_s: float | None
    """None takes the bound off, here and below."""
    bytes_per_s: float | None
    burst_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshKey:
    """A key that was just made, or has a new secret. `text` is the key, which nobody will be shown again; its repr hides it."""

    info: KeyInfo
    text: SecretText


def as_grants(grants: Grant | Iterable[Grant]) -> list[Grant]:
    """Raises TypeError."""
    return [_grant(each) for each in ([grants] if isinstance(grants, Grant) else grants)]


def _grant(value: object) -> Grant:
    if not isinstance(value, Grant):
        raise TypeError(f"grants are Grant(roles=..., account=...), and not {repr(value)[:60]}")
    return value
