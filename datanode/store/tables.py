"""What an index asks of the file that keeps it: four ordered tables, read at any moment, changed in durable transactions.

The one place where the data node meets a library that maps files (datanode/store/index_file.py, LMDB). A simulation puts
tables in memory in its place (tests/support/fake_tables.py); tests/conformance holds both to what is said here.

Keys and values are bytes; keys of a table stand in the order of their bytes. Everything blocks: briefly where the pages are in
memory, for as long as the disk takes where they are not. So nothing here is called on the event loop's thread. It may be on any
other, `write` and `close` on one at a time; a read meets whole transactions only.

Errors of all methods: IndexCorrupt, where the file is damaged or the disk fails; Overloaded and InsufficientStorage, where the
same may succeed later and nothing happened; ReplicaUnavailable after `close`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import IntEnum
from typing import NamedTuple, Protocol


class Table(IntEnum):
    """The tables; their names in lower case are on disk."""

    ENTRIES = 0
    CHANGES = 1
    META = 2
    RANGES = 3
    USAGE = 4


class Pair(NamedTuple):
    """What stands in a table."""

    key: bytes
    value: bytes


class Writing(Protocol):
    """One transaction, on the thread that it was given to, until `change` returns. It reads what it wrote."""

    def get(self, table: Table, key: bytes) -> bytes | None: ...
    def put(self, table: Table, key: bytes, value: bytes) -> None: ...
    def delete(self, table: Table, key: bytes) -> None:
        """A key that is not there is fine."""
        ...


class Tables(Protocol):
    """The open tables of one index."""

    def get(self, table: Table, key: bytes) -> bytes | None: ...
    def get_all(self, table: Table, keys: Collection[bytes]) -> list[bytes | None]:
        """What stands under each of these keys, in their order, all of one moment."""
        ...

    def page(self, table: Table, start: bytes, limit: int) -> list[Pair]:
        """At most `limit` pairs from key `start` on, in order, all of one moment; fewer only at the end of the table."""
        ...

    def last_key(self, table: Table) -> bytes:
        """The greatest key; empty in an empty table."""
        ...

    def count(self, table: Table) -> int:
        """How many keys there are."""
        ...

    def write(self, change: Callable[[Writing], None]) -> None:
        """Do all that `change` does, durably on return, or nothing where anything raises.

        `change` may be called again from the start, for as often as the file must first be given more room.
        """
        ...

    def close(self) -> None:
        """Waits for those that read. Nothing may be written meanwhile."""
        ...
