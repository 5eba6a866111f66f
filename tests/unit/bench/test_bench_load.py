"""The load generator against a small server that misbehaves: a bench that overlooks wrong answers measures nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import xxhash

from tests.bench.load import HOST, Job, Payload, Run

SIZE = 64


@asynccontextmanager
async def server(answers: list[bytes], on_request: Callable[[int], None] = lambda number: None) -> AsyncIterator[int]:
    """Answers the n-th request of a connection with answers[n], the last one for ever; b"" closes the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        count = 0
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                if head.startswith(b"post"):
                    await reader.readexactly(SIZE)
                answer = answers[min(count, len(answers) - 1)]
                count += 1
                on_request(count)
                if not answer:
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, HOST, 0)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


def ok(body: bytes, *headers: str) -> bytes:
    lines = "".join(f"{line}\r\n" for line in headers)
    return f"HTTP/1.1 200 OK\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body


def get(port: int, **fields: object) -> Job:
    values = {
        "verb": "GET",
        "port": port,
        "size": SIZE,
        "connections": 2,
        "window_s": 5.0,
        "whole": True,
        "requests": 10,
    }
    return Job(**(values | fields))  # type: ignore[arg-type]


def blob(number: int) -> bytes:
    return number.to_bytes(8, "big") + Payload(SIZE).tail


def test_the_digest_of_a_blob_follows_from_its_number() -> None:
    assert Payload(SIZE).digest(7) == xxhash.xxh3_128_digest(blob(7))


async def test_right_answers_are_counted_and_a_sample_is_verified() -> None:
    async with server([ok(blob(0))]) as port:
        result = await Run(get(port, sample_every=5), Payload(SIZE), [], 1).carry_out()
    assert (result.operations, result.verified, result.failures) == (10, 2, 0)
    assert len(result.latencies_us) == 10


async def test_wrong_bytes_are_a_failure_and_no_operation() -> None:
    wrong = bytearray(blob(0))
    wrong[-1] ^= 1
    async with server([ok(blob(0)), ok(bytes(wrong)), ok(blob(0))]) as port:
        result = await Run(get(port, connections=1), Payload(SIZE), [], 1).carry_out()
    assert (result.operations, result.failures) == (9, 1)
    assert "wrong bytes" in result.messages[0]


async def test_an_error_status_is_a_failure_with_what_the_server_said() -> None:
    error = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 9\r\n\r\nno quorum"
    async with server([error]) as port:
        result = await Run(get(port), Payload(SIZE), [], 1).carry_out()
    assert (result.operations, result.failures) == (0, 10)
    assert "503: no quorum" in result.messages[0]


async def test_a_connection_closed_in_a_request_is_a_failure_and_ends_that_connection() -> None:
    async with server([ok(blob(0)), b""]) as port:
        result = await Run(get(port), Payload(SIZE), [], 1).carry_out()
    assert (result.operations, result.failures) == (2, 2)


async def test_a_blob_of_another_size_is_a_failure_even_when_not_sampled() -> None:
    async with server([ok(b"short")]) as port:
        result = await Run(get(port, sample_every=1000), Payload(SIZE), [], 1).carry_out()
    assert (result.operations, result.failures) == (0, 10)


@pytest.mark.parametrize(("digest", "failures"), [(xxhash.xxh3_128_hexdigest(blob(1)), 0), ("0" * 32, 1)])
async def test_a_put_is_remembered_for_gets_when_the_server_reports_its_digest(digest: str, failures: int) -> None:
    blobs: list[tuple[int, bytes]] = []
    async with server([ok(b"{}", "Location: /AbC", f"x-ambry-digest: {digest}")]) as port:
        job = get(port, verb="POST", connections=1, requests=1, blobs="some")
        result = await Run(job, Payload(SIZE), blobs, 1).carry_out()
    assert result.failures == failures
    assert blobs == ([] if failures else [(1, b"/AbC")])


async def test_a_part_of_a_blob_is_asked_for_and_verified() -> None:
    asked: list[str] = []
    size = 16

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                [line] = [line for line in head.splitlines() if line.startswith("Range: bytes=")]
                first, last = map(int, line.removeprefix("Range: bytes=").split("-"))
                asked.append(line)
                # The third one has a byte that is not the blob's.
                body = blob(5)[first : last + 1] if len(asked) != 3 else bytes(size)
                writer.write(ok(body))
        writer.close()

    listening = await asyncio.start_server(serve, HOST, 0)
    port = listening.sockets[0].getsockname()[1]
    job = get(port, connections=1, requests=20, blobs="some", part_size=size, part_step=8)
    result = await Run(job, Payload(SIZE), [(5, b"/AbC")], 1).carry_out()
    listening.close()
    assert (result.operations, result.verified, result.failures) == (19, 20, 1)
    assert "wrong bytes" in result.messages[0]
    starts = {int(line.removeprefix("Range: bytes=").split("-")[0]) for line in asked}
    assert len(starts) > 1 and starts <= {0, 8, 16, 24, 32, 40, 48}


def test_parts_of_a_blob_are_where_they_stand_in_it() -> None:
    whole = blob(7)
    for start, size in ((0, 4), (0, 8), (4, 8), (8, 8), (20, 44), (0, SIZE)):
        assert Payload(SIZE).part(7, start, size) == whole[start : start + size]


async def test_a_window_counts_only_what_ends_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    call_later, due = loop.call_later, dict[float, Callable[[], None]]()
    begin_s, end_s = (
        100.0,
        500.0,
    )  # on the clock; here they come while the sixth and the thirteenth request are answered

    def timer(delay: float, callback: Callable[..., None], *arguments: Any) -> asyncio.TimerHandle:
        due[delay] = callback
        return call_later(delay, callback, *arguments)

    def on_request(number: int) -> None:
        if number in (6, 13):
            due[begin_s if number == 6 else end_s]()

    monkeypatch.setattr(loop, "call_later", timer)
    async with server([ok(blob(0))], on_request) as port:
        job = get(port, connections=1, whole=False, requests=None, warmup_s=begin_s, window_s=end_s - begin_s)
        result = await Run(job, Payload(SIZE), [], 1).carry_out()
    assert (result.operations, result.verified, result.failures) == (7, 13, 0)
    assert set(result.cpu_s) == {"load"}
