"""The background loop that deletes versions of datasets which are kept no longer: beyond the count, or beyond the time.

A version that an alias points to is kept. Every frontend of a datacenter has the loop; a lease lets one of them work at a time.
"""

from __future__ import annotations

from typing import Any

from ambry.clock import Clock
from ambry.errors import AmbryError
from ambry.rest.versions import text_of
from ambry.service.logs import get_logger
from frontend.container import Container
from frontend.containers.resolver import Containers
from frontend.containers.standing import StandingRules
from frontend.datasets.datasets import Datasets
from frontend.datasets.kept import KeptDataset, KeptVersion
from frontend.metadata.leases import Leases
from frontend.metadata.spaces import Space
from frontend.metadata.store import Change, Require
from frontend.names.lives import NameLives
from frontend.names.rows import NamePlace
from frontend.request import RequestContext
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
        lives: NameLives,
        router: RouterContext,
        containers: Containers,
        standing: StandingRules,
        leases: Leases,
        *,
        clock: Clock,
    ) -> None:
        self._datasets = datasets
        self._lives = lives
        self._router = router
        self._containers = containers
        self._standing = standing
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
            for number in account.containers:
                container = self._containers.known_id(account.id, number)
                if container is not None and container.active and not container.locked(self._clock.wall_ms()):
                    await self._tick_container(container)
        return TICK_S

    async def _tick_container(self, container: Container) -> None:
        after: str | None = None
        while page := await self._datasets.all(container.scope, after=after, limit=PAGE):
            for known in page:
                self._looked_at += 1
                if known.dataset.retention_count is not None or known.dataset.retention_s is not None:
                    try:
                        await self._tick_dataset(container, known)
                    except AmbryError as failure:
                        log.warning("old versions not deleted, tried again", dataset=known.name, error=failure.message)
            after = page[-1].name

    async def _tick_dataset(self, container: Container, known: KeptDataset) -> None:
        dataset = known.dataset
        pointed = {alias.move.version for alias in await self._datasets.aliases.all(known) if alias.move is not None}
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
                    await self._delete(container, known, version)
                    deleted += 1
                kept += 1
            after = page[-1].named.key
            await self._leases.hold("datasets", 3 * TICK_S)

    async def _delete(self, container: Container, known: KeptDataset, version: KeptVersion) -> None:
        """Raises RetentionLocked, UpdateConflict: since it was looked at the container was locked, or an alias moved there."""
        place = NamePlace(Space.VERSION, known.scope, version.named.key)
        timeout_s = self._router.config.request_timeout_ms / 1000
        request = RequestContext.of_ours(self._router.random_source, timeout_s=timeout_s)

        async def write(now: Container, require: Require) -> None:
            now.check_unlocked(self._clock.wall_ms())

            async def bury(along: Change) -> None:
                await self._datasets.bury(known, version.named, [along, require])

            await self._lives.bury(request, place, version.named, None, bury)

        await self._standing.write(container, write)
        self._deleted += 1
        log.info("version deleted, its time was over", dataset=known.name, version=text_of(version.number))
