"""Notices that the disk of this node hangs, says so, and keeps others from waiting for it.

While a thread is held up, what waits for it is given up in its time; once it hangs, its replica takes nothing new, and when
no thread is left nothing is read from the disk. The other replicas go on with the threads that are left. What was on its way
stays so: when the disk goes on, it is written or fails as ever, and who waited for it was told that nobody knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from ambry.errors import ReplicaUnavailable
from ambry.service.logs import get_logger
from datanode import metrics
from datanode.disk import HANGS_AFTER_S, Disk, Hang
from datanode.replicas import Replicas

log = get_logger()

LOOK_EVERY_S = 0.25
HELD_UP_S = 0.5
"""So long a thread is at one job before anybody looks at what waits."""


class DiskWatch:
    """Watches the disk of `directory`; its tick runs as a worker."""

    def __init__(self, replicas: Replicas, disk: Disk, *, directory: Path) -> None:
        self._replicas = replicas
        self._disk = disk
        self._directory = directory
        self._held_up = False
        metrics.DISK_HANGS.set(0)

    async def tick(self) -> float:
        disk = self._disk
        held_up = disk.hang(HELD_UP_S) is not None
        if held_up or self._held_up:
            # Once more after it: what was noted of a hang must go.
            now = asyncio.get_running_loop().time()
            for replica in self._replicas.all():
                replica.committer.look(now)
                replica.lookups.look(now)
        self._held_up = held_up
        self._note(disk.hang())
        return LOOK_EVERY_S

    def why(self) -> list[str]:
        """What keeps this node from being ready: in one sentence, if anything."""
        hang = self._disk.hanging
        return [f"the disk of {self._directory} {hang}"] if hang is not None else []

    async def unless_it_hangs(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what ends with the disk's threads. Raises ReplicaUnavailable when one does not return; `work` goes on then."""
        task = asyncio.get_running_loop().create_task(work)
        while not (await asyncio.wait((task,), timeout=HANGS_AFTER_S))[0]:
            if (hang := self._disk.hang(impatiently=True)) is not None:
                raise ReplicaUnavailable(f"ends without a last checkpoint: the disk of {self._directory} {hang}")
        task.result()

    def _note(self, hang: Hang | None) -> None:
        before, self._disk.hanging = self._disk.hanging, hang
        metrics.DISK_HANGS.set(0 if hang is None else hang.seconds)
        if hang is not None and before is None:
            log.error(
                "disk hangs",
                directory=str(self._directory),
                job=hang.job,
                seconds=round(hang.seconds, 1),
                threads=hang.threads,
            )
        elif hang is None and before is not None:
            log.warning("disk goes on", directory=str(self._directory), seconds=round(before.seconds, 1))
