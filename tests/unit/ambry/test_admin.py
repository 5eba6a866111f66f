"""The admin port of a process, over a real socket."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from ambry import __version__, metrics
from ambry.admin import start_admin

reasons: list[str] = []


@pytest.fixture
async def base() -> AsyncIterator[str]:
    reasons.clear()
    pages: dict[str, Any] = {"/things": lambda: [{"name": "é", "count": 3}]}
    runner = await start_admin("127.0.0.1", 0, ready=lambda: reasons, pages=pages)
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def get(url: str) -> tuple[int, str, Any]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        text = await answer.text()
        kind = answer.headers["Content-Type"]
        return answer.status, kind, await answer.json() if kind.startswith("application/json") else text


async def test_a_process_that_runs_is_healthy(base: str) -> None:
    assert (await get(f"{base}/healthz"))[::2] == (200, "ok\n")


async def test_readiness_says_why_not(base: str) -> None:
    assert (await get(f"{base}/readyz"))[::2] == (200, {"ready": True, "reasons": []})
    reasons.append("partition 7 is fenced")
    assert (await get(f"{base}/readyz"))[::2] == (503, {"ready": False, "reasons": ["partition 7 is fenced"]})
    assert (await get(f"{base}/healthz"))[0] == 200, "not ready is not dead"


async def test_metrics_are_served_as_prometheus_reads_them(base: str) -> None:
    status, kind, text = await get(f"{base}/metrics")
    assert (status, kind) == (200, metrics.CONTENT_TYPE)
    assert "process_cpu_seconds_total" in text
    assert list(metrics.LATENCY_BUCKETS_S) == sorted(set(metrics.LATENCY_BUCKETS_S))


async def test_the_pages_of_a_process_and_its_version(base: str) -> None:
    assert (await get(f"{base}/things"))[2] == [{"name": "é", "count": 3}]
    assert (await get(f"{base}/version"))[2] == {"version": __version__}
    assert (await get(f"{base}/nothing"))[0] == 404


async def test_a_port_that_is_taken_is_an_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError):
            await start_admin("127.0.0.1", taken.getsockname()[1], ready=lambda: [], pages={})
