"""What the change feed is tested on: data nodes in one process, a router and a metadata store of each datacenter."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from frontend.container import Container
from frontend.feed.events import FeedEvent
from frontend.feed.reader import FeedPage, FeedReader
from frontend.feed.token import BEGINNING, Position
from frontend.metadata.store import MetadataStore
from tests.support.direct_frontend import DirectFrontend
from tests.support.direct_node import DirectCluster, cluster_map
from tests.support.fake_cluster import some_container
from tests.support.following import stores

PARTITIONS = (7, 8)


class FeedCluster:
    """`frontends` and `stores` by datacenter, from the first on; so are `readers`."""

    def __init__(self, nodes: DirectCluster, stores: Sequence[MetadataStore]) -> None:
        self.nodes = nodes
        self.stores = stores
        self.frontends = [
            DirectFrontend(nodes, datacenter_id=store.datacenter, seed=store.datacenter) for store in stores
        ]
        self.readers = [
            FeedReader(store, frontend.context) for store, frontend in zip(stores, self.frontends, strict=True)
        ]
        self.container: Container = some_container()

    async def replicate(self) -> None:
        """Let every data node that runs take what the others have."""
        for _ in range(2):
            for name, node in sorted(self.nodes.running.items()):
                for peer in sorted(self.nodes.running.keys() - {name}):
                    for worker in (f"pull:{peer}", f"pull:{peer}:standby"):
                        if worker in node.ticks:
                            node.hear_clocks()
                            for _ in range(6):
                                await node.tick(worker)

    async def page(
        self, position: Position = BEGINNING, *, at: int = 0, limit: int = 100, only: Sequence[int] | None = None
    ) -> FeedPage:
        """One page, as the frontend of a datacenter tells it."""
        return await self.readers[at].page(self.container, position, limit=limit, only=only)


@contextlib.asynccontextmanager
async def feed_cluster(root: Path, *datacenters: int) -> AsyncIterator[FeedCluster]:
    """So many data nodes in each datacenter, which have heard of each other."""
    (root / "nodes").mkdir()
    nodes = DirectCluster(root / "nodes", cluster_map(*datacenters, partitions=PARTITIONS))
    await nodes.start()
    try:
        async with stores(root, [nodes.clock for _ in datacenters]) as opened:
            made = FeedCluster(nodes, opened)
            await made.replicate()
            yield made
    finally:
        await nodes.stop()


def types(events: Sequence[FeedEvent]) -> list[str]:
    return [event.type for event in events]
