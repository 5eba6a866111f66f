"""Both clients against the limits of a real frontend, which are low here."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from urllib.parse import urlsplit

import pytest

from ambry import AmbryError, RequestTimeout, RetryPolicy, TooLarge, Unavailable
from deploy.local_layout import Member
from tests.support import rest
from tests.support.clusters import shared_cluster
from tests.support.content import content
from tests.support.rest import metric
from tests.support.twins import Twins
from tests.support.waiting import eventually

SIZE_MAX = 20_000_000
CONNECTIONS_MAX = 8
LIMITS = {
    "blob_size_max": SIZE_MAX,
    "header_timeout_s": 0.5,
    "body_stall_timeout_s": 1,
    "connections_max": CONNECTIONS_MAX,
}
ONCE = RetryPolicy(max_attempts=1)


@pytest.fixture(scope="module")
def frontend(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Member]:
    overrides = {"frontend": [f"frontend.{key}={value}" for key, value in LIMITS.items()]}
    with shared_cluster(request, tmp_path_factory, datacenters=1, partitions=2, overrides=overrides) as cluster:
        yield cluster.frontends()[0]


@pytest.fixture(params=["sync", "async"])
def twins(request: pytest.FixtureRequest) -> Iterator[Twins]:
    made = Twins(request.param)
    yield made
    made.close()


def refused(frontend: Member, kind: str) -> float:
    """How many the edge refused for one reason."""
    text = rest.call(frontend.admin_url, "GET", "/metrics").body.decode()
    named = [line for line in text.splitlines() if line.startswith(f'ambry_frontend_refused_total{{kind="{kind}"}}')]
    return sum(float(line.rsplit(" ", 1)[1]) for line in named)


def connections(frontend: Member) -> float:
    return metric(frontend.admin_url, "ambry_frontend_connections")


@pytest.mark.parametrize("streamed", [False, True])
def test_a_blob_that_is_too_large_is_refused_by_name(frontend: Member, twins: Twins, streamed: bool) -> None:
    client = twins.connect(frontend.url)
    pieces = [bytes(1 << 20)] * (SIZE_MAX // (1 << 20) + 8)
    with pytest.raises(TooLarge) as caught:
        client.put(iter(pieces) if streamed else pieces)
    assert caught.value.request_id and caught.value.attempts == 1
    assert client.get_bytes(client.put(b"and the client goes on").id) == b"and the client goes on"


def test_an_upload_whose_source_stands_still_is_ended_by_name(frontend: Member, twins: Twins) -> None:
    client = twins.connect(frontend.url)

    def source() -> Iterator[bytes]:
        yield from (bytes(100_000), bytes(100_000))
        before = timed_out()
        eventually(lambda: timed_out() > before, "the frontend gave the upload up")
        for _ in range(100):
            yield bytes(1 << 20)

    def timed_out() -> float:
        text = rest.call(frontend.admin_url, "GET", "/metrics").body.decode()
        named = [line for line in text.splitlines() if 'op="put",status="408"' in line and "total" in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in named)

    async def in_a_thread() -> AsyncIterator[bytes]:
        pieces = source()
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece

    with pytest.raises(RequestTimeout) as caught:
        client.put(source() if twins.kind == "sync" else in_a_thread())
    assert caught.value.status == 408 and caught.value.request_id


def test_a_reader_that_stands_still_loses_its_connection_and_no_byte(frontend: Member, twins: Twins) -> None:
    client = twins.connect(frontend.url, retry=RetryPolicy(base=0.0))
    expected = content(77, SIZE_MAX)
    info = client.put(expected)
    with client.get(info.id) as reader:
        start = reader.read(10_000)
        before = refused(frontend, "send_rate")
        eventually(lambda: refused(frontend, "send_rate") > before, "the frontend gave the reader up")
        assert start + reader.read() == expected


def test_a_frontend_that_is_full_is_said_to_be_and_asked_again(frontend: Member, twins: Twins) -> None:
    url = urlsplit(frontend.url)
    impatient, patient = twins.connect(frontend.url, retry=ONCE), twins.connect(frontend.url)

    def refusal() -> Unavailable | None:
        """Take every place, for as long as heads may take, and try to get in; None when one had become free already."""
        impatient.close()
        with contextlib.ExitStack() as stack:
            for _ in range(CONNECTIONS_MAX):
                raw = stack.enter_context(socket.create_connection((url.hostname or "", url.port or 0)))
                raw.sendall(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx-a: ")
            try:
                impatient.put(b"x")
            except Unavailable as error:
                return error
        return None

    error = eventually(refusal, "a call is refused")
    assert error.endpoint == frontend.url
    assert patient.get_bytes(patient.put(b"x").id) == b"x"


def test_a_connection_that_the_frontend_closed_while_idle_costs_no_attempt(frontend: Member, twins: Twins) -> None:
    client = twins.connect(frontend.url, retry=ONCE)
    calls: list[Callable[[], object]] = [lambda: client.put(b"x"), lambda: client.put(iter([b"x"])), client.health]
    for call in calls:
        call()
        eventually(lambda: connections(frontend) == 0, "the frontend closed the idle connection")
        try:
            call()
        except AmbryError as error:
            raise AssertionError("a kept connection was believed in") from error
