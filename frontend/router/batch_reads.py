"""Reading many blobs with few questions: each data node is asked once for all that it may have.

What it tells at once is the answer, as that of the first replica which a read of one blob asks. Whatever it does not tell
(absent, gone, damaged, not in memory, too much at once) is nothing decided: such a blob is read for itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ambry.checksum import Buffer, digest
from ambry.errors import AmbryError, ProtocolViolation
from ambry.ids import BlobId
from ambry.network.pool import Peer
from ambry.protocol.frame import MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.blobs import GETS_MAX, GetReply, GetsReply, GetsRequest, WantedBytes
from ambry.service.logs import get_logger
from frontend.request import RequestContext
from frontend.router.answers import cut
from frontend.router.context import RouterContext
from frontend.router.opening import opening_now
from frontend.router.sealing_keys import ContainerKeys

log = get_logger()

ASKED_MAX = GETS_MAX
SPLIT_MIN = 64
"""Blobs that are worth a question of their own."""
ROOM_BYTES = 1 << 20
"""Of one answer."""
TIMEOUT_S = 1.0
"""Whoever is slower is not waited for: each blob is read for itself then."""


class PeerShare(NamedTuple):
    """Whom to ask for which of some blobs, by their numbers."""

    peer: Peer
    numbers: list[int]


class ToldBytes(msgspec.Struct, frozen=True, gc=False):
    """What is told of one blob; `data` is what was asked for of it."""

    reply: GetReply
    data: Buffer


def by_peer(context: RouterContext, ids: Sequence[BlobId]) -> list[PeerShare]:
    """Whom to ask for what. Without those whose partition has no well replica here; many of one are asked of all at once."""
    by_partition: dict[int, list[int]] = {}
    for number, blob_id in enumerate(ids):
        by_partition.setdefault(blob_id.partition, []).append(number)
    found: dict[Peer, list[int]] = {}
    for partition, numbers in by_partition.items():
        replicas = context.replicas.get(partition)
        well = [peer for peer in replicas.local if peer.usable] if replicas is not None else []
        if not well:
            continue
        # Neighbours in the request were put together, maybe, and lie beside each other.
        each = max(SPLIT_MIN, -(-len(numbers) // len(well)))
        turn = context.random_source.randrange(len(well))
        for start in range(0, len(numbers), each):
            found.setdefault(well[turn % len(well)], []).extend(numbers[start : start + each])
            turn += 1
    return [PeerShare(peer, numbers) for peer, numbers in found.items()]


async def read_from(
    request: RequestContext, keys: ContainerKeys, peer: Peer, wanted: list[WantedBytes], *, room: int
) -> list[ToldBytes | None]:
    """What one data node tells at once of at most ASKED_MAX blobs, in their order; None of those to be read for themselves."""
    message = GetsRequest(request.id, wanted, room)
    try:
        frame = await peer.request(MessageType.GETS, message, timeout_s=min(TIMEOUT_S, request.left_s()))
        reply = messages.decode(frame.header, GetsReply)
        if len(reply.got) != len(wanted):
            raise ProtocolViolation(f"{peer.node.name} answered other than it was asked")
    except AmbryError as error:
        log.debug("batch read failed", peer=peer.node.name, error=error.message, request_id=request.id)
        return [None] * len(wanted)
    body = memoryview(frame.body)
    found: list[ToldBytes | None] = []
    for asked, got in zip(wanted, reply.got, strict=True):
        told = None
        if got is not None:
            told = ToldBytes(got.reply, body[got.at : got.at + got.size])
            whole = got.size == got.reply.payload_size
            if len(told.data) != got.size or (whole and digest(told.data) != got.reply.digest):
                log.error("bytes are not those of their digest", peer=peer.node.name, request_id=request.id)
                told = None
            elif got.reply.features:
                told = _opened(keys, asked, told)
        found.append(told)
    return found


def _opened(keys: ContainerKeys, wanted: WantedBytes, told: ToldBytes) -> ToldBytes | None:
    """What a sealed answer holds of what was asked; None where its key is not at hand, or it does not open."""
    blob_id = BlobId(wanted.id)
    try:
        answer = opening_now(keys, blob_id, told.reply)
        if answer is None:
            return None
        return ToldBytes(answer.reply, cut(answer.reply, answer.open(told.data), wanted.first, wanted.end))
    except AmbryError as error:
        log.error("sealed answer does not open", blob=str(blob_id), error=error.message)
        return None
