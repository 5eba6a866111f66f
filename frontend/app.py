"""A frontend: its peers, its router, its HTTP port and its admin port, put together and taken apart in order."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
from pathlib import Path
from typing import Any

from aiohttp import http_parser

from ambry.address import authority, is_loopback
from ambry.clock import Clock
from ambry.clustermap.layout import load_layout
from ambry.clustermap.skew import AgreedClock
from ambry.errors import ConfigInvalid
from ambry.network.introduction import INSTANCE_SIZE, Introduction
from ambry.network.listening import require_tls
from ambry.network.pool import ClockSample, PeerPool
from ambry.service.admin import AdminTls, start_admin
from ambry.service.listener import bind
from ambry.service.logs import get_logger
from ambry.service.notice import READY, tell_manager
from ambry.service.origin import Hosts
from ambry.service.own_certificate import OwnCertificates
from ambry.service.process import descriptor_limit
from ambry.service.tls import Certificates, ReloadingTls, front_context, node_tls
from ambry.service.worker import WorkerRegistry
from frontend import metrics
from frontend.access.sharing import sharers
from frontend.access.signed_secret import read_secret
from frontend.access.verified import Access
from frontend.audit.file import AuditFile
from frontend.audit.trail import AuditTrail
from frontend.config import FrontendConfig, FrontendSection, rpc_address
from frontend.containers.resolver import Containers
from frontend.encryption.opening import keyring_of
from frontend.http.access_log import AccessLog
from frontend.http.admission import limits_of
from frontend.http.pipeline import Pipeline
from frontend.http.proxies import TrustedProxies
from frontend.http.server import HttpServer
from frontend.limits.meters import Meters
from frontend.limits.rates import Rates
from frontend.metadata.opening import is_new, metadata_store, open_metadata
from frontend.rest.api import AmbryApi
from frontend.rest.shortcut import shortcuts_of
from frontend.router.budget import MemoryBudget
from frontend.router.context import RouterContext, router_context
from frontend.router.sealing_keys import ContainerKeys
from frontend.seat import Seat
from frontend.services import metadata_services

log = get_logger()

SEATED_WITHIN_S = 2.0
"""One of several processes accepts when its peers are connected, or after so long."""


def tell_in_the_clear(section: FrontendSection, *, tls: bool) -> None:
    """Log that keys can be read on the way, where clients come over a network and nothing speaks TLS with them."""
    if not (tls or section.behind_proxy or is_loopback(section.host)):
        log.warning(
            "clients speak without TLS: whoever is on the way reads keys and blobs",
            host=section.host,
            remedy="set tls.certificate and tls.key; or frontend.behind_proxy, where what is in front of it speaks TLS",
        )


class Frontend:
    """One frontend process."""

    def __init__(
        self, config: FrontendConfig, *, clock: Clock, random_source: random.Random, seat: Seat | None = None
    ) -> None:
        """`seat` is its place among several processes of one frontend."""
        self._seat = seat
        self._config = config
        self._clock = clock
        self._random = random_source
        self._draining = False
        self._agreed = AgreedClock(clock, own_votes=False)
        """What users are told goes by this one: the data nodes decide when a blob is over, by theirs."""
        self._corrected = False
        self._access = Access(clock=self._agreed, root_keys=config.access.root_keys, enabled=config.access.enabled)
        secret = config.access.secret_file
        self._url_secret = read_secret(Path(secret)) if secret else None
        self._node_tls = node_tls(config.node_tls)
        self._tls = ReloadingTls(config.tls, front_context) if config.tls.wanted else None
        self._certificates = Certificates(self._node_tls, self._tls)
        self._own_certificates = OwnCertificates(node=self._node_tls, front=self._tls, clock=clock)
        self._map = load_layout(Path(config.frontend.layout))
        if config.frontend.datacenter not in self._map.datacenters:
            raise ConfigInvalid(
                f"frontend.datacenter: the layout {config.frontend.layout} has no datacenter {config.frontend.datacenter}"
            )
        if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
            # Most request smuggling was found in the pure-Python parser.
            raise ConfigInvalid("aiohttp is installed without its C parser; install a wheel that has it")

    def read_again(self) -> None:
        """Read certificates again, on the event loop: somebody says that they changed."""
        self._certificates.read_again()

    async def serve(self, stop: asyncio.Event, hurry: asyncio.Event) -> None:
        """Run until `stop` is set, then drain, or end at once when `hurry` is set. Raises what kept it from starting."""
        config = self._config.frontend
        introduction = Introduction(
            cluster=self._map.cluster,
            name=config.name,
            layout_version=self._map.version,
            instance=self._random.randbytes(INSTANCE_SIZE),
            clock=self._clock,
            told_ms=self._clock.wall_ms,
        )
        pool = PeerPool(
            self._map.nodes.values(),
            introduction=introduction,
            random_source=self._random,
            # As much as all uploads may hold. A chunk's charge goes back when enough replicas have it, so what waits for a slow
            # one beyond that is bounded here: it is refused further copies, and gets them by replication.
            in_flight_bytes_max=self._config.router.memory_budget_bytes // 2,
            on_sample=self._note_clock,
            tls=self._node_tls,
        )
        workers = WorkerRegistry(clock=self._clock, random_source=self._random)
        metadata = metadata_store(self._config, self._map, clock=self._agreed, random_source=self._random)
        containers = Containers(self._config.accounts, open=not self._access.enabled)
        keyring = keyring_of(
            self._config.encryption, metadata, containers, cluster=self._map.cluster, clock=self._agreed
        )
        router = self._context(pool, keyring)
        services = metadata_services(
            metadata,
            router,
            containers,
            self._config,
            introduction=introduction,
            access=self._access,
            keyring=keyring,
            clock=self._agreed,
            random_source=self._random,
            in_doubt=lambda: not self._agreed.peers.fresh(),
            tls=self._node_tls,
        )
        api = AmbryApi(
            router,
            containers,
            config=self._config,
            clock=self._agreed,
            access=self._access,
            url_secret=self._url_secret,
            unready=lambda: self._unready(router),
            services=services,
        )
        audit = self._audit()
        limits = self._config.limits
        meters = Meters(
            now=self._clock.monotonic,
            share=1 / config.workers,
            anonymous=Rates(
                requests_per_s=limits.anonymous_requests_per_s or None, bytes_per_s=limits.anonymous_bytes_per_s or None
            ),
            keys=lambda: self._access.keys,
            sharers=sharers,
        )
        proxies = TrustedProxies(config.trusted_proxies)
        pipeline = Pipeline(
            api,
            hosts=Hosts((*config.hosts, config.host)),
            clock=self._clock,
            random_source=self._random,
            request_timeout_s=self._config.router.request_timeout_ms / 1000,
            access_log=AccessLog(
                enabled=config.access_log,
                reads_one_in=config.access_log_reads_one_in,
                random_source=self._random,
                audit=audit,
            ),
            meters=meters,
            proxies=proxies,
        )
        services.use_counts.tallies, services.use_counts.forget = pipeline.tallies, meters.forget
        server = HttpServer(
            pipeline,
            clock=self._clock,
            random_source=self._random,
            limits=limits_of(config, descriptors=descriptor_limit(), peers=len(self._map.nodes)),
            answer=pipeline.refuse,
            tls=self._tls,
            proxies=proxies,
        )
        for name, tls in (("node_certificates", self._node_tls), ("certificates", self._tls)):
            if tls is not None:
                workers.add(name, tls.tick)
        workers.add("own_certificates", self._own_certificates.tick)
        server.shortcuts = shortcuts_of(pipeline, router, api, services, config=config, clock=self._agreed)
        metrics.BUDGET_FREE.set_function(lambda: router.budget.free + router.reading.budget.free)
        metrics.PEERS_USABLE.set_function(lambda: sum(peer.usable for peer in pool.all()))
        metrics.DISCARDS_WAITING.set_function(lambda: router.discards.waiting)
        metrics.DISCARDS_GIVEN_UP.set_function(lambda: router.discards.given_up)
        metrics.CONTAINERS_AGE.set_function(lambda: math.nan if (age := services.sync.staleness_s) is None else age)
        metrics.FEED_FOLLOWERS.set_function(lambda: services.notices.followers)
        metrics.METADATA_WAITING.set_function(lambda: metadata.waiting)
        metrics.CONNECTIONS.set_function(lambda: server.admission.connections)
        async with contextlib.AsyncExitStack() as ending:
            # What ends last begins first, and each ends whatever becomes of the others. The admin port answers to the end.
            ending.callback(log.info, "frontend stopped")
            if audit is not None:
                ending.push_async_callback(audit.close)
            seat = self._seat
            admin = await start_admin(
                config.admin_host if seat is None else "127.0.0.1",
                config.admin_port if seat is None else 0,
                ready=lambda: self._unready(router),
                warnings=self._own_certificates.warnings,
                hosts=config.hosts,
                tls=None if self._node_tls is None else AdminTls(self._node_tls, self._map.cluster),
                pages={
                    "/workers": workers.describe,
                    "/peers": lambda: self._describe(pool),
                    "/metadata": services.others.describe,
                },
            )
            ending.push_async_callback(admin.close)
            ending.push_async_callback(metadata.close)
            self._require_keys(is_new(self._config))  # before one is made that nobody has a key in
            await open_metadata(metadata)
            ending.push_async_callback(services.close)
            ending.push_async_callback(pool.stop)
            ending.push_async_callback(services.others.stop)
            ending.push_async_callback(workers.stop_all)
            address = rpc_address(config, self._map)
            if address is not None:
                require_tls("the RPC address", address.host, self._node_tls, loopback=is_loopback(address.host))
            if seat is not None:
                rpc_sockets = seat.rpc_sockets()
            else:
                rpc_sockets = [] if address is None else bind(address.host, address.port)
            await services.start(workers, rpc_sockets)
            self._require_keys(self._access.certain)
            tell_in_the_clear(config, tls=self._tls is not None)
            ending.push_async_callback(router.discards.stop)
            ending.push_async_callback(self._drain, server, stop, hurry)
            pool.start()
            if seat is not None:
                await self._until_ready(router, stop)
            server.start(bind(config.host, config.port) if seat is None else seat.sockets())
            if seat is not None:
                seat.say(admin.port)
                asyncio.get_running_loop().add_reader(seat.life, self._hear, seat, stop, hurry)
            scheme = "http" if self._tls is None else "https"
            log.info(
                "frontend ready",
                url=f"{scheme}://{authority(config.host, config.port)}",
                connections_max=server.limits.connections_max,
            )
            if seat is None:
                tell_manager(READY)
            await stop.wait()

    def _audit(self) -> AuditTrail | None:
        """Raises ConfigInvalid where its file cannot be written."""
        section = self._config.audit
        if not section.file:
            return None
        file = AuditFile(Path(section.file), rotate_bytes=section.rotate_bytes, keep=section.keep)
        try:
            file.begin()
        except OSError as cause:
            raise ConfigInvalid(f"audit.file: cannot write {section.file}: {cause.strerror}") from cause
        return AuditTrail(file, clock=self._agreed, required=section.required)

    def _require_keys(self, certain: bool) -> None:
        """Off loopback somebody must have a key, where it is certain which there are. Raises ConfigInvalid."""
        host = self._config.frontend.host
        if certain and self._access.enabled and not self._access.keys and not is_loopback(host):
            raise ConfigInvalid(
                f"frontend.host is {host!r}, and nobody has a key: set access.root_keys (`ambry key new` makes one), "
                "or listen on 127.0.0.1"
            )

    async def _until_ready(self, router: RouterContext, stop: asyncio.Event) -> None:
        """Others answer meanwhile what this process could not; but not for long, or nobody would say what is wrong."""
        loop = asyncio.get_running_loop()
        end = loop.time() + SEATED_WITHIN_S
        while self._unready(router) and not stop.is_set() and loop.time() < end:  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.01)

    @staticmethod
    def _hear(seat: Seat, stop: asyncio.Event, hurry: asyncio.Event) -> None:
        if seat.heard(stop, hurry):
            asyncio.get_running_loop().remove_reader(seat.life)
            log.error("nobody looks after this process any more; it ends")

    async def _drain(self, server: HttpServer, stop: asyncio.Event, hurry: asyncio.Event) -> None:
        """Serve on until load balancers have seen that we are not ready, then finish what is under way.

        `hurry` ends both; so does having failed without being asked to stop.
        """
        log.info("frontend stopping")
        self._draining = True
        if not stop.is_set():
            hurry.set()
        server.draining = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.frontend.lame_duck_s):
                await hurry.wait()
        await server.drain(timeout_s=self._config.frontend.drain_timeout_s, hurry=hurry)

    def _context(self, pool: PeerPool, keys: ContainerKeys | None = None) -> RouterContext:
        config = self._config.router
        return router_context(
            self._map,
            pool,
            datacenter_id=self._map.datacenter_id(self._config.frontend.datacenter),
            clock=self._agreed,
            random_source=self._random,
            config=config,
            keys=keys,
            uploads=MemoryBudget(config.memory_budget_bytes // 2, name="uploads"),
            downloads=MemoryBudget(config.memory_budget_bytes // 2, name="downloads"),
        )

    def _unready(self, router: RouterContext) -> list[str]:
        """Why this frontend should get no requests."""
        if self._draining:
            return ["stopping"]
        short = router.placement.short()
        # Its node's certificate tells why, and alone keeps nobody from being answered by what is connected.
        return [f"too few replicas answer for partitions {short}", *self._own_certificates.refused()] if short else []

    @staticmethod
    def _describe(pool: PeerPool) -> list[dict[str, Any]]:
        return [{**peer.describe(), "in_flight_bytes": peer.in_flight_bytes} for peer in pool.all()]

    def _note_clock(self, peer: str, sample: ClockSample | None) -> None:
        metrics.PEER_CLOCK_OFFSET.labels(peer).set(sample.offset_ms / 1000 if sample else math.nan)
        if sample is None:
            return
        self._agreed.note(peer, round(sample.offset_ms), round(sample.half_round_trip_ms))
        correction_ms = self._agreed.correction_ms
        metrics.CLOCK_CORRECTION.set(correction_ms / 1000)
        if correction_ms and not self._corrected:
            log.warning("this clock differs from the data nodes', whose time is used", seconds=correction_ms / 1000)
        self._corrected = bool(correction_ms)
