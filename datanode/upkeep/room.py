"""How much room this node's disk has for puts: looked at now and then, and told to whoever pings."""

from __future__ import annotations

from pathlib import Path

from datanode import metrics
from datanode.disk import Disk
from datanode.store.files import Files

LOOK_EVERY_S = 2.0
SOON_S = 0.1
UNKNOWN = -1


class Room:
    """What puts may still use of a disk."""

    def __init__(self, files: Files, directory: Path, *, disk: Disk, reserve_bytes: int) -> None:
        self._files = files
        self._directory = directory
        self._disk = disk
        self._reserve_bytes = reserve_bytes
        self._bytes = UNKNOWN

    @property
    def bytes(self) -> int:
        """Never below 0; UNKNOWN before the first look. None while the disk hangs: puts go elsewhere."""
        return 0 if self._disk.hanging is not None else self._bytes

    async def tick(self) -> float:
        """Look again; the tick of a worker. Raises OSError. A disk that hangs leaves what was seen last."""
        try:
            free = await self._disk.submit(self._files.free_bytes, self._directory)
        except FileNotFoundError:
            return SOON_S  # the first start makes it
        metrics.FREE_BYTES.set(free)
        # The reserve is for deletes.
        self._bytes = max(0, free - self._reserve_bytes)
        return LOOK_EVERY_S
