"""Tokens of the change feed: what they hold, how large they are, and what is refused."""

from __future__ import annotations

import base64
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambry.checksum import xxh64
from ambry.client.changes import TOKEN_SIZE_MAX
from ambry.errors import InvalidRequest, NotSupported
from ambry.protocol.messages.feed import FeedPlace
from frontend.feed.token import BEGINNING, TOKEN_TEXT_MAX, PartitionPosition, Position, TokenCodec
from frontend.metadata.store import LogCursor, Stamp

CODEC = TokenCodec("test")
CONTAINER = bytes([0, 0, 0, 1, 0, 0, 0, 2])
STORE = b"s" * 16
LSN_MAX = (1 << 63) - 1

places = st.builds(FeedPlace, st.binary(min_size=4, max_size=4), st.integers(0, LSN_MAX))
positions = st.builds(
    Position,
    st.lists(
        st.builds(
            LogCursor,
            st.binary(min_size=16, max_size=16),
            st.integers(0, (1 << 62) - 1),
            st.builds(Stamp, st.integers(0, (1 << 62) - 1), st.integers(0, 0xFFFF)),
        ),
        max_size=4,
    ).map(tuple),
    st.dictionaries(
        st.integers(0, (1 << 32) - 1),
        st.builds(
            PartitionPosition,
            st.lists(places, min_size=1, max_size=6).map(tuple),
            st.integers(0, LSN_MAX),
            st.integers(0, LSN_MAX),
        ),
        max_size=20,
    ),
)


def rounded(position: Position) -> Position:
    """With the places of further replicas as a token holds them, and how far it is behind."""
    return Position(
        position.logs,
        {
            number: PartitionPosition(
                (each.places[0], *(FeedPlace(place.tag, place.lsn >> 16 << 16) for place in each.places[1:])),
                each.floor,
                min((each.behind + 0xFFFF) >> 16 << 16, each.places[0].lsn),
            )
            for number, each in position.partitions.items()
        },
    )


@given(positions)
@settings(deadline=None)
def test_a_token_holds_the_position_and_of_further_replicas_no_later_places(position: Position) -> None:
    token = CODEC.encode(CONTAINER, position)
    assert CODEC.decode(CONTAINER, token) == rounded(position)
    assert len(token) <= TOKEN_TEXT_MAX


def test_the_bytes_of_a_token() -> None:
    position = Position(
        (LogCursor(STORE, 300, Stamp(5, 2)),),
        {
            0: PartitionPosition((FeedPlace(b"\x01abc", 128), FeedPlace(b"\x02efg", 0x2FFFF)), 7),
            1: PartitionPosition((FeedPlace(b"\x03abc", 0x30000),), 0, 0x10001),
            3: PartitionPosition(()),
        },
    )
    body = (
        b"\x01" + (xxh64(b"test") & 0xFFFF_FFFF).to_bytes(4, "big") + CONTAINER
        + b"\x01" + STORE + b"\xac\x02" + bytes(7) + b"\x05\x02"
        + b"\x03"
        + b"\x42\x07" + b"\x01abc\x80\x01" + b"\x02efg\x02"
        + b"\x81\x02" + b"\x03abc\x80\x80\x0c"
        + b"\x20\x01"
    )  # fmt: skip
    expected = body + (xxh64(body) & 0xFFFF_FFFF).to_bytes(4, "big")
    assert base64.urlsafe_b64decode(CODEC.encode(CONTAINER, position) + "==") == expected


def cluster_of(partitions: int, replicas: int) -> Position:
    source = random.Random(1)
    return Position(
        (LogCursor(STORE, 10**9, Stamp(1 << 60, 1)),),
        {
            number: PartitionPosition(
                tuple(FeedPlace(source.randbytes(4), source.randrange(1 << 42)) for _ in range(replicas))
            )
            for number in range(partitions)
        },
    )


@pytest.mark.parametrize(("partitions", "kept"), [(8, 6 * 8), (128, 6 * 128), (1_000, 1_050)])
def test_places_of_further_replicas_are_left_out_where_there_are_too_many(partitions: int, kept: int) -> None:
    position = cluster_of(partitions, 6)
    token = CODEC.encode(CONTAINER, position)
    print(f"{partitions} partitions: {len(token)} characters")
    assert len(token) <= TOKEN_TEXT_MAX == TOKEN_SIZE_MAX < 16 << 10
    found = CODEC.decode(CONTAINER, token).partitions
    assert [each.places[0] for each in found.values()] == [each.places[0] for each in position.partitions.values()]
    assert sum(len(each.places) for each in found.values()) >= kept


def begun(partitions: int, log_bytes: int, told_bytes: int) -> Position:
    """Logs that are read from their beginning."""
    source = random.Random(1)
    places = [FeedPlace(source.randbytes(4), told_bytes) for _ in range(partitions)]
    return Position((), {number: PartitionPosition((place,), log_bytes) for number, place in enumerate(places)})


def test_while_logs_are_read_from_their_beginning_the_token_is_taken_again_all_the_way() -> None:
    for told_bytes in (0, (1 << 41) - 1):
        position = begun(700, 1 << 41, told_bytes)
        token = CODEC.encode(CONTAINER, position)
        assert len(token) <= TOKEN_TEXT_MAX
        assert CODEC.decode(CONTAINER, token) == position


@pytest.mark.parametrize("told_bytes", [0, (1 << 41) - 1])
def test_where_a_token_would_be_too_long_to_be_taken_that_is_said_at_once(told_bytes: int) -> None:
    """With a second number of each of 1,000 large logs it was told and refused when it came back."""
    with pytest.raises(NotSupported, match="follow from now on"):
        CODEC.encode(CONTAINER, begun(1_000, 1 << 41, told_bytes))


@given(positions, st.integers(0), st.integers(0, 7))
@settings(deadline=None)
def test_a_token_with_a_bit_flipped_is_refused(position: Position, at: int, bit: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(CODEC.encode(CONTAINER, position) + "=="))
    raw[at % len(raw)] ^= 1 << bit
    with pytest.raises(InvalidRequest):
        CODEC.decode(CONTAINER, base64.urlsafe_b64encode(raw).decode().rstrip("="))


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_what_has_a_right_checksum_and_is_no_token_is_refused_or_whole(rest: bytes) -> None:
    head = base64.urlsafe_b64decode(CODEC.encode(CONTAINER, BEGINNING) + "==")[:13]
    raw = head + rest
    raw += (xxh64(raw) & 0xFFFF_FFFF).to_bytes(4, "big")
    try:
        found = CODEC.decode(CONTAINER, base64.urlsafe_b64encode(raw).decode().rstrip("="))
    except InvalidRequest:
        return
    CODEC.encode(CONTAINER, found)


@pytest.mark.parametrize(
    ("token", "says"),
    [
        ("", "none"),
        ("x", "none"),
        ("!" * 40, "none"),
        ("é" * 40, "none"),
        ("A" * (TOKEN_TEXT_MAX + 1), "none"),
        (CODEC.encode(CONTAINER, BEGINNING)[:-1], "none"),
        (TokenCodec("other").encode(CONTAINER, BEGINNING), "another cluster"),
        (CODEC.encode(bytes(8), BEGINNING), "another container"),
    ],
)
def test_what_is_no_token_of_this_cluster_and_container_is_refused_with_a_sentence(token: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        CODEC.decode(CONTAINER, token)


def test_a_cluster_with_too_many_partitions_for_a_token_is_told_so() -> None:
    with pytest.raises(NotSupported, match="1000 partitions"):
        CODEC.encode(CONTAINER, cluster_of(1_001, 1))


def test_a_token_of_a_newer_release_is_refused() -> None:
    raw = b"\x02" + bytes(20)
    raw += (xxh64(raw) & 0xFFFF_FFFF).to_bytes(4, "big")
    with pytest.raises(InvalidRequest, match="newer release"):
        CODEC.decode(CONTAINER, base64.urlsafe_b64encode(raw).decode().rstrip("="))
