from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambry.blob import NEVER_MS, BlobState, join

# Small numbers, so that equal life versions and equal times are common.
states = st.builds(BlobState, st.integers(0, 3), st.booleans(), st.one_of(st.integers(0, 3), st.just(NEVER_MS)))


@given(states, states)
@settings(derandomize=True, max_examples=300)
def test_join_does_not_depend_on_order(a: BlobState, b: BlobState) -> None:
    assert join(a, b) == join(b, a)


@given(states, states, states)
@settings(derandomize=True, max_examples=500)
def test_join_does_not_depend_on_grouping(a: BlobState, b: BlobState, c: BlobState) -> None:
    assert join(join(a, b), c) == join(a, join(b, c))


@given(states, states)
@settings(derandomize=True, max_examples=300)
def test_join_again_changes_nothing(a: BlobState, b: BlobState) -> None:
    assert join(a, a) == a
    assert join(join(a, b), b) == join(a, b)
    assert join(a, BlobState()) == a


@pytest.mark.parametrize(
    ("a", "b", "joined"),
    [
        (BlobState(0, False, 5), BlobState(0, True, 5), BlobState(0, True, 5)),  # delete wins
        (BlobState(0, True, 5), BlobState(1, False, 5), BlobState(1, False, 5)),  # undelete is the next life
        (BlobState(1, False, 5), BlobState(0, True, 9), BlobState(1, False, 9)),  # a late delete of an old life
        (BlobState(1, True, 5), BlobState(1, False, 7), BlobState(1, True, 7)),  # TTL counts on a deleted blob too
        (BlobState(0, False, 5), BlobState(0, False, 3), BlobState(0, False, 5)),  # TTL never shrinks
        (BlobState(0, False, NEVER_MS), BlobState(0, False, 9), BlobState(0, False, NEVER_MS)),  # permanence is the top
    ],
)
def test_join_by_example(a: BlobState, b: BlobState, joined: BlobState) -> None:
    assert join(a, b) == joined
    assert join(b, a) == joined


def test_a_blob_expires_at_its_time() -> None:
    state = BlobState(0, False, 1000)
    assert not state.expired(999)
    assert state.expired(1000)
    assert not BlobState(0, False, NEVER_MS).expired(NEVER_MS - 1)


@pytest.mark.parametrize("bad", [[-1, False, 0], [1 << 32, False, 0], [0, False, -1], [0, False, 1 << 63]])
def test_a_state_that_no_record_can_hold_is_refused_where_it_is_decoded(bad: list[int]) -> None:
    """Such a state used to reach the log, where encoding it failed a whole batch and fenced the replica."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(bad), type=BlobState)
    top = [0xFFFFFFFF, True, NEVER_MS]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(top), type=BlobState) == BlobState(0xFFFFFFFF, True, NEVER_MS)
