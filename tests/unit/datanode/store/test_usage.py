"""The rows of what containers have: their bytes, and what is refused. That they fit the entries: test_digests.py."""

from __future__ import annotations

import pytest

from ambry.errors import DataCorrupt
from ambry.ids import IdKind
from datanode.store.entry import IndexEntry
from datanode.store.ranges import DELETED, FOREVER, over, window_of
from datanode.store.tables import Pair
from datanode.store.usage import Amount, ContainerUsage, UsageChange, UsagePage, decode, encode, read_page
from tests.support.samples import ALIVE, blob_id

KEY = bytes([0, 0, 0, 2, 0, 0, 0, 3]) + FOREVER.to_bytes(8, "big")


class Rows(dict[bytes, bytes]):
    def get_usage(self, key: bytes) -> bytes | None:
        return self.get(key)

    def put_usage(self, key: bytes, value: bytes) -> None:
        self[key] = value

    def delete_usage(self, key: bytes) -> None:
        del self[key]

    def page(self, start: bytes, limit: int) -> list[Pair]:
        return [Pair(key, self[key]) for key in sorted(self) if key >= start][:limit]


def entry(number: int, kind: IdKind = IdKind.SIMPLE, *, present: bool = True) -> IndexEntry:
    return IndexEntry(blob_id(number, kind=kind), 1, int(present), 1, 400, 100, ALIVE, 1)


def change(rows: Rows, *noted: tuple[IndexEntry, int]) -> None:
    made = UsageChange()
    for item, sign in noted:
        made.note(item, window_of(item), sign)
    made.write(rows)


def test_a_row_is_what_it_says_and_is_believed_under_its_own_key_alone() -> None:
    row = encode(KEY, Amount(2, 513))
    assert row[4:] == bytes([0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 2, 1])
    assert decode(KEY, row) == Amount(2, 513)
    for key, bad in ((KEY[::-1], row), (KEY, row[:-1]), (KEY, row[:-1] + b"\x00"), (KEY, b"")):
        with pytest.raises(DataCorrupt):
            decode(key, bad)


def test_a_chunk_is_no_blob_a_composite_has_no_bytes_and_what_is_not_here_does_not_count() -> None:
    rows = Rows()
    change(
        rows, (entry(1), 1), (entry(2, IdKind.COMPOSITE), 1), (entry(3, IdKind.CHUNK), 1), (entry(4, present=False), 1)
    )
    assert {key: decode(key, row) for key, row in rows.items()} == {KEY: Amount(2, 200)}
    change(rows, (entry(1), -1), (entry(2, IdKind.COMPOSITE), -1), (entry(3, IdKind.CHUNK), -1))
    assert rows == {}


def test_a_row_that_would_count_less_than_nothing_does_not_fit() -> None:
    with pytest.raises(DataCorrupt):
        change(Rows(), (entry(1), -1))


def test_containers_are_told_in_pages() -> None:
    rows = Rows()
    for container in range(3):
        for window in (DELETED, 5 << 24 >> 24 | 24 << 56, FOREVER):
            key = container.to_bytes(8, "big") + window.to_bytes(8, "big")
            rows[key] = encode(key, Amount(1, container))

    def page(after: bytes, limit: int, now_ms: int = 0) -> UsagePage:
        return read_page(rows.page, lambda window: over(window, now_ms), after=after, limit=limit)

    first = page(b"", 2)
    assert [each.live for each in first.containers] == [Amount(2, 0), Amount(2, 2)]
    assert page(first.after, 2) == UsagePage([ContainerUsage((2).to_bytes(8, "big"), Amount(2, 4), Amount(1, 2))], b"")
    assert page(b"", 3).after == b""
    # The window from 5 * 2**24 ms on is over when the next one begins.
    assert page(b"", 3, now_ms=(6 << 24) - 1).containers[2].dead.blobs == 1
    assert page(b"", 3, now_ms=6 << 24).containers[2].dead.blobs == 2
