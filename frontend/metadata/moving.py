"""Everything out of a metadata store, and into one: backups, and the way from one engine to the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator

from ambry.errors import DataCorrupt, StoreMismatch
from frontend.metadata.dump import Block, DumpEnd, DumpHeader, DumpWriter
from frontend.metadata.spaces import LocalSpace
from frontend.metadata.store import Conflict, Expect, LocalPut, LocalRow, LogCursor, MetadataStore, Version

MERGE_VERSIONS = 500
"""Of one transaction, some of which share one."""
SIDE_BY_SIDE = 16


async def dump(store: MetadataStore, header: DumpHeader, write: Callable[[bytes], object]) -> DumpEnd:
    """Write everything out, while others go on writing; what there was of each.

    Local rows first, so that what became of one by the end is in the dump too: an intent, and the name that points to its blob
    by then. The other way round the blob of an intent that came between would be nobody's.
    """
    writer = DumpWriter()
    write(writer.start())
    write(writer.header(header))
    rows = 0
    for space in LocalSpace:
        after: bytes | None = None
        while page := await store.locals(space, after=after):
            write(writer.locals(page))
            after = page[-1].key
            rows += len(page)
    versions = 0
    cursor: LogCursor | None = None
    last = (await store.head()).seq
    while versions < last:
        log = await store.log(cursor)
        if not log.versions:
            raise DataCorrupt(f"the log ends at {versions}, and its head says {last}; look with `ambry meta check`")
        write(writer.versions(log.versions))
        cursor = log.cursor
        versions += len(log.versions)
    end = DumpEnd(versions=versions, locals=rows)
    write(writer.end(end))
    return end


def check_dump(blocks: Iterator[Block], *, cluster: str, datacenter: int) -> DumpHeader:
    """Read a dump to its end. Raises DataCorrupt when it is not whole, StoreMismatch when it is somebody else's."""
    header: Block | None = next(blocks, None)
    if not isinstance(header, DumpHeader):
        raise DataCorrupt("the dump does not say whose it is")
    if (header.cluster, header.datacenter) != (cluster, datacenter):
        raise StoreMismatch(
            f"the dump is of cluster {header.cluster!r}, datacenter {header.datacenter}, and the store of "
            f"{cluster!r}, datacenter {datacenter}; datacenters get each other's names by following, not by loading"
        )
    versions = rows = 0
    for block in blocks:
        if isinstance(block, DumpEnd):
            if (block.versions, block.locals) != (versions, rows):
                raise DataCorrupt(f"the dump has {versions} versions and {rows} rows, and says {block}")
        elif isinstance(block, list):
            of_versions = sum(isinstance(item, Version) for item in block)
            versions += of_versions
            rows += len(block) - of_versions
    return header


async def load(store: MetadataStore, blocks: Iterable[Block]) -> DumpEnd:
    """Join what a dump holds to what the store has; how much of each was new.

    A local row that is there already stays as it is: it is younger. Intents are left out: what was under way has ended since,
    and who ended it now would let blobs go that were acknowledged after the dump.
    """
    versions = rows = 0
    for block in blocks:
        if not isinstance(block, list):
            continue
        some = [item for item in block if isinstance(item, Version)]
        # In the order of the log, or it would have another.
        for start in range(0, len(some), MERGE_VERSIONS):
            versions += await store.merge(some[start : start + MERGE_VERSIONS])
        local = [item for item in block if isinstance(item, LocalRow) and item.space != LocalSpace.INTENT]
        for start in range(0, len(local), SIDE_BY_SIDE):
            found = await asyncio.gather(*(_put_row(store, row) for row in local[start : start + SIDE_BY_SIDE]))
            rows += sum(found)
    return DumpEnd(versions=versions, locals=rows)


async def _put_row(store: MetadataStore, row: LocalRow) -> bool:
    put = LocalPut(LocalSpace(row.space), row.key, row.value, row.expires_ms, condition=Expect.ABSENT)
    try:
        await store.write([put])
    except Conflict:
        return False
    return True


async def is_empty(store: MetadataStore) -> bool:
    if (await store.head()).seq:
        return False
    for space in LocalSpace:
        if await store.locals(space, limit=1):
            return False
    return True
