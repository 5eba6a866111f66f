"""Reading one record from whichever replica has it, until the answer is certain, or nobody is left who could tell."""

from __future__ import annotations

import asyncio
from functools import partial

import msgspec

from ambry.blob import BlobState, join
from ambry.checksum import Buffer
from ambry.errors import AmbryError, BlobDeleted, BlobExpired, BlobNotFound, DataCorrupt, DeadlineExceeded, Unavailable
from ambry.ids import BlobId
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.blobs import GetReply, GetRequest
from frontend.request import RequestContext
from frontend.router.context import LOOK_AGAIN_S, SILENCE_S, RouterContext
from frontend.router.quorum import Answer, Verdict


class Found(msgspec.Struct, frozen=True):
    """What a replica answered. `data` is exactly the asked range, clipped to the payload, every block verified."""

    reply: GetReply
    data: Buffer


class StateOnly(msgspec.Struct, frozen=True):
    """The blob exists or existed, but no replica that answered holds its record. Only where any state was asked for."""

    state: BlobState


ReadOutcome = Found | StateOnly


class Fetch:
    """One read of one record. `start` returns a future that ends with a ReadOutcome, or with the AmbryError to tell the user:
    BlobNotFound, BlobGone, Unavailable.

    Replicas are asked in order; when one has not answered for `hedge_after_ms` the next is asked too, and the first good
    answer counts. Once all were asked and only suspect ones are still to answer, they are not waited for any longer than a
    moment. It ends `within_s`, by default with the request's deadline.
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
        within_s: float | None = None,
    ) -> None:
        self._context = context
        self._id = blob_id
        self._first = first
        self._end = end
        self._request = GetRequest(request.id, blob_id.raw, first, end, any_state)
        self._tracker = context.read_tracker(blob_id)
        self._loop = asyncio.get_running_loop()
        self._deadline = request.deadline if within_s is None else self._loop.time() + within_s
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: set[str] = set()
        self._failures: dict[str, AmbryError] = {}
        self._state: BlobState | None = None
        self._state_only = False
        self._looking = False
        self._future: asyncio.Future[ReadOutcome] = self._loop.create_future()

    def start(self) -> asyncio.Future[ReadOutcome]:
        self._ask_next()
        return self._future

    def _ask_next(self) -> None:
        if self._future.done() or self._looking:
            return
        self._stop_timer()
        name = self._tracker.next_replica()
        if name is None:
            self._looking = True
            self._timer = self._loop.call_later(SILENCE_S, self._look)
            return
        self._timer = self._loop.call_later(self._context.config.hedge_after_ms / 1000, self._ask_next)
        self._waiting.add(name)
        timeout_s = max(0.001, self._deadline - self._loop.time())
        self._context.pool[name].call(MessageType.GET, self._request, partial(self._done, name), timeout_s=timeout_s)

    def _look(self) -> None:
        """All were asked: see whether those that did not answer yet answer anything at all."""
        if self._future.done():
            return
        if any(self._context.pool[name].usable for name in self._waiting):
            self._timer = self._loop.call_later(LOOK_AGAIN_S, self._look)
            return
        for name in list(self._waiting):
            self._done(name, DeadlineExceeded("it does not answer"))

    def _done(self, name: str, outcome: Frame | AmbryError) -> None:
        self._waiting.discard(name)
        if self._future.done():
            return
        if not isinstance(outcome, AmbryError):
            self._answered(name, outcome)
            return
        self._failures[name] = outcome
        self._settle(self._tracker.record(name, Answer.ABSENT if isinstance(outcome, BlobNotFound) else Answer.FAILED))

    def _answered(self, name: str, frame: Frame) -> None:
        try:
            reply = messages.decode(frame.header, GetReply)
            self._state = reply.state if self._state is None else join(self._state, reply.state)
            if reply.present and not (self._state.deleted and not self._request.any_state):
                data = self._cut(reply, frame.body)
                self._tracker.record(name, Answer.FOUND)
                self._end_with(Found(reply, data))
                return
        except AmbryError as bad:
            self._failures[name] = bad
            self._settle(self._tracker.record(name, Answer.FAILED))
            return
        # It has no bytes for us. It is gone, or another replica may have them.
        self._state_only = True
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
        elif self._state_only and self._state is not None and self._request.any_state:
            self._end_with(StateOnly(self._state))
        elif verdict is Verdict.DONE:
            deleted = self._state is not None and self._state.deleted
            self._end_with(
                BlobDeleted(f"blob {self._id} was deleted; it may be undeleted until its space is given back")
                if deleted
                else BlobExpired(f"blob {self._id} has expired")
            )
        elif verdict is Verdict.ABSENT:
            self._end_with(BlobNotFound(f"no blob {self._id}: enough replicas confirmed that it does not exist"))
        else:
            self._end_with(self._unknown())

    def _unknown(self) -> AmbryError:
        reasons = "; ".join(f"{name}: {error.message}" for name, error in sorted(self._failures.items()))
        return Unavailable(f"blob {self._id} cannot be read now, and its absence cannot be proven; retry ({reasons})")

    def _end_with(self, outcome: ReadOutcome | AmbryError) -> None:
        self._stop_timer()
        if isinstance(outcome, AmbryError):
            self._future.set_exception(outcome)
        else:
            self._future.set_result(outcome)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
