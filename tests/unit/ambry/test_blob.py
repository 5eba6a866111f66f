from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambry.blob import NEVER_MS, BlobProperties, BlobState, ChunkRef, Composite, DatedState, join
from ambry.durability import Durability

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
    assert state.expired(1001)
    assert state.expired(NEVER_MS)
    assert not BlobState(0, False, NEVER_MS).expired(NEVER_MS - 1)


@pytest.mark.parametrize("bad", [[-1, False, 0], [1 << 32, False, 0], [0, False, -1], [0, False, 1 << 63]])
def test_a_state_that_no_record_can_hold_is_refused_where_it_is_decoded(bad: list[int]) -> None:
    """Such a state used to reach the log, where encoding it failed a whole batch and fenced the replica."""
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(bad), type=BlobState)
    top = [0xFFFFFFFF, True, NEVER_MS]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(top), type=BlobState) == BlobState(0xFFFFFFFF, True, NEVER_MS)


def test_a_blob_that_nobody_saw_has_the_least_state() -> None:
    assert (BlobState().life_version, BlobState().deleted, BlobState().expires_at_ms) == (0, False, 0)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode([0, False, 0]), type=BlobState) == BlobState()


def test_what_was_not_said_about_a_blob_takes_no_bytes_and_is_read_as_ever() -> None:
    """Defaults are left out of the record, so another default would change what is read from every record there is."""
    section = msgspec.msgpack.encode(BlobProperties(size=1, digest=b""))
    assert section.hex() == "82a473697a6501a6646967657374c400"
    assert msgspec.structs.asdict(msgspec.msgpack.decode(section, type=BlobProperties)) == {
        "size": 1,
        "digest": b"",
        "content_type": "application/octet-stream",
        "service_id": "",
        "owner_id": "",
        "content_encoding": "",
        "filename": "",
        "private": False,
        "parent": b"",
        "chunk_index": 0,
        "keep_s": 0,
        "parts": 0,
        "bound_until_ms": 0,
    }


def test_a_stronger_durability_is_a_larger_number() -> None:
    assert [(each.name, each.value) for each in Durability] == [("MEMORY", 1), ("DISK", 2), ("GEO", 3)]


@pytest.mark.parametrize(
    "value",
    [
        BlobState(),
        BlobProperties(size=1, digest=b""),
        ChunkRef(b"i" * 36, 1, b"d" * 16),
        Composite(total_size=0, chunks=()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_known_of_a_blob_is_replaced_and_never_changed(value: msgspec.Struct) -> None:
    for field in value.__struct_fields__:
        with pytest.raises(AttributeError, match="immutable"):
            setattr(value, field, getattr(value, field))


def test_a_state_and_its_time_join_each_for_itself() -> None:
    early = DatedState(BlobState(1, False, 50), 7)
    late = DatedState(BlobState(0, True, 90), 9)
    assert early.joined(late) == late.joined(early) == DatedState(BlobState(1, False, 90), 9)
