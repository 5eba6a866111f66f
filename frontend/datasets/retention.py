"""The background loop that deletes versions of datasets which are kept no longer: beyond the count, or beyond the time.

A version that an alias points to is kept. Every frontend of a datacenter has the loop; a lease lets one of them work at a time.
"""

from __future__ import annotations

from typing import Any

from ambry.blob import NEVER_MS
from ambry.clock import Clock
from ambry.errors import AmbryError
from ambry.service.logs import get_logger
from frontend.containers.resolver import Containers
from frontend.datasets.datasets import Datasets, KeptDataset, KeptVersion
from frontend.datasets.versions import text_of
from frontend.metadata.leases import Leases
from frontend.metadata.store import Space
from frontend.names.intents import Intents
from frontend.names.rows import IntentKind, NamePlace, scope_of
from frontend.router.context import RouterContext

log = get_logger()

TICK_S = 60.0
PAGE = 100
AT_ONCE = 1_000
"""Versions of one dataset that are deleted in one tick."""


class DatasetRetention:
    """That of one frontend."""

    def __init__(
        self,
        datasets: Datasets,
        intents: Intents,
        router: RouterContext,
        containers: Containers,
        leases: Leases,
        *,
        clock: Clock,
    ) -> None:
        self._datasets = datasets
        self._intents = intents
        self._router = router
        self._containers = containers
        self._leases = leases
        self._clock = clock
        self._looked_at = 0
        self._deleted = 0

    def progress(self) -> dict[str, Any]:
        """For the admin port."""
        return {"datasets": self._looked_at, "deleted": self._deleted}

    async def tick(self) -> float:
        """Look at all datasets once; the tick of a worker."""
        if not await self._leases.hold("datasets", 3 * TICK_S):
            return TICK_S
        self._looked_at = 0
        for account in list(self._containers.directory.accounts.values()):
            for container in account.containers.values():
                if self._clock.wall_ms() >= container.settings.retention_lock_until:
                    await self._tick_container(scope_of(account.id, container.id))
        return TICK_S

    async def _tick_container(self, scope: int) -> None:
        after: str | None = None
        while page := await self._datasets.all(scope, after=after, limit=PAGE):
            for known in page:
                self._looked_at += 1
                if known.dataset.retention_count is not None or known.dataset.retention_s is not None:
                    try:
                        await self._tick_dataset(known)
                    except AmbryError as failure:
                        log.warning("old versions not deleted, tried again", dataset=known.name, error=failure.message)
            after = page[-1].name

    async def _tick_dataset(self, known: KeptDataset) -> None:
        dataset = known.dataset
        pointed = {alias.move.version for alias in await self._datasets.aliases(known) if alias.move is not None}
        oldest_ms = 0 if dataset.retention_s is None else self._clock.wall_ms() - 1000 * dataset.retention_s
        kept, deleted = 0, 0
        after: bytes | None = None
        while deleted < AT_ONCE and (
            page := await self._datasets.page(known, after=after, limit=PAGE, descending=True)
        ):
            for version in page:
                beyond = dataset.retention_count is not None and kept >= dataset.retention_count
                old = version.named.stamp.wall_ms < oldest_ms
                if (beyond or old) and text_of(version.number) not in pointed:
                    await self._delete(known, version)
                    deleted += 1
                kept += 1
            after = page[-1].named.key

    async def _delete(self, known: KeptDataset, version: KeptVersion) -> None:
        named = version.named
        place = NamePlace(Space.VERSION, known.scope, named.key)
        put, intent = self._intents.row(IntentKind.BURY, named.id, place, after=named.stamp.time)
        await self._datasets.versions.bury(known.scope, named.key, named.stamp, [put])
        self._deleted += 1
        log.info("version deleted, its time was over", dataset=known.name, version=text_of(version.number))
        # The janitor of names looks whether that was enough (frontend/names/janitor.py).
        await self._router.discards.bury(intent.key.hex(), [named.id], NEVER_MS)
