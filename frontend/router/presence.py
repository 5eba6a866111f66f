"""Who holds how much of a blob: asked of every replica, for people who look after a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ambry.errors import AmbryError, BlobGone
from ambry.ids import BlobId
from ambry.network.pool import Peer
from ambry.protocol.frame import MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.blobs import PresenceReply, PresenceRequest
from frontend.request import RequestContext
from frontend.router.composite import chunk_list
from frontend.router.context import RouterContext
from frontend.router.values import NodePresence

TIMEOUT_S = 3.0
IDS_PER_REQUEST = 20_000


async def presence(request: RequestContext, context: RouterContext, blob_id: BlobId) -> list[NodePresence]:
    """Per data node how much of a blob (its own record and its chunks) it holds. Asks every replica.

    Of a blob that is gone, its own record alone: who knows that it was deleted.
    """
    try:
        composite = await chunk_list(request, context, blob_id)
    except BlobGone:
        composite = None
    ids = [blob_id.raw] + ([chunk.id for chunk in composite.chunks] if composite else [])
    held: dict[Peer, list[bytes]] = {}
    for raw in ids:
        for each in context.replicas[BlobId(raw).partition].every:
            held.setdefault(each.replica, []).append(raw)
    peers = sorted(held, key=lambda peer: peer.node.name)
    return list(await asyncio.gather(*(_presence_at(request, peer, held[peer]) for peer in peers)))


async def any_deleted(request: RequestContext, context: RouterContext, ids: Sequence[bytes]) -> bool:
    """Whether a replica of this datacenter that answers knows one of some blobs as deleted."""
    held: dict[Peer, list[bytes]] = {}
    for raw in ids:
        for peer in context.replicas[BlobId(raw).partition].local:
            held.setdefault(peer, []).append(raw)
    found = await asyncio.gather(*(_presence_at(request, peer, raws) for peer, raws in held.items()))
    return any(node.deleted for node in found)


async def _presence_at(request: RequestContext, peer: Peer, ids: list[bytes]) -> NodePresence:
    states: list[str] = []
    error = ""
    try:
        for start in range(0, len(ids), IDS_PER_REQUEST):
            message = PresenceRequest(request.id, ids[start : start + IDS_PER_REQUEST])
            frame = await peer.request(MessageType.PRESENCE, message, timeout_s=min(TIMEOUT_S, request.left_s()))
            states += messages.decode(frame.header, PresenceReply).states
    except AmbryError as failure:
        error = failure.message
    return NodePresence(
        node=peer.node.name,
        datacenter=peer.node.datacenter,
        address=peer.node.address,
        reachable=not error,
        present=states.count("present"),
        deleted=states.count("deleted"),
        total=len(ids),
        error=error,
    )
