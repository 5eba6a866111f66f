"""What is known of a register anywhere: here, or else in the other datacenters.

Not found may be said only when all of them said so (C3): where one cannot be asked that may know it, that is Unavailable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from ambry.errors import AmbryError, Overloaded, Unavailable
from ambry.service.logs import get_logger
from frontend import metrics
from frontend.metadata.checks import mergeable
from frontend.metadata.spaces import Space
from frontend.metadata.store import MetadataStore, Version, order

log = get_logger()

ASKING_MAX = 256
"""Registers that this process asks others for at a time; the rest is refused, so that nobody who makes names up is a burden."""


class Elsewhere(Protocol):
    """Another datacenter, as RemoteDatacenter."""

    @property
    def name(self) -> str: ...

    async def newest(self, space: Space, scope: int, key: bytes, *, within_s: float) -> Version | None: ...


class Everywhere:
    """`others` are the datacenters whose frontends the layout tells; each is waited for no longer than `within_s`."""

    def __init__(self, store: MetadataStore, others: Sequence[Elsewhere], *, within_s: float) -> None:
        self._store = store
        self._others = tuple(others)
        self.within_s = within_s
        self._asking = 0

    async def newest(self, space: Space, scope: int, key: bytes) -> Version | None:
        """The newest version that is known here, tombstones included, or one that another has; None: there never was one.

        Raises Unavailable where another that may know it cannot be asked; MetadataUnavailable.
        """
        return await self._store.get(space, scope, key) or await self.ask_others(space, scope, key)

    async def ask_others(self, space: Space, scope: int, key: bytes) -> Version | None:
        """As `newest`, of a register that is not here. What others have is here as well from now on.

        The first that has a living version is enough: what is newer comes as everything does, later.
        """
        if not self._others:
            return None
        if self._asking >= ASKING_MAX:
            raise Overloaded(f"{ASKING_MAX} requests wait for other datacenters already; retry", retry_after_s=1)
        self._asking += 1
        try:
            found = await self._ask(space, scope, key)
        finally:
            self._asking -= 1
        metrics.ASKED_OTHERS.labels("absent" if found is None else "found").inc()
        if found is None:
            return None
        await self._store.merge([found])
        return await self._store.get(space, scope, key)

    async def _ask(self, space: Space, scope: int, key: bytes) -> Version | None:
        async def ask(other: Elsewhere) -> Version | None:
            return await other.newest(space, scope, key, within_s=self.within_s)

        asked = {asyncio.ensure_future(ask(other)): other for other in self._others}
        waiting = set(asked)
        found: list[Version] = []
        silent: dict[str, AmbryError] = {}
        try:
            while waiting and not any(version.living for version in found):
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    try:
                        version = task.result()
                        if version is not None:
                            mergeable(version)
                    except AmbryError as error:
                        silent[asked[task].name] = error
                    else:
                        found += [version] if version is not None else []
        finally:
            for task in waiting:
                task.cancel()
        if silent and not any(version.living for version in found):
            metrics.ASKED_OTHERS.labels("unavailable").inc()
            said = "; ".join(f"{name}: {error.message}" for name, error in sorted(silent.items()))
            raise Unavailable(
                f"it is not known in this datacenter, and another that may know it cannot be asked ({said}); retry",
                retry_after_s=1,
            )
        return max(found, key=order, default=None)
