"""A data node: its stores, its RPC port, its replication, its admin port, put together and taken apart in order."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import msgspec

from ambry.clock import Clock
from ambry.clustermap.layout import load_layout
from ambry.errors import ConfigInvalid
from ambry.network.connection import RpcConnection, tune
from ambry.network.pool import PeerPool
from ambry.service.admin import start_admin
from ambry.service.logs import get_logger
from ambry.service.worker import WorkerRegistry
from datanode.config import DataNodeConfig
from datanode.handlers import Handlers
from datanode.queries import Queries
from datanode.replicas import Replica, Stores
from datanode.replication.feed import ChangeFeed
from datanode.replication.replicator import Replicator
from datanode.store.files import Files
from datanode.upkeep.compactor import Compactor
from datanode.upkeep.fates import Fates
from datanode.upkeep.scrubber import Scrubber
from datanode.upkeep.sweeper import ChunkSweeper

log = get_logger()


class _ServerConnection(RpcConnection):
    """A connection somebody opened to us; the server keeps count of them."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        tune(transport)


class DataNode:
    """One data node process."""

    def __init__(self, config: DataNodeConfig, *, clock: Clock, random_source: random.Random, files: Files) -> None:
        self._config = config
        self._clock = clock
        self._random = random_source
        self._files = files
        self._draining = False
        self._connections: set[RpcConnection] = set()
        self._map = load_layout(Path(config.node.layout))
        own = self._map.nodes.get(config.node.name)
        if own is None:
            raise ConfigInvalid(f"node.name: the layout {config.node.layout} has no node {config.node.name}")
        self._own = own

    async def serve(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then drain. Raises what kept it from starting."""
        config = self._config
        workers = WorkerRegistry(clock=self._clock, random_source=self._random)
        stores = Stores(
            cluster=self._map.cluster,
            data_dir=Path(config.node.data_dir),
            config=config.store,
            files=self._files,
            clock=self._clock,
            random_source=self._random,
        )
        pool = PeerPool(
            [node for node in self._map.nodes.values() if node.name != self._own.name],
            cluster=self._map.cluster,
            own_name=self._own.name,
            random_source=self._random,
        )
        feed = ChangeFeed(stores)
        replicator = Replicator(
            cluster_map=self._map,
            name=self._own.name,
            stores=stores,
            pool=pool,
            config=config.replication,
            clock=self._clock,
            workers=workers,
        )

        def opened(replica: Replica) -> None:
            replica.store.on_publish = feed.notify
            replicator.restore(replica)

        stores.on_open = opened
        stores.tokens_of = replicator.tokens_of
        await stores.open_all(self._map.partitions_of(self._own.name))
        wanted = replicator.healer.note_damaged
        scrubber = Scrubber(
            stores, config=config.scrub, retention=config.compaction, clock=self._clock, on_damaged=wanted
        )
        compactor = Compactor(
            stores,
            config=config.compaction,
            segment_size_bytes=config.store.segment_size_bytes,
            reserve_bytes=config.store.reserve_bytes,
            clock=self._clock,
            horizon=lambda replica: feed.horizon(replica, self._own.name),
            on_damage=scrubber.ask,
            on_missing=wanted,
        )
        queries = Queries(stores, retention=config.compaction, clock=self._clock)
        sweeper = ChunkSweeper(
            stores,
            config=config.sweep,
            clock=self._clock,
            oracle=Fates(cluster_map=self._map, own_name=self._own.name, pool=pool, local=queries.fates),
            append=replicator.intake.append,
        )
        handlers = Handlers(
            cluster=self._map.cluster,
            name=self._own.name,
            stores=stores,
            feed=feed,
            clock=self._clock,
            inline_read_bytes_max=config.store.inline_read_bytes_max,
            queries=queries,
            on_damaged=wanted,
        )
        server = await asyncio.get_running_loop().create_server(
            lambda: self._accept(handlers), self._own.host, self._own.port, backlog=1024
        )
        pages: dict[str, Any] = {
            "/workers": workers.describe,
            "/partitions": lambda: [self._describe(replica, replicator) for replica in stores.all()],
            "/wanted": replicator.healer.describe,
            "/scrub": scrubber.describe,
        }
        admin = await start_admin(
            config.node.admin_host,
            config.node.admin_port,
            ready=lambda: ["stopping"] if self._draining else stores.unready(),
            pages=pages,
            actions={"/partitions/{number}/reopen": lambda number: self._reopen(stores, number)},
        )
        pool.start()
        replicator.start()
        workers.add("checkpoint", stores.checkpoint_due)
        if config.compaction.enabled:
            workers.add("compaction", compactor.tick)
        if config.scrub.enabled:
            workers.add("scrub", scrubber.tick)
        if config.sweep.enabled:
            workers.add("sweep", sweeper.tick)
        log.info("data node ready", address=self._own.address, partitions=len(stores.all()))
        try:
            await stop.wait()
        finally:
            log.info("data node stopping")
            self._draining = True
            server.close()
            scrubber.stop()
            compactor.stop()
            await workers.stop_all()
            await handlers.stop()
            await self._drain(stores)
            for connection in list(self._connections):
                connection.close()
            await pool.stop()
            await stores.close()
            await admin.cleanup()
            log.info("data node stopped")

    async def _drain(self, stores: Stores) -> None:
        """Answer what is in flight, bounded: a hung disk must not keep the process."""
        try:
            async with asyncio.timeout(self._config.node.drain_timeout_s):
                for replica in stores.all():
                    await replica.committer.wait_idle()
        except TimeoutError:
            log.warning("not drained in time", drain_timeout_s=self._config.node.drain_timeout_s)

    def _accept(self, handlers: Handlers) -> RpcConnection:
        connection = _ServerConnection(handler=handlers, on_lost=self._connections.discard)
        self._connections.add(connection)
        return connection

    @staticmethod
    async def _reopen(stores: Stores, number: int) -> dict[str, Any]:
        await stores.reopen(number)
        return {"partition": number, **msgspec.structs.asdict(stores[number].store.opened)}

    @staticmethod
    def _describe(replica: Replica, replicator: Replicator) -> dict[str, Any]:
        store = replica.store
        return {
            "partition": store.partition,
            "incarnation": store.incarnation.hex(),
            "state": str(store.state),
            "serving": store.serving,
            "fence_reason": store.fence_reason,
            "sealed": store.sealed,
            "missing_lsns": store.holes,
            "unreadable_segments": store.unreadable,
            "end_lsn": store.end_lsn,
            "checkpoint_lsn": store.checkpoint.lsn,
            "segments": store.segment_count(),
            "size_bytes": store.size_bytes(),
            "blobs_since_checkpoint": store.recent_count,
            "damaged": len(store.damaged),
            "peers": replicator.describe(store.partition),
        }
