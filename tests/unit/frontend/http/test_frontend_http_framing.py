"""Where what was read is cut; what is refused is tested over sockets, in test_frontend_http_connections.py."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from ambry.errors import HeadersTooLarge, InvalidRequest, Overloaded
from frontend.http.framing import FRAMING_EXCESS_MAX, SIZE_LINE_MAX, ChunkedBody, next_cut

TRAILER_SIZE_MAX = 20_000


def chunked() -> ChunkedBody:
    return ChunkedBody(TRAILER_SIZE_MAX)


def free(_size: int) -> bool:
    """Memory for whatever trailers there are."""
    return True


def taken(chunks: ChunkedBody, pieces: Iterable[bytes]) -> int:
    """Bytes that came before it had enough, or in all."""
    size = 0
    for piece in pieces:
        size += len(piece)
        chunks.end(piece, free)
        if chunks.error is not None:
            break
    return size


@pytest.mark.parametrize(
    ("data", "cut"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nrest", 27),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", 25),
        # The empty line came in two reads.
        (b"\r\nGET", 2),
        (b"\nGET", 1),
        (b"\n\r\nGET", 1),
        (b"x", 1),
    ],
)
def test_what_was_read_is_cut_behind_the_first_empty_line(data: bytes, cut: int) -> None:
    assert next_cut(data) == cut


@pytest.mark.parametrize(
    "body",
    [
        b"0\r\n\r\n",
        b"000\r\n\r\n",
        b"2\r\nab\r\n0\r\n\r\n",
        # Empty lines within the chunks are content.
        b"A\r\n\r\n\r\n0\r\n\r\n\n\r\n0\r\n\r\n",
        b"00000000000000000002;name=value\r\nab\r\n0;last\r\nX-Trailer: 1\r\n" + b"Long: %s\r\n\r\n" % (b"a" * 200),
    ],
)
def test_a_chunked_body_ends_where_its_chunks_say_however_it_is_read(body: bytes) -> None:
    sent = body + b"GET /\r\n\r\n"
    for size in range(1, len(sent) + 1):
        chunks = chunked()
        end = 0
        while not chunks.ended:
            end += chunks.end(sent[end : end + size], free)
        assert end == len(body), size


def test_a_chunked_body_that_is_malformed_still_comes_to_an_end() -> None:
    chunks = chunked()
    assert chunks.end(b"zz\r\n\r\nGET", free) == 6
    assert chunks.ended


@pytest.mark.parametrize("size", [1, 100, 16 << 10])
def test_trailers_are_taken_up_to_their_bound_and_no_further(size: int) -> None:
    chunks = chunked()
    chunks.end(b"1\r\nx\r\n0\r\n", free)
    came = taken(chunks, (b"x" * size for _ in range(TRAILER_SIZE_MAX + 1)))
    assert isinstance(chunks.error, HeadersTooLarge)
    assert TRAILER_SIZE_MAX < came <= TRAILER_SIZE_MAX + size


def test_long_trailers_take_memory_and_are_refused_where_there_is_none() -> None:
    charged: list[int] = []

    def charge(size: int) -> bool:
        charged.append(size)
        return sum(charged) <= 8_000

    chunks = chunked()
    chunks.end(b"1\r\nx\r\n0\r\nX-Short: 1\r\n", charge)
    assert charged == []
    for _ in range(4):
        chunks.end(b"X-Long: %b\r\n" % (b"a" * 3_990), charge)
    assert charged == [4_000, 4_000, 4_000]
    assert isinstance(chunks.error, Overloaded)


@pytest.mark.parametrize("begin", [b"1;", b"00000", b""])
@pytest.mark.parametrize("size", [1, 100, 16 << 10])
def test_the_line_before_a_chunk_has_a_bound(begin: bytes, size: int) -> None:
    chunks = chunked()
    chunks.end(b"1\r\nx\r\n" + begin, free)
    came = taken(chunks, (b"0" * size for _ in range(2 * SIZE_LINE_MAX)))
    assert isinstance(chunks.error, InvalidRequest)
    assert came <= SIZE_LINE_MAX + size


def test_bytes_around_tiny_chunks_have_a_bound_whatever_content_came_before() -> None:
    chunks = chunked()
    assert taken(chunks, [b"100000\r\n" + b"a" * (1 << 20) + b"\r\n"] * 10) > 10 << 20
    assert chunks.error is None
    came = taken(chunks, (b"1\r\nx\r\n" * 1_000 for _ in range(1_000)))
    assert isinstance(chunks.error, InvalidRequest)
    assert "larger chunks" in chunks.error.message
    assert came <= 6 * (FRAMING_EXCESS_MAX // 4 + 1_000)


def test_short_lines_may_come_in_a_chunk_each_for_ever() -> None:
    chunks = chunked()
    taken(chunks, (b"5\r\nline\n\r\n" * 1_000 for _ in range(200)))
    assert chunks.error is None
