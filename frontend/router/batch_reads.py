"""Reading many blobs with few questions: each data node is asked once for all that it may have.

What it tells at once is the answer, as that of the first replica which a read of one blob asks. Whatever it does not tell
(absent, gone, damaged, not in memory, too much at once) is nothing decided: such a blob is read for itself.
"""

from __future__ import annotations

from collections.abc import Mapping

from ambry.checksum import Buffer, digest
from ambry.errors import AmbryError, ProtocolViolation
from ambry.ids import BlobId
from ambry.network.pool import Peer
from ambry.protocol.frame import MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.blobs import GETS_MAX, GetsReply, GetsRequest, WantedBytes
from ambry.service.logs import get_logger
from frontend.request import RequestContext
from frontend.router.context import RouterContext
from frontend.router.quorum_read import Found

log = get_logger()

ASKED_MAX = GETS_MAX
ROOM_BYTES = 1 << 20
"""Of one answer."""
TIMEOUT_S = 1.0
"""Whoever is slower is not waited for: each blob is read for itself then."""


def by_peer(context: RouterContext, wanted: Mapping[int, BlobId]) -> list[tuple[Peer, list[int]]]:
    """Whom to ask for what: the numbers of blobs by data node. Without those whose partition has no well replica here."""
    asked: dict[int, Peer | None] = {}
    found: dict[Peer, list[int]] = {}
    for number, blob_id in wanted.items():
        partition = blob_id.partition
        if partition not in asked:
            replicas = context.replicas.get(partition)
            well = [peer for peer in replicas.local if peer.usable] if replicas is not None else []
            asked[partition] = context.random_source.choice(well) if well else None
        peer = asked[partition]
        if peer is not None:
            found.setdefault(peer, []).append(number)
    return list(found.items())


async def read_from(request: RequestContext, peer: Peer, wanted: list[WantedBytes], *, room: int) -> list[Found | None]:
    """What one data node tells at once of at most ASKED_MAX blobs, in their order; None of those to be read for themselves."""
    message = GetsRequest(request.id, wanted, room)
    try:
        frame = await peer.request(MessageType.GETS, message, timeout_s=min(TIMEOUT_S, request.left_s()))
        reply = messages.decode(frame.header, GetsReply)
        if len(reply.got) != len(wanted) or sum(got.size for got in reply.got if got is not None) != len(frame.body):
            raise ProtocolViolation(f"{peer.node.name} answered other than it was asked")
    except AmbryError as error:
        log.debug("batch read failed", peer=peer.node.name, error=error.message, request_id=request.id)
        return [None] * len(wanted)
    found: list[Found | None] = []
    body, start = memoryview(frame.body), 0
    for got in reply.got:
        if got is None:
            found.append(None)
            continue
        data: Buffer = body[start : start + got.size]
        start += got.size
        if got.size == got.reply.payload_size and digest(data) != got.reply.digest:
            log.error("bytes are not those of their digest", peer=peer.node.name, request_id=request.id)
            found.append(None)
        else:
            found.append(Found(got.reply, data))
    return found
