"""Pages of other origins: what a browser asks and is told, as WHATWG Fetch has it."""

from __future__ import annotations

import pytest

from tests.support.http_frontend import Answer, HttpFrontend, http_frontend, ways
from tests.unit.frontend.rest.test_frontend_rest_entry import MODELS, put, say

__all__ = ["ways"]

APP = "https://app.example"
FROM_APP = {"Origin": APP, "Sec-Fetch-Site": "cross-site"}
ALLOW = "access-control-allow-origin"


async def preflight(frontend: HttpFrontend, path: str, method: str, origin: str = APP) -> Answer:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "x-ambry-ttl,content-type",
    }
    return await frontend.call("OPTIONS", path, headers)


async def test_a_preflight_is_told_what_the_container_of_the_blob_lets_in() -> None:
    async with http_frontend() as frontend:
        blob = await put(frontend)
        say(frontend, access_control_allow_origin=APP)
        told = await preflight(frontend, f"/{blob}", "DELETE")
        assert (told.status, told.headers[ALLOW]) == (204, APP)
        assert "DELETE" in told.headers["access-control-allow-methods"].split(", ")
        assert told.headers["access-control-allow-headers"] == "x-ambry-ttl,content-type"
        assert told.headers["access-control-max-age"] == "86400"
        assert told.headers["vary"].startswith("Origin, ")
        stranger = await preflight(frontend, f"/{blob}", "GET", "https://other.example")
        assert stranger.status == 403 and ALLOW not in stranger.headers


async def test_puts_are_among_what_pages_may_do() -> None:
    async with http_frontend() as frontend:
        say(frontend, access_control_allow_origin=APP)
        for path in ("/", "/updateTtl"):
            told = await preflight(frontend, path, "PUT")
            assert "PUT" in told.headers["access-control-allow-methods"], path
        headers = {**FROM_APP, **MODELS}
        stored = await frontend.call("PUT", "/", headers, b"hello")
        assert (stored.status, stored.headers[ALLOW]) == (201, APP)
        assert stored.headers["access-control-expose-headers"] == "*"
        longer = await frontend.call("PUT", "/updateTtl", {**FROM_APP, "x-ambry-blob-id": stored.blob_id})
        assert (longer.status, longer.headers[ALLOW]) == (200, APP)


async def test_where_no_container_lets_anybody_in_no_page_is() -> None:
    async with http_frontend() as frontend:
        blob = await put(frontend)
        for path in ("/", f"/{blob}"):
            assert (await preflight(frontend, path, "PUT")).status == 403
        assert (await frontend.call("POST", "/", FROM_APP, b"hello")).status == 403
        assert (await frontend.call("DELETE", f"/{blob}", FROM_APP)).status == 403
        read = await frontend.call("GET", f"/{blob}", FROM_APP)
        assert read.status == 200 and ALLOW not in read.headers and "vary" not in read.headers


async def test_a_page_may_use_the_container_that_lets_it_in_and_no_other() -> None:
    async with http_frontend() as frontend:
        say(frontend, access_control_allow_origin=f"{APP}, http://localhost:3000")
        refused = await frontend.call("POST", "/", FROM_APP, b"hello")
        assert refused.status == 403 and ALLOW not in refused.headers


async def test_what_a_listed_page_reads_is_kept_apart_in_caches(ways: bool) -> None:
    async with http_frontend() as frontend:
        blob = await put(frontend)
        say(frontend, access_control_allow_origin=APP)
        told = await frontend.call("GET", f"/{blob}", FROM_APP)
        assert (told.headers[ALLOW], told.headers["vary"]) == (APP, "Origin")
        for headers in ({}, {"Origin": "https://other.example"}, {"If-None-Match": "*"}):
            other = await frontend.call("GET", f"/{blob}", headers)
            assert ALLOW not in other.headers and other.headers["vary"] == "Origin"


async def test_what_everybodys_pages_may_read_says_so_to_whoever_asks(ways: bool) -> None:
    async with http_frontend() as frontend:
        blob = await put(frontend)
        say(frontend, access_control_allow_origin="*")
        for headers in ({}, FROM_APP):
            told = await frontend.call("GET", f"/{blob}", headers)
            assert told.headers[ALLOW] == "*" and "vary" not in told.headers
        assert (await frontend.call("DELETE", f"/{blob}", FROM_APP)).status == 202
        gone = await frontend.call("GET", f"/{blob}", FROM_APP)
        assert (gone.status, gone.headers[ALLOW]) == (410, "*"), "a page may read why it failed"


@pytest.mark.parametrize("names", ["a b", "a\x0b", "é", "", "a,,b"])
async def test_what_is_no_list_of_headers_is_not_told_back(names: str) -> None:
    async with http_frontend() as frontend:
        say(frontend, access_control_allow_origin=APP)
        headers = {"Origin": APP, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": names}
        told = await frontend.call("OPTIONS", "/", headers)
        assert "access-control-allow-headers" not in told.headers


async def test_an_options_of_no_browser_is_told_the_methods_alone() -> None:
    async with http_frontend() as frontend:
        told = await frontend.call("OPTIONS", "/")
        assert told.status == 204 and ALLOW not in told.headers and "PUT" in told.headers["allow"]
        same = await frontend.call("OPTIONS", "/", {"Origin": APP})
        assert same.status == 204 and ALLOW not in same.headers
