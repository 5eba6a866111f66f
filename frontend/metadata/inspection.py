"""Looks at a whole metadata store for what must always hold in it, row by row: `ambry meta check`."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ambry.errors import AmbryError, DataCorrupt
from frontend.metadata import queries
from frontend.metadata.rows import LOCAL_COLUMNS, local_of, version_of
from frontend.metadata.spaces import FORGETTING
from frontend.metadata.store import MetadataStore, Query

PAGE = 1_000
NAMED_MAX = 20
"""Places that one finding names; it counts them all."""


_SAME = "{0}.space = {1}.space AND {0}.scope = {1}.scope AND {0}.key = {1}.key"
_RULES = {
    "has a newer version in its past than the one that is served": (
        f"SELECT r.key FROM register r JOIN past p ON {_SAME.format('r', 'p')} "  # nosec B608 # constants
        "WHERE (p.time, p.datacenter) > (r.time, r.datacenter) "
        f"AND r.space NOT IN ({', '.join(str(int(space)) for space in FORGETTING)}) LIMIT ?"
    ),
    "is not served, though its newest version is no tombstone": (
        f"SELECT p.key FROM past p WHERE p.value IS NOT NULL AND NOT EXISTS (SELECT 1 FROM register r WHERE "  # nosec B608 # constants
        f"{_SAME.format('r', 'p')}) AND NOT EXISTS (SELECT 1 FROM past q WHERE {_SAME.format('q', 'p')} "
        "AND (q.time, q.datacenter) >= (p.time, p.datacenter) AND q.seq <> p.seq) LIMIT ?"
    ),
    "has a version twice in the log": "SELECT r.key FROM register r JOIN past p ON r.seq = p.seq LIMIT ?",
}
_COUNTS = (
    "SELECT (SELECT seq FROM head), (SELECT time FROM head), "
    "(SELECT count(*) FROM register), (SELECT count(*) FROM past), "
    "(SELECT max(seq) FROM (SELECT max(seq) AS seq FROM register UNION ALL SELECT max(seq) FROM past) AS tables), "
    "(SELECT max(time) FROM (SELECT max(time) AS time FROM register UNION ALL SELECT max(time) FROM past) AS tables)"
)


async def findings(store: MetadataStore, *, engine_checks: tuple[str, ...] = ()) -> AsyncIterator[str]:
    """What is wrong, a sentence each; nothing where all is well. While others write it may find what is no fault.

    `engine_checks` are queries of the engine's own that say `ok`.
    """
    for text in engine_checks:
        for row in await store.rows(Query(text, ())):
            if row[0] != "ok":
                yield f"the engine says: {row[0]}"
    for table in ("register", "past"):
        async for told in _damaged(store, table):
            yield told
    async for told in _damaged_local(store):
        yield told
    for rule, text in _RULES.items():
        for row in await store.rows(Query(text, (NAMED_MAX,))):
            yield f"the register {bytes(row[0])!r} {rule}"
    ((seq, time, living, past, last, latest),) = await store.rows(Query(_COUNTS, ()))
    if living + past != seq or (last or 0) != seq:
        yield f"the log ends at {seq}, and the tables hold {living + past} versions, the last of number {last or 0}"
    if (latest or 0) > time:
        yield f"the clock stands at {time}, and a version is of {latest}"


async def _damaged(store: MetadataStore, table: str) -> AsyncIterator[str]:
    after = 0
    while rows := await store.rows(Query(queries.logged(table), (after, PAGE))):
        after = rows[-1][6]
        for row in rows:
            try:
                version_of(tuple(row))
            except DataCorrupt as error:
                yield f"in {table}: {error.message.partition(';')[0]}"


async def _damaged_local(store: MetadataStore) -> AsyncIterator[str]:
    space, key = 0, b""
    text = f"SELECT {LOCAL_COLUMNS} FROM local WHERE (space, key) > (?, ?) ORDER BY space, key LIMIT ?"  # nosec B608 # constants
    while rows := await store.rows(Query(text, (space, key, PAGE))):
        space, key = rows[-1][0], bytes(rows[-1][1])
        for row in rows:
            try:
                local_of(tuple(row))
            except AmbryError as error:
                yield f"in local: {error.message.partition(';')[0]}"
