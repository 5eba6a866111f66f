"""Reading one record from whichever replica has it, until the answer is certain."""

from __future__ import annotations

import asyncio
from functools import partial

import msgspec

from ambry.blob import BlobState, join
from ambry.checksum import Buffer
from ambry.errors import AmbryError, BlobDeleted, BlobExpired, BlobNotFound, DataCorrupt, Unavailable
from ambry.ids import BlobId
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.blobs import GetReply, GetRequest
from frontend.request import RequestContext
from frontend.router.context import RouterContext
from frontend.router.quorum import Answer, GetTracker, Verdict


class Fetched(msgspec.Struct, frozen=True):
    """What a replica answered. `data` is exactly the asked range, clipped to the payload, every block verified."""

    reply: GetReply
    data: Buffer


class Fetch:
    """One read of one record. `start` returns a future that ends with Fetched, or with the AmbryError to tell the user.

    Replicas are asked in order; when one has not answered for `hedge_after_ms` the next is asked too, and the first good
    answer counts.
    """

    def __init__(
        self,
        request: RequestContext,
        context: RouterContext,
        blob_id: BlobId,
        *,
        first: int,
        end: int,
        any_state: bool = False,
    ) -> None:
        partition = context.partition_of(blob_id)
        self._context = context
        self._id = blob_id
        self._first = first
        self._end = end
        self._request = GetRequest(request.id, blob_id.raw, first, end, any_state)
        self._tracker = GetTracker(
            context.read_order(partition, blob_id.datacenter),
            own=context.datacenter_id,
            origin=blob_id.datacenter,
            absent_targets=context.absent_targets(partition),
        )
        self._loop = asyncio.get_running_loop()
        self._deadline = min(request.deadline, self._loop.time() + context.config.get_timeout_ms / 1000)
        self._hedge: asyncio.TimerHandle | None = None
        self._failures: dict[str, AmbryError] = {}
        self._state: BlobState | None = None
        self._state_only: GetReply | None = None
        self._future: asyncio.Future[Fetched] = self._loop.create_future()

    def start(self) -> asyncio.Future[Fetched]:
        self._ask_next()
        return self._future

    def _ask_next(self) -> None:
        if self._hedge is not None:
            self._hedge.cancel()
            self._hedge = None
        name = self._tracker.next_replica()
        if name is None or self._future.done():
            return
        self._hedge = self._loop.call_later(self._context.config.hedge_after_ms / 1000, self._ask_next)
        timeout_s = max(0.001, self._deadline - self._loop.time())
        self._context.pool[name].call(MessageType.GET, self._request, partial(self._done, name), timeout_s=timeout_s)

    def _done(self, name: str, frame: Frame | None, error: AmbryError | None) -> None:
        if self._future.done():
            return
        if frame is not None:
            self._answered(name, frame)
            return
        self._failures[name] = error or Unavailable("no answer")
        self._settle(self._tracker.record(name, Answer.ABSENT if isinstance(error, BlobNotFound) else Answer.FAILED))

    def _answered(self, name: str, frame: Frame) -> None:
        try:
            reply = messages.decode(frame.header, GetReply)
            self._state = reply.state if self._state is None else join(self._state, reply.state)
            if reply.present and not (self._state.deleted and not self._request.any_state):
                data = self._cut(reply, frame.body)
                self._tracker.record(name, Answer.FOUND)
                self._end_with(Fetched(reply, data))
                return
        except AmbryError as bad:
            self._failures[name] = bad
            self._settle(self._tracker.record(name, Answer.FAILED))
            return
        # It has no bytes for us. It is gone, or another replica may have them.
        self._state_only = msgspec.structs.replace(reply, state=self._state)
        gone = (self._state.deleted or reply.gone) and not self._request.any_state
        self._settle(self._tracker.record(name, Answer.GONE if gone else Answer.FAILED))

    def _cut(self, reply: GetReply, body: Buffer) -> Buffer:
        first = min(self._first, reply.payload_size)
        end = min(self._end, reply.payload_size)
        if first == end:
            return b""
        if reply.start > first or reply.start + len(body) < end:
            raise DataCorrupt(f"asked for bytes {first} to {end}, got {len(body)} from {reply.start} on")
        if reply.start == first and len(body) == end - first:
            return body
        return memoryview(body)[first - reply.start : end - reply.start]

    def _settle(self, verdict: Verdict) -> None:
        if verdict is Verdict.PENDING:
            self._ask_next()
        elif self._state_only is not None and self._request.any_state:
            self._end_with(Fetched(self._state_only, b""))
        elif verdict is Verdict.DONE:
            deleted = self._state is not None and self._state.deleted
            self._end_with(BlobDeleted("the blob was deleted") if deleted else BlobExpired("the blob has expired"))
        elif verdict is Verdict.ABSENT:
            self._end_with(BlobNotFound(f"no blob {self._id}: enough replicas confirmed that it does not exist"))
        else:
            self._end_with(self._unknown())

    def _unknown(self) -> AmbryError:
        reasons = "; ".join(f"{name}: {error.message}" for name, error in sorted(self._failures.items()))
        return Unavailable(f"blob {self._id} cannot be read now, and its absence cannot be proven; retry ({reasons})")

    def _end_with(self, outcome: Fetched | AmbryError) -> None:
        if self._hedge is not None:
            self._hedge.cancel()
            self._hedge = None
        if isinstance(outcome, AmbryError):
            self._future.set_exception(outcome)
        else:
            self._future.set_result(outcome)
