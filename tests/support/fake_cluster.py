"""A router over fake peers: a small cluster map, the context of a frontend in its first datacenter, and shorthands."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from ambry.blob import NEVER_MS, BlobProperties
from ambry.clock import Clock
from ambry.clustermap.model import ClusterMap, Node, Partition
from ambry.durability import Durability
from ambry.format import composite as composite_format
from ambry.format.properties import encode_metadata
from ambry.ids import BlobId, IdKind
from ambry.rest.accounts import AccountSettings, ContainerSettings
from frontend.config import RouterSection
from frontend.container import NO_SETTINGS, Container, container_of
from frontend.request import RequestContext
from frontend.router.budget import MemoryBudget
from frontend.router.context import RouterContext, router_context
from frontend.router.get import open_blob
from frontend.router.put import PutOperation
from frontend.router.sealing_keys import ContainerKeys
from frontend.router.values import PutResult, PutSpec, RangeSpec
from tests.support.fake_clock import SettableClock
from tests.support.fake_peers import FakePeer, FakePool

KIB = 1 << 10
CHUNK = 64 * KIB


def node(name: str, datacenter_id: int) -> Node:
    return Node(
        name=name, datacenter=f"dc{datacenter_id}", datacenter_id=datacenter_id, host="127.0.0.1", port=len(name)
    )


def cluster_map(replicas: Sequence[Sequence[int]]) -> ClusterMap:
    """One partition per entry; an entry says how many replicas the partition has in datacenter 1, 2, ..."""
    width = max(len(entry) for entry in replicas)
    partitions = [
        Partition(
            id=number,
            replicas=tuple(
                node(f"dc{datacenter}-n{index}", datacenter)
                for datacenter, count in enumerate(entry, 1)
                for index in range(1, count + 1)
            ),
        )
        for number, entry in enumerate(replicas)
    ]
    datacenters = {f"dc{number}": number for number in range(1, width + 1)}
    return ClusterMap(cluster="test", version=1, datacenters=datacenters, partitions=partitions)


@dataclass(frozen=True, slots=True, kw_only=True)
class FakeCluster:
    context: RouterContext
    pool: FakePool

    def peer(self, index: int, datacenter: int = 1) -> FakePeer:
        """Peer `index` (from 1) of a datacenter."""
        return self.pool[f"dc{datacenter}-n{index}"]

    def peers(self, datacenter: int = 1) -> list[FakePeer]:
        return [peer for peer in self.pool if peer.node.datacenter_id == datacenter]

    @property
    def budget(self) -> MemoryBudget:
        return self.context.budget

    def request(self) -> RequestContext:
        """A request that has just arrived, with the time that is configured."""
        request = some_request(timeout_s=self.context.config.request_timeout_ms / 1000)
        if self.context.keys.offered:
            request.container = some_container(encrypted=True)
        return request

    async def put(self, body: bytes, pieces: Iterable[bytes] | None = None, **spec: Any) -> PutResult:
        """Store bytes, in one piece or in these."""
        operation = PutOperation(self.request(), self.context, put_spec(**spec), accept)
        return await operation.run(stream([body] if pieces is None else pieces), size=None, size_max=1 << 40)

    async def read(self, blob_id: BlobId, wanted: RangeSpec | None = None, **options: Any) -> bytes:
        """The bytes of a blob or a range of it, as a client would get them; closes the reader."""
        reader = await open_blob(self.request(), self.context, blob_id, wanted=wanted, **options)
        try:
            data = b""
            async for piece in reader.stream():
                data += bytes(piece)
            return data
        finally:
            reader.close()


def make_cluster(
    replicas: Sequence[Sequence[int]] = ((3,),),
    *,
    own: int = 1,
    clock: Clock | None = None,
    seed: int = 1,
    budget: int = 16 << 20,
    keys: ContainerKeys | None = None,
    **router: Any,
) -> FakeCluster:
    """`router` overrides fields of RouterSection; chunks and read units have 64 KiB unless it says otherwise.

    With `keys` its container is encrypted.
    """
    section = RouterSection(**{"chunk_size_bytes": CHUNK, "read_unit_bytes": CHUNK, **router})
    clock = clock or SettableClock()
    random_source = random.Random(seed)
    layout = cluster_map(replicas)
    pool = FakePool(layout.nodes.values(), clock=clock)
    shared = MemoryBudget(budget)
    context = router_context(
        layout,
        pool.as_pool(),
        datacenter_id=own,
        clock=clock,
        random_source=random_source,
        config=section,
        uploads=shared,
        downloads=shared,
        keys=keys,
    )
    return FakeCluster(context=context, pool=pool)


def some_container(*, id: int = 1, account: AccountSettings = NO_SETTINGS, **settings: Any) -> Container:
    """The default container, or another one of its account, with these settings."""
    return container_of(
        ContainerSettings(**settings),
        account_id=1,
        account_name="default",
        account_settings=account,
        container_id=id,
        container_name="default" if id == 1 else f"c{id}",
    )


def some_request(*, timeout_s: float = 20.0) -> RequestContext:
    """A request that has just arrived, of the default container."""
    return RequestContext(
        id="r",
        timeout_s=timeout_s,
        deadline=asyncio.get_running_loop().time() + timeout_s,
        container=some_container(),
    )


def put_spec(
    *,
    durability: Durability = Durability.DISK,
    created_at_ms: int = 1_700_000_000_000,
    expires_at_ms: int = NEVER_MS,
    metadata: dict[str, str] | None = None,
    properties: BlobProperties | None = None,
) -> PutSpec:
    return PutSpec(
        created_at_ms=created_at_ms,
        properties=properties or BlobProperties(size=0, digest=b""),
        metadata=encode_metadata(metadata or {}),
        expires_at_ms=expires_at_ms,
        durability=durability,
    )


def some_id(
    number: int = 1, *, partition: int = 0, datacenter: int = 1, kind: IdKind = IdKind.SIMPLE, account: int = 1
) -> BlobId:
    uuid = number.to_bytes(6, "big") + b"\x70\x00\x80" + bytes(7)
    return BlobId.make(kind=kind, datacenter=datacenter, account=account, container=1, partition=partition, uuid=uuid)


async def stream(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def accept(_digest: bytes) -> None:
    """A DigestCheck that takes everything."""


def changed(value: Any, **fields: Any) -> Any:
    """A copy of a frozen struct with other fields."""
    return msgspec.structs.replace(value, **fields)


def chunks_of(cluster: FakeCluster, blob_id: BlobId) -> list[bytes]:
    """The ids of the chunks of a large blob, in order."""
    payload = next(peer.records[blob_id.raw].payload for peer in cluster.pool if blob_id.raw in peer.records)
    return [chunk.id for chunk in composite_format.decode(payload).chunks]
