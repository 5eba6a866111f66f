"""Where what was read is cut; what is refused is tested over sockets, in test_frontend_http_connections.py."""

from __future__ import annotations

import pytest

from frontend.http.framing import next_cut, request_line


@pytest.mark.parametrize(
    ("data", "cut"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\nrest", 27),
        (b"GET / HTTP/1.1\r\nHost: x\r\n", 25),
        (b"2\r\nab\r\n0\r\n\r\nGET", 12),
        (b"0\r\nA: 1\r\n\r\nGET", 11),
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
