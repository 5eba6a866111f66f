"""Keeps the keys that this process knows in step with the metadata store: what changes anywhere holds here within a second."""

from __future__ import annotations

from frontend.access.key_rows import CHANGES, KEYS, StoredKey, decode
from frontend.access.verified import Access
from frontend.metadata.in_step import InStep
from frontend.metadata.pages import all_living
from frontend.metadata.spaces import Space
from frontend.metadata.store import MetadataStore
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
        async for version in all_living(self._store, Space.KEY, KEYS):
            with passing_over("key", version.key):
                stored = decode(version.value)
                if stored is not None:
                    found[version.key.decode()] = stored
        self._access.know(found.items())
        self._access.certain = True
