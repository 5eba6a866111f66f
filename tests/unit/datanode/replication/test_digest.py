"""What a replica makes of a peer's digests and entries."""

from __future__ import annotations

import pytest

from ambry.blob import NEVER_MS, BlobState
from ambry.protocol.messages.replication import Change, RangeDigest
from datanode.replication.digest import Comparison, KeyRange, differing, lacks, may_be_forgotten
from datanode.store.entry import IndexEntry
from datanode.store.ranges import BEHIND_ALL, FIRST_KEY, Sum
from datanode.store.retention import Retention
from tests.support.samples import ALIVE, DELETED, blob_id

NOW_MS = 1_000_000
KEPT_MS = 1_000
RETENTION = Retention(now_ms=NOW_MS, deleted_ms=KEPT_MS, tombstone_ms=2 * KEPT_MS, horizon_lsn=0)
MIDDLE = blob_id(5)[16:32]
OVER = BlobState(0, False, NOW_MS - KEPT_MS)


def entry(state: BlobState, *, present: bool = True, changed_at_ms: int = NOW_MS) -> IndexEntry:
    return IndexEntry(blob_id(1), 1, int(present), 1, 200, 100, state, changed_at_ms)


def change(state: BlobState, *, present: bool = True, number: int = 1, changed_at_ms: int = NOW_MS) -> Change:
    return Change(blob_id(number), 9, state, present, 200, changed_at_ms)


@pytest.mark.parametrize(
    ("ours", "differs"),
    [([Sum(1, 1), Sum(2, 2)], []), ([Sum(1, 1), Sum(3, 2)], [1]), ([Sum(1, 2), Sum(2, 3)], [0, 1])],
)
def test_only_what_differs_is_looked_into(ours: list[Sum], differs: list[int]) -> None:
    theirs = [RangeDigest(FIRST_KEY, bytes(15) + b"\1", 1), RangeDigest(MIDDLE, bytes(15) + b"\2", 2)]
    spans = [KeyRange(FIRST_KEY, MIDDLE), KeyRange(MIDDLE, BEHIND_ALL)]
    assert differing(KeyRange(FIRST_KEY, BEHIND_ALL), theirs, ours) == [spans[place] for place in differs]


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (None, change(ALIVE), True),
        (None, change(ALIVE, present=False), True),
        (None, change(DELETED), False),
        (None, change(OVER, present=False, changed_at_ms=1), False),
        (entry(ALIVE), change(ALIVE), False),
        (entry(ALIVE, changed_at_ms=1), change(ALIVE), False),
        (entry(ALIVE), change(DELETED), True),
        (entry(DELETED), change(ALIVE), False),
        (entry(DELETED), change(BlobState(1, False, NEVER_MS)), True),
        (entry(DELETED, present=False), change(BlobState(1, False, NEVER_MS)), True),
        (entry(ALIVE, present=False), change(ALIVE), True),
        (entry(ALIVE, present=False), change(ALIVE, present=False), False),
        (entry(OVER), change(ALIVE), True),
    ],
)
def test_what_is_lacking(ours: IndexEntry | None, theirs: Change, expected: bool) -> None:
    assert lacks(ours, theirs, RETENTION) == expected


@pytest.mark.parametrize(
    ("number", "ours", "purged_lsn", "expected"),
    [
        (NOW_MS - 2 * KEPT_MS, None, 1, True),
        (NOW_MS - 2 * KEPT_MS + 1, None, 1, False),
        (1, None, 0, False),
        (1, entry(ALIVE, present=False), 1, False),
    ],
    ids=["old enough", "its tombstone would be here", "nothing was ever dropped", "it is known"],
)
def test_what_may_have_been_deleted_and_forgotten(
    number: int, ours: IndexEntry | None, purged_lsn: int, expected: bool
) -> None:
    news = change(ALIVE, number=number)
    assert may_be_forgotten(ours, news, RETENTION, now_ms=NOW_MS, purged_lsn=purged_lsn) == expected


def test_complete_is_only_what_lacks_nothing_for_sure() -> None:
    assert Comparison().complete
    for other in (Comparison(undecided="why"), Comparison(lacking=1), Comparison(doubtful=1)):
        assert not other.complete
