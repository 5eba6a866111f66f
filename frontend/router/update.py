"""Changing a blob's state: delete, undelete, time to live. Each is a join, recorded durably on enough local replicas.

The present state is read first, so that every replica is told the same target state; then it does not matter which of them
already knew what, or in which order changes arrive.
"""

from __future__ import annotations

from ambry.blob import BlobState, join
from ambry.errors import BlobDeleted, BlobExpired, NotDeleted, Unavailable
from ambry.ids import BlobId
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.blobs import UpdateReply, UpdateRequest
from frontend.request import RequestContext
from frontend.router.context import RouterContext
from frontend.router.get import read_head, read_state
from frontend.router.quorum_write import ReplicaWrite, write_persistently

PATIENCE_S = 0.25
"""An update waits this long for the slower replicas that are well: whoever reads next shall find it on any of them."""


async def delete(request: RequestContext, context: RouterContext, blob_id: BlobId) -> None:
    """Delete a blob; deleting a deleted one is fine. Durable on at least the write target of local replicas on return.

    Raises BlobNotFound when it is proven that there never was one, QuorumNotReached.
    """
    try:
        state = await read_state(request, context, blob_id)
    except Unavailable:
        # Whether it exists cannot be told now; the tombstone is recorded all the same and wins when the blob shows up.
        state = BlobState()
    deleted = False
    while not deleted:
        # Another replica may know of a later undelete than the one that we read: its answer says so, go beyond it.
        wanted = BlobState(state.life_version, True, state.expires_at_ms)
        state = await _write(request, context, blob_id, wanted)
        deleted = state.deleted


async def undelete(request: RequestContext, context: RouterContext, blob_id: BlobId) -> None:
    """Bring a deleted blob back, as the next life version. Raises NotDeleted, BlobNotFound, Unavailable."""
    state = (await read_head(request, context, blob_id, any_state=True)).state
    if not state.deleted:
        # The one replica that was read may not have heard of the delete yet: ask as many as the delete was confirmed by.
        state = await _write(request, context, blob_id, state)
    if not state.deleted:
        raise NotDeleted(f"blob {blob_id} is not deleted")
    while state.deleted:
        # Another replica may know of a later deletion than the one that we read: its answer says so, go beyond it.
        next_life = BlobState(state.life_version + 1, False, state.expires_at_ms)
        state = await _write(request, context, blob_id, next_life)


async def extend_ttl(request: RequestContext, context: RouterContext, blob_id: BlobId, expires_at_ms: int) -> BlobState:
    """Let a blob live until `expires_at_ms` at least; it never gets shorter. Returns the new state.

    Raises BlobNotFound, BlobDeleted, BlobExpired, Unavailable, QuorumNotReached.
    """
    head = await read_head(request, context, blob_id)
    if head.state.expired(context.clock.wall_ms()):
        raise BlobExpired(f"blob {blob_id} has expired")
    state = BlobState(head.state.life_version, False, max(head.state.expires_at_ms, expires_at_ms))
    state = await _write(request, context, blob_id, state)
    if state.deleted:
        # The one replica that was read had not heard of it.
        raise BlobDeleted(f"blob {blob_id} was deleted")
    return state


async def _write(request: RequestContext, context: RouterContext, blob_id: BlobId, state: BlobState) -> BlobState:
    """Record a state; returns the join of what the replicas that confirmed know now."""
    replies = await write_persistently(context, lambda: _write_once(request, context, blob_id, state))
    for frame in replies:
        state = join(state, messages.decode(frame.header, UpdateReply).state)
    return state


async def _write_once(
    request: RequestContext, context: RouterContext, blob_id: BlobId, state: BlobState
) -> list[Frame]:
    return await ReplicaWrite(
        context,
        context.partition_of(blob_id),
        type=MessageType.UPDATE,
        message=UpdateRequest(request.id, blob_id.raw, state, context.clock.wall_ms()),
        timeout_s=context.config.put_timeout_ms / 1000,
        patience_s=PATIENCE_S,
    ).start()
