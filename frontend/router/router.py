"""The router: everything a frontend can do with blobs, without HTTP. One object per process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from ambry.blob import Composite
from ambry.clustermap.model import Node
from ambry.errors import AmbryError, BlobGone, InvalidRequest
from ambry.ids import BlobId, IdKind
from ambry.protocol.frame import MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.blobs import PresenceReply, PresenceRequest
from frontend.request import RequestContext
from frontend.router import get as getting
from frontend.router import update as updating
from frontend.router.context import RouterContext
from frontend.router.get import Download
from frontend.router.put import PutOperation
from frontend.router.quorum import write_target
from frontend.router.values import BlobHead, DigestCheck, NodePresence, PutResult, PutSpec, RangeSpec

PRESENCE_TIMEOUT_S = 3.0
PRESENCE_IDS_PER_REQUEST = 20_000


class Router:
    """Puts, gets and updates, by id."""

    def __init__(self, context: RouterContext) -> None:
        self.context = context

    async def put(
        self,
        request: RequestContext,
        spec: PutSpec,
        body: AsyncIterator[bytes],
        *,
        size: int | None,
        size_max: int,
        verify: DigestCheck | None,
    ) -> PutResult:
        """Store a body; see PutOperation.run."""
        return await PutOperation(request, self.context, spec, verify).run(body, size=size, size_max=size_max)

    async def put_whole(self, request: RequestContext, spec: PutSpec, data: bytes) -> PutResult:
        """Store a short body that is here already; see PutOperation.run_whole."""
        return await PutOperation(request, self.context, spec, None).run_whole(data)

    async def open(
        self,
        request: RequestContext,
        blob_id: BlobId,
        *,
        wanted: RangeSpec | None,
        any_state: bool = False,
        resolve_empty: bool = False,
    ) -> Download:
        """Begin to read a blob; see open_blob."""
        self._refuse_chunk(blob_id)
        return await getting.open_blob(
            request, self.context, blob_id, wanted=wanted, any_state=any_state, resolve_empty=resolve_empty
        )

    async def head(self, request: RequestContext, blob_id: BlobId, *, any_state: bool = False) -> BlobHead:
        """A blob's head. Raises BlobNotFound, BlobGone, Unavailable."""
        self._refuse_chunk(blob_id)
        return await getting.read_head(request, self.context, blob_id, any_state=any_state)

    async def composite(self, request: RequestContext, blob_id: BlobId) -> Composite | None:
        """The chunk list of a composite blob, None for a blob of one record. Raises as `head`."""
        self._refuse_chunk(blob_id)
        if blob_id.kind is not IdKind.COMPOSITE:
            await getting.read_head(request, self.context, blob_id)
            return None
        return (await getting.read_composite(request, self.context, blob_id)).composite

    async def delete(self, request: RequestContext, blob_id: BlobId, known: BlobHead | None = None) -> None:
        """See update.delete."""
        self._refuse_chunk(blob_id)
        await updating.delete(request, self.context, blob_id, known)

    async def undelete(self, request: RequestContext, blob_id: BlobId, known: BlobHead | None = None) -> None:
        """See update.undelete."""
        self._refuse_chunk(blob_id)
        await updating.undelete(request, self.context, blob_id, known)

    async def extend_ttl(
        self, request: RequestContext, blob_id: BlobId, expires_at_ms: int, known: BlobHead | None = None
    ) -> BlobHead:
        """See update.extend_ttl."""
        self._refuse_chunk(blob_id)
        return await updating.extend_ttl(request, self.context, blob_id, expires_at_ms, known)

    @staticmethod
    def _refuse_chunk(blob_id: BlobId) -> None:
        if blob_id.kind is IdKind.CHUNK:
            raise InvalidRequest("this is the id of a data chunk inside a larger blob; use the blob's own id")

    async def presence(self, request: RequestContext, blob_id: BlobId) -> list[NodePresence]:
        """Per data node how much of a blob (its own record and its chunks) it holds. Asks every replica.

        Of a blob that is gone, its own record alone: who knows that it was deleted.
        """
        try:
            composite = await self.composite(request, blob_id)
        except BlobGone:
            composite = None
        ids = [blob_id.raw] + ([chunk.id for chunk in composite.chunks] if composite else [])
        by_node: dict[str, list[bytes]] = {}
        for raw in ids:
            for node in self.context.partition_of(BlobId(raw)).replicas:
                by_node.setdefault(node.name, []).append(raw)
        nodes = [self.context.map.nodes[name] for name in sorted(by_node)]
        return list(await asyncio.gather(*(self._presence_at(request, node, by_node[node.name]) for node in nodes)))

    async def _presence_at(self, request: RequestContext, node: Node, ids: list[bytes]) -> NodePresence:
        states: list[str] = []
        error = ""
        try:
            for start in range(0, len(ids), PRESENCE_IDS_PER_REQUEST):
                message = PresenceRequest(request.id, ids[start : start + PRESENCE_IDS_PER_REQUEST])
                frame = await self.context.pool[node.name].request(
                    MessageType.PRESENCE, message, timeout_s=min(PRESENCE_TIMEOUT_S, request.left_s())
                )
                states += messages.decode(frame.header, PresenceReply).states
        except AmbryError as failure:
            error = failure.message
        return NodePresence(
            node=node.name,
            datacenter=node.datacenter,
            address=node.address,
            reachable=not error,
            present=states.count("present"),
            deleted=states.count("deleted"),
            total=len(ids),
            error=error,
        )

    def unready(self) -> list[str]:
        """Why this frontend cannot serve: partitions of which too few local replicas answer."""
        context = self.context
        short: list[int] = []
        for partition in context.map.partitions.values():
            local = partition.in_datacenter(context.datacenter_id)
            answering = sum(context.pool[node.name].usable for node in local)
            if answering < write_target(len(local), context.config.success_target):
                short.append(partition.id)
        return [f"too few replicas answer for partitions {short}"] if short else []
