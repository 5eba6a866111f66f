"""What a connection of the blocking client makes of answers that come in pieces, with others before and behind them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace

import pytest

from ambry import AmbryClient, ProtocolViolation, RetryPolicy, Timeout
from ambry.client.sync.connection import CutAnswer, KeptConnection
from ambry.client.waits import Waits
from ambry.client.wire.head import CHUNK_LINE_MAX, HEAD_BYTES_MAX, NotHttp
from ambry.clock import SystemClock
from tests.support.scripted_frontend import BLOB, DATA, Answer, Asked, ScriptedFrontend

NEVER = RetryPolicy(max_attempts=1)
PATIENT = Timeout(connect=60, read=60)


@contextmanager
def spoken(said: bytes, size: int = 1 << 20) -> Iterator[KeptConnection]:
    """A connection to one who says this, in pieces of so many bytes, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            other, _ = listener.accept()
            with other, suppress(OSError):  # The client may hang up first.
                other.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for start in range(0, len(said), size):
                    other.sendall(said[start : start + size])

        thread = threading.Thread(target=speak)
        thread.start()
        try:
            with closing(
                KeptConnection(
                    f"http://127.0.0.1:{listener.getsockname()[1]}", Waits(SystemClock().monotonic, 60, None)
                )
            ) as connection:
                yield connection
        finally:
            thread.join()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1 << 20])
def test_a_head_is_found_wherever_it_is_cut(size: int) -> None:
    said = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
    with spoken(said, size) as connection:
        head = connection.receive_head("GET")
        assert (head.status, head.length) == (200, 5)
        body = b""
        while more := connection.receive(3):
            body += more
        assert body == b"hello"


def test_a_body_goes_into_a_buffer_that_is_smaller() -> None:
    with spoken(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello") as connection:
        connection.receive_head("GET")
        memory, filled = bytearray(5), 0
        while filled < 5:
            filled += connection.receive_into(memoryview(memory)[filled : filled + 2])
        assert memory == b"hello" and connection.receive_into(memoryview(memory)) == 0


@pytest.mark.parametrize("size", [1, 5, 1 << 20])
def test_chunks_end_with_their_trailers(size: int) -> None:
    said = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nx-t: 1\r\n\r\nHTTP"
    with spoken(said, size) as connection:
        assert connection.receive_head("GET").chunked
        assert connection.next_chunk(first=True) == 5
        assert b"".join(connection.receive(1) for _ in range(5)) == b"hello"
        assert connection.next_chunk(first=False) == 0
        assert connection.receive(1) == b"H"


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"5\r\nhello", CutAnswer),
        (b"5\r\nhello0\r\n\r\n", NotHttp),
        (b"5\r\nhello\r\nx\r\n", NotHttp),
        (b"5\r\nhello\r\n0\r\nx: y\r\n", CutAnswer),
        (b"5\r\nhello\r\n" + b"0" * CHUNK_LINE_MAX, NotHttp),
        (b"5\r\nhello\r\n0\r\n" + b"x: y\r\n" * (HEAD_BYTES_MAX // 6 + 1), NotHttp),
    ],
)
def test_chunks_that_are_none(said: bytes, error: type[Exception]) -> None:
    with spoken(said) as connection:
        assert connection.next_chunk(first=True) == 5
        left = 5
        while left:
            left -= len(connection.receive(left))
        with pytest.raises(error):
            connection.next_chunk(first=False)


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * HEAD_BYTES_MAX, b"HTTP/1.1 102 X\r\n\r\n" * HEAD_BYTES_MAX]
)
def test_a_head_without_end_is_not_read_for_ever(said: bytes) -> None:
    with spoken(said) as connection, pytest.raises(NotHttp, match="the head of its answer has more than"):
        connection.receive_head("GET")


def test_who_does_not_speak_http_is_known_before_its_line_ends() -> None:
    """A server of something else says who it is and waits: nobody has to wait with it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        others: list[socket.socket] = []

        def greet() -> None:
            other, _ = listener.accept()
            others.append(other)
            other.sendall(b"220 mail")

        thread = threading.Thread(target=greet)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        told = pytest.raises(ProtocolViolation, match=r"does not speak HTTP as expected .*220 mail")
        with AmbryClient(url, retry=NEVER, timeout=PATIENT) as client, told:
            client.get_bytes(BLOB)
        thread.join()
        for each in others:
            each.close()


def test_interim_answers_are_passed_over() -> None:
    with ScriptedFrontend() as server, AmbryClient(server.url, retry=NEVER, timeout=PATIENT) as client:
        server.bend = lambda asked, answer: replace(answer, before=b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n")
        for _ in range(3):
            assert client.get_bytes(BLOB) == DATA
        assert {each.connection for each in server.requests} == {1}


def test_bytes_that_nobody_asked_for_end_a_connection() -> None:
    """An answer in advance, behind the one that was asked for, would be the next request's."""

    def with_more(asked: Asked, answer: Answer) -> Answer:
        return answer.having(answer.body + answer.having(b"evil" * 10).raw, content_length=str(len(answer.body)))

    with ScriptedFrontend() as server, AmbryClient(server.url, retry=NEVER, timeout=PATIENT) as client:
        server.bend = with_more
        for _ in range(3):
            assert client.get_bytes(BLOB) == DATA
        assert [each.connection for each in server.requests] == [1, 2, 3]
