"""Directories that were made and hold nothing yet.

The store keeps names, and directories are what names begin with: one that is empty is not there. Libraries make one, look
whether it is there, and then write into it (Lightning's loggers do). So the file system that made it knows it, until it is
removed; in no other process is it seen before something is in it.
"""

from __future__ import annotations

MADE_MAX = 10_000
"""Directories that are remembered at most; beyond it the one that was made first is forgotten."""


class MadeDirectories:
    """Paths, `account/container/...`. Usable by threads; without a lock, which another could hold when the process forks."""

    def __init__(self, made_max: int = MADE_MAX) -> None:
        self._made: dict[str, None] = {}
        self._made_max = made_max

    def add(self, path: str) -> None:
        """This one and those above it, up to the container."""
        parts = path.split("/")
        for count in range(3, len(parts) + 1):
            each = "/".join(parts[:count])
            self._made.pop(each, None)
            self._made[each] = None
        for oldest in list(self._made)[: max(0, len(self._made) - self._made_max)]:
            self._made.pop(oldest, None)

    def forget(self, path: str) -> bool:
        """This one and those beneath it; whether there were any."""
        going = [each for each in list(self._made) if each == path or each.startswith(f"{path}/")]
        for each in going:
            self._made.pop(each, None)
        return bool(going)

    def __contains__(self, path: str) -> bool:
        return path in self._made

    def within(self, path: str) -> list[str]:
        """Those that stand in it."""
        return sorted(each for each in list(self._made) if each.rpartition("/")[0] == path)
