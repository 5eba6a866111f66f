from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambry.blob import NEVER_MS, BlobState, join
from ambry.protocol.messages.replication import Change
from datanode.replication.decide import EXPIRY_GRACE_MS, Action, decide, designated, joined_state
from datanode.store.entry import IndexEntry
from tests.support.samples import blob_id

NOW = 10 * EXPIRY_GRACE_MS
LIVE = BlobState(0, False, NEVER_MS)
GONE = BlobState(0, True, NEVER_MS)
BACK = BlobState(1, False, NEVER_MS)
JUST_EXPIRED = BlobState(0, False, NOW - EXPIRY_GRACE_MS + 1)
EXPIRED = BlobState(0, False, NOW - EXPIRY_GRACE_MS)


def entry(state: BlobState, *, present: bool = True) -> IndexEntry:
    return IndexEntry(blob_id(1), 5, 1 if present else 0, 64, 200, 100, state, 0)


def change(state: BlobState, *, present: bool = True) -> Change:
    return Change(blob_id(1), 5, state, present, 200)


@pytest.mark.parametrize(
    ("mine", "theirs", "action"),
    [
        (None, change(LIVE), Action.FETCH),
        (None, change(GONE), Action.MERGE),
        (None, change(GONE, present=False), Action.MERGE),
        (None, change(LIVE, present=False), Action.MERGE),
        (None, change(JUST_EXPIRED), Action.FETCH),
        (None, change(EXPIRED), Action.NOTHING),
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
    assert decide(mine, theirs, NOW) is action


states = st.builds(BlobState, st.integers(0, 2), st.booleans(), st.sampled_from([EXPIRED.expires_at_ms, NEVER_MS]))
replicas = st.one_of(st.none(), st.tuples(states, st.booleans()))
Replica = tuple[BlobState, bool] | None


def apply(mine: Replica, theirs: Replica) -> Replica:
    """What pulling once does to `mine`."""
    if theirs is None:
        return mine
    own = None if mine is None else entry(mine[0], present=mine[1])
    news = change(theirs[0], present=theirs[1])
    action = decide(own, news, NOW)
    if action is Action.NOTHING:
        return mine
    return joined_state(own, news), (mine is not None and mine[1]) or action is Action.FETCH


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
        expected = join(expected, state)
    gone = expected.deleted or expected.expired(NOW - EXPIRY_GRACE_MS)
    for replica in (first, second):
        if replica is None:
            # Only what has expired long ago is not taken over at all.
            assert expected.expired(NOW - EXPIRY_GRACE_MS)
            assert not expected.deleted
            continue
        assert replica[0] == expected
        if not gone:
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
