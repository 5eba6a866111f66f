"""Changing a blob's state: delete, undelete, time to live. Each is a join, recorded durably on enough local replicas.

The present state is read first, so that every replica is told the same target state; then it does not matter which of them
already knew what, or in which order changes arrive. A caller that has read the head for this request already, for its
conditions, hands it on as `known`, and it is not read again.

Nothing is recorded about a blob that no replica which answered knows: an id that somebody made up leaves no trace
(docs/decisions/0009-no-tombstone-without-a-blob.md).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial, reduce

import msgspec

from ambry.blob import BlobState, join
from ambry.errors import BlobDeleted, BlobExpired, NotDeleted, Unavailable
from ambry.ids import BlobId
from ambry.protocol.frame import MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.blobs import UpdateReply, UpdateRequest
from frontend.request import RequestContext
from frontend.router.answers import Found, ReadOutcome
from frontend.router.context import RouterContext
from frontend.router.quorum_read import Fetch, found, head_of
from frontend.router.quorum_write import ReplicaWrite, write_persistently
from frontend.router.values import BlobHead

PATIENCE_S = 0.25
"""An update waits this long for the slower replicas that are well: whoever reads next shall find it on any of them."""


GoOn = Callable[[], Awaitable[bool]]
Announce = Callable[[int], Awaitable[None]]


async def delete(
    request: RequestContext,
    context: RouterContext,
    blob_id: BlobId,
    known: BlobHead | None = None,
    *,
    life_min: int = 0,
    go_on: GoOn | None = None,
) -> None:
    """Delete a blob; deleting a deleted one is fine. Durable on at least the write target of local replicas on return.

    All its lives end up to `life_min`, also where it has not got so far: who brings it back to one of those is too late. Before
    a life ends that is not `known`, `go_on` says whether it is still to. Raises BlobNotFound when it is proven that there
    never was one; Unavailable when that cannot be told, and then nothing was changed; QuorumNotReached when it may have
    happened.
    """
    if known is not None:
        state = known.state
    else:
        outcome = await _read(request, context, blob_id, any_state=True)
        state = outcome.reply.state if isinstance(outcome, Found) else outcome.state
        if go_on is not None and not await go_on():
            return
    wanted = None
    # Another replica may know of a later life than the one that we read: its answer says so. That one is to end then, and as
    # many replicas as confirm a write must know of its end: one that took the end of an earlier life does not.
    while wanted is None or not state.deleted or state.life_version > wanted.life_version:
        if wanted is not None and go_on is not None and not await go_on():
            return
        wanted = BlobState(max(life_min, state.life_version), True, state.expires_at_ms)
        state = (await _write(request, context, blob_id, wanted)).state


async def undelete(
    request: RequestContext,
    context: RouterContext,
    blob_id: BlobId,
    known: BlobHead | None = None,
    *,
    announce: Announce | None = None,
) -> None:
    """Bring a deleted blob back, as the next life version; `announce` hears of each before it is tried, and may raise.

    Every replica is told when the delete was made that is undone: one that has not heard of it could not say that it is too
    late (docs/decisions/0022-an-undelete-tells-what-it-undoes.md). Raises NotDeleted, BlobNotFound, BlobDeleted when it is,
    Unavailable, QuorumNotReached.
    """
    head = known or await _read_head(request, context, blob_id, any_state=True)
    last = UpdateReply(head.state, head.deleted_at_ms)
    if not last.state.deleted:
        # The one replica that was read may not have heard of the delete yet: ask as many as the delete was confirmed by.
        last = await _write(request, context, blob_id, last.state)
    if not last.state.deleted:
        raise NotDeleted(f"blob {blob_id} is not deleted")
    wanted = None
    # Another replica may know of a later deletion than the one that we read: its answer says so, go beyond it. Or of a later
    # life: as many replicas as confirm a write must know of that one.
    while wanted is None or last.state.deleted or last.state.life_version > wanted.life_version:
        life = last.state.life_version + (1 if last.state.deleted else 0)
        if announce is not None:
            await announce(life)
        wanted = BlobState(life, False, last.state.expires_at_ms)
        last = await _write(request, context, blob_id, wanted, deleted_at_ms=last.deleted_at_ms)


async def extend_ttl(
    request: RequestContext,
    context: RouterContext,
    blob_id: BlobId,
    expires_at_ms: int,
    known: BlobHead | None = None,
) -> BlobHead:
    """Let a blob live until `expires_at_ms` at least; it never gets shorter. Returns its head as it is now.

    Raises BlobNotFound, BlobDeleted, BlobExpired, Unavailable, QuorumNotReached.
    """
    head = known or await _read_head(request, context, blob_id, any_state=False)
    if head.state.expired(context.clock.wall_ms()):
        raise BlobExpired(f"blob {blob_id} has expired")
    state = BlobState(head.state.life_version, False, max(head.state.expires_at_ms, expires_at_ms))
    state = (await _write(request, context, blob_id, state)).state
    if state.deleted:
        # The one replica that was read had not heard of it.
        raise BlobDeleted(f"blob {blob_id} was deleted")
    return msgspec.structs.replace(head, state=state)


async def _read(request: RequestContext, context: RouterContext, blob_id: BlobId, *, any_state: bool) -> ReadOutcome:
    """What is known of a blob, read in half of the time that is left. Raises Unavailable saying that nothing was changed."""
    try:
        return await Fetch(request, context, blob_id, first=0, end=0, any_state=any_state, share=0.5).start()
    except Unavailable as error:
        raise Unavailable(f"nothing was changed: {error.message}") from error


async def _read_head(request: RequestContext, context: RouterContext, blob_id: BlobId, *, any_state: bool) -> BlobHead:
    return head_of(blob_id, found(blob_id, await _read(request, context, blob_id, any_state=any_state)).reply)


async def _write(
    request: RequestContext, context: RouterContext, blob_id: BlobId, state: BlobState, *, deleted_at_ms: int = 0
) -> UpdateReply:
    """Record a state; returns the join of what the replicas that confirmed know now. `deleted_at_ms` as in UpdateRequest."""
    write = partial(
        ReplicaWrite,
        request,
        context.replicas[blob_id.partition],
        overdue=context.silences,
        type=MessageType.UPDATE,
        message=UpdateRequest(request.id, blob_id.raw, state, context.clock.wall_ms(), deleted_at_ms),
        patience_s=PATIENCE_S,
    )
    frames = await write_persistently(request, write, attempts=context.config.put_attempts)
    replies = [messages.decode(frame.header, UpdateReply) for frame in frames]
    joined = reduce(join, (reply.state for reply in replies), state)
    return UpdateReply(joined, max((reply.deleted_at_ms for reply in replies), default=0))
