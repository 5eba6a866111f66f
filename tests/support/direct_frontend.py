"""A frontend over data nodes of one process (tests/support/direct_node.py): its real router, and no sockets."""

from __future__ import annotations

import asyncio
import random
from typing import Any, cast

from ambry.blob import NEVER_MS, BlobProperties
from ambry.checksum import Buffer, block_checks
from ambry.clustermap.health import NodeHealth
from ambry.clustermap.model import Node
from ambry.durability import Durability
from ambry.errors import AmbryError, PeerConnectionLost
from ambry.format.properties import encode_metadata
from ambry.ids import BlobId
from ambry.network.pending import OnPart, OnReply
from ambry.network.pool import PeerPool
from ambry.protocol.frame import FLAG_REPLY, Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Message
from frontend.config import RouterSection
from frontend.request import RequestContext
from frontend.router import update
from frontend.router.budget import MemoryBudget
from frontend.router.context import router_context
from frontend.router.put import PutOperation
from frontend.router.values import PutResult, PutSpec
from tests.support.direct_node import DirectCluster
from tests.support.fake_cluster import some_container

TIMEOUT_S = 20.0


class RouterPeer:
    """One data node as the frontend sees it; set `reachable` freely, and `deaf` where updates alone get lost."""

    def __init__(self, node: Node, cluster: DirectCluster) -> None:
        self.node = node
        self.health = NodeHealth()
        self.reachable = True
        self.deaf = False
        self.room_bytes = -1
        self.in_flight_bytes = 0
        self._cluster = cluster
        self._calls: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        return self.reachable and self.node.name in self._cluster.running

    @property
    def usable(self) -> bool:
        return self.connected

    def call(
        self,
        type: int,
        message: Message | bytes,
        done: OnReply,
        *,
        timeout_s: float,
        body: Buffer = b"",
        checks: Buffer | None = None,
        on_part: OnPart | None = None,
    ) -> None:
        if not self.connected or (self.deaf and type == MessageType.UPDATE):
            done(PeerConnectionLost(f"{self.node.name} is away"))
            return
        task = asyncio.get_running_loop().create_task(self._run(type, message, done, bytes(body)))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def request(self, type: int, message: Message, *, timeout_s: float) -> Frame:
        if not self.connected:
            raise PeerConnectionLost(f"{self.node.name} is away")
        asked = self._cluster[self.node.name].send(type, message)
        try:
            answer, body, _ = await asked.wait()
        except asyncio.CancelledError:
            asked.abandon()
            raise
        return Frame(type, FLAG_REPLY, 0, 1, messages.encode(answer), b"", bytes(body))

    async def _run(self, type: int, message: Message | bytes, done: OnReply, body: bytes) -> None:
        outcome: Frame | AmbryError
        try:
            answer, data, checks = await self._cluster[self.node.name].ask(type, message, body)
            checks = block_checks(data) if checks is None else checks
            outcome = Frame(type, FLAG_REPLY, 0, 1, messages.encode(answer), bytes(checks), bytes(data))
        except AmbryError as error:
            outcome = error
        done(outcome)

    async def settled(self) -> None:
        """Until every call has ended."""
        await asyncio.gather(*self._calls)


class DirectFrontend:
    """One of the datacenter with this number."""

    def __init__(self, cluster: DirectCluster, *, datacenter_id: int, seed: int, **router: Any) -> None:
        self.peers = {name: RouterPeer(node, cluster) for name, node in cluster.map.nodes.items()}
        self.context = router_context(
            cluster.map,
            cast(PeerPool, self.peers),
            datacenter_id=datacenter_id,
            clock=cluster.clock,
            random_source=random.Random(seed),
            config=RouterSection(**router),
            uploads=MemoryBudget(16 << 20),
            downloads=MemoryBudget(16 << 20),
        )

    def request(self) -> RequestContext:
        deadline = asyncio.get_running_loop().time() + TIMEOUT_S
        return RequestContext(id="r", timeout_s=TIMEOUT_S, deadline=deadline, container=some_container())

    async def put(self, body: bytes) -> PutResult:
        spec = PutSpec(
            properties=BlobProperties(size=0, digest=b""),
            metadata=encode_metadata({}),
            created_at_ms=self.context.clock.wall_ms(),
            expires_at_ms=NEVER_MS,
            durability=Durability.DISK,
        )
        return await PutOperation(self.request(), self.context, spec, None).put_simple(body)

    async def delete(self, raw_id: bytes) -> None:
        await update.delete(self.request(), self.context, BlobId(raw_id))

    async def undelete(self, raw_id: bytes) -> None:
        await update.undelete(self.request(), self.context, BlobId(raw_id))

    async def extend_ttl(self, raw_id: bytes, expires_at_ms: int) -> None:
        await update.extend_ttl(self.request(), self.context, BlobId(raw_id), expires_at_ms)

    async def settled(self) -> None:
        """Until no replica has anything to answer."""
        for peer in self.peers.values():
            await peer.settled()
