"""Arguments of the wrong type: one sentence that names the argument, before anything is sent.

They once failed deep inside ("'<=' not supported between instances of 'int' and 'str'"), or at the first call.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from ambry import AmbryClient, InvalidRequest, RequestTimeout, RetryPolicy, Timeout, TransferConfig, Unavailable
from tests.support.stub_frontend import StubFrontend
from tests.support.twins import QUICK, Twins

Call = Callable[[Any, Any], object]


@pytest.mark.parametrize(
    ("said", "call"),
    [
        (
            "ttl is whole seconds, a timedelta, or None for ever, not '7d'",
            lambda client, ref: client.put(b"", ttl="7d"),
        ),
        ("ttl is whole seconds", lambda client, ref: client.update_ttl(ref, True)),
        ("range is (start, stop)", lambda client, ref: client.get_bytes(ref, range=slice(0, 3))),
        ("range is (start, stop)", lambda client, ref: client.get_bytes(ref, range=range(0, 3))),
        ("the start of a range is a whole number", lambda client, ref: client.get(ref, range=("0", 3))),
        ("the stop of a range is a whole number", lambda client, ref: client.get(ref, range=(0, 3.0))),
        ("timeout is a Timeout(connect, read, total)", lambda client, ref: client.head(ref, timeout=5)),
        ("transfer is a TransferConfig", lambda client, ref: client.put(b"", transfer=1 << 20)),
        ("content_type is a media type as text", lambda client, ref: client.put(b"", content_type=5)),
        ("filename is the name of one file", lambda client, ref: client.put(b"", filename=b"a")),
        ("checksum is an xxh3-128", lambda client, ref: client.put(b"", checksum=b"a")),
        ("metadata is a mapping", lambda client, ref: client.put(b"", metadata=[("a", "b")])),
        ("size is a number of bytes", lambda client, ref: client.put(b"", size="0")),
        ("max_size is a number of bytes", lambda client, ref: client.get_bytes(ref, max_size="1")),
        ("offset is a number of bytes", lambda client, ref: client.get_into(ref, bytearray(1), offset="1")),
    ],
)
def test_a_wrong_argument_is_named(stub: StubFrontend, twins: Twins, said: str, call: Call) -> None:
    client = twins.connect(stub.url)
    blob = stub.add(b"x")
    with pytest.raises(TypeError) as refused:
        call(client, blob)
    assert said in str(refused.value)
    assert stub.connections == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda client, ref: client.put(b"", ttl=1.5),
        lambda client, ref: client.update_ttl(ref, 2.0),
        lambda client, ref: client.put(b"", filename="a\r\nb"),
        lambda client, ref: client.put(b"", content_type="a/b\r\nx: y"),
        lambda client, ref: client.put(b"", metadata={"a\r\nb": "c"}),
        lambda client, ref: client.put(b"", idempotency_key="a\r\nb"),
        lambda client, ref: client.put(b"", name="n", if_match="a\r\nb"),
        lambda client, ref: client.create_account("a\r\nb"),
        lambda client, ref: client.container("a\r\nb", "c"),
        lambda client, ref: AmbryClient("http://a\r\nb:1"),
        lambda client, ref: AmbryClient(service_id="a\r\nb"),
    ],
)
def test_what_no_request_can_say_is_answered_by_the_client(stub: StubFrontend, twins: Twins, call: Call) -> None:
    client = twins.connect(stub.url)
    blob = stub.add(b"x")
    with pytest.raises(InvalidRequest):
        call(client, blob)
    assert stub.connections == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"timeout": 5}, "timeout is a Timeout"),
        ({"retry": 3}, "retry is a RetryPolicy"),
        ({"transfer": 1 << 20}, "transfer is a TransferConfig"),
        ({"endpoints": 5}, "endpoints is a URL, or a list of them, not 5"),
        ({"endpoints": [5]}, "an endpoint is a URL"),
    ],
)
def test_a_client_is_not_made_of_wrong_options(options: dict[str, Any], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        AmbryClient(**options)


def test_a_put_tells_all_that_a_head_would(stub: StubFrontend, twins: Twins) -> None:
    """Account, container and service once were empty in what a put returned."""
    info = twins.connect(stub.url, service_id="trainer").put(b"x")
    assert (info.account, info.container, info.service_id) == ("default", "default", "trainer")
    info = twins.connect(stub.url, account="ml", container="models").put(b"x")
    assert (info.account, info.container) == ("ml", "models")


def test_a_port_that_hangs_up_is_named_as_one_that_may_be_no_frontends(twins: Twins) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)

        thread = threading.Thread(target=hang_up)
        thread.start()
        try:
            client = twins.connect(f"http://127.0.0.1:{server.getsockname()[1]}", fake_time=True, retry=QUICK)
            with pytest.raises(Unavailable, match="check that it is the API port of a frontend"):
                client.get_bytes(some_blob())
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def some_blob() -> str:
    with StubFrontend() as stub:
        return stub.add(b"x")


def any_of(**said: Any) -> dict[str, Any]:
    return said


@pytest.mark.parametrize(
    ("make", "kind", "says"),
    [
        (lambda: Timeout(total=-1), InvalidRequest, "the total of a Timeout is a number from 0 to 1,000,000, not -1"),
        (lambda: Timeout(read=-1), InvalidRequest, "the read of a Timeout"),
        (lambda: Timeout(read=float("inf")), InvalidRequest, "not inf"),
        (lambda: Timeout(connect=float("nan")), InvalidRequest, "not nan"),
        (lambda: Timeout(**any_of(read="5")), TypeError, "the read of a Timeout is a number, not '5'"),
        (lambda: RetryPolicy(max_attempts=0), InvalidRequest, "counts the first attempt too"),
        (lambda: RetryPolicy(**any_of(max_attempts=1.5)), TypeError, "max_attempts is a whole number"),
        (lambda: RetryPolicy(**any_of(max_attempts=float("inf"))), TypeError, "max_attempts is a whole number"),
        (lambda: RetryPolicy(base=-1), InvalidRequest, "base is a number from 0 to"),
        (lambda: RetryPolicy(cap=float("nan")), InvalidRequest, "cap is a number from 0 to"),
        (lambda: RetryPolicy(budget=-0.1), InvalidRequest, "budget is a number from 0 to"),
        (lambda: TransferConfig(**any_of(max_concurrency=2.5)), TypeError, "max_concurrency is a whole number"),
        (lambda: TransferConfig(**any_of(part_size="8M")), TypeError, "part_size is a number of bytes, not '8M'"),
        (lambda: TransferConfig(**any_of(max_bandwidth=float("nan"))), TypeError, "max_bandwidth is a number of bytes"),
        (lambda: TransferConfig(chunk_size=0), InvalidRequest, "chunk_size must be positive"),
    ],
)
def test_settings_that_cannot_be_are_refused_where_they_are_said(
    make: Callable[[], object], kind: type[Exception], says: str
) -> None:
    """They were taken, and failed in the middle of the first call, or never ended."""
    with pytest.raises(kind, match=re.escape(says)):
        make()
    Timeout(total=0)
    TransferConfig(max_bandwidth=None)


def test_a_read_that_was_not_answered_in_time_says_nothing_of_changes(stub: StubFrontend, twins: Twins) -> None:
    blob = stub.add(b"x")
    client = twins.connect(stub.url, retry=RetryPolicy(max_attempts=1), timeout=Timeout(read=0.05))
    for name, changes in (("head", False), ("delete", True)):
        stub.fail(name.upper(), "hold")
        with pytest.raises(RequestTimeout) as caught:
            getattr(client, name)(blob)
        assert ("a change may or may not have happened" in caught.value.message) is changes
