"""All of something, page by page: whoever goes through it holds one page at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator

from frontend.metadata.spaces import LocalSpace, Space
from frontend.metadata.store import PAGE_MAX, LocalRow, MetadataStore, Version


async def all_living(store: MetadataStore, space: Space, scope: int) -> AsyncIterator[Version]:
    """The living registers of a scope, by key. Raises what the store raises."""
    after: bytes | None = None
    while True:
        page = await store.list(space, scope, after=after)
        for version in page:
            yield version
        if len(page) < PAGE_MAX:
            return
        after = page[-1].key


async def all_rows(
    store: MetadataStore, space: LocalSpace, *, prefix: bytes = b"", after: bytes | None = None
) -> AsyncIterator[LocalRow]:
    """The local rows whose keys begin with `prefix`, those beyond `after`, by key. Raises what the store raises."""
    while True:
        page = await store.locals(space, prefix=prefix, after=after)
        for row in page:
            yield row
        if len(page) < PAGE_MAX:
            return
        after = page[-1].key
