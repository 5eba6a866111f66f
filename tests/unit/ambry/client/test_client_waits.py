"""How long both clients wait for a server that goes on, and on."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ambry import AmbryError, ProtocolViolation, RequestTimeout, RetryPolicy, Timeout
from ambry.client.proxies import Proxies
from ambry.client.waits import Waits
from ambry.client.wire.refusals import ConnectFailed, connect_failed
from ambry.rest.frames import encode_frame
from tests.support.dripping_server import DrippingServer
from tests.support.scripted_frontend import BLOB
from tests.support.twins import FakeClock, Twins

OURS = b"server: ambry\r\nx-ambry-request-id: 1\r\ncontent-length: 60000\r\n"
OK = b"HTTP/1.1 200 OK\r\n" + OURS
BLOB_HEAD = OK + b"x-ambry-blob-size: 60000\r\nx-ambry-digest: " + b"0" * 32 + b"\r\n\r\n"
BOUNDS = [Timeout(connect=0.3, read=0.3), Timeout(connect=60, read=60, total=0.3)]
"""By default, of which no test waits 30 s, and where the call has a bound of its own."""
PART = encode_frame({"x-ambry-batch-index": "0", "x-ambry-batch-status": "200"}, bytes(50_000))
CALLS: dict[str, tuple[bytes, bytes, Callable[[Any, Path], object]]] = {
    "head": (b"HTTP/1.1 200 OK\r\nx: ", b"a", lambda client, _: client.get_bytes(BLOB)),
    "interim": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", lambda client, _: client.head(BLOB)),
    "get_bytes": (BLOB_HEAD, b"a", lambda client, _: client.get_bytes(BLOB)),
    "get_file": (BLOB_HEAD, b"a", lambda client, path: client.get_file(BLOB, path / "file")),
    "get_into": (BLOB_HEAD, b"a", lambda client, _: client.get_into(BLOB, bytearray(60_000))),
    "list": (OK + b"\r\n", b" ", lambda client, _: list(client.list("x"))),
    "get_many": (OK + b"\r\n" + PART[:-50_000], b"a", lambda client, _: client.get_many([BLOB])),
    "usage": (OK + b"\r\n", b" ", lambda client, _: client.usage()),
}
ENDED_BY_THE_HEAD: dict[str, tuple[bytes, bytes, Callable[[Any], object]]] = {
    "error": (b"HTTP/1.1 503 X\r\n" + OURS + b"\r\n", b" ", lambda client: client.get_bytes(BLOB)),
    "delete": (b"HTTP/1.1 202 X\r\n" + OURS + b"\r\n", b" ", lambda client: client.delete(BLOB)),
    "health": (OK + b"\r\n", b" ", lambda client: client.health()),
    "put": (b"HTTP/1.1 201 X\r\n" + OURS + b"location: /" + BLOB.encode() + b"\r\n\r\n", b" ", lambda c: c.put(b"x")),
}


@pytest.mark.parametrize("bound", BOUNDS, ids=["silence", "total"])
@pytest.mark.parametrize("call", CALLS)
def test_an_answer_that_drips_is_no_answer(twins: Twins, tmp_path: Path, call: str, bound: Timeout) -> None:
    # Each byte was a sign of life: such calls lasted as long as the server liked, also beyond `total`.
    begin, drip, ask = CALLS[call]
    with DrippingServer(begin, drip) as server:
        client = twins.connect(server.url, timeout=bound, retry=RetryPolicy(max_attempts=1))
        # A download that went on a little is asked on, and the same answer is none to that.
        with pytest.raises((RequestTimeout, ProtocolViolation)):
            ask(client, tmp_path)
        assert server.hung_up.wait(60)


@pytest.mark.parametrize("bound", BOUNDS, ids=["silence", "total"])
@pytest.mark.parametrize("call", ENDED_BY_THE_HEAD)
def test_a_body_that_nobody_needs_is_not_waited_for(twins: Twins, call: str, bound: Timeout) -> None:
    begin, drip, ask = ENDED_BY_THE_HEAD[call]
    with DrippingServer(begin, drip) as server:
        client = twins.connect(server.url, timeout=bound, retry=RetryPolicy(max_attempts=1))
        with suppress(AmbryError):
            ask(client)
        assert server.hung_up.wait(60)


@pytest.mark.parametrize("bound", BOUNDS, ids=["silence", "total"])
def test_a_proxy_that_drips_makes_no_tunnel(twins: Twins, bound: Timeout) -> None:
    with DrippingServer(b"HTTP/1.1 200 OK\r\nx: ", b"a") as server:
        client = twins.connect(
            "https://store.example", timeout=bound, retry=RetryPolicy(max_attempts=1), proxies=Proxies(https=server.url)
        )
        with pytest.raises(AmbryError):
            client.get_bytes(BLOB)
        assert server.hung_up.wait(60)


@pytest.mark.parametrize("proxied", [False, True])
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    "ask",
    [
        lambda client, _: client.head(BLOB),
        lambda client, _: client.get_bytes(BLOB),
        lambda client, path: client.get_file(BLOB, path / "file"),
        lambda client, _: client.put(b"x"),
        lambda client, _: client.get_many([BLOB]),
    ],
)
def test_a_total_that_ends_before_a_connection_is_one_that_ended(
    twins: Twins, tmp_path: Path, scheme: str, proxied: bool, ask: Callable[[Any, Path], object]
) -> None:
    """It was told as an endpoint that cannot be connected to, with what to look for there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:  # It takes connections, and says nothing.
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        proxies = Proxies(http=f"http://{place}", https=f"http://{place}") if proxied else Proxies()
        client = twins.connect(f"{scheme}://{place}", timeout=Timeout(total=0), proxies=proxies)
        with pytest.raises(RequestTimeout, match=r"within the call's total timeout|did not answer in time") as told:
            ask(client, tmp_path)
        assert told.value.attempts <= 1


def test_a_connection_that_takes_longer_than_connect_is_none_whatever_is_left() -> None:
    for cause in (None, TimeoutError()):
        assert isinstance(connect_failed("http://x:1", cause), ConnectFailed)
        assert type(connect_failed("http://x:1", cause, is_over=True)) is RequestTimeout
    refused = connect_failed("http://x:1", ConnectionRefusedError(errno.ECONNREFUSED, "refused"), is_over=True)
    assert isinstance(refused, ConnectFailed), "the reason is known, and says more"


def test_a_reader_sets_its_own_pace_once_it_is_there(twins: Twins) -> None:
    with DrippingServer(BLOB_HEAD, b"a") as server:
        client = twins.connect(server.url, timeout=Timeout(connect=60, read=60, total=50), fake_time=True)
        with client.get(BLOB) as reader:
            twins.clock.sleep(100)
            assert reader.read(1) == b"a"


def test_a_second_of_waiting_brings_a_kilobyte_or_the_wait_ends() -> None:
    clock = FakeClock()
    waits = Waits(clock.monotonic, 30.0, None)
    since = waits.now()
    clock.sleep(20)
    waits.head_went_on(since)
    assert waits.next_s() == 10
    waits.head_came()
    assert waits.next_s() == 30
    for brought, left_s in ((0, 10), (5 << 10, 5), (1 << 20, 30)):
        since = waits.now()
        clock.sleep(20)
        waits.came(brought, since)
        assert waits.next_s() == left_s


def test_no_wait_goes_beyond_the_end_of_its_call() -> None:
    clock = FakeClock()
    waits = Waits(clock.monotonic, 30.0, clock.now + 40)
    assert waits.next_s() == 30
    clock.sleep(35)
    assert waits.next_s() == 5
    clock.sleep(5)
    with pytest.raises(TimeoutError):
        waits.next_s()
    waits.without_deadline()
    assert waits.next_s() == 30
