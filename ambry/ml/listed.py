"""Names in a sentence, which has an end however many there are."""

from __future__ import annotations

from collections.abc import Iterable

NAMED_MAX = 10


def listed(names: Iterable[str], most: int = NAMED_MAX) -> str:
    """Some names, and how many more."""
    told = list(names)
    more = f" and {len(told) - most} more" if len(told) > most else ""
    return ", ".join(told[:most]) + more
