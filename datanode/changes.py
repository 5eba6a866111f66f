"""Changes of the directories of closed replicas: a new incarnation, a fresh one in the place of an old one.

Where the disk refuses one (it is full, fails, or forbids it) the replica is opened again as it was, and why is said; what it
needed shows again then, and it is tried again by itself, ever less often.
"""

from __future__ import annotations

from typing import NamedTuple

from ambry.clock import Clock
from ambry.service.logs import get_logger
from datanode.disk import Disk
from datanode.store.blob_store import BlobStore
from datanode.store.opening.start_over import NO_CHANGE, DirectoryChange

log = get_logger()

RETRY_MAX_S = 300.0


class Undone(NamedTuple):
    """A change that was refused `tries` times; not again before `until`, monotonic."""

    why: str
    tries: int
    until: float


class Changes:
    """Carries them out, and remembers those that were refused since this process started, by partition."""

    def __init__(self, disk: Disk, *, clock: Clock) -> None:
        self._disk = disk
        self._clock = clock
        self._undone: dict[int, Undone] = {}

    def may_try(self, partition: int) -> bool:
        """Whether it is not too soon after the last refusal."""
        undone = self._undone.get(partition)
        return undone is None or self._clock.monotonic() >= undone.until

    def undone(self, partition: int) -> str:
        """Why a replica is still what it was, though it must be another; empty where it need not."""
        undone = self._undone.get(partition)
        return "" if undone is None else f"{undone.why}; tried {undone.tries} times, and again by itself"

    async def carry_out(self, store: BlobStore, change: DirectoryChange) -> None:
        """Close a store that takes no appends any more, and change its directory, if that can be done."""
        try:
            try:
                await self._disk.submit_patiently(change.prepare)
            finally:
                await self._disk.submit_patiently(store.close)
            await self._disk.submit_patiently(change.carry_out)
        except Exception as error:
            before = self._undone.get(store.partition)
            tries = 1 if before is None else before.tries + 1
            until = self._clock.monotonic() + min(RETRY_MAX_S, 2.0**tries)
            self._undone[store.partition] = Undone(f"{change.name}: {error!r}", tries, until)
            log.error("replica stays what it was", partition=store.partition, change=change.name, error=repr(error))
        else:
            if change is not NO_CHANGE:
                self._undone.pop(store.partition, None)
