"""The admin port of a process, over a real socket."""

from __future__ import annotations

import asyncio
import errno
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from ambry import __version__
from ambry.errors import AlreadyExists, PartitionUnknown
from ambry.service import metrics
from ambry.service.admin import CONNECTIONS_MAX, start_admin
from tests.support.eventually import eventually

reasons: list[str] = []
warnings: list[str] = []
mended: list[int] = []


async def mend(number: int, _body: bytes) -> dict[str, int]:
    if number == 404:
        raise PartitionUnknown(f"there is no thing {number}")
    if number == 409:
        raise AlreadyExists(f"thing {number} is whole")
    if number == 500:
        raise OSError(errno.EIO, "Input/output error")
    mended.append(number)
    return {"mended": number}


@pytest.fixture
async def base() -> AsyncIterator[str]:
    reasons.clear()
    warnings.clear()
    mended.clear()
    pages: dict[str, Any] = {
        "/things": lambda: [{"name": "é", "count": 3}],
        "/none": lambda: iter(()),
        "/many": lambda: ({"number": number, "at": _turns(number)} for number in range(300)),
    }
    admin = await start_admin(
        "127.0.0.1",
        0,
        ready=lambda: reasons,
        warnings=lambda: warnings,
        pages=pages,
        actions={"/things/{number}/mend": mend},
    )
    yield f"http://127.0.0.1:{admin.port}"
    await admin.close()


turns = 0


def _turns(number: int) -> int:
    time.sleep(0.0005)
    return turns


async def test_a_long_page_lets_others_have_their_turn(base: str) -> None:
    """`/partitions` of 1,000 replicas held the event loop for 3.6 s."""

    async def others() -> None:
        global turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    running = asyncio.ensure_future(others())
    status, kind, page = await get(f"{base}/many")
    running.cancel()
    assert (status, kind) == (200, "application/json")
    assert [item["number"] for item in page] == list(range(300))
    assert len({item["at"] for item in page}) >= 10
    assert (await get(f"{base}/none"))[2] == []


async def get(url: str) -> tuple[int, str, Any]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        text = await answer.text()
        kind = answer.headers["Content-Type"]
        return answer.status, kind, await answer.json() if kind.startswith("application/json") else text


async def post(url: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.post(url) as answer:
        kind = answer.headers["Content-Type"]
        return answer.status, await answer.json() if kind.startswith("application/json") else await answer.text()


async def test_a_process_that_runs_is_healthy(base: str) -> None:
    assert (await get(f"{base}/healthz"))[::2] == (200, "ok\n")


async def test_readiness_says_why_not(base: str) -> None:
    assert (await get(f"{base}/readyz"))[::2] == (200, {"ready": True, "reasons": [], "warnings": []})
    reasons.append("partition 7 is fenced")
    fenced: dict[str, Any] = {"ready": False, "reasons": ["partition 7 is fenced"], "warnings": []}
    assert (await get(f"{base}/readyz"))[::2] == (503, fenced)
    warnings.append("a certificate ends soon")
    assert (await get(f"{base}/readyz"))[::2] == (503, fenced | {"warnings": ["a certificate ends soon"]})
    warnings.extend(reasons)
    assert (await get(f"{base}/readyz"))[2]["warnings"] == ["a certificate ends soon"], "said once"
    reasons.clear()
    assert (await get(f"{base}/readyz"))[0] == 200
    assert (await get(f"{base}/healthz"))[0] == 200, "not ready is not dead"


async def test_metrics_are_served_as_prometheus_reads_them(base: str) -> None:
    status, kind, text = await get(f"{base}/metrics")
    assert (status, kind) == (200, metrics.CONTENT_TYPE)
    assert "process_cpu_seconds_total" in text
    assert list(metrics.LATENCY_BUCKETS_S) == sorted(set(metrics.LATENCY_BUCKETS_S))


async def test_the_pages_of_a_process_and_its_version(base: str) -> None:
    assert (await get(f"{base}/things"))[2] == [{"name": "é", "count": 3}]
    assert (await get(f"{base}/version"))[2] == {"version": __version__}


async def test_what_there_is_is_listed_and_what_there_is_not_is_told(base: str) -> None:
    """`/` was `404: Not Found` in plain text, as was every mistyped page, from a server of the name of aiohttp."""
    there = ["/healthz", "/readyz", "/metrics", "/version", "/things", "/none", "/many", "POST /things/{number}/mend"]
    assert (await get(f"{base}/"))[2] == {"service": "ambry", "version": __version__, "pages": there}
    status, _, said = await get(f"{base}/nothing")
    assert (status, said) == (
        404,
        {"error": "PageUnknown", "detail": f"/nothing is no page of this admin port, which has {', '.join(there)}"},
    )
    assert await post(f"{base}/metrics") == (
        405,
        {"error": "MethodNotAllowed", "detail": "/metrics takes GET, HEAD, and not POST"},
    )
    async with aiohttp.ClientSession() as session, session.put(f"{base}/things/7/mend") as answer:
        assert (answer.status, answer.headers["Allow"], answer.headers["Server"]) == (405, "POST", "ambry")


async def test_a_port_that_is_taken_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError):
            await start_admin("127.0.0.1", taken.getsockname()[1], ready=lambda: [], pages={})


async def test_an_action_is_done_and_its_result_told(base: str) -> None:
    assert await post(f"{base}/things/7/mend") == (200, {"mended": 7})
    assert await post(f"{base}/things/999999999999999999/mend") == (200, {"mended": 10**18 - 1})
    assert mended == [7, 10**18 - 1]


@pytest.mark.parametrize(
    ("number", "status", "body"),
    [
        (404, PartitionUnknown.status, {"error": "PartitionUnknown", "detail": "there is no thing 404"}),
        (409, AlreadyExists.status, {"error": "AlreadyExists", "detail": "thing 409 is whole"}),
        (500, 500, {"error": "OSError", "detail": "[Errno 5] Input/output error"}),
    ],
)
async def test_an_action_that_is_refused_says_why(base: str, number: int, status: int, body: dict[str, str]) -> None:
    assert await post(f"{base}/things/{number}/mend") == (status, body)
    assert mended == []


async def test_looking_at_an_action_does_not_set_it_off(base: str) -> None:
    """A crawler, or a browser that fetches ahead, must not mend anything."""
    assert (await get(f"{base}/things/7/mend"))[0] == 405
    assert mended == []


@pytest.mark.parametrize("number", ["", "x", "-1", "1.5", "7x", "%31%2f", "1" * 19])
async def test_what_is_no_number_is_no_action(base: str, number: str) -> None:
    assert (await post(f"{base}/things/{number}/mend"))[0] == 404
    assert mended == []


async def test_a_page_is_not_posted_to(base: str) -> None:
    assert (await post(f"{base}/things"))[0] == 405


async def test_a_page_of_a_stranger_neither_reads_nor_sets_off_anything(base: str) -> None:
    """DNS rebinding shows in the Host header, a request across origins in Origin or Sec-Fetch-Site."""
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{base}/things", headers={"Host": "evil.example"}) as answer:
            assert (answer.status, (await answer.json())["error"]) == (421, "MisdirectedRequest")
        for name, value in (("Origin", "http://evil.example"), ("Sec-Fetch-Site", "cross-site")):
            async with session.post(f"{base}/things/7/mend", headers={name: value}) as answer:
                assert (answer.status, (await answer.json())["error"]) == (403, "AccessDenied")
        assert mended == []
        async with session.post(f"{base}/things/7/mend", headers={"Origin": base}) as answer:
            assert answer.status == 200


async def test_a_burst_of_silent_connections_takes_no_more_than_the_port_has(base: str) -> None:
    """The bound was held against those that were taken in already: a burst that was accepted at once went past it."""
    port = int(base.rpartition(":")[2])
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS_MAX + 12)]
    try:
        loop = asyncio.get_running_loop()
        told = []
        for each in silent:
            each.setblocking(False)
            told.append(asyncio.ensure_future(loop.sock_recv(each, 1000)))
        await eventually(lambda: sum(task.done() for task in told) >= 12)
        answers = [task.result() for task in told if task.done()]
        assert len(answers) == 12
        assert all(answer.startswith(b"HTTP/1.1 503 ") for answer in answers)
    finally:
        for task in told:
            task.cancel()
        for each in silent:
            each.close()
