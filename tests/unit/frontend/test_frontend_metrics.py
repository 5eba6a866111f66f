from __future__ import annotations

from ambry.service.metrics import render
from frontend import metrics
from tests.support.fake_cluster import some_id
from tests.support.http_frontend import http_frontend


def sample(name: str) -> float:
    lines = [line for line in render().decode().splitlines() if line.startswith(f"{name} ")]
    return float(lines[0].rsplit(" ", 1)[1]) if lines else 0.0


async def test_requests_are_counted_by_operation_and_status_and_timed() -> None:
    put = 'ambry_frontend_requests_total{op="put",status="201"}'
    missing = 'ambry_frontend_requests_total{op="get",status="404"}'
    timed = 'ambry_frontend_request_seconds_count{op="put"}'
    before = [sample(name) for name in (put, missing, timed, "ambry_frontend_bytes_received_total")]
    async with http_frontend() as frontend:
        blob_id = await frontend.put(b"hello")
        await frontend.call("GET", f"/{blob_id}")
        await frontend.call("GET", f"/{some_id(5)}")
    after = [sample(name) for name in (put, missing, timed, "ambry_frontend_bytes_received_total")]
    assert [late - early for early, late in zip(before, after, strict=True)] == [1, 1, 1, 5]
    assert sample("ambry_frontend_requests_in_flight") == 0


def test_every_metric_says_what_it_counts() -> None:
    text = render().decode()
    for metric in (metrics.REQUESTS, metrics.LATENCY, metrics.IN_FLIGHT):
        described = next(iter(metric.describe()))
        assert described.documentation.endswith(".")
        assert f"# HELP {described.name}" in text
