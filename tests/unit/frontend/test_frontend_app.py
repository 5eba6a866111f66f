"""A whole frontend over a layout whose data nodes are all dead: it starts, says why it is not ready, refuses, and stops."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import msgspec
import pytest
from aiohttp import http_parser

from ambry.clock import SystemClock
from ambry.clustermap.layout import load_layout
from ambry.errors import ConfigInvalid, Unavailable
from ambry.network.pool import ClockSample, PeerPool
from ambry.service.tls import NodeRole
from frontend import app, metrics
from frontend.app import Frontend
from frontend.config import AccessSection, FrontendConfig, FrontendSection, MetadataSection, RouterSection
from frontend.rest.blob import BlobFinder
from tests.support.captured_log import capture_log
from tests.support.eventually import GIVE_UP_S
from tests.support.fake_clock import SettableClock
from tests.support.fake_cluster import make_cluster, some_id
from tests.support.http_frontend import Answer, HttpFrontend, request, until
from tests.support.node_certificates import authority, node_section
from tests.support.ports import free_ports


@pytest.fixture
def config(tmp_path: Path) -> FrontendConfig:
    port, admin_port, *others = free_ports(5)
    dead = [{"name": f"n{number}", "host": "127.0.0.1", "port": others[number - 1]} for number in (1, 2, 3)]
    layout = {
        "cluster": "test",
        "version": 1,
        "datacenters": [{"name": "dc1", "id": 1, "nodes": dead}],
        "partitions": [{"id": 0, "replicas": ["n1", "n2", "n3"]}, {"id": 7, "replicas": ["n1", "n2", "n3"]}],
    }
    path = tmp_path / "layout.json"
    path.write_text(json.dumps(layout))
    section = FrontendSection(
        name="f1",
        datacenter="dc1",
        layout=str(path),
        port=port,
        admin_port=admin_port,
        lame_duck_s=0.0,
        drain_timeout_s=1.0,
    )
    return FrontendConfig(
        frontend=section, access=AccessSection(enabled=False), router=RouterSection(request_timeout_ms=500)
    )


@pytest.mark.parametrize(
    ("section", "tls", "warned"),
    [
        (FrontendSection(host="0.0.0.0"), False, True),
        (FrontendSection(host="0.0.0.0"), True, False),
        (FrontendSection(host="0.0.0.0", behind_proxy=True), False, False),
        (FrontendSection(host="127.0.0.1"), False, False),
    ],
)
def test_a_frontend_that_clients_reach_without_tls_says_so_in_its_log(
    monkeypatch: pytest.MonkeyPatch, section: FrontendSection, tls: bool, warned: bool
) -> None:
    """With keys and without TLS it listened on every address, and its log said nothing of it."""
    events = capture_log(monkeypatch, app)
    app.tell_in_the_clear(section, tls=tls)
    assert [each["log_level"] for each in events] == ["warning"] * warned


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    stop: asyncio.Event
    hurry: asyncio.Event
    task: asyncio.Task[None]
    http: HttpFrontend
    admin: HttpFrontend


@contextlib.asynccontextmanager
async def running(config: FrontendConfig) -> AsyncIterator[Running]:
    frontend = Frontend(config, clock=SystemClock(), random_source=random.Random(1))
    stop, hurry = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(frontend.serve(stop, hurry))
    cluster = make_cluster()
    made = Running(
        stop=stop,
        hurry=hurry,
        task=task,
        http=HttpFrontend(cluster=cluster, port=config.frontend.port),
        admin=HttpFrontend(cluster=cluster, port=config.frontend.admin_port),
    )
    try:
        async with asyncio.timeout(60):
            while not (await listens(config.frontend.admin_port) and await listens(config.frontend.port)):
                assert not task.done(), task
                await asyncio.sleep(0.01)
        yield made
    finally:
        stop.set()
        async with asyncio.timeout(60):
            await asyncio.gather(task, return_exceptions=True)


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def refused(answer: Answer) -> None:
    assert answer.status == 503
    assert answer.headers["retry-after"] and answer.headers["content-type"] == "application/problem+json"


async def test_a_certificate_that_was_revoked_is_named_where_too_few_replicas_answer(
    config: FrontendConfig, tmp_path: Path
) -> None:
    made = authority(tmp_path / "certs")
    section = node_section(made, NodeRole.FRONTEND, "f1", days=300)
    made.revoke("frontend-f1")
    async with running(msgspec.structs.replace(config, node_tls=section)) as frontend:
        async with asyncio.timeout(GIVE_UP_S):
            while len(reasons := (await frontend.admin.call("GET", "/readyz")).json()["reasons"]) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert reasons[0] == "too few replicas answer for partitions [0, 7]"
        assert reasons[1].startswith("node_tls.certificate: it was revoked")


async def test_with_dead_nodes_it_lives_says_why_it_is_not_ready_and_refuses_politely(config: FrontendConfig) -> None:
    async with running(config) as frontend:
        more: dict[str, list[str]] = {}
        for port in (frontend.http, frontend.admin):
            ready = await port.call("GET", "/readyz")
            assert (ready.status, ready.json()) == (
                503,
                {"ready": False, "reasons": ["too few replicas answer for partitions [0, 7]"], **more},
            )
            more = {"warnings": []}  # on the admin port
            assert (await port.call("GET", "/healthz")).status == 200
        assert (await frontend.http.call("GET", "/healthCheck")).body == b"BAD"
        peers = (await frontend.admin.call("GET", "/peers")).json()
        assert [(peer["node"], peer["connected"]) for peer in peers] == [("n1", False), ("n2", False), ("n3", False)]
        workers = (await frontend.admin.call("GET", "/workers")).json()
        assert {worker["name"] for worker in workers} >= {"containers", "upload_sessions"}
        assert [worker["name"] for worker in workers if worker["errors"]] == []
        refused(await frontend.http.call("GET", f"/{some_id()}"))
        refused(await frontend.http.call("POST", "/", body=b"x"))
        refused(await frontend.http.call("DELETE", f"/{some_id()}"))
        metrics = await frontend.admin.call("GET", "/metrics")
        assert b"ambry_frontend_peers_usable 0.0" in metrics.body
        free = [
            line for line in metrics.body.decode().splitlines() if line.startswith("ambry_frontend_memory_budget_free")
        ]
        assert float(free[0].rpartition(" ")[2]) == config.router.memory_budget_bytes


async def test_a_stop_lets_a_request_end_and_says_that_it_is_stopping(
    config: FrontendConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def waits(*_: object, **__: object) -> None:
        begun.set()
        await go_on.wait()
        raise Unavailable("too late")

    monkeypatch.setattr(BlobFinder, "head", waits)
    async with running(config) as frontend, frontend.http.connected() as client:
        await client.send(request("GET", f"/{some_id()}/BlobInfo"))
        await begun.wait()
        frontend.stop.set()
        async with asyncio.timeout(GIVE_UP_S):
            while (await frontend.admin.call("GET", "/readyz")).json()["reasons"] != ["stopping"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        async with asyncio.timeout(GIVE_UP_S):
            while await listens(config.frontend.port):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        go_on.set()
        refused(await client.answer())
        client.abort()
        await asyncio.wait_for(frontend.task, 60)
        assert not await listens(config.frontend.admin_port)
        assert [task for task in asyncio.all_tasks() if task.get_name().startswith("peer:")] == []


async def test_a_request_that_does_not_end_does_not_hold_the_stop_up(config: FrontendConfig) -> None:
    async with running(config) as frontend, frontend.http.connected() as client:
        await client.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhello")
        await asyncio.sleep(0.05)
        frontend.stop.set()
        refused(await client.answer())
        assert await client.at_end()
        await asyncio.wait_for(frontend.task, 60)


async def test_after_a_stop_it_serves_for_a_while_and_says_that_it_goes(config: FrontendConfig) -> None:
    section = msgspec.structs.replace(config.frontend, lame_duck_s=60.0)
    async with running(msgspec.structs.replace(config, frontend=section)) as frontend:
        async with frontend.http.connected() as client:
            await client.send(request("GET", "/healthz"))
            assert "connection" not in (await client.answer()).headers
            frontend.stop.set()
            await until(lambda: frontend.stop.is_set(), "it was told")
            for _ in range(2):
                ready = await frontend.http.call("GET", "/readyz")
                assert (ready.status, ready.json()["reasons"]) == (503, ["stopping"])
                assert ready.headers["connection"] == "close"
            await client.send(request("GET", "/healthz"))
            assert (await client.answer()).headers["connection"] == "close"
            assert await client.at_end()
        assert not frontend.task.done()
        frontend.hurry.set()
        await asyncio.wait_for(frontend.task, 60)


@pytest.mark.parametrize("taken", ["port", "admin_port"])
async def test_a_port_that_is_taken_is_told_and_nothing_stays_open(config: FrontendConfig, taken: str) -> None:
    with socket.create_server(("127.0.0.1", getattr(config.frontend, taken))):
        frontend = Frontend(config, clock=SystemClock(), random_source=random.Random(1))
        with pytest.raises(OSError, match="address already in use"):
            await asyncio.wait_for(frontend.serve(asyncio.Event(), asyncio.Event()), 60)
    for port in (config.frontend.port, config.frontend.admin_port):
        assert not await listens(port)
    await until(
        lambda: not [task for task in asyncio.all_tasks() if task.get_name().startswith("peer:")], "no task is left"
    )


async def test_a_frontend_that_nobody_has_a_key_for_is_refused_before_it_makes_a_store(
    config: FrontendConfig, tmp_path: Path
) -> None:
    """It made one, and was refused then."""
    store = tmp_path / "metadata"
    everywhere = msgspec.structs.replace(
        config,
        frontend=msgspec.structs.replace(config.frontend, host="0.0.0.0"),
        access=AccessSection(),
        metadata=MetadataSection(path=str(store)),
    )
    frontend = Frontend(everywhere, clock=SystemClock(), random_source=random.Random(1))
    with pytest.raises(ConfigInvalid, match="nobody has a key"):
        await asyncio.wait_for(frontend.serve(asyncio.Event(), asyncio.Event()), 60)
    assert not list(tmp_path.glob("metadata*"))


def test_a_datacenter_that_the_layout_lacks_is_named(config: FrontendConfig) -> None:
    section = msgspec.structs.replace(config.frontend, datacenter="dc9")
    with pytest.raises(ConfigInvalid, match="dc9"):
        Frontend(msgspec.structs.replace(config, frontend=section), clock=SystemClock(), random_source=random.Random(1))


def test_the_python_parser_is_refused(config: FrontendConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_parser, "HttpRequestParser", http_parser.HttpRequestParserPy)
    with pytest.raises(ConfigInvalid, match="C parser"):
        Frontend(config, clock=SystemClock(), random_source=random.Random(1))


def test_a_frontend_with_a_wrong_clock_goes_by_that_of_most_data_nodes_and_says_so(
    config: FrontendConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A day behind, it acknowledged blobs of twenty hours that were over already."""
    events = capture_log(monkeypatch, app)
    clock = SettableClock()
    frontend = Frontend(config, clock=clock, random_source=random.Random(1))
    for name, offset_ms in (("n1", 5.0), ("n2", 86_400_000.0), ("n3", 86_400_007.0), ("n1", 86_400_005.0)):
        frontend._note_clock(name, ClockSample(peer=name, offset_ms=offset_ms, half_round_trip_ms=1.0))
    peers = dict.fromkeys(load_layout(Path(config.frontend.layout)).nodes, None)
    router = frontend._context(cast(PeerPool, peers))
    assert router.clock.wall_ms() == clock.wall_ms() + 86_400_005
    assert metrics.CLOCK_CORRECTION._value.get() == 86_400.005
    assert [event["event"] for event in events] == ["this clock differs from the data nodes', whose time is used"]
    for name in ("n1", "n2", "n3"):
        frontend._note_clock(name, ClockSample(peer=name, offset_ms=0.0, half_round_trip_ms=1.0))
    assert router.clock.wall_ms() == clock.wall_ms()
    assert metrics.CLOCK_CORRECTION._value.get() == 0
