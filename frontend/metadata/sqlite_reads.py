"""What is read of a metadata store's SQLite file. Blocking; each function is one look at one moment."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from frontend.metadata import queries
from frontend.metadata.listing import common_prefix, last_of, newest_first, resumed
from frontend.metadata.plan import LocalKey, RegisterKey, VersionIdentity
from frontend.metadata.rows import local_of, signed, version_of
from frontend.metadata.sqlite_file import head_of
from frontend.metadata.sqlite_known import Changed
from frontend.metadata.store import (
    PAGE_MAX,
    CommonPrefix,
    LocalRow,
    LogCursor,
    LogHead,
    LogPage,
    Version,
    order,
)


def has_past(sql: sqlite3.Connection, space: int, scope: int) -> bool:
    """Whether anything in a scope was ever superseded or buried."""
    return (
        sql.execute("SELECT 1 FROM past WHERE space = ? AND scope = ? LIMIT 1", (space, signed(scope))).fetchone()
        is not None
    )


def newest(sql: sqlite3.Connection, place: RegisterKey, *, fresh: bool = False) -> Version | None:
    """The newest version of a register, tombstones included. `fresh`: its scope has no past."""
    columns = (place.space, signed(place.scope), place.key)
    row = sql.execute(queries.LIVING, columns).fetchone()
    if row is not None:
        return version_of(row)
    if fresh:
        return None
    rows = sql.execute(queries.NEWEST_PAST, columns).fetchall()
    return max(map(version_of, rows), key=order) if rows else None


def history(sql: sqlite3.Connection, place: RegisterKey, before: Version | None, limit: int) -> list[Version]:
    """Versions older than `before`, the newest first."""
    columns = (place.space, signed(place.scope), place.key)
    rows = sql.execute(queries.LIVING, columns).fetchall()
    rows += sql.execute(*queries.older(*columns, before, limit)).fetchall()
    return newest_first(map(version_of, rows), before, limit)


def living(
    sql: sqlite3.Connection,
    space: int,
    scope: int,
    *,
    prefix: bytes,
    after: bytes | None,
    descending: bool,
    limit: int,
) -> list[Version]:
    query = queries.living(space, signed(scope), prefix, after, descending=descending, limit=limit)
    return list(map(version_of, sql.execute(*query).fetchall()))


def prefixes(
    sql: sqlite3.Connection,
    space: int,
    scope: int,
    *,
    prefix: bytes,
    delimiter: bytes,
    after: bytes | None,
    limit: int,
) -> list[Version | CommonPrefix]:
    """Costs what it returns: behind a common prefix it goes on where that ends."""
    found: list[Version | CommonPrefix] = []
    after = resumed(after, prefix, delimiter)
    while len(found) < limit:
        skipped = None
        for version in _each(sql, space, scope, prefix, after, limit - len(found)):
            skipped = common_prefix(version.key, prefix, delimiter)
            if skipped is not None:
                found.append(CommonPrefix(skipped))
                break
            found.append(version)
        if skipped is None:
            break
        after = last_of(skipped)
    return found


def _each(
    sql: sqlite3.Connection, space: int, scope: int, prefix: bytes, after: bytes | None, limit: int
) -> Iterator[Version]:
    cursor = sql.execute(*queries.living(space, signed(scope), prefix, after, limit=limit))
    try:
        yield from map(version_of, cursor)
    finally:
        cursor.close()


def log_page(sql: sqlite3.Connection, since: LogCursor | None, limit: int) -> LogPage:
    """What a store recorded after a cursor, from one moment."""
    sql.execute("BEGIN")
    try:
        head = head_of(sql)
        after = _place_of(sql, since, head)
        found = log_after(sql, after, limit)
    finally:
        sql.execute("COMMIT")
    cursor = since if after else None
    if found:
        cursor = LogCursor(head.store, found[-1].seq, found[-1].stamp)
    return LogPage(versions=found, cursor=cursor, started_over=since is not None and not after)


def changed_since(sql: sqlite3.Connection, since: LogCursor | None) -> Changed:
    """Which registers have other versions than at a cursor, and the cursor of now; from one moment."""
    sql.execute("BEGIN")
    try:
        head = head_of(sql)
        after = _place_of(sql, since, head)
        found = log_after(sql, after, PAGE_MAX) if after else []
        last = version_at(sql, head.seq)
    finally:
        sql.execute("COMMIT")
    told = after and len(found) < PAGE_MAX
    return Changed(
        places=[RegisterKey(version.space, version.scope, version.key) for version in found] if told else None,
        cursor=None if last is None else LogCursor(head.store, head.seq, last.stamp),
    )


def _place_of(sql: sqlite3.Connection, cursor: LogCursor | None, head: LogHead) -> int:
    """Where a cursor stands in this log; 0 where it is of another one."""
    if cursor is None or cursor.store != head.store:
        return 0
    at = version_at(sql, cursor.seq)
    return cursor.seq if at is not None and at.stamp == cursor.stamp else 0


def log_after(sql: sqlite3.Connection, after: int, limit: int) -> list[Version]:
    """Versions by their place in the log."""
    found: list[Version] = []
    for table in ("register", "past"):
        found += map(version_of, sql.execute(queries.logged(table), (after, limit)).fetchall())
    found.sort(key=lambda version: version.seq)
    return found[:limit]


def version_at(sql: sqlite3.Connection, seq: int) -> Version | None:
    for table in ("register", "past"):
        row = sql.execute(queries.at(table), (seq,)).fetchone()
        if row is not None:
            return version_of(row)
    return None


def local(sql: sqlite3.Connection, place: LocalKey) -> LocalRow | None:
    """A row, ended or not."""
    row = sql.execute(queries.LOCAL, (place.space, place.key)).fetchone()
    return None if row is None else local_of(row)


def locals_of(
    sql: sqlite3.Connection, space: int, *, prefix: bytes, after: bytes | None, wall_ms: int, limit: int
) -> list[LocalRow]:
    query = queries.local_rows(space, prefix, after, wall_ms=wall_ms, limit=limit)
    return list(map(local_of, sql.execute(*query).fetchall()))


def past_known(sql: sqlite3.Connection, versions: Sequence[Version]) -> list[VersionIdentity]:
    """Those of `versions` that lie in `past`."""
    query = (
        "SELECT 1 FROM past WHERE space = ? AND scope = ? AND key = ? AND time = ? AND datacenter = ? "
        "AND value IS ? LIMIT 1"
    )
    found = []
    for version in versions:
        stamp = version.stamp
        columns = (version.space, signed(version.scope), version.key, stamp.time, stamp.datacenter, version.value)
        if sql.execute(query, columns).fetchone() is not None:
            found.append(
                VersionIdentity(version.space, version.scope, version.key, stamp.time, stamp.datacenter, version.value)
            )
    return found
