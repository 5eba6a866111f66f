"""What became of a blob, asked of everybody who holds a replica of it: may the chunks that it named go?

One answer proves nothing: a replica may not have the blob yet, or may not have heard of its undelete. So every replica of the
partition, in all datacenters, must say that it is dead or was never there. One that cannot be asked may be the only one that
knows of an undelete or a longer life, which nobody was told of as done, but which it will bring to all others once it is back:
the blob would then live without its bytes. While it is away chunks stay, and so do tombstones (replication/horizon.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from ambry.clustermap.model import ClusterMap, Partition
from ambry.errors import AmbryError
from ambry.ids import BlobId
from ambry.network.pool import PeerPool
from ambry.protocol.frame import MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.upkeep import Fate, FatesReply, FatesRequest
from datanode.store.entry import IndexEntry
from datanode.store.retention import Retention

TIMEOUT_S = 10.0


class FateOracle(Protocol):
    """Says which blobs are dead for good."""

    async def dead(self, ids: Sequence[bytes]) -> dict[bytes, int]:
        """Those of `ids` that are, with the time (wall clock, milliseconds) of their death; 0: there never was one."""
        ...


class KnownFate(msgspec.Struct, frozen=True):
    """What one replica says of a blob; `since_ms`: since when it is dead, wall clock, 0 where it is not."""

    fate: Fate
    since_ms: int = 0

    @property
    def no_more(self) -> bool:
        return self.fate in (Fate.DEAD, Fate.ABSENT)


def fate_of(entry: IndexEntry | None, *, serving: bool, retention: Retention) -> KnownFate:
    """What this replica says of a blob, given its entry and whether it has the authority to say "not found". Pure."""
    if entry is None:
        return KnownFate(Fate.ABSENT if serving else Fate.UNSURE)
    if not retention.bytes_dead(entry):
        return KnownFate(Fate.ALIVE)
    return KnownFate(Fate.DEAD, entry.changed_at_ms if entry.state.deleted else entry.state.expires_at_ms)


def died_at(partition: Partition, answers: Mapping[str, KnownFate]) -> int | None:
    """When a blob died, given the answers by node; None while that is not proven. Pure."""
    said = [answers.get(node.name) for node in partition.replicas]
    known = [answer for answer in said if answer is not None and answer.no_more]
    return max(answer.since_ms for answer in known) if known and len(known) == len(said) else None


class Fates:
    """The oracle that asks the replicas. `local` answers for this node."""

    def __init__(
        self,
        *,
        cluster_map: ClusterMap,
        own_name: str,
        pool: PeerPool,
        local: Callable[[Sequence[bytes]], Awaitable[FatesReply]],
    ) -> None:
        self._map = cluster_map
        self._own_name = own_name
        self._pool = pool
        self._local = local

    async def dead(self, ids: Sequence[bytes]) -> dict[bytes, int]:
        by_partition: dict[int, list[bytes]] = {}
        for blob_id in ids:
            by_partition.setdefault(BlobId(blob_id).partition, []).append(blob_id)
        found: dict[bytes, int] = {}
        for number, some in by_partition.items():
            partition = self._map.partitions.get(number)
            if partition is not None:
                found |= await self._dead_in(partition, some)
        return found

    async def _dead_in(self, partition: Partition, ids: list[bytes]) -> dict[bytes, int]:
        names = [node.name for node in partition.replicas]
        replies = await asyncio.gather(*(self._ask(name, ids) for name in names))
        found: dict[bytes, int] = {}
        for position, blob_id in enumerate(ids):
            answers = {
                name: KnownFate(reply.fates[position], reply.since_ms[position])
                for name, reply in zip(names, replies, strict=True)
                if reply is not None
            }
            since_ms = died_at(partition, answers)
            if since_ms is not None:
                found[blob_id] = since_ms
        return found

    async def _ask(self, name: str, ids: list[bytes]) -> FatesReply | None:
        if name == self._own_name:
            return await self._local(ids)
        try:
            frame = await self._pool[name].request(MessageType.FATES, FatesRequest(ids), timeout_s=TIMEOUT_S)
            reply = messages.decode(frame.header, FatesReply)
        except AmbryError:
            return None
        return reply if len(reply.fates) == len(reply.since_ms) == len(ids) else None
