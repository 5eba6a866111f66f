"""The tables of an index in memory: what a simulated disk opens where a real one has an LMDB file.

What `write` returned from is durable, whole, and all that a crash leaves: as LMDB promises of a disk that obeys. How LMDB
behaves on one that does not is no matter of a simulation; an index is rebuilt from its log.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection
from pathlib import Path

from ambry.errors import AmbryError, IndexCorrupt, ReplicaUnavailable
from datanode.store.tables import Pair, Table, Tables, Writing
from datanode.store.trouble import put_off

Content = tuple[dict[bytes, bytes], ...]
"""By table."""


class FakeTables:
    """One index. `begin` is called ahead of everything that touches the file, with what it is: it may raise OSError.

    `content` is what was committed, and `commit` keeps the next.
    """

    def __init__(
        self, directory: Path, content: Content, *, begin: Callable[[str], None], commit: Callable[[Content], None]
    ) -> None:
        self._directory = directory
        self._begin = begin
        self._commit = commit
        self._content = content
        self._keys = _sorted(content)
        self._ask("open_tables")

    def _ask(self, what: str) -> None:
        try:
            self._begin(what)
        except OSError as cause:
            reason = f"the index in {self._directory} fails: {cause!r}"
            error: AmbryError = put_off(cause, reason) or IndexCorrupt(reason)
            raise error from cause

    def get(self, table: Table, key: bytes) -> bytes | None:
        self._ask("read_tables")
        return self._content[table].get(key)

    def get_all(self, table: Table, keys: Collection[bytes]) -> list[bytes | None]:
        self._ask("read_tables")
        return [self._content[table].get(key) for key in keys]

    def page(self, table: Table, start: bytes, limit: int) -> list[Pair]:
        self._ask("read_tables")
        keys = self._keys[table]
        first = bisect_left(keys, start)
        return [Pair(key, self._content[table][key]) for key in keys[first : first + max(0, limit)]]

    def last_key(self, table: Table) -> bytes:
        self._ask("read_tables")
        return self._keys[table][-1] if self._keys[table] else b""

    def count(self, table: Table) -> int:
        self._ask("read_tables")
        return len(self._keys[table])

    def write(self, change: Callable[[Writing], None]) -> None:
        transaction = FakeTransaction(self._content)
        change(transaction)
        self._ask("write_tables")
        self._commit(transaction.content)
        self._content = transaction.content
        self._keys = _sorted(self._content)

    def close(self) -> None:
        def closed(_what: str) -> None:
            raise ReplicaUnavailable(f"the index in {self._directory} is closed")

        self._begin = closed


class FakeTransaction:
    def __init__(self, content: Content) -> None:
        self.content = tuple(dict(table) for table in content)

    def get(self, table: Table, key: bytes) -> bytes | None:
        return self.content[table].get(key)

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        self.content[table][key] = value

    def delete(self, table: Table, key: bytes) -> None:
        self.content[table].pop(key, None)


class AskedTables:
    """Other tables, of which every call is announced: with what it is, on the thread that makes it."""

    def __init__(self, tables: Tables, before: Callable[[str], None]) -> None:
        self._tables = tables
        self._before = before

    def get(self, table: Table, key: bytes) -> bytes | None:
        self._before("read_tables")
        return self._tables.get(table, key)

    def get_all(self, table: Table, keys: Collection[bytes]) -> list[bytes | None]:
        self._before("read_tables")
        return self._tables.get_all(table, keys)

    def page(self, table: Table, start: bytes, limit: int) -> list[Pair]:
        self._before("read_tables")
        return self._tables.page(table, start, limit)

    def last_key(self, table: Table) -> bytes:
        self._before("read_tables")
        return self._tables.last_key(table)

    def count(self, table: Table) -> int:
        self._before("read_tables")
        return self._tables.count(table)

    def write(self, change: Callable[[Writing], None]) -> None:
        self._before("write_tables")
        self._tables.write(change)

    def close(self) -> None:
        self._before("close_tables")
        self._tables.close()


def _sorted(content: Content) -> tuple[list[bytes], ...]:
    return tuple(sorted(table) for table in content)
