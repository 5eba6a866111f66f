"""What every account and container has in the whole cluster: asked of one replica of each partition, and summed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from ambry.errors import AmbryError, Unavailable
from ambry.network.pool import Peer
from ambry.protocol.frame import MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.upkeep import UsageReply, UsageRequest
from frontend.request import RequestContext
from frontend.router.context import RouterContext

TIMEOUT_S = 3.0
ASKED_AT_ONCE = 16
"""Partitions; each costs a data node a read of a few rows on a disk thread."""


class ContainerKey(NamedTuple):
    """A container by the numbers that stand in blob ids."""

    account: int
    container: int


class UsedSpace(msgspec.Struct, frozen=True, kw_only=True):
    """What one container has, counted once and not for each replica; bytes are of users."""

    live_blobs: int = 0
    live_bytes: int = 0
    reclaimable_blobs: int = 0
    """Deleted or expired, and their bytes are still there."""
    reclaimable_bytes: int = 0

    def plus(self, other: UsedSpace) -> UsedSpace:
        return UsedSpace(
            live_blobs=self.live_blobs + other.live_blobs,
            live_bytes=self.live_bytes + other.live_bytes,
            reclaimable_blobs=self.reclaimable_blobs + other.reclaimable_blobs,
            reclaimable_bytes=self.reclaimable_bytes + other.reclaimable_bytes,
        )


class PartitionUsage(msgspec.Struct, frozen=True, kw_only=True):
    """What one partition holds, by container; why it cannot be told, in `error`."""

    id: int
    containers: dict[ContainerKey, UsedSpace]
    error: str = ""


def total(partitions: Iterable[PartitionUsage]) -> dict[ContainerKey, UsedSpace]:
    """By container, over some partitions."""
    found: dict[ContainerKey, UsedSpace] = {}
    for partition in partitions:
        for container, usage in partition.containers.items():
            found[container] = found.get(container, UsedSpace()).plus(usage)
    return found


async def usage(request: RequestContext, context: RouterContext) -> list[PartitionUsage]:
    """Of every partition, by number, as of the last checkpoint of the replica that answered."""
    slots = asyncio.Semaphore(ASKED_AT_ONCE)

    async def of(partition: int) -> PartitionUsage:
        async with slots:
            return await _partition_usage(request, context, partition)

    return list(await asyncio.gather(*(of(partition) for partition in sorted(context.replicas))))


async def _partition_usage(request: RequestContext, context: RouterContext, partition: int) -> PartitionUsage:
    replicas = context.replicas[partition]
    peers: Sequence[Peer] = (*replicas.local, *replicas.remote)
    reasons: list[str] = []
    for peer in sorted(peers, key=lambda peer: not peer.usable):
        try:
            return PartitionUsage(id=partition, containers=await _ask(request, context, peer, partition))
        except AmbryError as error:
            reasons.append(f"{peer.node.name}: {error.message}")
    return PartitionUsage(id=partition, containers={}, error="; ".join(reasons))


async def _ask(
    request: RequestContext, context: RouterContext, peer: Peer, partition: int
) -> dict[ContainerKey, UsedSpace]:
    """What one replica says. Raises AmbryError; Unavailable where it counts anew."""
    now_ms, after = context.clock.wall_ms(), b""
    found: dict[ContainerKey, UsedSpace] = {}
    while True:
        message = UsageRequest(partition, now_ms, after)
        frame = await peer.request(MessageType.USAGE, message, timeout_s=min(TIMEOUT_S, request.left_s()))
        reply = messages.decode(frame.header, UsageReply)
        if not reply.whole:
            raise Unavailable("it counts what it holds anew")
        for each in reply.containers:
            container = ContainerKey(int.from_bytes(each.container[:4]), int.from_bytes(each.container[4:]))
            found[container] = UsedSpace(
                live_blobs=each.live_blobs,
                live_bytes=each.live_bytes,
                reclaimable_blobs=each.dead_blobs,
                reclaimable_bytes=each.dead_bytes,
            )
        if reply.after <= after:
            return found
        after = reply.after
        request.renew()


async def used_at_least(request: RequestContext, context: RouterContext) -> dict[ContainerKey, UsedSpace]:
    """What every container has, by the one of this datacenter's replicas that has most of it in each partition.

    One that has not caught up knows too little. Raises Unavailable where of a partition fewer answer than it takes to have one
    among them that has heard of any change.
    """
    slots = asyncio.Semaphore(ASKED_AT_ONCE)

    async def of(partition: int) -> dict[ContainerKey, UsedSpace]:
        async with slots:
            replicas = context.replicas[partition]
            asked = (_ask(request, context, peer, partition) for peer in replicas.local)
            answers = await asyncio.gather(*asked, return_exceptions=True)
            said = [answer for answer in answers if not isinstance(answer, BaseException)]
            if len(said) <= len(replicas.local) - replicas.write_target:
                reasons = "; ".join(str(answer) for answer in answers if isinstance(answer, BaseException))
                raise Unavailable(f"what containers have in partition {partition} cannot be told now: {reasons}")
            most: dict[ContainerKey, UsedSpace] = {}
            for answer in said:
                for container, space in answer.items():
                    known = most.get(container, UsedSpace())
                    most[container] = UsedSpace(
                        live_blobs=max(known.live_blobs, space.live_blobs),
                        live_bytes=max(known.live_bytes, space.live_bytes),
                        reclaimable_blobs=max(known.reclaimable_blobs, space.reclaimable_blobs),
                        reclaimable_bytes=max(known.reclaimable_bytes, space.reclaimable_bytes),
                    )
            return most

    found = await asyncio.gather(*(of(partition) for partition in sorted(context.replicas)))
    return total(PartitionUsage(id=number, containers=containers) for number, containers in enumerate(found))
