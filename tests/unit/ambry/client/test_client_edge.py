"""What the edge of a frontend does to its clients, and what the SDK makes of it: refusals, draining, connections closed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ambry import (
    AccessDenied,
    AmbryError,
    ChecksumMismatch,
    ProtocolViolation,
    QuotaExceeded,
    RequestTimeout,
    RetryPolicy,
    Timeout,
    TooLarge,
    Unavailable,
)
from ambry.client.wire.message import IDLE_S
from ambry.errors import HeadersTooLarge, MisdirectedRequest
from frontend.config import FrontendSection, RouterSection
from tests.support.stub_frontend import StubFrontend
from tests.support.twins import QUICK, Twins

DATA = bytes(range(256)) * 4000


def once() -> Iterator[bytes]:
    """A body that can be had once."""
    yield DATA


def test_a_frontend_answers_before_the_sdk_gives_up() -> None:
    assert Timeout().read * 1000 >= RouterSection().request_timeout_ms + 5000


def test_connections_are_given_up_before_the_frontend_does() -> None:
    assert FrontendSection().header_timeout_s - 5 >= IDLE_S


@pytest.mark.parametrize(
    ("status", "code", "cls", "repeated"),
    [
        (403, "AccessDenied", AccessDenied, False),
        (408, "RequestTimeout", RequestTimeout, True),
        (413, "TooLarge", TooLarge, False),
        (421, "MisdirectedRequest", MisdirectedRequest, False),
        (429, "QuotaExceeded", QuotaExceeded, True),
        (431, "HeadersTooLarge", HeadersTooLarge, False),
        (503, "Overloaded", Unavailable, True),
    ],
)
@pytest.mark.parametrize("method", ["POST", "GET", "HEAD"])
def test_a_refusal_that_ends_the_connection_is_the_error_that_it_names(
    stub: StubFrontend, twins: Twins, method: str, status: int, code: str, cls: type[AmbryError], repeated: bool
) -> None:
    client = twins.connect(stub.url, fake_time=True, retry=RetryPolicy(base=0.0, max_attempts=2))
    blob = stub.add(DATA)
    call = {"POST": lambda: client.put(DATA), "GET": lambda: client.get_bytes(blob), "HEAD": lambda: client.head(blob)}
    for _ in range(2):
        stub.fail(method, "status", status=status, code=code, retry_after="2", closing=True)
    with pytest.raises(cls) as caught:
        call[method]()
    attempts = 2 if repeated else 1
    assert (caught.value.request_id, caught.value.endpoint, caught.value.attempts) == (
        "stub-request",
        stub.url,
        attempts,
    )
    assert caught.value.retry_after_s == 2.0
    assert twins.clock.slept == ([2.0] if repeated else [])
    stub.faults.clear()
    call[method]()
    assert stub.seen(method)[-1].connection != stub.seen(method)[-2].connection


@pytest.mark.parametrize(("status", "code"), [(408, "RequestTimeout"), (429, "QuotaExceeded"), (503, "Overloaded")])
def test_an_upload_refused_half_way_waits_as_asked_and_is_put_again(
    stub: StubFrontend, twins: Twins, status: int, code: str
) -> None:
    stub.fail("POST", "status", status=status, code=code, retry_after="3", early=True)
    large = bytes(30_000_000)
    client = twins.connect(stub.url, fake_time=True, retry=RetryPolicy(base=0.0))
    info = client.put(large)
    assert stub.blobs[str(info.id)] == large
    assert twins.clock.slept == [3.0]


@pytest.mark.parametrize(("status", "code"), [(408, "RequestTimeout"), (503, "Overloaded")])
def test_an_upload_refused_half_way_that_can_be_had_once_is_the_callers(
    stub: StubFrontend, twins: Twins, status: int, code: str
) -> None:
    stub.fail("POST", "status", status=status, code=code, detail="too slow", early=True)
    with pytest.raises(AmbryError, match="too slow") as caught:
        twins.connect(stub.url).put(iter([bytes(1 << 20)] * 30))
    assert caught.value.status == status
    assert len(stub.seen("POST")) == 1


@pytest.mark.parametrize("size", [0, 100, 30_000_000])
def test_a_frontend_that_takes_no_more_connections_is_asked_again_as_it_says(
    stub: StubFrontend, twins: Twins, size: int
) -> None:
    client = twins.connect(stub.url, fake_time=True, retry=RetryPolicy(base=0.0))
    stub.full = 2
    info = client.put(bytes(size))
    assert stub.blobs[str(info.id)] == bytes(size)
    client.close()
    stub.full = 1
    client.head(info.id)
    # A refusal may be lost in the reset that follows it; then there is no telling how long to wait.
    assert len(twins.clock.slept) == 3 and set(twins.clock.slept) <= {0.0, 1.0}


def test_a_draining_frontend_costs_a_connection_and_no_error(stub: StubFrontend, twins: Twins) -> None:
    blob = stub.add(DATA)
    client = twins.connect(stub.url, retry=RetryPolicy(max_attempts=1))
    stub.draining = True
    for _ in range(5):
        assert client.get_bytes(blob) == DATA
        client.put(once())
        client.head(blob)
    assert stub.connections == len(stub.requests) == 15


@pytest.mark.parametrize("how", ["hang_up", "time_out_idle"])
def test_a_connection_closed_while_idle_costs_no_attempt(stub: StubFrontend, twins: Twins, how: str) -> None:
    client = twins.connect(stub.url, retry=RetryPolicy(max_attempts=1))
    for number in range(20):
        client.put(b"%d" % number)
        getattr(stub, how)()
    assert list(stub.blobs.values()) == [b"%d" % number for number in range(20)]


def test_a_connection_that_dies_under_a_request_costs_no_attempt_if_the_body_can_be_had_again(
    stub: StubFrontend, twins: Twins
) -> None:
    client = twins.connect(stub.url, retry=RetryPolicy(max_attempts=1))
    client.put(b"makes a connection")
    stub.fail("POST", "reset-before")
    info = client.put(DATA)
    assert stub.blobs[str(info.id)] == DATA
    assert [each.connection for each in stub.seen("POST")] == [1, 1, 2]


def test_a_body_that_can_be_had_once_goes_over_a_new_connection(stub: StubFrontend, twins: Twins) -> None:
    client = twins.connect(stub.url)
    for _ in range(2):
        client.put(DATA)
        client.put(once())
    by = [each.connection for each in stub.seen("POST")]
    assert by[0] != by[1] != by[3] and len(set(by)) >= 3


def test_a_dying_connection_is_not_blamed_on_staleness_for_ever(stub: StubFrontend, twins: Twins) -> None:
    client = twins.connect(stub.url, retry=QUICK)
    client.put(b"makes a connection")
    for _ in range(20):
        stub.fail("POST", "reset-before")
    with pytest.raises(Unavailable) as caught:
        client.put(DATA)
    assert caught.value.attempts == RetryPolicy().max_attempts


def test_a_head_never_asks_for_a_range(stub: StubFrontend, twins: Twins) -> None:
    client = twins.connect(stub.url)
    blob = stub.add(DATA)
    client.head(blob)
    client.exists(blob)
    client.update_ttl(blob, None)
    assert [seen for seen in stub.seen("HEAD") if "range" in seen.headers] == []
    assert len(stub.seen("HEAD")) == 3


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_host_header_is_the_endpoints(twins: Twins, host: str) -> None:
    with StubFrontend(host) as stub:
        client = twins.connect(stub.url + "/")
        info = client.put(DATA)
        assert client.get_bytes(info.id) == DATA
        client.delete(info.id)
        assert {seen.headers["host"] for seen in stub.requests} == {stub.authority}
        assert not {"origin", "sec-fetch-site", "cookie"} & {name for seen in stub.requests for name in seen.headers}


def test_a_success_of_some_other_server_is_none(stub: StubFrontend, twins: Twins) -> None:
    """A captive portal answers everything with 200; a delete that it took would be a delete that never happened."""
    client = twins.connect(stub.url)
    blob = stub.add(DATA)
    calls: dict[str, Callable[[], object]] = {
        "DELETE": lambda: client.delete(blob),
        "PUT": lambda: client.update_ttl(blob, None),
        "HEAD": lambda: client.exists(blob),
        "GET": lambda: client.get_bytes(blob),
        "POST": lambda: client.put(DATA),
    }
    for method, call in calls.items():
        stub.fail(method, "foreign")
        with pytest.raises(ProtocolViolation, match="not by ambry"):
            call()
    stub.fail("GET", "foreign")
    assert not client.health().ok


@pytest.mark.parametrize("fault", ["corrupt", "wrong-digest", "no-digest"])
def test_an_answer_that_cannot_be_believed_is_named_by_its_request(
    stub: StubFrontend, twins: Twins, fault: str
) -> None:
    stub.fail("GET", fault)
    with pytest.raises((ChecksumMismatch, ProtocolViolation)) as caught:
        twins.connect(stub.url).get_bytes(stub.add(DATA))
    assert (caught.value.request_id, caught.value.endpoint, caught.value.attempts) == ("stub-request", stub.url, 1)
    if fault != "corrupt":
        stub.fail("POST", fault)
        with pytest.raises((ChecksumMismatch, ProtocolViolation)) as caught:
            twins.connect(stub.url).put(DATA)
        assert (caught.value.request_id, caught.value.endpoint) == ("stub-request", stub.url)


def test_a_read_that_broke_for_good_is_named_by_its_last_request(stub: StubFrontend, twins: Twins) -> None:
    blob = stub.add(DATA)
    stub.fail("GET", "cut", after=0)
    with pytest.raises(Unavailable, match="incomplete") as caught:
        twins.connect(stub.url, retry=RetryPolicy(base=0.0, max_attempts=1)).get_bytes(blob)
    assert (caught.value.request_id, caught.value.endpoint) == ("stub-request", stub.url)
