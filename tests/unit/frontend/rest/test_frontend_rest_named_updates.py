"""A name in the place of an id: it is extended and brought back, and lists agree with the blob."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ambry.clock import SystemClock
from tests.support.fake_cluster import make_cluster
from tests.support.http_frontend import Answer, HttpFrontend, http_frontend
from tests.support.metadata_stores import opened, sqlite_store

HERE = "/named/default/default"


@pytest.fixture
async def frontend(tmp_path: Path) -> AsyncIterator[HttpFrontend]:
    cluster = make_cluster(((3,),) * 4, clock=SystemClock())
    async with (
        opened(sqlite_store(tmp_path / "meta.sqlite")) as store,
        http_frontend(cluster, metadata=store) as made,
    ):
        yield made


async def change(frontend: HttpFrontend, call: str, name: str, **headers: str) -> Answer:
    return await frontend.call("PUT", f"/{call}", {"x-ambry-blob-id": name, **headers})


async def entry(frontend: HttpFrontend) -> dict[str, Any]:
    [only] = (await frontend.call("GET", HERE)).json()["entries"]
    return dict(only)


async def test_a_name_is_extended_and_its_list_says_so(frontend: HttpFrontend) -> None:
    await frontend.call("PUT", f"{HERE}/a%20b//c", {"x-ambry-ttl": "100"}, b"x")
    before = (await entry(frontend))["expirationTimeMs"]
    longer = await change(frontend, "updateTtl", f"{HERE}/a%20b//c", **{"x-ambry-ttl": "1000"})
    assert (longer.status, longer.headers["x-ambry-ttl"]) == (200, "1000")
    assert (await entry(frontend))["expirationTimeMs"] > before + 800_000
    shorter = await change(frontend, "updateTtl", f"{HERE}/a%20b//c", **{"x-ambry-ttl": "5"})
    assert (shorter.status, shorter.headers["x-ambry-ttl"]) == (200, "1000")
    assert (await change(frontend, "updateTtl", f"{HERE}/a%20b//c")).headers["x-ambry-ttl"] == "-1"
    assert "expirationTimeMs" not in await entry(frontend)
    assert (await frontend.call("GET", f"{HERE}/a%20b//c")).headers["x-ambry-ttl"] == "-1"


async def test_a_name_is_brought_back_with_its_blob(frontend: HttpFrontend) -> None:
    await frontend.call("PUT", f"{HERE}/n", {}, b"x")
    assert (await change(frontend, "undelete", f"{HERE}/n")).status == 409
    assert (await frontend.call("DELETE", f"{HERE}/n")).status == 202
    assert (await change(frontend, "updateTtl", f"{HERE}/n")).status == 410
    assert (await change(frontend, "undelete", f"{HERE}/n")).status == 200
    assert (await frontend.call("GET", f"{HERE}/n")).body == b"x"


@pytest.mark.parametrize("call", ["updateTtl", "undelete"])
@pytest.mark.parametrize(
    ("name", "status"),
    [
        (f"{HERE}/nothing", 404),
        (f"{HERE}/", 400),
        (HERE, 400),
        ("/named/default/nothing/n", 400),
        ("/named/", 400),
        (f"{HERE}/%zz", 400),
        (f"{HERE}/%ff", 400),
    ],
)
async def test_what_is_no_name_is_refused(frontend: HttpFrontend, call: str, name: str, status: int) -> None:
    assert (await change(frontend, call, name)).status == status


async def test_another_container_in_a_header_is_refused(frontend: HttpFrontend) -> None:
    await frontend.call("PUT", f"{HERE}/n", {"x-ambry-ttl": "100"}, b"x")
    other = await change(frontend, "updateTtl", f"{HERE}/n", **{"x-ambry-target-container-name": "other"})
    assert other.status == 412
    assert (await entry(frontend))["expirationTimeMs"]


async def test_without_a_metadata_store_there_are_no_names() -> None:
    async with http_frontend() as frontend:
        answer = await change(frontend, "updateTtl", f"{HERE}/n")
        assert (answer.status, "no metadata store" in answer.json()["detail"]) == (400, True)
