from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambry.blob import NEVER_MS, BlobState, DatedState
from ambry.protocol.messages.replication import Change
from datanode.replication.decide import Action, decide, designated, joined_state
from datanode.store.entry import IndexEntry
from datanode.store.retention import Retention
from tests.support.samples import blob_id

NOW = 1_000_000
KEPT_MS = 1_000
RETENTION = Retention(now_ms=NOW, deleted_ms=KEPT_MS, tombstone_ms=KEPT_MS, horizon_lsn=0)
IN_DOUBT = Retention(now_ms=0, deleted_ms=KEPT_MS, tombstone_ms=KEPT_MS, horizon_lsn=0)
LIVE = BlobState(0, False, NEVER_MS)
GONE = BlobState(0, True, NEVER_MS)
BACK = BlobState(1, False, NEVER_MS)
JUST_EXPIRED = BlobState(0, False, NOW - KEPT_MS + 1)
EXPIRED = BlobState(0, False, NOW - KEPT_MS)


def entry(state: BlobState, *, present: bool = True, changed_at_ms: int = 5) -> IndexEntry:
    return IndexEntry(blob_id(1), 5, 1 if present else 0, 64, 200, 100, state, changed_at_ms)


def change(state: BlobState, *, present: bool = True, changed_at_ms: int = 5) -> Change:
    return Change(blob_id(1), 5, state, present, 200, changed_at_ms)


@pytest.mark.parametrize(
    ("mine", "theirs", "action"),
    [
        (None, change(LIVE), Action.FETCH),
        (None, change(GONE), Action.MERGE),
        (None, change(GONE, present=False), Action.MERGE),
        (None, change(LIVE, present=False), Action.MERGE),
        (None, change(JUST_EXPIRED), Action.FETCH),
        (None, change(EXPIRED), Action.MERGE),
        (None, change(EXPIRED, present=False), Action.NOTHING),
        (entry(EXPIRED, present=False), change(EXPIRED), Action.NOTHING),
        (entry(GONE), change(GONE, changed_at_ms=6), Action.MERGE),
        (entry(GONE), change(GONE, changed_at_ms=4), Action.NOTHING),
        (entry(LIVE), change(LIVE, changed_at_ms=6), Action.MERGE),
        (entry(LIVE), change(LIVE), Action.NOTHING),
        (entry(LIVE), change(GONE), Action.MERGE),
        (entry(GONE), change(LIVE), Action.NOTHING),
        (entry(GONE), change(BACK), Action.MERGE),
        (entry(EXPIRED), change(LIVE), Action.MERGE),
        (entry(GONE, present=False), change(LIVE), Action.NOTHING),
        (entry(GONE, present=False), change(BACK), Action.FETCH),
        (entry(GONE, present=False), change(BACK, present=False), Action.MERGE),
        (entry(LIVE, present=False), change(LIVE), Action.FETCH),
        (entry(LIVE, present=False), change(LIVE, present=False), Action.NOTHING),
        (entry(LIVE, present=False), change(GONE), Action.MERGE),
    ],
)
def test_what_is_done_about_a_change(mine: IndexEntry | None, theirs: Change, action: Action) -> None:
    assert decide(mine, theirs, RETENTION) is action


def test_nothing_is_over_while_the_clock_is_in_doubt() -> None:
    """A clock a day ahead made its replica pass over blobs for good, and say later that there were none."""
    assert decide(None, change(EXPIRED), IN_DOUBT) is Action.FETCH
    assert decide(None, change(EXPIRED, present=False), IN_DOUBT) is Action.MERGE


def test_the_later_time_of_the_same_change_is_the_right_one() -> None:
    mine, theirs = entry(GONE, changed_at_ms=7), change(GONE, changed_at_ms=9)
    assert joined_state(mine, theirs.dated) == DatedState(GONE, 9)
    assert joined_state(entry(GONE, changed_at_ms=11), theirs.dated) == DatedState(GONE, 11)
    assert joined_state(None, theirs.dated) == DatedState(GONE, 9)


states = st.builds(BlobState, st.integers(0, 2), st.booleans(), st.sampled_from([EXPIRED.expires_at_ms, NEVER_MS]))
dated = st.builds(DatedState, states, st.integers(1, 3))
replicas = st.one_of(st.none(), st.tuples(dated, st.booleans()))
Replica = tuple[DatedState, bool] | None


def apply(mine: Replica, theirs: Replica) -> Replica:
    """What pulling once does to `mine`."""
    if theirs is None:
        return mine
    own = None if mine is None else entry(mine[0].state, present=mine[1], changed_at_ms=mine[0].changed_at_ms)
    news = change(theirs[0].state, present=theirs[1], changed_at_ms=theirs[0].changed_at_ms)
    action = decide(own, news, RETENTION)
    if action is Action.NOTHING:
        return mine
    return joined_state(own, news.dated), (mine is not None and mine[1]) or action is Action.FETCH


@given(replicas, replicas)
@settings(derandomize=True, max_examples=500)
def test_two_replicas_that_pull_from_each_other_agree(a: Replica, b: Replica) -> None:
    first, second = a, b
    for _ in range(3):
        first, second = apply(first, second), apply(second, first)
    assert apply(first, second) == first
    assert apply(second, first) == second
    known = [item for item in (a, b) if item is not None]
    if not known:
        assert first is None
        assert second is None
        return
    expected = known[0][0]
    for state, _ in known[1:]:
        expected = expected.joined(state)
    dead = RETENTION.state_dead(expected.state, expected.changed_at_ms)
    for replica in (first, second):
        if replica is None:
            # Only what has expired long ago, and whose bytes are nowhere any more, is not taken over at all.
            assert dead
            assert not expected.state.deleted
            assert not any(present for _, present in known)
            continue
        assert replica[0] == expected
        if not dead:
            assert replica[1] == any(present for _, present in known)


@given(st.lists(replicas, min_size=3, max_size=3), st.integers(0, 1000))
@settings(derandomize=True, max_examples=300)
def test_three_replicas_agree_whatever_the_order_of_pulling(start: list[Replica], seed: int) -> None:
    source = random.Random(seed)
    now = list(start)
    for _ in range(60):
        taker, giver = source.sample(range(3), 2)
        now[taker] = apply(now[taker], now[giver])
    live = [item for item in now if item is not None]
    assert len({item[0] for item in live}) <= 1


def test_one_replica_of_a_datacenter_is_designated_and_the_work_is_spread() -> None:
    names = ["c", "a", "b"]
    picks = [designated(names, partition) for partition in range(6)]
    assert picks == ["a", "b", "c", "a", "b", "c"]
    assert designated(list(reversed(names)), 4) == designated(names, 4)
