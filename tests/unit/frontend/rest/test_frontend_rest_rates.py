"""Rates over HTTP: 429 with a Retry-After that is true, and streams that are slowed down and come to their end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from ambry.clock import SystemClock
from ambry.rest.access import ALL_ROLES, Grant, KeyText, hash_of, role_texts
from frontend.access.key_rows import StoredKey
from frontend.access.verified import Access
from frontend.limits.meters import Meters
from frontend.limits.rates import UNBOUNDED, Rates
from tests.support.access import bearer, fresh_key
from tests.support.http_frontend import HttpFrontend, http_frontend
from tests.support.http_frontend import ways as ways

MIB = 1 << 20


class Watch:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def knowing(key: KeyText, rates: Rates) -> Access:
    """Knows one key, which may do everything at these rates."""
    access = Access(clock=SystemClock())
    everything = Grant(roles=tuple(role_texts(ALL_ROLES)))
    stored = StoredKey(
        name="k", hash=hash_of(key.secret), grants=(everything,), created_ms=0, created_by="", limits=rates
    )
    access.know([(key.id, stored)])
    return access


@contextlib.asynccontextmanager
async def frontend_at(rates: Rates, meters: Meters | None = None) -> AsyncIterator[tuple[HttpFrontend, dict[str, str]]]:
    key = fresh_key()
    async with http_frontend(access=knowing(key, rates), meters=meters) as frontend:
        yield frontend, bearer(key)


@pytest.mark.usefixtures("ways")
async def test_one_request_too_many_is_429_and_comes_through_when_it_was_told_to_and_not_before() -> None:
    watch = Watch()
    async with frontend_at(Rates(requests_per_s=0.25, burst_s=8), Meters(now=watch)) as (frontend, headers):
        path = f"/{await frontend.put(b'abc', headers)}"
        assert (await frontend.call("GET", path, headers)).status == 200
        refused = await frontend.call("GET", path, headers)
        assert (refused.status, refused.json()["code"]) == (429, "RateLimited")
        come_back_s = int(refused.headers["retry-after"])
        assert come_back_s == 4
        watch.now += come_back_s - 0.01
        assert (await frontend.call("GET", path, headers)).status == 429
        watch.now += 0.01
        assert (await frontend.call("GET", path, headers)).status == 200


@pytest.mark.usefixtures("ways")
async def test_bytes_of_small_requests_are_counted_too() -> None:
    async with frontend_at(Rates(bytes_per_s=1000.0), Meters(now=Watch())) as (frontend, headers):
        path = f"/{await frontend.put(b'a' * 2_000, headers)}"
        refused = [await frontend.call(method, path, headers) for method in ("GET", "GET", "HEAD", "GET")]
        assert refused[-1].status == 429


async def test_streams_are_slowed_down_and_come_to_their_end() -> None:
    async with frontend_at(Rates(bytes_per_s=8 * MIB, burst_s=0.01)) as (frontend, headers):
        loop, body = asyncio.get_running_loop(), bytes(range(256)) * (MIB >> 8)
        began = loop.time()
        blob = await frontend.put(body, headers)
        put_at = loop.time()
        assert put_at - began > 0.06, "all but the last pieces had to wait for those before them"
        answer = await frontend.call("GET", f"/{blob}", headers)
        assert answer.body == body
        assert loop.time() - put_at > 0.1


async def test_wrong_keys_are_refused_as_often_as_anybody_without_one() -> None:
    meters = Meters(now=Watch(), anonymous=Rates(requests_per_s=2.0))
    async with frontend_at(UNBOUNDED, meters) as (frontend, headers):
        wrong = bearer(fresh_key())
        assert [(await frontend.call("GET", "/keys", wrong)).status for _ in range(4)] == [401, 401, 429, 429]
        assert (await frontend.call("GET", "/nothing/here", headers)).status == 400, "who has a key is not concerned"
        assert (await frontend.call("GET", "/healthz")).status == 200, "nor whoever asks whether we live"
