"""Reading HTTP answers, however the bytes are cut."""

from __future__ import annotations

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from tests.bench.response import BadResponse, ResponseReader, header, parse_head

BODY = bytes(range(256)) * 3
ANSWER = b"HTTP/1.1 201 Created\r\nLocation: /AAEc\r\ncontent-LENGTH:  768\r\nServer: x\r\n\r\n" + BODY
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def feed(reader: ResponseReader, data: bytes) -> bool:
    """Hand over `data` as the event loop does: in pieces that fit the buffer."""
    done = False
    while data:
        buffer = reader.buffer()
        count = min(len(buffer), len(data))
        buffer[:count] = data[:count]
        done = reader.received(count)
        data = data[count:]
    return done


@given(st.lists(st.integers(1, len(ANSWER) - 1), unique=True).map(sorted))
def test_an_answer_cut_anywhere_is_read_whole(cuts: list[int]) -> None:
    reader = ResponseReader()
    reader.begin(digest=True)
    pieces = [ANSWER[start:end] for start, end in zip([0, *cuts], [*cuts, len(ANSWER)], strict=True)]
    assert [feed(reader, piece) for piece in pieces] == [False] * len(cuts) + [True]
    assert (reader.status, reader.body_size) == (201, 768)
    assert reader.digest == xxhash.xxh3_128_digest(BODY)
    assert header(reader.head, b"location") == b"/AAEc"


@given(st.integers(1, 300))
def test_a_body_larger_than_the_buffer_is_digested_piece_by_piece(room: int) -> None:
    reader = ResponseReader(buffer_size=80 + room)
    reader.begin(digest=True)
    assert feed(reader, ANSWER)
    assert reader.digest == xxhash.xxh3_128_digest(BODY)


def test_one_reader_reads_many_answers() -> None:
    reader = ResponseReader()
    for answer, status in ((ANSWER, 201), (EMPTY, 200), (ANSWER, 201)):
        reader.begin(digest=False)
        assert feed(reader, answer)
        assert reader.status == status
        assert reader.digest is None


def test_the_start_of_an_error_body_is_kept_and_does_not_leak_into_the_next() -> None:
    reader = ResponseReader()
    problem = b'{"detail": "no quorum"}' + b" " * 900
    reader.begin(digest=False)
    assert feed(reader, b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: %d\r\n\r\n" % len(problem) + problem)
    assert (reader.status, reader.error_body) == (503, problem[:500])
    reader.begin(digest=False)
    assert feed(reader, b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")
    assert reader.error_body == b"no"


@pytest.mark.parametrize("extra", [b"x", b"HTTP/1.1 200 OK\r\n"])
def test_bytes_beyond_an_answer_are_refused(extra: bytes) -> None:
    reader = ResponseReader()
    reader.begin(digest=False)
    with pytest.raises(BadResponse, match="beyond the answer"):
        feed(reader, ANSWER + extra)


def test_bytes_that_nobody_asked_for_are_refused() -> None:
    reader = ResponseReader()
    reader.begin(digest=False)
    assert feed(reader, EMPTY)
    with pytest.raises(BadResponse, match="nobody asked"):
        feed(reader, EMPTY)


def test_a_head_without_end_is_refused() -> None:
    reader = ResponseReader(buffer_size=64)
    reader.begin(digest=False)
    with pytest.raises(BadResponse, match="head of more than 64 bytes"):
        feed(reader, b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.0 200 OK\r\nContent-Length: 1",
        b"HTTP/1.1 abc\r\nContent-Length: 1",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked",
        b"HTTP/1.1 200 OK\r\nContent-Length: many",
        b"",
    ],
)
def test_a_head_that_says_too_little_is_refused(head: bytes) -> None:
    with pytest.raises(BadResponse):
        parse_head(head)
