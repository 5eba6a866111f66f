"""How a history of some nodes (tests/support/histories.py) comes to rest: all start, catch up and compare everything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import cast

from ambry.errors import AmbryError
from ambry.network.pool import Peer
from tests.support.direct_node import DirectCluster, DirectNode
from tests.support.eventually import eventually
from tests.support.history_ledger import PromiseBroken
from tests.support.samples import PARTITION

ROUNDS_MIN = 4
ROUNDS_MAX = 14
ROUND_S = 3.0
"""Of the cluster's clock: what waits for peers that are away waits no longer after one or some of them."""


@contextmanager
def refusals() -> Iterator[None]:
    """What a node says when its disk fails it, or a request comes at a bad time, ends nothing but the request."""
    with suppress(AmbryError, OSError, MemoryError):
        yield


async def settled(cluster: DirectCluster) -> bool:
    """Start who is down and let replication go on; whether all replicas may say "not found" then. Raises PromiseBroken."""
    for name, node in cluster.nodes.items():
        if name not in cluster.running:
            await node.start()
    for number in range(1, ROUNDS_MAX + 1):
        cluster.clock.advance(ROUND_S)
        for node in cluster.nodes.values():
            await opened(node)
            await pull_from_all(node)
            with refusals():
                await node.heal()
        if number > ROUNDS_MIN and not without_authority(cluster):
            return True
    return False


async def pull_from_all(node: DirectNode) -> None:
    for peer in node.peers:
        if node.parts.replicas.get(PARTITION) is not None:
            with refusals():
                await node.pull(peer)


async def opened(node: DirectNode) -> None:
    """A replica that is rebuilt or takes a new incarnation closes for a moment. Raises PromiseBroken when it stays closed."""
    try:
        await eventually(lambda: node.parts.replicas.get(PARTITION) is not None)
    except TimeoutError:
        raise PromiseBroken(f"{node.name} stays closed: {node.parts.replicas.unready()}") from None


def without_authority(cluster: DirectCluster) -> dict[str, object]:
    """Who must not say "not found", and what is known of why."""
    return {
        name: node.parts.replicator.describe(PARTITION)
        for name, node in cluster.running.items()
        if node.parts.replicas.get(PARTITION) is None or not node.replica.store.authority
    }


async def compare_all(cluster: DirectCluster) -> None:
    """Everybody with everybody, from scratch."""
    for node in cluster.nodes.values():
        for peer in node.peers.values():
            await opened(node)
            await node.parts.comparer.compare(node.replica, cast(Peer, peer), repair=True, fresh=True)
