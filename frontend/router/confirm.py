"""Strict reads: what a read found is confirmed by so many replicas that no acknowledged delete escapes it (contract C7).

A delete is acknowledged when `write_target` of the N replicas of this datacenter hold it, so of any N - write_target + 1 of
them one knows it. They are asked for the state alone, beside the read, and after the read began.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ambry.blob import BlobState, join
from ambry.errors import AmbryError, BlobDeleted, BlobNotFound, Unavailable
from ambry.ids import BlobId
from ambry.network.pending import PendingCall
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.blobs import GetReply, GetRequest
from frontend.request import RequestContext
from frontend.router.context import RouterContext

T = TypeVar("T")


def is_strict(request: RequestContext) -> bool:
    """Whether the container that a request is about wants its reads confirmed."""
    return request.container is not None and request.container.settings.strict_reads


async def confirmed(
    request: RequestContext,
    context: RouterContext,
    blob_id: BlobId,
    read: Awaitable[T],
    let_go: Callable[[T], None] = lambda _: None,
) -> T:
    """What `read` gives, once enough replicas have said that the blob is not deleted.

    Raises what it raises; BlobDeleted; Unavailable where too few say anything: `let_go` gets what was read, then.
    """
    asking = _Confirmation(request, context, blob_id)
    try:
        found = await read
        try:
            await asking.outcome
        except BaseException:
            let_go(found)
            raise
    finally:
        asking.give_up()
    return found


class _Confirmation:
    """Asks every local replica for a blob's state. `outcome` ends when enough have answered, with what to tell the user."""

    def __init__(self, request: RequestContext, context: RouterContext, blob_id: BlobId) -> None:
        self.outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._id = blob_id
        self._state = BlobState()
        self._failures: list[str] = []
        self._calls: list[PendingCall | None] = []
        replicas = context.replicas[blob_id.partition]
        self._waiting = len(replicas.local)
        self._missing = len(replicas.local) - replicas.write_target + 1
        ask = GetRequest(request.id, blob_id.raw, 0, 0, True)
        timeout_s = max(0.001, request.left_s())
        if not replicas.local:
            # Whoever deletes it does so elsewhere.
            self.outcome.set_result(None)
        for peer in replicas.local:
            self._calls.append(peer.call(MessageType.GET, ask, self._answered, timeout_s=timeout_s))

    def _answered(self, answer: Frame | AmbryError) -> None:
        self._waiting -= 1
        if self.outcome.done():
            return
        try:
            if isinstance(answer, BlobNotFound):
                pass  # it says with authority that it never heard of it, nor of a delete
            elif isinstance(answer, AmbryError):
                raise answer
            else:
                self._state = join(self._state, messages.decode(answer.header, GetReply).state)
            self._missing -= 1
        except AmbryError as failure:
            self._failures.append(failure.message)
        if self._missing <= 0:
            self._settle()
        elif not self._waiting:
            self.outcome.set_exception(
                Unavailable(
                    f"blob {self._id} cannot be confirmed now, as its container asks for strict reads: {self._missing} more "
                    f"replicas must say that it was not deleted; retry ({'; '.join(self._failures)})"
                )
            )

    def _settle(self) -> None:
        if self._state.deleted:
            self.outcome.set_exception(
                BlobDeleted(f"blob {self._id} was deleted; it may be undeleted until its space is given back")
            )
        else:
            self.outcome.set_result(None)

    def give_up(self) -> None:
        """Nobody waits for the others."""
        if not self.outcome.cancel() and not self.outcome.cancelled():
            self.outcome.exception()  # the read failed before, and this one is not told
        for call in self._calls:
            if call is not None:
                call.cancel()
