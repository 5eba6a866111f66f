"""What a page of somebody else can do in the browser of a user who reaches this server: on every route, nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.access import bearer, fresh_key
from tests.support.http_frontend import request
from tests.unit.frontend.rest.test_access_table import MODELS, READS, TABLE, ground
from tests.unit.frontend.rest.test_frontend_rest_entry import say

EVIL = "http://evil.example"
ASK_ONLY = {("POST", "/batch/get"), ("POST", "/batch/head")}
"""They change nothing, and a page that is not let in does not see their answer."""
KINDS: list[dict[str, str]] = [
    {"Origin": EVIL},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": f"{EVIL}, http://127.0.0.1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost"},
    {"Sec-Fetch-Site": "same-origin, cross-site", "Origin": "http://127.0.0.1"},
]


@pytest.mark.parametrize("keys", [False, True])
async def test_no_page_of_a_stranger_changes_anything_on_any_route(tmp_path: Path, keys: bool) -> None:
    """Also one that got hold of a key: it could not send that from a browser without a preflight that lets it."""
    async with ground(tmp_path, keys=keys) as here:
        own = bearer(here.root) if keys else {}
        for method, target in sorted(TABLE.keys() - ASK_ONLY):
            if method in READS:
                continue
            for kind in KINDS:
                status = await here.ask(method, target, {**own, **kind})
                assert status == 403, (method, target, kind, status)
        assert await here.ask("GET", "/{id}", own) == 200, "nothing was deleted"


@pytest.mark.parametrize("keys", [False, True])
async def test_no_page_that_rebinds_its_name_to_our_address_is_answered(tmp_path: Path, keys: bool) -> None:
    async with ground(tmp_path, keys=keys) as here:
        own = bearer(here.root) if keys else {}
        for method, target in TABLE:
            status = await here.ask(method, target, {**own, "Host": "evil.example"})
            assert status == 421, (method, target, status)
        blob = here.values["id"]
        for host in (
            "evil.example:17100",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "0x7f.1",
            "evil.localhost",
        ):
            answer = await here.frontend.call("GET", f"/{blob}", {**own, "Host": host})
            assert (answer.status, answer.json()["code"]) == (421, "MisdirectedRequest"), host
        for host in ("localhost", "LOCALHOST.:17100", "127.0.0.1", "[::1]:17100"):
            assert (await here.frontend.call("GET", f"/{blob}", {**own, "Host": host})).status == 200, host


async def test_a_page_of_a_stranger_reads_nothing_of_what_it_asks_for(tmp_path: Path) -> None:
    async with ground(tmp_path, keys=False) as here:
        for method, target in TABLE:
            if method in READS or (method, target) in ASK_ONLY:
                path = target
                for name, value in here.values.items():
                    path = path.replace(f"{{{name}}}", value)
                answer = await here.frontend.call(method, path, {"Origin": EVIL, "Sec-Fetch-Site": "cross-site"})
                told = {name for name in answer.headers if name.startswith("access-control-")}
                assert not told, (method, target)
        asks = {"Origin": EVIL, "Access-Control-Request-Method": "DELETE"}
        refused = await here.frontend.call("OPTIONS", f"/{here.values['id']}", asks)
        assert refused.status == 403 and "access-control-allow-origin" not in refused.headers


async def test_a_preflight_lets_a_key_be_sent_by_the_pages_of_a_container_and_never_with_cookies(
    tmp_path: Path,
) -> None:
    async with ground(tmp_path) as here:
        app, blob = "https://app.example", here.values["id"]
        asks = {
            "Origin": app,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization",
        }
        assert (await here.frontend.call("OPTIONS", f"/{blob}", asks)).status == 403
        for let in (app, "*"):
            say(here.frontend, access_control_allow_origin=let)
            told = await here.frontend.call("OPTIONS", f"/{blob}", asks)
            # `*` would not stand for it (WHATWG Fetch section 3.2.3): it is named.
            assert (told.status, told.headers["access-control-allow-headers"]) == (204, "authorization")
            read = await here.frontend.call("GET", f"/{blob}", {"Origin": app, **bearer(here.root)})
            assert (read.status, read.headers["access-control-allow-origin"]) == (200, let)
            for answer in (told, read):
                assert "access-control-allow-credentials" not in answer.headers
            unknown = await here.frontend.call("GET", f"/{blob}", {"Origin": app})
            assert (unknown.status, unknown.headers["access-control-allow-origin"]) == (401, app), "it may read why"
            wrong = await here.frontend.call("GET", f"/{blob}", {"Origin": app, **bearer(fresh_key())})
            assert (wrong.status, wrong.headers["access-control-allow-origin"]) == (401, app)


async def test_cookies_mean_nothing(tmp_path: Path) -> None:
    async with ground(tmp_path) as here:
        text = bearer(here.root)["Authorization"]
        for cookie in (f"Authorization={text}", f"key={text.removeprefix('Bearer ')}", "session=1; session=2"):
            answer = await here.frontend.call("GET", f"/{here.values['id']}", {"Cookie": cookie})
            assert answer.status == 401 and "set-cookie" not in answer.headers
        stored = await here.frontend.call("POST", "/", {**MODELS, **bearer(here.root), "Cookie": "a=b"}, b"hello")
        assert stored.status == 201 and "set-cookie" not in stored.headers


async def test_what_a_form_of_a_stranger_sends_is_stored_nowhere(tmp_path: Path) -> None:
    """A form needs no preflight. Its browser says whose it is all the same."""
    async with ground(tmp_path, keys=False) as here:
        for kind in ("text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"):
            for more in KINDS:
                sent = request("POST", "/", {"Content-Type": kind, **MODELS, **more}, b'{"op":"undelete"}')
                assert (await here.frontend.exchange(sent)).status == 403, (kind, more)
