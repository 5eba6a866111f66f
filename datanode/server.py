"""A data node's life: its replicas, its RPC port, its replication, its admin port, begun and ended in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ambry.address import is_loopback
from ambry.clock import Clock
from ambry.clustermap.layout import load_layout
from ambry.network.accepted import OF_A_MEMBER_MAX, Accepted
from ambry.network.listening import NodeListener, require_tls
from ambry.network.requests import Requests
from ambry.network.unread import Unread
from ambry.service.admin import Admin, AdminTls, start_admin
from ambry.service.listener import bind
from ambry.service.logs import get_logger
from ambry.service.loop_watch import LoopWatch
from ambry.service.notice import READY, tell_manager
from ambry.service.own_certificate import OwnCertificates
from ambry.service.tls import Certificates, node_tls
from ambry.service.worker import WorkerRegistry
from datanode import metrics
from datanode.config import DataNodeConfig
from datanode.replicas import Replica
from datanode.store.files import Files
from datanode.store.index_file import DESCRIPTORS as INDEX_DESCRIPTORS
from datanode.wiring import build

log = get_logger()

DESCRIPTORS_PER_REPLICA = INDEX_DESCRIPTORS + 1
"""The lock of its directory beside its index."""
OTHER_DESCRIPTORS = 192
"""For strangers, the admin port, and what a process has anyway."""


class DataNode:
    """One data node process. Raises ConfigInvalid when its layout cannot be used."""

    def __init__(self, config: DataNodeConfig, *, clock: Clock, random_source: random.Random, files: Files) -> None:
        self._config = config
        self._workers = WorkerRegistry(clock=clock, random_source=random_source)
        self._draining = False
        cluster_map = load_layout(Path(config.node.layout))
        self._watch = LoopWatch(clock)
        self._tls = node_tls(config.node_tls)
        self._certificates = Certificates(self._tls)
        self._own_certificates = OwnCertificates(node=self._tls, front=None, clock=clock)
        self._parts = build(
            config,
            cluster_map,
            clock=clock,
            random_source=random_source,
            files=files,
            load=self._watch.load,
            tls=self._tls,
        )
        own = self._parts.own
        require_tls("the data node's address", own.host, self._tls, loopback=is_loopback(own.host))
        requests = Requests(config.node.requests_bytes_max)
        self._accepted = Accepted(
            self._parts.handlers,
            members=cluster_map.nodes,
            guests_max=config.node.connections_max,
            requests=requests,
            unread=Unread(),
            clock=clock,
            tls=self._tls,
            tally=self._parts.counts,
        )
        metrics.CONNECTIONS.set_function(lambda: self._accepted.count)
        metrics.CONNECTIONS_CLOSED.set_function(lambda: self._accepted.closed)
        metrics.REQUEST_BYTES.set_function(lambda: requests.bytes)

    @property
    def descriptors(self) -> int:
        """How many files and sockets it needs: those of all its replicas, and the segments and connections of its work."""
        map, config = self._parts.map, self._config
        replicas = len(map.partitions_of(self._parts.own.name))
        connections = config.node.connections_max + len(map.nodes) * (1 + OF_A_MEMBER_MAX) + OTHER_DESCRIPTORS
        return replicas * DESCRIPTORS_PER_REPLICA + config.store.open_files_max + connections

    def read_again(self) -> None:
        """Read certificates again, on the event loop: somebody says that they changed."""
        self._certificates.read_again()

    async def serve(self, stop: asyncio.Event) -> None:
        """Run until `stop` is set, then drain. Raises what kept it from starting.

        The ports first, the replicas as they come: peers and frontends find the node at once, and each replica serves as soon
        as it is open.
        """
        parts, workers = self._parts, self._workers
        # Before a port is open: "ready", or "unknown partition", would be believed.
        parts.replicas.expect(parts.map.partitions_of(parts.own.name))
        await self._own_certificates.tick()
        server = self._listen()
        try:
            admin = await self._start_admin()
        except BaseException:
            server.close()
            raise
        self._watch.start()
        self._accepted.start()
        loop = asyncio.get_running_loop()
        opening = loop.create_task(parts.open_replicas(), name="open replicas")
        stopping = loop.create_task(stop.wait(), name="stop")
        parts.pool.start()
        later_s, progress, paused = parts.starts_after_s(), parts.progress(), parts.paused()
        for name, tick in parts.ticks().items():
            workers.add(
                name,
                tick,
                start_after_s=later_s.get(name, 0.0),
                progress=progress.get(name, dict),
                paused=paused.get(name, str),
            )
        if self._tls is not None:
            workers.add("certificates", self._tls.tick)
            workers.add("own certificate", self._own_certificates.tick)
        log.info("data node listens", address=parts.own.address)
        tell_manager(READY)
        try:
            await asyncio.wait((opening, stopping), return_when=asyncio.FIRST_COMPLETED)
            if opening.done():
                opening.result()
                log.info("data node ready", address=parts.own.address, partitions=len(parts.replicas.all()))
            await stopping
        finally:
            log.info("data node stopping")
            self._draining = True
            stopping.cancel()
            server.close()
            parts.hurry()
            try:
                await parts.disk_watch.unless_it_hangs(self._end(opening))
            finally:
                await admin.close()
                self._watch.stop()
            log.info("data node stopped")

    def _listen(self) -> NodeListener:
        own, tls = self._parts.own, self._tls
        return NodeListener(bind(own.host, own.port), self._accepted.accept, None if tls is None else tls.serving)

    async def _end(self, opening: asyncio.Task[None]) -> None:
        """Answer what is in flight, end what runs, checkpoint. Takes as long as the disk does."""
        parts = self._parts
        await self._workers.stop_all()
        await parts.later.stop()
        await self._drain()
        self._accepted.close()
        await parts.pool.stop()
        await asyncio.gather(opening, return_exceptions=True)
        await parts.close()

    async def _start_admin(self) -> Admin:
        config, parts = self._config.node, self._parts
        return await start_admin(
            config.admin_host,
            config.admin_port,
            ready=self._unready,
            warnings=self._own_certificates.warnings,
            hosts=config.hosts,
            tls=None if self._tls is None else AdminTls(self._tls, parts.map.cluster),
            pages={
                "/workers": self._workers.describe,
                "/partitions": self._describe_all,
                "/bootstrap": parts.bootstrapper.describe,
                "/digests": parts.comparer.describe,
                "/wanted": parts.healer.describe,
                "/set-aside": parts.asides.describe,
                "/scrub": parts.scrubber.describe,
                "/peers": lambda: parts.clocks.describe_peers(parts.pool),
            },
            actions={
                "/partitions/{number}/reopen": self._reopen,
                "/partitions/{number}/accept-loss": parts.losses.accept,
                "/partitions/{number}/vouch": self._vouch,
                "/partitions/{number}/verify": parts.comparer.verify,
                "/partitions/{number}/repair": parts.comparer.repair,
            },
        )

    def _unready(self) -> list[str]:
        """Why nobody should ask this node, or would reach it."""
        if self._draining:
            return ["stopping"]
        return self._parts.disk_watch.why() + self._own_certificates.refused() + self._parts.replicas.unready()

    async def _drain(self) -> None:
        """Answer what is in flight, bounded: a hung disk must not keep the process."""
        drain_timeout_s = self._config.node.drain_timeout_s
        try:
            async with asyncio.timeout(drain_timeout_s):
                for replica in self._parts.replicas.all():
                    await replica.committer.wait_idle()
        except TimeoutError:
            log.warning("not drained in time", drain_timeout_s=drain_timeout_s)

    async def _vouch(self, number: int, _body: bytes) -> dict[str, Any]:
        self._parts.authority.vouch(self._parts.replicas[number])
        return {"partition": number}

    async def _reopen(self, number: int, _body: bytes) -> dict[str, Any]:
        replicas = self._parts.replicas
        await replicas.reopen(number)
        return {"partition": number, **msgspec.structs.asdict(replicas[number].store.opened)}

    def _describe_all(self) -> Iterator[dict[str, Any]]:
        """Every partition of this node, those that are not open first."""
        for number, how in sorted(self._parts.replicas.unavailable().items()):
            yield {"partition": number, "serving": False, "put_back": "", **how}
        for replica in self._parts.replicas.all():
            yield self._describe(replica)

    def _describe(self, replica: Replica) -> dict[str, Any]:
        store = replica.store
        return {
            "partition": store.partition,
            "incarnation": store.incarnation.hex(),
            "state": str(store.state),
            "serving": store.authority,
            "put_back": store.put_back,
            "undone": self._parts.replicas.changes.undone(store.partition),
            "purged_lsn": store.lineage.purged_lsn,
            "tombstones_waiting": store.compaction.waiting,
            "fence_reason": store.fence_reason,
            "sealed": store.sealed,
            "missing_lsns": store.holes,
            "unreadable_segments": store.unreadable,
            "set_aside": store.set_aside,
            "end_lsn": store.end_lsn,
            "checkpoint_lsn": store.checkpoint.lsn,
            "segments": store.segment_count(),
            "size_bytes": store.size_bytes(),
            "blobs_since_checkpoint": store.recent_count,
            "damaged": len(store.damaged),
            "open_s": round(store.age.open_s),
            "since_round_s": {name: round(store.age.open_s - ended_s) for name, ended_s in store.rounds.items()},
            "bootstrap": self._parts.bootstrapper.describe_partition(store.partition),
            "peers": self._describe_peers(replica),
        }

    def _describe_peers(self, replica: Replica) -> dict[str, dict[str, Any]]:
        peers = self._parts.replicator.describe(replica.partition.id)
        seen = self._parts.horizon.describe(replica)
        for name, page in peers.items():
            ago_s = self._parts.comparer.seconds_ago(replica, name)
            page["compared_s"] = None if ago_s is None else round(ago_s, 1)
            page |= seen.get(name, {})
        return peers
