"""What this node has set aside or cut off, looked at now and then: for the metric, the page, and a warning when it is much."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from ambry.clock import Clock
from ambry.service.logs import get_logger
from datanode import metrics
from datanode.disk import Disk
from datanode.store import aside
from datanode.store.aside import Aside
from datanode.store.files import Files

log = get_logger()

LOOK_EVERY_S = 600.0
SOON_S = 1.0
MUCH_BYTES = 1 << 30
"""An operator should look: nothing of it goes by itself."""
PAGE_ITEMS = 1_000


class Asides:
    """What lies in the node's directory; its tick runs as a worker."""

    def __init__(self, files: Files, directory: Path, *, disk: Disk, clock: Clock) -> None:
        self._files = files
        self._directory = directory
        self._disk = disk
        self._clock = clock
        self._found: list[Aside] = []
        self._much = False

    async def tick(self) -> float:
        """Look again. Raises OSError."""
        try:
            self._found = await self._disk.submit(aside.of_node, self._files, self._directory, self._clock.wall_ms())
        except FileNotFoundError:
            return SOON_S  # the first start makes it, or somebody deleted something just now
        size = sum(item.size_bytes for item in self._found)
        metrics.SET_ASIDE_BYTES.set(size)
        much = size > MUCH_BYTES
        if much and not self._much:
            log.warning("much is set aside: look at it, and drop it", bytes=size, items=len(self._found))
        self._much = much
        return LOOK_EVERY_S

    def describe(self) -> dict[str, Any]:
        """For the admin port: the largest first, PAGE_ITEMS of them at most."""
        largest = sorted(self._found, key=lambda item: -item.size_bytes)
        return {
            "bytes": sum(item.size_bytes for item in self._found),
            "items": len(self._found),
            "largest": [msgspec.structs.asdict(item) for item in largest[:PAGE_ITEMS]],
        }
