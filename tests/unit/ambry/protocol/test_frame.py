from __future__ import annotations

import pytest

from ambry.checksum import block_checks
from ambry.errors import ProtocolViolation
from ambry.protocol.frame import (
    BODY_SIZE_MAX,
    FLAG_ERROR,
    FLAG_REPLY,
    HEADER_SIZE_MAX,
    PREFIX_SIZE,
    SENT_MASK,
    Frame,
    MessageType,
    decode_prefix,
    encode_head,
)

GOLDEN = (
    "a3bc010401000000000003e8000000030000000400000000"
    + "0000000000000007"
    + "c1783f60e16bada4"
    + "686472"
    + "84f2c8ee187fe1fa"
)


def test_the_bytes_of_a_frame_never_change() -> None:
    assert encode_head(MessageType.GET, 7, b"hdr", b"body", flags=FLAG_REPLY, timeout_ms=1000).hex() == GOLDEN


def test_a_prefix_is_read_back() -> None:
    head = encode_head(MessageType.GET, 7, b"hdr", b"body", flags=FLAG_REPLY, timeout_ms=1000, sent_ms=SENT_MASK)
    prefix = decode_prefix(b"before" + head, 6)
    assert (prefix.type, prefix.flags, prefix.timeout_ms, prefix.correlation) == (MessageType.GET, FLAG_REPLY, 1000, 7)
    assert prefix.sent_ms == SENT_MASK
    assert (prefix.header_size, prefix.body_size, prefix.checks_size) == (3, 4, 8)
    assert prefix.checksum == int.from_bytes(head[32:PREFIX_SIZE], "big")


def test_checks_that_are_given_are_not_computed_again() -> None:
    body = b"x" * 100
    assert encode_head(MessageType.PUT, 1, b"", body, block_checks(body)) == encode_head(MessageType.PUT, 1, b"", body)
    assert encode_head(MessageType.PUT, 1, b"", body, b"garbage!").endswith(b"garbage!")


@pytest.mark.parametrize("offset", [0, 1, 2])
def test_what_is_not_ours_is_refused(offset: int) -> None:
    head = bytearray(encode_head(MessageType.GET, 7, b""))
    head[offset] ^= 0x40
    with pytest.raises(ProtocolViolation):
        decode_prefix(head, 0)


def test_types_and_flags_of_a_later_release_are_let_through() -> None:
    """A type that was not known ended the connection and every call on it."""
    prefix = decode_prefix(encode_head(255, 7, b"hdr", flags=0xFF), 0)
    assert (prefix.type, prefix.flags, prefix.correlation) == (255, 0xFF, 7)


@pytest.mark.parametrize(("offset", "bound"), [(12, HEADER_SIZE_MAX), (16, BODY_SIZE_MAX)])
def test_a_size_beyond_the_bounds_is_refused(offset: int, bound: int) -> None:
    head = bytearray(encode_head(MessageType.GET, 7, b""))
    head[offset : offset + 4] = bound.to_bytes(4, "big")
    decode_prefix(head, 0)
    head[offset : offset + 4] = (bound + 1).to_bytes(4, "big")
    with pytest.raises(ProtocolViolation, match="out of bounds"):
        decode_prefix(head, 0)


def test_nothing_oversize_is_sent() -> None:
    with pytest.raises(ProtocolViolation, match="exceeds"):
        encode_head(MessageType.GET, 1, bytes(HEADER_SIZE_MAX + 1))
    with pytest.raises(ProtocolViolation, match="exceeds"):
        encode_head(MessageType.GET, 1, b"", memoryview(bytes(BODY_SIZE_MAX + 1)), b"")


def test_flags_say_what_a_frame_is() -> None:
    request = Frame(MessageType.GET, 0, 0, 1, b"", b"", b"")
    reply = Frame(MessageType.GET, FLAG_REPLY, 0, 1, b"", b"", b"")
    error = Frame(MessageType.GET, FLAG_REPLY | FLAG_ERROR, 0, 1, b"", b"", b"")
    assert [(bool(item.flags & FLAG_REPLY), bool(item.flags & FLAG_ERROR)) for item in (request, reply, error)] == [
        (False, False),
        (True, False),
        (True, True),
    ]
