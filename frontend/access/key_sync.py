"""Keeps the keys that this process knows in step with the metadata store: what changes anywhere holds here within a second."""

from __future__ import annotations

import asyncio

from ambry.errors import AmbryError
from ambry.service.logs import get_logger
from frontend.access.key_rows import CHANGES, KEYS, StoredKey, decode
from frontend.access.verified import Access
from frontend.metadata.spaces import Space
from frontend.metadata.store import PAGE_MAX, LogHead, MetadataStore, Version
from frontend.metadata.unreadable import passing_over

log = get_logger()

LOOK_EVERY_S = 0.25


class KeySync:
    """Reads what changed. Until it has read once, a key that is not known may all the same be good."""

    def __init__(self, access: Access, store: MetadataStore) -> None:
        self._access = access
        self._store = store
        self._reading = asyncio.Lock()
        self._begun = 0
        self._head: LogHead | None = None
        self._seen: list[Version] | None = None
        self._away = False
        access.certain = False

    async def refresh(self) -> None:
        """See that every key is known that was written before this call. Raises what the store raises."""
        wanted = self._begun + 1
        async with self._reading:
            if self._begun < wanted:
                self._begun += 1
                await self._read()

    async def tick(self) -> float:
        """Look once; seconds until the next look. What is known stays, whatever becomes of the store."""
        try:
            await self.refresh()
        except AmbryError as error:
            if not self._away:
                log.warning("metadata store cannot be asked; keys go on as they were last seen", error=error.message)
            self._away = True
        else:
            self._away = False
        return LOOK_EVERY_S

    async def _read(self) -> None:
        head = await self._store.head()
        if head == self._head:
            return
        seen = await self._all(CHANGES)
        if seen != self._seen or self._head is None or head.store != self._head.store:
            found: dict[str, StoredKey] = {}
            for version in await self._all(KEYS):
                with passing_over("key", version.key):
                    if version.value is not None:
                        found[version.key.decode()] = decode(version.value)
            self._access.know(found.items())
            self._access.certain = True
        self._head, self._seen = head, seen

    async def _all(self, scope: int) -> list[Version]:
        found: list[Version] = []
        after: bytes | None = None
        while True:
            page = await self._store.list(Space.KEY, scope, after=after)
            found += [version for version in page if isinstance(version, Version)]
            if len(page) < PAGE_MAX:
                return found
            after = page[-1].key
