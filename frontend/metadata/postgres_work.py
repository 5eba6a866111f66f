"""What is read of a metadata store in PostgreSQL, and the transaction that writes to it; over connections of asyncpg."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from ambry.errors import AmbryError, DataCorrupt
from frontend.metadata import queries
from frontend.metadata.listing import common_prefix, last_of, newest_first, resumed
from frontend.metadata.plan import LocalKey, Plan, RegisterKey, VersionIdentity, local_keys, register_keys
from frontend.metadata.postgres_server import CHANNEL
from frontend.metadata.queries import numbered
from frontend.metadata.rows import COLUMNS, LOCAL_COLUMNS, local_of, local_row_of, row_of, signed, version_of
from frontend.metadata.store import CommonPrefix, LocalRow, LogCursor, LogHead, LogPage, Query, Version, order
from frontend.metadata.work import ENDED_ROWS, Group, Request

T = TypeVar("T")

_WANTED = "unnest($1::integer[], $2::bigint[], $3::bytea[]) AS wanted (space, scope, key)"
_COLUMNS_OF = ", ".join(f"found.{column}" for column in COLUMNS.split(", "))
_LIVING = f"SELECT {_COLUMNS_OF} FROM {_WANTED} JOIN register AS found USING (space, scope, key)"  # nosec B608 # constants
_NEWEST_PAST = (
    f"SELECT {_COLUMNS_OF} FROM {_WANTED} CROSS JOIN LATERAL (SELECT * FROM past WHERE past.space = wanted.space "  # nosec B608 # constants
    "AND past.scope = wanted.scope AND past.key = wanted.key "
    f"ORDER BY time DESC, datacenter DESC LIMIT {queries.TIES}) AS found"
)
_PAST_KNOWN = (
    "SELECT wanted.space, wanted.scope, wanted.key, wanted.time, wanted.datacenter, wanted.value "
    "FROM unnest($1::integer[], $2::bigint[], $3::bytea[], $4::bigint[], $5::integer[], $6::bytea[]) "
    "AS wanted (space, scope, key, time, datacenter, value) WHERE EXISTS (SELECT 1 FROM past WHERE "
    "past.space = wanted.space AND past.scope = wanted.scope AND past.key = wanted.key AND past.time = wanted.time "
    "AND past.datacenter = wanted.datacenter AND past.value IS NOT DISTINCT FROM wanted.value)"
)
_LOCALS = (
    f"SELECT {', '.join(f'found.{column}' for column in LOCAL_COLUMNS.split(', '))} "  # nosec B608 # constants
    "FROM unnest($1::integer[], $2::bytea[]) AS wanted (space, key) JOIN local AS found USING (space, key)"
)
_HEAD_LOCKED = queries.HEAD + " FOR UPDATE"
_STEP = f"SELECT {COLUMNS} FROM register WHERE space = $1 AND scope = $2 AND key > "  # nosec B608 # constants
_BEYOND = (
    "CASE WHEN position($4::bytea in substring(walk.key from $5)) > 0 THEN "
    "substring(walk.key from 1 for $5 + position($4::bytea in substring(walk.key from $5)) + length($4::bytea) - 2) "
    "|| $6::bytea ELSE walk.key END"
)
_WALK = (
    f"WITH RECURSIVE walk AS (({_STEP} $3 ORDER BY key LIMIT 1) UNION ALL SELECT step.* FROM walk "  # nosec B608 # constants
    f"CROSS JOIN LATERAL ({_STEP} {_BEYOND} ORDER BY key LIMIT 1) AS step) "
    f"SELECT {COLUMNS} FROM walk LIMIT $7"
)
"""Key by key, and behind a common prefix at once to where that ends."""


async def fetch(sql: Any, query: Query) -> list[Any]:
    found: list[Any] = await sql.fetch(numbered(query.text), *query.values)
    return found


async def newest_of(sql: Any, places: Sequence[RegisterKey]) -> dict[RegisterKey, Version | DataCorrupt]:
    """The newest versions of registers, tombstones included; those that are damaged as the error that says so."""
    found: dict[RegisterKey, Version | DataCorrupt] = {}
    if not places:
        return found
    _take(found, await sql.fetch(_LIVING, *_columns(places)))
    # A register that lives is in no need of its past.
    rest = [place for place in places if place not in found]
    if rest:
        _take(found, await sql.fetch(_NEWEST_PAST, *_columns(rest)))
    return found


def _columns(places: Iterable[RegisterKey]) -> tuple[list[int], list[int], list[bytes]]:
    some = list(places)
    return [int(p.space) for p in some], [signed(p.scope) for p in some], [p.key for p in some]


def _take(found: dict[RegisterKey, Version | DataCorrupt], rows: Iterable[Any]) -> None:
    for row in rows:
        place = RegisterKey(row[0], row[1] & 0xFFFFFFFFFFFFFFFF, row[2])
        try:
            version = version_of(row)
        except DataCorrupt as error:
            found[place] = error
            continue
        other = found.get(place)
        if other is None or (isinstance(other, Version) and order(version) > order(other)):
            found[place] = version


async def history(sql: Any, place: RegisterKey, before: Version | None, limit: int) -> list[Version]:
    columns = (int(place.space), signed(place.scope), place.key)
    async with sql.transaction(isolation="repeatable_read", readonly=True):
        rows = await fetch(sql, Query(queries.LIVING, columns))
        rows += await fetch(sql, queries.older(*columns, before, limit))
    return newest_first(map(version_of, rows), before, limit)


async def prefixes(
    sql: Any, space: int, scope: int, *, prefix: bytes, delimiter: bytes, after: bytes | None, limit: int
) -> list[Version | CommonPrefix]:
    after = resumed(after, prefix, delimiter)
    if after is None or after < prefix:
        # The key that is the prefix itself belongs to what is listed.
        after, first = prefix, await fetch(sql, Query(queries.LIVING, (space, signed(scope), prefix)))
    else:
        first = []
    found: list[Version | CommonPrefix] = []
    walked = await sql.fetch(_WALK, space, signed(scope), after, delimiter, len(prefix) + 1, last_of(b""), limit + 1)
    for row in (*first, *walked):
        version = version_of(row)
        if not version.key.startswith(prefix) or len(found) == limit:
            break
        seen = common_prefix(version.key, prefix, delimiter)
        found.append(version if seen is None else CommonPrefix(seen))
    return found


async def log_page(sql: Any, since: LogCursor | None, limit: int) -> LogPage:
    async with sql.transaction(isolation="repeatable_read", readonly=True):
        head = LogHead(*await sql.fetchrow(queries.HEAD))
        after = 0
        if since is not None and since.store == head.store:
            for table in ("register", "past"):
                for row in await fetch(sql, Query(queries.at(table), (since.seq,))):
                    after = since.seq if version_of(row).stamp == since.stamp else 0
        rows: list[Any] = []
        for table in ("register", "past"):
            rows += await fetch(sql, Query(queries.logged(table), (after, limit)))
    found = sorted(map(version_of, rows), key=lambda version: version.seq)[:limit]
    cursor = since if after else None
    if found:
        cursor = LogCursor(head.store, found[-1].seq, found[-1].stamp)
    return LogPage(versions=found, cursor=cursor, started_over=since is not None and not after)


# --- the transaction ---


async def carry_out(sql: Any, requests: Sequence[Request], *, datacenter: int, wall_ms: int, sweep: bool) -> int:
    """All requests in one transaction, which is durable on return; the log's last seq then.

    One that conflicts, or meets a damaged row, has its error; the others are done. `sweep`: local rows past their end go too.
    """
    async with sql.transaction():
        head = LogHead(*await sql.fetchrow(_HEAD_LOCKED))
        plan = await _load(sql, head, requests, datacenter=datacenter, wall_ms=wall_ms)
        for request in requests:
            if request.error is not None:
                continue
            work = request.what
            try:
                if isinstance(work, Group):
                    request.result = plan.write(work.changes)
                else:
                    request.result = plan.merge(work.versions, work.along)
            except AmbryError as error:
                request.error = error
        if sweep:
            await sql.execute(numbered(queries.LOCAL_SWEEP), wall_ms, ENDED_ROWS)
        if not plan.empty:
            await _write(sql, plan)
        if plan.head.seq != head.seq:
            await sql.execute("SELECT pg_notify($1, $2)", CHANNEL, str(plan.head.seq))
    return plan.head.seq


async def _load(sql: Any, head: LogHead, requests: Sequence[Request], *, datacenter: int, wall_ms: int) -> Plan:
    places: dict[RegisterKey, None] = {}
    rows: dict[LocalKey, None] = {}
    versions: list[Version] = []
    for request in requests:
        places.update(dict.fromkeys(_registers_of(request)))
        rows.update(dict.fromkeys(_locals_of(request)))
        if not isinstance(request.what, Group):
            versions += request.what.versions
    found = await newest_of(sql, list(places))
    locals: dict[LocalKey, LocalRow | DataCorrupt] = {}
    if rows:
        wanted = [int(row.space) for row in rows], [row.key for row in rows]
        for row in await sql.fetch(_LOCALS, *wanted):
            try:
                locals[LocalKey(row[0], row[1])] = local_of(row)
            except DataCorrupt as error:
                locals[LocalKey(row[0], row[1])] = error
    for request in requests:
        for thing in (*map(found.get, _registers_of(request)), *map(locals.get, _locals_of(request))):
            if isinstance(thing, DataCorrupt):
                request.error = thing
    return Plan(
        head,
        datacenter=datacenter,
        wall_ms=wall_ms,
        registers={place: _sound(found.get(place)) for place in places},
        locals={row: _sound(locals.get(row)) for row in rows},
        past_known=await _past_known(sql, [v for v in versions if RegisterKey(v.space, v.scope, v.key) in found]),
    )


def _sound(thing: T | DataCorrupt | None) -> T | None:
    return None if isinstance(thing, DataCorrupt) else thing


def _registers_of(request: Request) -> list[RegisterKey]:
    work = request.what
    if isinstance(work, Group):
        return register_keys(work.changes)
    return [RegisterKey(version.space, version.scope, version.key) for version in work.versions]


def _locals_of(request: Request) -> list[LocalKey]:
    work = request.what
    return local_keys(work.changes if isinstance(work, Group) else work.along)


async def _past_known(sql: Any, versions: Sequence[Version]) -> list[VersionIdentity]:
    if not versions:
        return []
    columns = [row_of(version)[:6] for version in versions]
    rows = await sql.fetch(_PAST_KNOWN, *map(list, zip(*columns, strict=True)))
    return [VersionIdentity(row[0], row[1] & 0xFFFFFFFFFFFFFFFF, *row[2:]) for row in map(tuple, rows)]


async def _write(sql: Any, plan: Plan) -> None:
    gone = [(place.space, signed(place.scope), place.key) for place in plan.registers_gone()]
    for text, rows in (
        (queries.PAST_PUT, list(map(row_of, plan.past()))),
        (queries.REGISTER_GONE, gone),
        (queries.REGISTER_PUT, list(map(row_of, plan.registers_put()))),
        (queries.LOCAL_GONE, plan.locals_gone()),
        (queries.LOCAL_PUT, list(map(local_row_of, plan.locals_put()))),
    ):
        if rows:
            await sql.executemany(numbered(text), rows)
    await sql.execute(numbered(queries.HEAD_PUT), plan.head.seq, plan.head.time)
