"""Hooks of both clients: what is told of each attempt, and which trace a request says that it belongs to."""

from __future__ import annotations

import asyncio
import logging
import pickle
import sys
from typing import Any

import pytest

from ambry import (
    AmbryClient,
    AmbryError,
    AsyncAmbryClient,
    AttemptOutcome,
    BlobNotFound,
    ChecksumMismatch,
    Hooks,
    PeerConnectionLost,
    RequestAttempt,
    Unavailable,
)
from tests.support.stub_frontend import StubFrontend
from tests.support.twins import Twins

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Told(Hooks):
    """Keeps what it hears; each end beside its beginning."""

    def __init__(self) -> None:
        self.begun: list[RequestAttempt] = []
        self.over: list[tuple[RequestAttempt, AttemptOutcome]] = []

    def began(self, attempt: RequestAttempt) -> None:
        self.begun.append(attempt)

    def ended(self, attempt: RequestAttempt, outcome: AttemptOutcome) -> None:
        self.over.append((attempt, outcome))

    def lines(self) -> list[tuple[Any, ...]]:
        assert self.begun == [attempt for attempt, _ in self.over], "each that began ended, once, in this order"
        return [
            (at.method, at.attempt, out.status, out.bytes_sent, out.bytes_received, type(out.error))
            for at, out in self.over
        ]


NONE = type(None)


def test_a_put_and_a_read_are_told_with_their_bytes(twins: Twins, stub: StubFrontend) -> None:
    told = Told()
    client = twins.connect(stub.url, hooks=told)
    info = client.put(b"0123456789")
    assert client.get_bytes(info.id) == b"0123456789"
    client.head(info.id)
    (post, posted), (get, got), (head, looked) = told.over
    assert told.lines() == [
        ("POST", 1, 201, 10, 0, NONE),
        ("GET", 1, 200, 0, 10, NONE),
        ("HEAD", 1, 200, 0, 0, NONE),
    ]
    assert (post.path, get.path, head.path) == ("/", f"/{info.id}", f"/{info.id}")
    assert {each.endpoint for each in told.begun} == {stub.url}
    assert all(out.request_id and out.duration_s >= 0 for out in (posted, got, looked))


def test_a_refusal_is_told_with_its_error_and_the_id_that_the_error_has(twins: Twins, stub: StubFrontend) -> None:
    told = Told()
    blob = stub.add(b"x")
    stub.blobs.clear()
    with pytest.raises(BlobNotFound) as caught:
        twins.connect(stub.url, hooks=told).get(blob)
    ((_, outcome),) = told.over
    assert (outcome.status, outcome.request_id, outcome.error) == (404, caught.value.request_id, caught.value)


def test_every_attempt_is_told_by_itself(twins: Twins, stub: StubFrontend) -> None:
    told = Told()
    blob = stub.add(b"0123456789")
    stub.fail("GET", "status", status=503)
    assert twins.connect(stub.url, hooks=told).get_bytes(blob) == b"0123456789"
    assert [(number, status) for _, number, status, *_ in told.lines()] == [(1, 503), (2, 200)]
    assert isinstance(told.over[0][1].error, Unavailable)


def test_an_endpoint_that_cannot_be_reached_is_told_without_a_status(twins: Twins, stub: StubFrontend) -> None:
    told = Told()
    blob = stub.add(b"ab")
    client = twins.connect("http://127.0.0.1:1", stub.url, hooks=told)
    assert client.get_bytes(blob) == b"ab"
    attempt, outcome = told.over[0]
    assert (attempt.endpoint, outcome.status, outcome.request_id) == ("http://127.0.0.1:1", 0, "")
    assert isinstance(outcome.error, Unavailable)
    assert told.over[1][0].endpoint == stub.url


def test_a_body_that_breaks_off_is_told_with_what_came_of_it(twins: Twins, stub: StubFrontend) -> None:
    told = Told()
    blob = stub.add(b"0123456789")
    stub.fail("GET", "cut", after=4)
    assert twins.connect(stub.url, hooks=told).get_bytes(blob) == b"0123456789"
    first, second = told.lines()
    assert first == ("GET", 1, 200, 0, 4, PeerConnectionLost)
    assert second == ("GET", 2, 206, 0, 6, NONE)


def test_a_reader_has_ended_when_it_is_closed(twins: Twins, stub: StubFrontend) -> None:
    told = Told()
    reader = twins.connect(stub.url, hooks=told).get(stub.add(bytes(100)))
    assert reader.read(7) == bytes(7)
    assert len(told.begun) == 1 and told.over == []
    reader.close()
    reader.close()
    assert told.lines() == [("GET", 1, 200, 0, told.over[0][1].bytes_received, NONE)]


def test_bytes_that_are_not_those_of_the_digest_are_told(twins: Twins, stub: StubFrontend) -> None:
    told = Told()
    blob = stub.add(b"0123456789")
    stub.fail("GET", "corrupt")
    with pytest.raises(ChecksumMismatch):
        twins.connect(stub.url, hooks=told).get_bytes(blob)
    assert told.lines()[-1][-1] is ChecksumMismatch


def test_what_is_asked_for_behind_a_question_mark_is_not_told(twins: Twins, stub: StubFrontend) -> None:
    told = Told()
    with pytest.raises(AmbryError):
        next(iter(twins.connect(stub.url, hooks=told).changes("secret-token")))
    assert told.begun
    assert all("?" not in each.path and "secret" not in each.path for each in told.begun)


@pytest.mark.parametrize("broken", ["began", "ended", "traceparent", "nonsense"])
def test_what_fails_in_a_hook_stops_nothing_and_is_logged_once(
    twins: Twins, stub: StubFrontend, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    class Bad(Told):
        def began(self, attempt: RequestAttempt) -> None:
            super().began(attempt)
            if broken == "began":
                raise RuntimeError("oh")

        def ended(self, attempt: RequestAttempt, outcome: AttemptOutcome) -> None:
            super().ended(attempt, outcome)
            if broken == "ended":
                raise RuntimeError("oh")

    def parent() -> str | None:
        if broken == "traceparent":
            raise RuntimeError("oh")
        return "00-nonsense\r\nx-evil: 1" if broken == "nonsense" else None

    told = Bad()
    client = twins.connect(stub.url, hooks=told, traceparent=parent)
    with caplog.at_level(logging.ERROR, "ambry.client"):
        for _ in range(3):
            assert client.get_bytes(client.put(b"abc").id) == b"abc"
    assert [status for _, _, status, *_ in told.lines()] == [201, 200] * 3
    assert len(caplog.records) == 1
    assert all("traceparent" not in seen.headers and "x-evil" not in seen.headers for seen in stub.requests)


def test_the_trace_that_a_callable_names_goes_with_every_request(twins: Twins, stub: StubFrontend) -> None:
    parents = iter([PARENT, None, PARENT])
    client = twins.connect(stub.url, traceparent=lambda: next(parents))
    blob = client.put(b"abc").id
    client.get_bytes(blob)
    client.head(blob)
    assert [seen.headers.get("traceparent") for seen in stub.requests] == [PARENT, None, PARENT]


@pytest.mark.parametrize(
    "wrong", ["0" * 55, PARENT.upper(), PARENT + "-x", PARENT.replace("b7ad6b7169203331", "0" * 16)]
)
def test_a_traceparent_that_is_none_is_not_sent(twins: Twins, stub: StubFrontend, wrong: str) -> None:
    twins.connect(stub.url, traceparent=lambda: wrong).put(b"abc")
    assert "traceparent" not in stub.requests[0].headers


async def test_the_current_span_of_opentelemetry_goes_along(stub: StubFrontend) -> None:
    pytest.importorskip("opentelemetry.sdk", reason="opentelemetry-sdk is not installed; `make libraries` does it")
    from opentelemetry.sdk.trace import TracerProvider

    tracer = TracerProvider().get_tracer("test")
    with AmbryClient(stub.url) as client:
        client.put(b"outside")
        with tracer.start_as_current_span("training") as span:
            client.put(b"inside")
    async with AsyncAmbryClient(stub.url) as other:
        await other.put(b"outside")
        with tracer.start_as_current_span("evaluation") as second:
            await asyncio.gather(other.put(b"inside"), other.put(b"inside too"))
    contexts = [each.get_span_context() for each in (span, second, second)]
    parents = [f"00-{at.trace_id:032x}-{at.span_id:016x}-{at.trace_flags:02x}" for at in contexts]
    told = [seen.headers.get("traceparent") for seen in stub.requests]
    assert told == [None, parents[0], None, *parents[1:]]


def test_nothing_is_imported_for_a_trace(twins: Twins, stub: StubFrontend) -> None:
    before = {name for name in sys.modules if name.startswith("opentelemetry")}
    twins.connect(stub.url).put(b"abc")
    assert {name for name in sys.modules if name.startswith("opentelemetry")} == before


@pytest.mark.parametrize("given", [{"hooks": object()}, {"hooks": print}, {"traceparent": PARENT}])
@pytest.mark.parametrize("client", [AmbryClient, AsyncAmbryClient])
def test_what_is_no_hook_is_refused_at_once(client: Any, given: Any) -> None:
    with pytest.raises(TypeError, match=r"hooks|traceparent"):
        client("http://127.0.0.1:1", **given)


def parent_of_all() -> str:
    return PARENT


def test_hooks_go_with_a_pickled_client(stub: StubFrontend) -> None:
    client = pickle.loads(pickle.dumps(AmbryClient(stub.url, hooks=Told(), traceparent=parent_of_all)))
    client.put(b"abc")
    assert stub.requests[0].headers["traceparent"] == PARENT
    assert len(client._options["hooks"].over) == 1
    client.close()


async def test_a_call_that_is_cancelled_is_told_as_one(stub: StubFrontend) -> None:
    told = Told()
    waiting = stub.fail("GET", "hold")
    async with AsyncAmbryClient(stub.url, hooks=told) as client:
        task = asyncio.create_task(client.get_bytes(stub.add(b"abc")))
        await asyncio.to_thread(stub.arrived.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    waiting.release.set()
    assert told.lines() == [("GET", 1, 0, 0, 0, asyncio.CancelledError)]
