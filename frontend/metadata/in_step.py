"""What a process knows of some registers by heart, kept in step with the metadata store.

A look costs one call while nothing changes. Registers of a scope of their own tell that something did: only then is all of it
read again.
"""

from __future__ import annotations

import asyncio

from ambry.errors import AmbryError
from ambry.service.logs import get_logger
from frontend.metadata.pages import all_living
from frontend.metadata.spaces import Space
from frontend.metadata.store import LogHead, MetadataStore, Version

log = get_logger()

LOOK_EVERY_S = 0.25
"""How often the store is asked whether anything changed: a change is live everywhere within a second."""


class InStep:
    """Whoever knows it overrides `read_all`. `changes` is the scope of `space` that tells of changes; `what` is for logs."""

    def __init__(self, store: MetadataStore, space: Space, changes: int, *, what: str) -> None:
        self._store = store
        self._space = space
        self._changes = changes
        self._what = what
        self._reading = asyncio.Lock()
        self._begun = 0
        self._head: LogHead | None = None
        self._seen: list[Version] | None = None
        self._away = False

    async def read_all(self) -> None:
        """Know what the store has now. Raises what the store raises."""
        raise NotImplementedError

    async def refresh(self) -> None:
        """See that everything is known that was written before this call. Raises what the store raises."""
        wanted = self._begun + 1
        async with self._reading:
            if self._begun < wanted:
                self._begun += 1
                await self.look()

    async def look(self) -> None:
        """Ask the store whether anything changed, and read it then. Only under the lock of `refresh`."""
        head = await self._store.head()
        if head == self._head:
            return
        seen = [version async for version in all_living(self._store, self._space, self._changes)]
        if seen != self._seen or self._head is None or head.store != self._head.store:
            await self.read_all()
        self._head, self._seen = head, seen

    async def tick(self) -> float:
        """Look once; seconds until the next look. What is known stays, whatever becomes of the store."""
        try:
            await self.refresh()
        except AmbryError as error:
            if not self._away:
                log.warning(
                    f"metadata store cannot be asked; {self._what} go on as they were last seen", error=error.message
                )
            self._away = True
        else:
            if self._away:
                log.info("metadata store answers again")
            self._away = False
        return LOOK_EVERY_S
