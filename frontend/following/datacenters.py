"""The other datacenters as one frontend has to do with them: it is asked by them, asks them, and follows them.

Where the layout tells no frontends of a datacenter, that one's metadata is neither followed nor asked for.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from ambry.clock import Clock
from ambry.clustermap.model import ClusterMap
from ambry.errors import AmbryError
from ambry.network.introduction import Introduction
from ambry.network.pool import PeerPool
from ambry.service.listener import Socket
from ambry.service.logs import get_logger
from ambry.service.tls import NodeRole, NodeTls
from frontend import metrics
from frontend.following.answers import MetadataAnswers
from frontend.following.everywhere import Everywhere
from frontend.following.follower import DatacenterFollower
from frontend.following.port import RpcPort
from frontend.following.remote import RemoteDatacenter
from frontend.metadata.leases import Leases
from frontend.metadata.store import MetadataStore

log = get_logger()

NAN = float("nan")
LEAVE_S = 1.0
"""How long the store may take to hear, at the end, that others may follow in our place."""


class OtherDatacenters:
    """Nothing runs before `start`; whoever runs the followers' ticks ends that before `stop`."""

    def __init__(
        self,
        store: MetadataStore,
        map: ClusterMap,
        introduction: Introduction,
        leases: Leases,
        *,
        within_s: float,
        clock: Clock,
        random_source: random.Random,
        tls: NodeTls | None = None,
    ) -> None:
        """`within_s` is how long a request waits for what others know."""
        own = store.datacenter
        self._own_name = map.datacenter_name(own)
        elsewhere = [node for node in map.frontends.values() if node.datacenter_id != own]
        self._pool = PeerPool(
            elsewhere,
            introduction=introduction,
            random_source=random_source,
            tls=tls,
            role=NodeRole.FRONTEND,
        )
        self._remotes = []
        for name, number in map.datacenters.items():
            if number == own:
                continue
            peers = [peer for peer in self._pool.all() if peer.node.datacenter_id == number]
            if not peers:
                log.warning(
                    "the layout tells no frontends of a datacenter: its metadata is not followed", datacenter=name
                )
                continue
            # Not all of us ask the same one.
            random_source.shuffle(peers)
            self._remotes.append(RemoteDatacenter(name, number, peers))
        self.followers = tuple(
            DatacenterFollower(store, remote, leases, clock=clock, random_source=random_source)
            for remote in self._remotes
        )
        self.everywhere = Everywhere(store, self._remotes, within_s=within_s)
        others = tuple(number for number in map.datacenters.values() if number != own)
        self._answers = MetadataAnswers(store, introduction, datacenters=others)
        self._port = RpcPort(self._answers.table(), clock=clock, tls=tls)

    async def start(self, sockets: list[Socket]) -> None:
        """Connect to the others, and answer them on these listening sockets, which are ours from now on; there may be none."""
        for follower in self.followers:
            _show(follower)
        self._pool.start()
        if sockets:
            self._port.start(sockets)

    async def stop(self) -> None:
        """End what waits here and there, and let other frontends follow in our place."""
        self._port.close_listeners()
        try:
            async with asyncio.timeout(LEAVE_S):
                await asyncio.gather(*(follower.stop() for follower in self.followers))
        except (AmbryError, TimeoutError) as error:
            log.debug("leases not given up; they end by themselves", error=str(error))
        await self._answers.stop()
        self._port.close()
        await self._pool.stop()

    def describe(self) -> list[dict[str, Any]]:
        """For the admin port: how far each of the others is followed."""
        return [
            {"here": self._own_name, **follower.describe(), "frontends": remote.describe()}
            for follower, remote in zip(self.followers, self._remotes, strict=True)
        ]


def _show(follower: DatacenterFollower) -> None:
    """Have its numbers among the metrics."""
    name = follower.source.name
    metrics.METADATA_BEHIND.labels(name).set_function(lambda: _number(follower.behind_versions))
    metrics.METADATA_BEHIND_S.labels(name).set_function(lambda: _number(follower.behind_s()))
    metrics.METADATA_MERGED.labels(name).set_function(lambda: follower.merged)


def _number(value: float | None) -> float:
    return NAN if value is None else value
