"""The HTTP side of a frontend on a real loopback socket, with fake peers behind it, and a client of raw bytes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import random
import socket
import struct
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from ambry.clock import SystemClock, system_secret
from ambry.service.listener import bind
from ambry.service.origin import Hosts
from frontend.access.verified import Access, trusting
from frontend.audit.trail import AuditTrail
from frontend.config import AccountEntry, FrontendConfig, FrontendSection, UploadsSection
from frontend.containers.resolver import Containers
from frontend.encryption.keyring import Keyring
from frontend.http.access_log import AccessLog
from frontend.http.admission import limits_of
from frontend.http.pipeline import Pipeline
from frontend.http.proxies import TrustedProxies
from frontend.http.server import HttpServer
from frontend.limits.meters import Meters
from frontend.metadata.store import MetadataStore
from frontend.rest.api import AmbryApi
from frontend.rest.shortcut import shortcuts_of
from frontend.services import MetadataServices, metadata_services
from tests.support.eventually import GIVE_UP_S
from tests.support.fake_cluster import FakeCluster, make_cluster
from tests.support.introductions import introduction
from tests.support.kept_reader import connect
from tests.support.masters import TroubledProvider, master_keys

ACCOUNTS = {
    "default": AccountEntry(id=1, containers={"default": 1, "other": 2}),
    "ml": AccountEntry(id=7, containers={"models": 70}),
}


SHORTCUT = True
"""Whether frontends have the short way where a test does not say so."""


@pytest.fixture(params=[True, False], ids=["short", "ordinary"])
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Runs a test twice: with the short way (frontend/http/short.py), and without it."""
    monkeypatch.setattr(sys.modules[__name__], "SHORTCUT", request.param)
    return bool(request.param)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One response as it came: header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def blob_id(self) -> str:
        assert self.status == 201, (self.status, self.body)
        return self.headers["location"].removeprefix("/")


class RawClient:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        """The next status line and headers."""
        async with asyncio.timeout(GIVE_UP_S):
            raw = await self.reader.readuntil(b"\r\n\r\n")
        line, *lines = raw.decode("utf-8", "surrogateescape").split("\r\n")[:-2]
        pairs = [each.partition(":") for each in lines]
        names = [name.lower() for name, _, _ in pairs]
        assert len(set(names)) == len(names), f"a header stands there twice: {names}"
        return int(line.split(" ")[1]), {name.lower(): value.strip() for name, _, value in pairs}

    async def answer(self, method: str = "GET") -> Answer:
        """The next response, read to its end by Content-Length. IncompleteReadError where it is short."""
        status, headers = await self.head()
        bodyless = method == "HEAD" or status in (204, 304) or status < 200
        size = 0 if bodyless else int(headers["content-length"])
        async with asyncio.timeout(GIVE_UP_S):
            return Answer(status=status, headers=headers, body=await self.reader.readexactly(size))

    async def at_end(self) -> bool:
        """Whether the server closed the connection and sent nothing more."""
        async with asyncio.timeout(GIVE_UP_S):
            return await self.reader.read(1) == b""

    def abort(self) -> None:
        self.writer.transport.abort()


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpFrontend:
    cluster: FakeCluster
    port: int
    server: Any = None
    """Its HttpServer, where it runs in this process."""
    containers: Any = None
    """Its Containers, where it runs in this process."""
    services: MetadataServices | None = None
    """What stands on its metadata store, where it has one."""

    @contextlib.asynccontextmanager
    async def connected(self) -> AsyncIterator[RawClient]:
        reader, writer = await connect("127.0.0.1", self.port)
        client = RawClient(reader, writer)
        try:
            yield client
        finally:
            client.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def exchange(self, data: bytes, method: str = "GET") -> Answer:
        async with self.connected() as client:
            await client.send(data)
            return await client.answer(method)

    async def call(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        return await self.exchange(request(method, path, headers, body), method)

    async def put(self, body: bytes, headers: Mapping[str, str] | None = None) -> str:
        return (await self.call("POST", "/", headers, body)).blob_id


def request(method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None) -> bytes:
    """A request as bytes, with Content-Length where there is a body and no other length is given."""
    given = {"Host": "127.0.0.1", **(headers or {})}
    if body is not None and not {"content-length", "transfer-encoding"} & {name.lower() for name in given}:
        given["Content-Length"] = str(len(body))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n" + (body or b"")


@contextlib.asynccontextmanager
async def http_frontend(
    cluster: FakeCluster | None = None,
    *,
    unready: list[str] | None = None,
    lingering_time_s: float = 2.0,
    shortcut: bool | None = None,
    metadata: MetadataStore | None = None,
    access: Access | None = None,
    url_secret: bytes | None = None,
    meters: Meters | None = None,
    audit: AuditTrail | None = None,
    provider: TroubledProvider | None = None,
    uploads: UploadsSection | None = None,
    **section: Any,
) -> AsyncIterator[HttpFrontend]:
    """`section` overrides fields of FrontendSection. The server is set up as frontend/app.py does it.

    Without `access` nobody is asked for a key. With `provider` there are keys of containers.
    Without `shortcut` everything goes the ordinary way; what counts where that is not said is SHORTCUT.
    """
    cluster = cluster or make_cluster(((3,),) * 4, clock=SystemClock())
    config = FrontendSection(**{"name": "f1", "datacenter": "dc1", "access_log": False, **section})
    clock = cluster.context.clock
    access = access or trusting(clock)
    containers = Containers(ACCOUNTS, open=not access.enabled)
    whole = FrontendConfig(frontend=config, uploads=uploads or UploadsSection())
    services, keyring = None, None
    if metadata is not None:
        if provider is not None:
            keyring = Keyring(
                metadata,
                containers,
                [master_keys(provider, clock)],
                cluster="test",
                clock=clock,
                chance=system_secret,
                cache_s=3600.0,
            )
            cluster = dataclasses.replace(cluster, context=dataclasses.replace(cluster.context, keys=keyring))
        services = metadata_services(
            metadata,
            cluster.context,
            containers,
            whole,
            introduction=introduction(config.name, clock=clock),
            access=access,
            keyring=keyring,
            clock=clock,
            random_source=random.Random(5),
        )
        await services.sync.tick()
        await services.key_sync.tick()
    api = AmbryApi(
        cluster.context,
        containers,
        config=whole,
        clock=clock,
        access=access,
        url_secret=url_secret,
        unready=lambda: unready or [],
        services=services,
    )
    pipeline = Pipeline(
        api,
        hosts=Hosts(config.hosts),
        clock=cluster.context.clock,
        random_source=random.Random(3),
        request_timeout_s=cluster.context.config.request_timeout_ms / 1000,
        access_log=AccessLog(enabled=config.access_log, random_source=random.Random(5), audit=audit),
        meters=meters,
        proxies=TrustedProxies(config.trusted_proxies),
    )
    if services is not None:
        services.use_counts.tallies = pipeline.tallies
    server = HttpServer(
        pipeline,
        clock=cluster.context.clock,
        random_source=random.Random(4),
        limits=limits_of(config),
        answer=pipeline.refuse,
        lingering_s=lingering_time_s,
    )
    if SHORTCUT if shortcut is None else shortcut:
        server.shortcuts = shortcuts_of(
            pipeline, cluster.context, api, services, config=config, clock=cluster.context.clock
        )
    server.start(bind("127.0.0.1", 0))
    try:
        yield HttpFrontend(cluster=cluster, port=server.port, server=server, containers=containers, services=services)
    finally:
        await server.drain(timeout_s=1.0, hurry=asyncio.Event())


def reset(client: RawClient) -> None:
    """Go, so that the server notices."""
    sock = client.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.abort()


async def until(look: Any, what: str, timeout_s: float = GIVE_UP_S) -> None:
    """Turn the event loop until `look()` is true. Raises TimeoutError long after it should have been."""
    async with asyncio.timeout(timeout_s):
        while not look():  # noqa: ASYNC110  what is waited for tells nobody
            await asyncio.sleep(0.001)
    assert look(), what
