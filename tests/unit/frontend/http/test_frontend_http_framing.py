"""Where what was read is cut; what is refused is tested over sockets, in test_frontend_http_connections.py."""

from __future__ import annotations

import pytest

from frontend.http.framing import ChunkedBody, next_cut, request_line


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


def test_the_request_line_is_the_first_that_is_not_empty() -> None:
    assert request_line(b"\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n") == b"GET / HTTP/1.1"


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
        chunks = ChunkedBody()
        end = 0
        while not chunks.ended:
            end += chunks.end(sent[end : end + size])
        assert end == len(body), size


def test_a_chunked_body_that_is_malformed_still_comes_to_an_end() -> None:
    chunks = ChunkedBody()
    assert chunks.end(b"zz\r\n\r\nGET") == 6
    assert chunks.ended
