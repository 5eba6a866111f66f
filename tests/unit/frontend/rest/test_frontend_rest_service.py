"""What a frontend says of itself."""

from __future__ import annotations

import pytest

from tests.support.http_frontend import http_frontend


@pytest.mark.parametrize("reasons", [[], ["too few replicas connected for partitions [3]"]])
async def test_health_pages(reasons: list[str]) -> None:
    async with http_frontend(unready=reasons) as frontend:
        ready = await frontend.call("GET", "/readyz")
        assert ready.headers.get("retry-after") == ("1" if reasons else None), "every 503 says when to come again"
        assert (ready.status, ready.json()) == (503 if reasons else 200, {"ready": not reasons, "reasons": reasons})
        check = await frontend.call("GET", "/healthCheck")
        assert check.headers.get("retry-after") == ("1" if reasons else None)
        assert (check.status, check.body) == ((503, b"BAD") if reasons else (200, b"GOOD"))
        assert (await frontend.call("GET", "/healthz")).body == b"ok\n"
        assert "version" in (await frontend.call("GET", "/version")).json()
        assert (await frontend.call("GET", "/")).json()["service"] == "ambry"


@pytest.mark.parametrize("path", ["/", "/healthCheck", "/HEALTHCHECK", "/healthz", "/readyz", "/version"])
async def test_head_says_what_get_says_and_nothing_is_kept(path: str) -> None:
    async with http_frontend() as frontend:
        got, head = await frontend.call("GET", path), await frontend.call("HEAD", path)
        for answer in (got, head):
            for varying in ("date", "x-ambry-answered-ms", "x-ambry-request-id"):
                assert answer.headers.pop(varying)
        assert (head.status, head.headers) == (got.status, got.headers)
        assert got.headers["cache-control"] == "no-store"
        assert got.headers["content-length"] == str(len(got.body)) and got.body
