"""Heads as bytes: what is sent, what is understood, and what is refused because two readers could understand it in two ways."""

from __future__ import annotations

import pytest

from ambry.client.wire.head import (
    AnswerHead,
    NotHttp,
    may_be_http,
    parse_chunk_size,
    parse_head,
    request_head,
)


def test_a_request_begins_with_its_line_and_host() -> None:
    head = request_head("GET", "/a%20b", "store:17100", {"range": "bytes=0-1", "x-ambry-um-n": "ü"})
    assert head == "GET /a%20b HTTP/1.1\r\nhost: store:17100\r\nrange: bytes=0-1\r\nx-ambry-um-n: ü\r\n\r\n".encode()


@pytest.mark.parametrize("hidden", ["a\r\nx-evil: 1", "a\nb", "a\rb", "a\0b"])
def test_nothing_hides_a_line_in_a_request(hidden: str) -> None:
    for target, fields in (
        (f"/{hidden}", {}),
        ("/a HTTP/1.1", {}),
        ("/", {"x-ambry-um-n": hidden}),
        ("/", {f"x-{hidden}": "1"}),
    ):
        with pytest.raises(ValueError, match="in the head of GET"):
            request_head("GET", target, "store", fields)


def test_an_answer_is_read_as_it_was_meant() -> None:
    said = (
        "HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\nX-Ambry-Um-N:ü\r\n"
        "Vary: a\r\nvary:\tb \r\nX-Empty:\r\nConnection: Close"
    )
    headers = {
        "content-length": "5",
        "x-ambry-um-n": "ü",
        "vary": "a, b",
        "x-empty": "",
        "connection": "Close",
    }
    assert parse_head(said.encode(), "GET") == AnswerHead(
        206, "Partial Content", headers, 5, chunked=False, closes=True
    )


@pytest.mark.parametrize(
    ("method", "said", "ends"),
    [
        ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 7", (7, False, False)),
        ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 7, 7", (7, False, False)),
        ("GET", b"HTTP/1.1 200", (None, False, True)),
        ("GET", b"HTTP/1.1 200 \r\ntransfer-encoding: Chunked", (None, True, False)),
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 7", (0, False, False)),
        ("HEAD", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked", (0, False, False)),
        ("GET", b"HTTP/1.1 204 No Content\r\ncontent-length: 7", (0, False, False)),
        ("GET", b"HTTP/1.1 304 Not Modified", (0, False, False)),
        ("GET", b"HTTP/1.1 100 Continue", (0, False, False)),
        ("GET", b"HTTP/1.0 200 OK\r\ncontent-length: 7", (7, False, True)),
        ("GET", b"HTTP/1.0 200 OK\r\ncontent-length: 7\r\nconnection: keep-alive", (7, False, False)),
        ("GET", b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: x, close", (7, False, True)),
    ],
)
def test_where_an_answer_ends(method: str, said: bytes, ends: tuple[int | None, bool, bool]) -> None:
    head = parse_head(said, method)
    assert (head.length, head.chunked, head.closes) == ends


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2",
        b"HTTP/2 200",
        b"HTTP/1.1 20 OK",
        b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 200 OK\nx: y",
        b"HTTP/1.1 200 OK\r\nx",
        b"HTTP/1.1 200 OK\r\n: y",
        b"HTTP/1.1 200 OK\r\nx : y",
        b"HTTP/1.1 200 OK\r\nx: y\r\n folded: z",
        b"HTTP/1.1 200 OK\r\nx: y\nz: a",
        b"HTTP/1.1 200 OK\r\nx: y\rz: a",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5, 6",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nContent-Length: 6",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1",
        b"HTTP/1.1 200 OK\r\ncontent-length: +1",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1_0",
        b"HTTP/1.1 200 OK\r\ncontent-length: ",
        "HTTP/1.1 200 OK\r\ncontent-length: \u0661".encode(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked",
    ],
)
def test_what_can_be_understood_in_two_ways_is_refused(said: bytes) -> None:
    with pytest.raises(NotHttp):
        parse_head(said, "GET")


def test_what_is_not_http_is_known_by_its_first_bytes() -> None:
    assert all(may_be_http(b"HTTP/1.1 200 OK"[:size]) for size in range(16))
    assert not any(may_be_http(start) for start in (b"S", b"HTTP/2", b"\x15\x03\x01", b"\r", b"HTTP/1,"))


def test_the_size_of_a_chunk() -> None:
    assert [parse_chunk_size(line) for line in (b"0\r\n", b"1f\r\n", b"1F;name=value\r\n", b"a \r\n")] == [
        0,
        31,
        31,
        10,
    ]
    for line in (b"\r\n", b"-1\r\n", b"0x1\r\n", b"1\n", b"g\r\n", b"1 2\r\n", b"f" * 17 + b"\r\n", b" 1\r\n"):
        with pytest.raises(NotHttp, match="stands where the size of a chunk belongs"):
            parse_chunk_size(line)
