"""Keeps the keys that this process knows in step with the metadata store: what changes anywhere holds here within a second.

The first look reads all keys that there ever were. From then on only those are read that are listed, or were known: what was
revoked costs nothing more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from frontend.access.key_rows import CHANGES, KEYS, LISTED, StoredKey, decode
from frontend.access.verified import Access
from frontend.metadata.in_step import InStep
from frontend.metadata.pages import all_living
from frontend.metadata.spaces import Space
from frontend.metadata.store import PAGE_MAX, MetadataStore, Version
from frontend.metadata.unreadable import passing_over


class KeySync(InStep):
    """Tells `access` which keys there are. Until it has read once, a key that is not known may all the same be good."""

    def __init__(self, access: Access, store: MetadataStore) -> None:
        super().__init__(store, Space.KEY, CHANGES, what="keys")
        self._access = access
        access.certain = False

    async def read_all(self) -> None:
        """See InStep."""
        found: dict[str, StoredKey] = {}
        async for version in self._versions() if self._access.certain else all_living(self._store, Space.KEY, KEYS):
            with passing_over("key", version.key):
                stored = decode(version.value)
                if stored is not None:
                    found[version.key.decode()] = stored
        self._access.know(found.items())
        self._access.certain = True

    async def _versions(self) -> AsyncIterator[Version]:
        """Of the keys that may be good for something. Those that an earlier release made are not listed, but known."""
        listed = {version.key async for version in all_living(self._store, Space.KEY, LISTED)}
        ids = sorted(listed | {id.encode() for id in self._access.keys if not self._access.is_root(id)})
        for start in range(0, len(ids), PAGE_MAX):
            for version in await self._store.get_many(Space.KEY, KEYS, ids[start : start + PAGE_MAX]):
                if version is not None:
                    yield version
