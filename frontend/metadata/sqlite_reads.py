"""What is read of a metadata store's SQLite file. Blocking; each function is one look at one moment."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from frontend.metadata.plan import LocalKey, RegisterKey, VersionIdentity
from frontend.metadata.rows import COLUMNS, LOCAL_COLUMNS, local_of, signed, version_of
from frontend.metadata.sqlite_file import head_of
from frontend.metadata.store import (
    CommonPrefix,
    LocalRow,
    LogCursor,
    LogPage,
    Version,
    order,
    successor,
)

_LIVING = f"SELECT {COLUMNS} FROM register WHERE space = ? AND scope = ? AND key = ?"
_NEWEST_PAST = (
    f"SELECT {COLUMNS} FROM past WHERE space = ? AND scope = ? AND key = ? ORDER BY time DESC, datacenter DESC LIMIT 8"
)
_LOCAL = f"SELECT {LOCAL_COLUMNS} FROM local WHERE space = ? AND key = ?"
_RANGE = f"SELECT {COLUMNS} FROM register WHERE space = ? AND scope = ?"


def newest(sql: sqlite3.Connection, place: RegisterKey) -> Version | None:
    """The newest version of a register, tombstones included."""
    columns = (place.space, signed(place.scope), place.key)
    row = sql.execute(_LIVING, columns).fetchone()
    if row is not None:
        return version_of(row)
    # Equal stamps come of stores that were put back, two of a kind at most.
    rows = sql.execute(_NEWEST_PAST, columns).fetchall()
    return max(map(version_of, rows), key=order) if rows else None


def history(sql: sqlite3.Connection, place: RegisterKey, before: Version | None, limit: int) -> list[Version]:
    """Versions older than `before`, the newest first."""
    columns = (place.space, signed(place.scope), place.key)
    found = []
    living = sql.execute(_LIVING, columns).fetchone()
    if living is not None:
        found.append(version_of(living))
    query = f"SELECT {COLUMNS} FROM past WHERE space = ? AND scope = ? AND key = ?"
    bounds: tuple[int, ...] = ()
    if before is not None:
        query += " AND (time, datacenter) <= (?, ?)"
        bounds = (before.stamp.time, before.stamp.datacenter)
    # More than asked for: versions of one stamp are put in order here.
    query += " ORDER BY time DESC, datacenter DESC LIMIT ?"
    found += map(version_of, sql.execute(query, (*columns, *bounds, limit + 8)))
    if before is not None:
        bound = order(before)
        found = [version for version in found if order(version) < bound]
    found.sort(key=order, reverse=True)
    return found[:limit]


def _bounded(
    query: str, columns: tuple[int, ...], prefix: bytes, after: bytes | None, descending: bool
) -> tuple[str, tuple[int | bytes, ...]]:
    """The part of a range of keys that lies beyond `after`."""
    values: list[int | bytes] = list(columns)
    end = successor(prefix)
    above, below = (None, after) if descending else (after, None)
    if above is not None and above >= prefix:
        query += " AND key > ?"
        values.append(above)
    elif prefix:
        query += " AND key >= ?"
        values.append(prefix)
    if below is not None and (end is None or below < end):
        query += " AND key < ?"
        values.append(below)
    elif end is not None and prefix:
        query += " AND key < ?"
        values.append(end)
    return query + f" ORDER BY key {'DESC' if descending else 'ASC'} LIMIT ?", tuple(values)


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
    query, values = _bounded(_RANGE, (space, signed(scope)), prefix, after, descending)
    return list(map(version_of, sql.execute(query, (*values, limit)).fetchall()))


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
    if after is not None and after.startswith(prefix):
        seen = common_prefix(after, prefix, delimiter)
        if seen is not None:
            after = last_of(seen)
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
    query, values = _bounded(_RANGE, (space, signed(scope)), prefix, after, descending=False)
    cursor = sql.execute(query, (*values, limit))
    try:
        yield from map(version_of, cursor)
    finally:
        cursor.close()


def common_prefix(key: bytes, prefix: bytes, delimiter: bytes) -> bytes | None:
    """What stands in a listing for a key that has the delimiter beyond the prefix."""
    at = key.find(delimiter, len(prefix))
    return None if at < 0 else key[: at + len(delimiter)]


def last_of(prefix: bytes) -> bytes:
    """A key that every one with this prefix lies below, and none of others' between: longer than keys are."""
    return prefix + LAST


LAST = b"\xff" * 1_200


def log_page(sql: sqlite3.Connection, since: LogCursor | None, limit: int) -> LogPage:
    """What a store recorded after a cursor, from one moment."""
    sql.execute("BEGIN")
    try:
        head = head_of(sql)
        after = 0
        if since is not None and since.store == head.store:
            at = version_at(sql, since.seq)
            after = since.seq if at is not None and at.stamp == since.stamp else 0
        found = log_after(sql, after, limit)
    finally:
        sql.execute("COMMIT")
    cursor = since if after else None
    if found:
        cursor = LogCursor(head.store, found[-1].seq, found[-1].stamp)
    return LogPage(versions=found, cursor=cursor, started_over=since is not None and not after)


def log_after(sql: sqlite3.Connection, after: int, limit: int) -> list[Version]:
    """Versions by their place in the log."""
    found: list[Version] = []
    for table in ("register", "past"):
        query = f"SELECT {COLUMNS} FROM {table} WHERE seq > ? ORDER BY seq LIMIT ?"
        found += map(version_of, sql.execute(query, (after, limit)).fetchall())
    found.sort(key=lambda version: version.seq)
    return found[:limit]


def version_at(sql: sqlite3.Connection, seq: int) -> Version | None:
    for table in ("register", "past"):
        row = sql.execute(f"SELECT {COLUMNS} FROM {table} WHERE seq = ?", (seq,)).fetchone()
        if row is not None:
            return version_of(row)
    return None


def local(sql: sqlite3.Connection, place: LocalKey) -> LocalRow | None:
    """A row, ended or not."""
    row = sql.execute(_LOCAL, (place.space, place.key)).fetchone()
    return None if row is None else local_of(row)


def locals_of(
    sql: sqlite3.Connection, space: int, *, prefix: bytes, after: bytes | None, wall_ms: int, limit: int
) -> list[LocalRow]:
    query = f"SELECT {LOCAL_COLUMNS} FROM local WHERE space = ? AND (expires_ms IS NULL OR expires_ms > ?)"
    query, values = _bounded(query, (space, wall_ms), prefix, after, descending=False)
    return list(map(local_of, sql.execute(query, (*values, limit)).fetchall()))


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
