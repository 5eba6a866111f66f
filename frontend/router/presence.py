"""Who holds how much of a blob: asked of every replica, for people who look after a cluster."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

from ambry.errors import AmbryError, BlobGone
from ambry.ids import BlobId
from ambry.network.pool import Peer
from ambry.protocol.frame import MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.blobs import PresenceReply, PresenceRequest
from frontend.request import RequestContext
from frontend.router.composite import ChunkList, chunk_list
from frontend.router.context import RouterContext
from frontend.router.values import NodePresence

TIMEOUT_S = 3.0
IDS_PER_REQUEST = 2_000


async def presence(request: RequestContext, context: RouterContext, blob_id: BlobId) -> list[NodePresence]:
    """Per data node how much of a blob (its own record and its chunks) it holds. Asks every replica.

    Of a blob that is gone, its own record alone: who knows that it was deleted.
    """
    try:
        listed = await chunk_list(request, context, blob_id)
    except BlobGone:
        listed = ChunkList(context.reading)
    with contextlib.closing(listed):
        ids = [blob_id.raw, *(chunk.id for chunk in listed.chunks)]
        held: dict[Peer, list[bytes]] = {}
        for raw in ids:
            for each in context.replicas[BlobId(raw).partition].every:
                held.setdefault(each.replica, []).append(raw)
        peers = sorted(held, key=lambda peer: peer.node.name)
        return list(await asyncio.gather(*(_presence_at(request, peer, held[peer]) for peer in peers)))


async def any_given_up(request: RequestContext, context: RouterContext, ids: Sequence[bytes]) -> bool:
    """Whether the data nodes gave up one of some blobs that were stored here.

    One replica of this datacenter that knows it as deleted is enough; so is it when all of them say that there is none.
    """
    held: dict[Peer, list[bytes]] = {}
    for raw in ids:
        for peer in context.replicas[BlobId(raw).partition].local:
            held.setdefault(peer, []).append(raw)
    answers = await asyncio.gather(*(_states_at(request, peer, raws) for peer, raws in held.items()))
    said: dict[bytes, set[str]] = {}
    for raws, states in zip(held.values(), answers, strict=True):
        known = len(raws) * ["unsure"] if isinstance(states, AmbryError) else states
        for raw, state in zip(raws, known, strict=True):
            said.setdefault(raw, set()).add(state)
    return any("deleted" in states or states == {"absent"} for states in said.values())


async def _states_at(request: RequestContext, peer: Peer, ids: list[bytes]) -> list[str] | AmbryError:
    """What a data node says of each, in words of PresenceReply; why it says nothing."""
    states: list[str] = []
    try:
        for start in range(0, len(ids), IDS_PER_REQUEST):
            message = PresenceRequest(request.id, ids[start : start + IDS_PER_REQUEST])
            frame = await peer.request(MessageType.PRESENCE, message, timeout_s=min(TIMEOUT_S, request.left_s()))
            states += messages.decode(frame.header, PresenceReply).states
    except AmbryError as failure:
        return failure
    return states


async def _presence_at(request: RequestContext, peer: Peer, ids: list[bytes]) -> NodePresence:
    answer = await _states_at(request, peer, ids)
    states, error = ([], answer.message) if isinstance(answer, AmbryError) else (answer, "")
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
