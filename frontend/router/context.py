"""What every operation of the router needs: the map, the peers, the memory, and the settings."""

from __future__ import annotations

import random
from dataclasses import dataclass

from ambry.clock import Clock
from ambry.clustermap.model import ClusterMap
from ambry.network.pool import PeerPool
from frontend.config import RouterSection
from frontend.router.budget import MemoryBudget
from frontend.router.discards import Discards
from frontend.router.overdue import Overdue
from frontend.router.placement import PartitionChooser
from frontend.router.quorum import SILENCE_S
from frontend.router.reading import ReadMemory
from frontend.router.replicas import ReplicaTable
from frontend.router.sealing_keys import ContainerKeys, NoKeys
from frontend.router.together import Together


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterContext:
    map: ClusterMap
    datacenter_id: int
    replicas: ReplicaTable
    placement: PartitionChooser
    clock: Clock
    random_source: random.Random
    config: RouterSection
    budget: MemoryBudget
    """Of uploads."""
    reading: ReadMemory
    """Of downloads: clients that do not read must not keep others from writing."""
    discards: Discards
    together: Together
    """Chooses whom a small read asks first."""
    hedges: Overdue
    """Tells a read that the replica which it asked last has not answered for long."""
    silences: Overdue
    """Tells a write that replicas which it waits for may not answer at all."""
    keys: ContainerKeys
    """Of what is encrypted."""


def router_context(
    cluster_map: ClusterMap,
    pool: PeerPool,
    *,
    datacenter_id: int,
    clock: Clock,
    random_source: random.Random,
    config: RouterSection,
    uploads: MemoryBudget,
    downloads: MemoryBudget,
    keys: ContainerKeys | None = None,
) -> RouterContext:
    """Put one together for a frontend in this datacenter."""
    replicas = ReplicaTable(cluster_map, pool, datacenter_id=datacenter_id, success_target=config.success_target)
    return RouterContext(
        map=cluster_map,
        datacenter_id=datacenter_id,
        replicas=replicas,
        placement=PartitionChooser(replicas, clock=clock, random_source=random_source, sticky_ms=config.sticky_ms),
        clock=clock,
        random_source=random_source,
        config=config,
        budget=uploads,
        reading=ReadMemory(
            downloads,
            unit_bytes=config.read_unit_bytes,
            ahead=config.read_ahead,
            wait_s=config.memory_wait_ms / 1000,
        ),
        discards=Discards(replicas, clock=clock, timeout_s=config.request_timeout_ms / 1000),
        together=Together(random_source),
        hedges=Overdue(config.hedge_after_ms / 1000),
        silences=Overdue(SILENCE_S),
        keys=keys or NoKeys(),
    )
