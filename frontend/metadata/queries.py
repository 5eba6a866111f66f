"""The SQL that both engines take, with `?` for a value. Pure.

What is put into a text is names of tables and columns, which stand in this code; a value never is.

Keys are compared as bytes without signs by both, so a listing has one order. What the engines say differently stands with them.
"""

from __future__ import annotations

import itertools
import re

from frontend.metadata.rows import COLUMNS, LOCAL_COLUMNS
from frontend.metadata.store import Query, Version, successor

Value = int | bytes | None

TIES = 8
"""More versions of one stamp than there are in one register: they come of stores that were put back."""

LIVING = f"SELECT {COLUMNS} FROM register WHERE space = ? AND scope = ? AND key = ?"  # nosec B608 # constants
NEWEST_PAST = (
    f"SELECT {COLUMNS} FROM past WHERE space = ? AND scope = ? AND key = ? "  # nosec B608 # constants
    f"ORDER BY time DESC, datacenter DESC LIMIT {TIES}"
)
LOCAL = f"SELECT {LOCAL_COLUMNS} FROM local WHERE space = ? AND key = ?"  # nosec B608 # constants
HEAD = "SELECT store, seq, time FROM head"
LAST = " UNION ALL ".join(
    f"SELECT head.store, {table}.seq, {table}.time, {table}.datacenter FROM head JOIN {table} ON {table}.seq = head.seq"  # nosec B608 # constants
    for table in ("register", "past")
)
"""Of the store, where its log ends; no row where the log is empty."""

PAST_PUT = f"INSERT INTO past ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # nosec B608 # constants
REGISTER_GONE = "DELETE FROM register WHERE space = ? AND scope = ? AND key = ?"
REGISTER_PUT = (
    f"INSERT INTO register ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "  # nosec B608 # constants
    "ON CONFLICT (space, scope, key) DO UPDATE SET time = excluded.time, datacenter = excluded.datacenter, "
    "value = excluded.value, seq = excluded.seq, checksum = excluded.checksum"
)
LOCAL_GONE = "DELETE FROM local WHERE space = ? AND key = ?"
LOCAL_PUT = (
    f"INSERT INTO local ({LOCAL_COLUMNS}) VALUES (?, ?, ?, ?, ?) "  # nosec B608 # constants
    "ON CONFLICT (space, key) DO UPDATE SET value = excluded.value, expires_ms = excluded.expires_ms, "
    "checksum = excluded.checksum"
)
HEAD_PUT = "UPDATE head SET seq = ?, time = ?"
LOCAL_SWEEP = "DELETE FROM local WHERE (space, key) IN (SELECT space, key FROM local WHERE expires_ms <= ? LIMIT ?)"


def bounds(prefix: bytes, after: bytes | None, *, descending: bool = False) -> Query:
    """What a WHERE says of keys with a prefix that lie beyond `after`."""
    text = ""
    values: list[Value] = []
    end = successor(prefix)
    above, below = (None, after) if descending else (after, None)
    if above is not None and above >= prefix:
        text += " AND key > ?"
        values.append(above)
    elif prefix:
        text += " AND key >= ?"
        values.append(prefix)
    if below is not None and (end is None or below < end):
        text += " AND key < ?"
        values.append(below)
    elif end is not None and prefix:
        text += " AND key < ?"
        values.append(end)
    return Query(text, tuple(values))


def living(
    space: int, scope: int, prefix: bytes, after: bytes | None, *, descending: bool = False, limit: int
) -> Query:
    """The living registers with a prefix beyond `after`, by key; `scope` as it lies in the table."""
    bound = bounds(prefix, after, descending=descending)
    text = f"SELECT {COLUMNS} FROM register WHERE space = ? AND scope = ?{bound.text}"  # nosec B608 # constants
    direction = "DESC" if descending else "ASC"
    return Query(f"{text} ORDER BY key {direction} LIMIT ?", (space, scope, *bound.values, limit))


def local_rows(space: int, prefix: bytes, after: bytes | None, *, wall_ms: int, limit: int) -> Query:
    """Local rows with a prefix beyond `after` that have not ended, by key."""
    bound = bounds(prefix, after)
    text = f"SELECT {LOCAL_COLUMNS} FROM local WHERE space = ? AND (expires_ms IS NULL OR expires_ms > ?){bound.text}"  # nosec B608 # constants
    return Query(f"{text} ORDER BY key LIMIT ?", (space, wall_ms, *bound.values, limit))


def older(space: int, scope: int, key: bytes, before: Version | None, limit: int) -> Query:
    """Versions of a register that were superseded, the newest stamps first; a few more than asked for, since some may tie."""
    text = f"SELECT {COLUMNS} FROM past WHERE space = ? AND scope = ? AND key = ?"  # nosec B608 # constants
    values: tuple[Value, ...] = (space, scope, key)
    if before is not None:
        text += " AND (time, datacenter) <= (?, ?)"
        values = (*values, before.stamp.time, before.stamp.datacenter)
    return Query(f"{text} ORDER BY time DESC, datacenter DESC LIMIT ?", (*values, limit + TIES))


def logged(table: str) -> str:
    """What a table has of the log behind a place, oldest first."""
    return f"SELECT {COLUMNS} FROM {table} WHERE seq > ? ORDER BY seq LIMIT ?"  # nosec B608 # constants


def at(table: str) -> str:
    """The version at a place of the log, if it lies in this table."""
    return f"SELECT {COLUMNS} FROM {table} WHERE seq = ?"  # nosec B608 # constants


def numbered(text: str) -> str:
    """The same for an engine that numbers its values ($1, $2)."""
    numbers = itertools.count(1)
    return re.sub(r"\?", lambda _: f"${next(numbers)}", text)
