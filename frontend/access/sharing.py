"""Whose limits a key shares: what is asked for with it counts for each of them too, so that many keys have no more than one.

That is the key that made it, those which that one shares with, and every key with limits that gave it a secret: whoever has
several keys of their own making has the rates of one. A key that is there is as it is now. Of one that is gone the limits hold
that stand in the row of the key which shares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from frontend.access.key_rows import SharedRates, StoredKey
from frontend.limits.rates import UNBOUNDED, Rates

SHARED_MAX = 16
"""Keys whose limits one shares, at most."""


class Sharer(NamedTuple):
    """A key whose limits are shared. `key` is None for one that is gone."""

    id: str
    key: StoredKey | None
    limits: Rates


def sharers(id: str, key: StoredKey, keys: Mapping[str, StoredKey]) -> list[Sharer]:
    """Those whose limits a key shares, each once, the nearest first and at most SHARED_MAX; `keys` are all there are."""
    found: dict[str, Sharer] = {}
    ahead = [key]
    while ahead and len(found) < SHARED_MAX:
        each = ahead.pop(0)
        for other, limits in (
            (each.created_by, UNBOUNDED),
            *((shared.id, shared.limits) for shared in each.shares),
        ):
            current = keys.get(other)
            if other == id or other in found or (current is None and limits == UNBOUNDED):
                continue
            found[other] = Sharer(other, current, limits if current is None else current.limits)
            if current is not None:
                ahead.append(current)
    return list(found.values())[:SHARED_MAX]


def shares_of(maker: str, key: StoredKey | None, keys: Mapping[str, StoredKey]) -> tuple[SharedRates, ...]:
    """What a key shares whose secret `maker` has: its limits and those that it shares itself, where there are any."""
    if key is None:
        return ()
    own = Sharer(maker, key, key.limits)
    return tuple(
        SharedRates(id=each.id, limits=each.limits)
        for each in (own, *sharers(maker, key, keys))
        if each.limits != UNBOUNDED
    )


def joined(had: tuple[SharedRates, ...], more: tuple[SharedRates, ...], *, without: str) -> tuple[SharedRates, ...]:
    """All of these, each key once and as it was first; of `without`, which is the key itself, nothing."""
    found = {each.id: each for each in (*more, *had)}
    found.update({each.id: each for each in had})
    found.pop(without, None)
    return tuple(found.values())
