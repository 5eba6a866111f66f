"""What is held back because of what was found, and not because it was said wrongly."""

from __future__ import annotations

from ambry.errors import InvalidRequest


class HeldBack(InvalidRequest):
    """A check speaks against it; nothing was changed. What is found otherwise lets the same call through, and often a force."""
