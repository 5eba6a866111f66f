"""The tables of an index in memory: what a simulated disk opens where a real one has an LMDB file.

What `write` returned from is durable and whole, as LMDB promises of a disk that obeys. How the file behaves on one that does
not is told by its `Stored`, which outlives whoever has it open:

- its map grows by doubling, and `change` is called again from the start for it; beyond `bytes_max` the tables are full. A call
  `grow_tables` that fails is a process without address space;
- `lose` takes the last transactions back: LMDB takes the older of its two meta pages where the newer never reached the disk,
  or has rotted, and says nothing;
- `tear` leaves half of a page as it was before the last transaction that changed it;
- `on_page` has something done whenever a read touches a page: it may block, as a disk does that is slow, or raise OSError. A
  page that the disk cannot read ends a real process by SIGBUS, when it is touched; here it is IndexCorrupt, which the next
  opening of the real file says too, since it reads the file through first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from ambry.errors import AmbryError, IndexCorrupt, InsufficientStorage, ReplicaUnavailable
from datanode.store.tables import Pair, Table, Tables, Writing
from datanode.store.trouble import put_off

Content = tuple[dict[bytes, bytes], ...]
"""By table."""
PAGE_KEYS = 16
"""How many keys of a table lie together: what is torn, slow or unreadable at once."""
EARLIER_MAX = 8
"""Transactions that can be taken back."""
MAP_BYTES_MIN = 16 << 10
PAIR_BYTES = 32
"""What a pair takes beside its key and its value."""


@dataclass(frozen=True, slots=True)
class PageFault:
    """`act` is called by every read that touches a key from `first` to `last` of a table."""

    table: Table
    first: bytes
    last: bytes
    act: Callable[[], None]


@dataclass(slots=True)
class Stored:
    """The file of an index: what was committed last, and before; and what is wrong with it."""

    content: Content = field(default_factory=lambda: tuple({} for _ in Table))
    earlier: list[Content] = field(default_factory=list)
    bytes_max: int = 64 << 30
    faults: list[PageFault] = field(default_factory=list)

    def commit(self, content: Content) -> None:
        self.earlier = [*self.earlier, self.content][-EARLIER_MAX:]
        self.content = content

    def lose(self, count: int) -> None:
        """Take the last transactions back; nobody may have it open. Not more than are kept."""
        for _ in range(min(count, len(self.earlier))):
            self.content = self.earlier.pop()

    def tear(self, table: Table, key: bytes) -> None:
        """Of the page where a key stands the second half is as it was before it last changed; nobody may have it open."""
        page = self._page(table, key)
        history = [*self.earlier, self.content]
        versions = [{name: content[table].get(name) for name in page} for content in history]
        changed = [before for before, after in pairwise(versions) if before != after]
        if not changed:
            raise ValueError("none of the transactions that are kept changed that page")
        torn = tuple(dict(pairs) for pairs in self.content)
        for name in page[len(page) // 2 :]:
            old = changed[-1][name]
            if old is None:
                torn[table].pop(name, None)
            else:
                torn[table][name] = old
        self.content = torn

    def on_page(self, table: Table, key: bytes, act: Callable[[], None]) -> None:
        """Have `act` called by every read of the page where a key stands now."""
        page = self._page(table, key)
        self.faults.append(PageFault(table, page[0], page[-1], act))

    def _page(self, table: Table, key: bytes) -> list[bytes]:
        keys = sorted(self.content[table])
        start = bisect_left(keys, key) // PAGE_KEYS * PAGE_KEYS
        return keys[start : start + PAGE_KEYS]


class FakeTables:
    """One open index. `begin` is called ahead of everything that touches the file, with what it is: it may raise OSError."""

    def __init__(self, directory: Path, stored: Stored, *, begin: Callable[[str], None]) -> None:
        self._directory = directory
        self._begin = begin
        self._stored = stored
        self._content = stored.content
        self._keys = _sorted(stored.content)
        self.map_size = _map_for(2 * _size(stored.content))
        """As of an IndexFile."""
        self._ask("open_tables")
        # The real file is read through when it is opened.
        self._touch_all(stored.faults)

    def _ask(self, what: str) -> None:
        self._do(lambda: self._begin(what))

    def _do(self, act: Callable[[], None]) -> None:
        try:
            act()
        except OSError as cause:
            reason = f"the index in {self._directory} fails: {cause!r}"
            error: AmbryError = put_off(cause, reason) or IndexCorrupt(reason)
            raise error from cause

    def _touch_all(self, faults: Iterable[PageFault]) -> None:
        for fault in faults:
            self._do(fault.act)

    def _touch(self, table: Table, keys: Collection[bytes]) -> None:
        self._touch_all(
            fault
            for fault in self._stored.faults
            if fault.table is table and any(fault.first <= key <= fault.last for key in keys)
        )

    def get(self, table: Table, key: bytes) -> bytes | None:
        return self.get_all(table, (key,))[0]

    def get_all(self, table: Table, keys: Collection[bytes]) -> list[bytes | None]:
        self._ask("read_tables")
        content = self._content[table]
        self._touch(table, keys)
        return [content.get(key) for key in keys]

    def page(self, table: Table, start: bytes, limit: int) -> list[Pair]:
        self._ask("read_tables")
        keys, content = self._keys[table], self._content[table]
        first = bisect_left(keys, start)
        found = keys[first : first + max(0, limit)]
        self._touch(table, found)
        return [Pair(key, content[key]) for key in found]

    def last_key(self, table: Table) -> bytes:
        self._ask("read_tables")
        last = self._keys[table][-1:]
        self._touch(table, last)
        return last[0] if last else b""

    def count(self, table: Table) -> int:
        self._ask("read_tables")
        return len(self._keys[table])

    def write(self, change: Callable[[Writing], None]) -> None:
        while True:
            transaction = FakeTransaction(self._content, self._touch)
            change(transaction)
            if _size(transaction.content) <= self.map_size:
                break
            if self.map_size >= self._stored.bytes_max:
                raise InsufficientStorage(f"the index in {self._directory} has reached {self.map_size} bytes")
            self._ask("grow_tables")
            self.map_size *= 2
        self._ask("write_tables")
        self._stored.commit(transaction.content)
        self._content = transaction.content
        self._keys = _sorted(self._content)

    def close(self) -> None:
        def closed(_what: str) -> None:
            raise ReplicaUnavailable(f"the index in {self._directory} is closed")

        self._begin = closed


class FakeTransaction:
    """`touch` hears of every key that is read or changed."""

    def __init__(self, content: Content, touch: Callable[[Table, Collection[bytes]], None]) -> None:
        self.content = tuple(dict(table) for table in content)
        self._touch = touch

    def get(self, table: Table, key: bytes) -> bytes | None:
        self._touch(table, (key,))
        return self.content[table].get(key)

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        self._touch(table, (key,))
        self.content[table][key] = value

    def delete(self, table: Table, key: bytes) -> None:
        self._touch(table, (key,))
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


def _size(content: Content) -> int:
    return sum(len(key) + len(value) + PAIR_BYTES for table in content for key, value in table.items())


def _map_for(size: int) -> int:
    """The least map that holds so many bytes."""
    return max(MAP_BYTES_MIN, 1 << max(0, size - 1).bit_length())
