"""Frames out of a byte stream: however the stream is cut up, the same frames come out, or none."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambry.checksum import BLOCK_SIZE
from ambry.errors import ProtocolViolation
from ambry.protocol.frame import (
    BODY_SIZE_MAX,
    BUFFER_SIZE,
    FLAG_DAMAGED,
    FLAG_REPLY,
    Frame,
    FrameDecoder,
    MessageType,
    Prefix,
    encode_head,
)

Parts = tuple[int, int, bytes, bytes]


def wire(frames: Iterable[Parts]) -> bytes:
    return b"".join(
        encode_head(type, correlation, header, body, timeout_ms=5) + body for type, correlation, header, body in frames
    )


def feed(decoder: FrameDecoder, data: bytes, cuts: Iterable[int]) -> list[Parts]:
    """Give `data` in pieces of at most the sizes in `cuts` (then all of the rest), as a socket would."""
    frames = received(decoder, data, cuts)
    return [(frame.type, frame.correlation, frame.header, bytes(frame.body)) for frame in frames]


def received(decoder: FrameDecoder, data: bytes, cuts: Iterable[int]) -> list[Frame]:
    """As `feed`."""
    got: list[Frame] = []
    at = 0
    sizes = iter(cuts)
    while at < len(data):
        buffer = decoder.room
        assert len(buffer) > 0, "asyncio gives up on an empty buffer"
        count = min(len(buffer), len(data) - at, max(1, next(sizes, len(data))))
        buffer[:count] = data[at : at + count]
        at += count
        got += decoder.received(count)
    return got


SMALL: list[Parts] = [
    (MessageType.PING, 1, b"", b""),
    (MessageType.PUT, 2, b"header", b"body"),
    (MessageType.GET, (1 << 64) - 1, b"h" * 300, b""),
    (MessageType.CHANGES, 4, b"", b"b" * 700),
]
SIZES = [0, 1, 100, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, BUFFER_SIZE - 1, BUFFER_SIZE, BUFFER_SIZE + 1, 400_000]
SOURCE = random.Random(1).randbytes(500_000)


@pytest.mark.parametrize("cut", range(1, len(wire(SMALL))))
def test_a_stream_cut_once_anywhere_gives_the_same_frames(cut: int) -> None:
    assert feed(FrameDecoder(), wire(SMALL), [cut]) == SMALL


@pytest.mark.parametrize("size", [1, 2, 3, 7, 40, 41, 1000])
def test_a_stream_in_drops_gives_the_same_frames(size: int) -> None:
    data = wire(SMALL)
    assert feed(FrameDecoder(), data, [size] * len(data)) == SMALL


@given(
    st.lists(st.tuples(st.sampled_from(SIZES), st.sampled_from(SIZES)), min_size=1, max_size=5),
    st.lists(st.integers(1, 200_000), max_size=30),
)
@settings(derandomize=True, max_examples=80)
def test_any_split_gives_the_same_frames_with_large_headers_and_bodies(
    sizes: list[tuple[int, int]], cuts: list[int]
) -> None:
    frames: list[Parts] = [
        (MessageType.PUT, number, SOURCE[:header], SOURCE[number : number + body])
        for number, (header, body) in enumerate(sizes)
    ]
    assert feed(FrameDecoder(), wire(frames), cuts) == frames


@pytest.mark.parametrize("size", [10, BUFFER_SIZE - 60, BUFFER_SIZE, 3 * BUFFER_SIZE])
def test_the_connection_goes_on_after_a_frame_of_any_size(size: int) -> None:
    decoder = FrameDecoder()
    frames: list[Parts] = [(MessageType.PUT, 1, SOURCE[:size], b""), *SMALL, (MessageType.PUT, 9, b"", SOURCE[:size])]
    for _ in range(3):
        assert feed(decoder, wire(frames), [30_000] * 1000) == frames


@pytest.mark.parametrize("place", range(len(wire(SMALL[1:2]))))
def test_a_flipped_bit_never_gives_a_frame(place: int) -> None:
    data = wire(SMALL[1:2])
    for bit in range(8):
        damaged = bytearray(data)
        damaged[place] ^= 1 << bit
        try:
            assert feed(FrameDecoder(), bytes(damaged), []) == []  # it waits for more: a size was damaged
        except ProtocolViolation:
            continue


def test_a_damaged_large_body_is_noticed() -> None:
    data = bytearray(wire([(MessageType.PUT, 1, b"", SOURCE)]))
    data[-1] ^= 1
    with pytest.raises(ProtocolViolation, match="body"):
        feed(FrameDecoder(), bytes(data), [1000] * 1000)


@pytest.mark.parametrize("size", [5, len(SOURCE)])
def test_a_damaged_body_of_a_reply_is_told_and_not_handed_on(size: int) -> None:
    """A node need not verify what it sends. The connection was closed for it, and every call on it failed."""
    replies = [encode_head(MessageType.GET, number, b"h", SOURCE[:size], flags=FLAG_REPLY) for number in (1, 2)]
    data = bytearray(replies[0] + SOURCE[:size] + replies[1] + SOURCE[:size])
    data[len(replies[0]) + size // 2] ^= 1
    frames = received(FrameDecoder(), bytes(data), [1000] * 1000)
    assert [(frame.correlation, frame.flags, bytes(frame.body)) for frame in frames] == [
        (1, FLAG_REPLY | FLAG_DAMAGED, b""),
        (2, FLAG_REPLY, SOURCE[:size]),
    ]


def test_a_damaged_size_waits_for_no_body_of_gigabytes() -> None:
    data = bytearray(wire([(MessageType.PUT, 1, b"h", b"b")]))
    data[16:20] = BODY_SIZE_MAX.to_bytes(4, "big")
    data += bytes(2 * 8192)  # so that as many checks as the lie asks for are there
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolViolation, match="header"):
            feed(FrameDecoder(), bytes(data), [])
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@given(st.binary(min_size=40, max_size=400))
@settings(derandomize=True)
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        feed(FrameDecoder(), data, [])


def test_another_protocol_is_refused() -> None:
    for greeting in (b"GET / HTTP/1.1\r\nHost: example.com\r\nAccept: */*\r\n\r\n", b"\x16\x03\x01" + bytes(200)):
        with pytest.raises(ProtocolViolation):
            feed(FrameDecoder(), greeting, [])


def test_a_body_belongs_to_its_receiver() -> None:
    decoder = FrameDecoder()
    got: list[bytes | bytearray | memoryview] = []
    for body in (b"first" * 10, b"other" * 10):
        data = wire([(MessageType.PUT, 1, b"", body)])
        decoder.room[: len(data)] = data
        got += [frame.body for frame in decoder.received(len(data))]
    assert [bytes(body) for body in got] == [b"first" * 10, b"other" * 10]


# --- what is refused, and what one that waits holds ---


def test_decoders_of_one_loop_share_where_bytes_come_in_and_hold_only_what_is_theirs() -> None:
    """Every connection had 128 KiB of its own: 1,500 that said nothing took 176 MB."""
    scratch = memoryview(bytearray(BUFFER_SIZE))
    tracemalloc.start()
    try:
        decoders = [FrameDecoder(scratch=scratch) for _ in range(100)]
        for decoder in decoders:
            assert feed(decoder, wire(SMALL), [100] * 100) == SMALL
        assert tracemalloc.get_traced_memory()[0] < 100 << 10
    finally:
        tracemalloc.stop()
    assert all(decoder.room is scratch for decoder in decoders)


@pytest.mark.parametrize("cut", [1, 39, 41, 60, 400])
def test_parts_of_frames_do_not_mix_though_their_bytes_come_into_one_memory(cut: int) -> None:
    scratch = memoryview(bytearray(BUFFER_SIZE))
    first, second = FrameDecoder(scratch=scratch), FrameDecoder(scratch=scratch)
    data, other = wire(SMALL), wire(reversed(SMALL))
    got, got_other = feed(first, data[:cut], []), feed(second, other[:cut], [])
    got += feed(first, data[cut:], [])
    got_other += feed(second, other[cut:], [])
    assert got == SMALL
    assert got_other == SMALL[::-1]


@pytest.mark.parametrize("size", [1, 7, 1000, BUFFER_SIZE, 200_000])
def test_a_body_that_is_refused_is_passed_over_and_takes_no_memory(size: int) -> None:
    asked: list[tuple[int, int]] = []

    def admit(prefix: Prefix | None, wanted: int) -> bool:
        assert prefix is not None
        asked.append((prefix.correlation, wanted))
        return prefix.correlation != 7

    decoder = FrameDecoder(admit=admit)
    large, refused = (MessageType.PUT, 6, b"h", SOURCE[:150_000]), (MessageType.PUT, 7, b"h", SOURCE[:150_000])
    sent = [*SMALL, large, refused, *SMALL, refused, large, *SMALL]
    expected = [*SMALL, large, *SMALL, large, *SMALL]
    most = 0
    data = wire(sent)
    got: list[Parts] = []
    for at in range(0, len(data), size):
        got += feed(decoder, data[at : at + size], [])
        most = max(most, decoder.taken if asked and asked[-1][0] == 7 else 0)
    assert got == expected
    assert most == 0
    # In pieces, every large body is asked for; one that is in one piece with its head is here before anybody can.
    assert {wanted for number, wanted in asked if number in (6, 7)} <= {150_000}
    assert decoder.taken == decoder.awaited == 0


@pytest.mark.parametrize("size", [1000, 30_000, BUFFER_SIZE])
def test_what_is_awaited_shrinks_by_what_came_from_the_head_into_the_body(size: int) -> None:
    """Of a large head only the rest of the head counted; so when its body began, more was missing, and a peer that had sent all
    the while was cut off for making no progress."""
    decoder = FrameDecoder()
    data = wire([(MessageType.PUT, 1, SOURCE[:200_000], SOURCE[:400_000])])
    seen = []
    for at in range(0, len(data) - size, size):
        assert feed(decoder, data[at : at + size], []) == []
        seen.append(decoder.awaited == len(data) - at - size)
    assert all(seen)


def test_a_head_that_is_refused_ends_the_connection() -> None:
    decoder = FrameDecoder(admit=lambda prefix, size: prefix is not None or size < 100_000)
    frames: list[Parts] = [(MessageType.CHANGES, 1, SOURCE[:90_000], b"")]
    assert feed(decoder, wire(frames), [1000] * 1000) == frames
    with pytest.raises(ProtocolViolation, match="no room for a head of 200040 bytes"):
        feed(decoder, wire([(MessageType.CHANGES, 1, SOURCE[:200_000], b"")]), [1000] * 1000)


def test_memory_of_large_frames_is_told_while_they_come() -> None:
    decoder = FrameDecoder()
    data = wire([(MessageType.CHANGES, 1, SOURCE[:20_000], b""), (MessageType.PUT, 2, b"h", SOURCE[:150_000])])
    told: list[int] = []
    for byte in range(0, len(data), 5_000):
        feed(decoder, data[byte : byte + 5_000], [])
        told.append(decoder.taken)
    assert told == [20_040] * 4 + [150_000] * (len(told) - 5) + [0]
