"""Reading one record from whichever replica has it, until the answer is certain, or nobody is left who could tell.

The head of a blob is what such a read brings beside the bytes that were asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import msgspec

from ambry.blob import BlobState, join
from ambry.errors import (
    AmbryError,
    AnswerDamaged,
    BlobDeleted,
    BlobExpired,
    BlobNotFound,
    DataCorrupt,
    DeadlineExceeded,
    EncryptionKeyDeleted,
    InternalError,
    KeyMismatch,
    KeysUnavailable,
    Unavailable,
)
from ambry.format import properties as properties_format
from ambry.format.record import ENCRYPTED
from ambry.ids import BlobId
from ambry.network.pending import PendingCall
from ambry.network.pool import Peer
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.blobs import GetReply, GetRequest
from frontend.request import RequestContext
from frontend.router.answers import Found, ReadOutcome, StateOnly, cut
from frontend.router.confirm import confirmed, is_strict
from frontend.router.context import RouterContext
from frontend.router.opening import SealedAnswers
from frontend.router.quorum import LOOK_AGAIN_S, SILENCE_S, Answer, ReadTracker, Verdict
from frontend.router.replicas import in_order
from frontend.router.together import any_well
from frontend.router.values import BlobHead


def _settle(future: asyncio.Future[ReadOutcome], outcome: ReadOutcome | AmbryError) -> None:
    if future.done():
        return
    if isinstance(outcome, AmbryError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


class Fetch:
    """One read of one record. It ends with a ReadOutcome, or with the AmbryError to tell the user: BlobNotFound, BlobGone,
    Unavailable.

    Replicas are asked in order; when one has not answered for `hedge_after_ms` the next is asked too, and the first good
    answer counts. Once all were asked and only suspect ones are still to answer, they are not waited for any longer than a
    moment. It ends within `share` of the time that the request has left. Whoever was asked and has not answered when it ends,
    in whatever way, is told that nobody waits.

    Most reads end with the first answer, so what is needed to go beyond it is made when they do.
    """

    __slots__ = (
        "_context", "_damaged", "_deadline", "_done", "_end", "_failures", "_first", "_first_asked", "_id", "_looking", "_loop",
        "_on_part", "_openings", "_replicas", "_request", "_sealed", "_state", "_state_only", "_timer", "_tracker", "_waiting",
        "due_at",
    )  # fmt: skip

    def __init__(
        self,
        request: RequestContext,
        context: RouterContext,
        blob_id: BlobId,
        *,
        first: int,
        end: int,
        any_state: bool = False,
        share: float = 1.0,
        on_part: Callable[[memoryview], None] | None = None,
        sealed: bool = False,
    ) -> None:
        """`on_part` hears of its beginning while the rest comes; `sealed` takes no plain record.

        Raises Unavailable for a partition that is in no layout.
        """
        self._replicas = context.replicas[blob_id.partition]
        self._context = context
        self._id = blob_id
        self._first = first
        self._end = end
        self._request = GetRequest(request.id, blob_id.raw, first, end, any_state, unchecked=True)
        self._loop = loop = asyncio.get_running_loop()
        self._deadline = request.deadline
        if share != 1.0:
            now = loop.time()
            self._deadline = now + (request.deadline - now) * share
        self._on_part = on_part
        self._sealed = sealed
        self._done: Callable[[ReadOutcome | AmbryError], None] | None = None
        """Hears how it ends; None when that is over."""
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: dict[Peer, PendingCall | None] = {}
        """Those that were asked and have not answered."""
        self._failures: dict[Peer, AmbryError] | None = None
        self._damaged: tuple[Peer, ...] = ()
        """Those whose answers came damaged, and which were asked again."""
        self._state: BlobState | None = None
        self._state_only = False
        self._looking = False
        self._first_asked: Peer | None = None
        self._tracker: ReadTracker[Peer] | None = None
        self._openings: SealedAnswers | None = None
        """Of sealed answers, once one is here."""

    def start(self) -> asyncio.Future[ReadOutcome]:
        """As `begin`. Who cancels the future gives the read up."""
        future: asyncio.Future[ReadOutcome] = self._loop.create_future()
        # That it ends is not for us alone to say: whoever waits for it may be cancelled, and it with him.
        future.add_done_callback(lambda _: self.give_up())
        self.begin(partial(_settle, future))
        return future

    def begin(self, done: Callable[[ReadOutcome | AmbryError], None], *, small: bool = False) -> None:
        """Ask. `done` is called once with how it ends, perhaps at once; never after `give_up`.

        A `small` one asks whom others ask that begin with it.
        """
        self._done = done
        context, local = self._context, self._replicas.local
        peer = context.together.choose(local) if small else any_well(local, context.random_source)
        if peer is not None:
            self._first_asked = peer
            self._ask(peer)
        else:
            self._ask_next()

    def give_up(self) -> None:
        """Nobody waits for it any more; may be called twice."""
        self._done = None
        self._context.hedges.forget(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for call in self._waiting.values():
            if call is not None:
                call.cancel()
        if self._openings is not None:
            self._openings.drop()

    def _tracked(self) -> ReadTracker[Peer]:
        """What is decided by, from the first answer on that does not end it."""
        if self._tracker is None:
            context, origin = self._context, self._id.datacenter
            order = in_order(
                self._replicas,
                own=context.datacenter_id,
                origin=origin,
                source=context.random_source,
                first=self._first_asked,
            )
            self._tracker = ReadTracker(
                order, own=context.datacenter_id, origin=origin, absent_targets=self._replicas.absent_targets
            )
            if self._first_asked is not None:
                self._tracker.next_replica()
        return self._tracker

    def overdue(self) -> None:
        """Who was asked last has not answered for long."""
        self._ask_next()

    def _ask_next(self) -> None:
        if self._done is None or self._looking:
            return
        peer = self._tracked().next_replica()
        if peer is None:
            self._context.hedges.forget(self)
            self._looking = True
            self._timer = self._loop.call_later(SILENCE_S, self._look)
        else:
            self._ask(peer)

    def _ask(self, peer: Peer) -> None:
        now = self._loop.time()
        self._context.hedges.watch(self, now)
        self._waiting[peer] = None
        timeout_s = max(0.001, self._deadline - now)
        heard, came = partial(self._heard, peer), None if self._on_part is None else partial(self._came, peer)
        call = peer.call(MessageType.GET, self._request, heard, timeout_s=timeout_s, on_part=came)
        if call is not None:
            self._waiting[peer] = call

    def _look(self) -> None:
        """All were asked: see whether those that did not answer yet answer anything at all."""
        if self._done is None:
            return
        if any(peer.usable for peer in self._waiting):
            self._timer = self._loop.call_later(LOOK_AGAIN_S, self._look)
            return
        for peer in list(self._waiting):
            self._heard(peer, DeadlineExceeded("it does not answer"))

    def _heard(self, peer: Peer, outcome: Frame | AmbryError) -> None:
        self._waiting.pop(peer, None)
        if self._done is None:
            return
        if isinstance(outcome, AmbryError):
            if self._openings is not None:
                self._openings.forget(peer)
            if isinstance(outcome, AnswerDamaged) and peer not in self._damaged:
                # It has not verified what it sent. Asked to, it finds a damage of its record, and sees to it.
                self._damaged = (*self._damaged, peer)
                self._request = msgspec.structs.replace(self._request, unchecked=False)
                self._ask(peer)
                return
            self._failed(peer, outcome, Answer.ABSENT if isinstance(outcome, BlobNotFound) else Answer.FAILED)
            return
        try:
            reply = messages.decode(outcome.header, GetReply)
            self._state = state = reply.state if self._state is None else join(self._state, reply.state)
            found = None
            if reply.present and not (state.deleted and not self._request.any_state):
                if reply.features:
                    self._opening().open(peer, reply, outcome.body, partial(self._opened, peer))
                    return
                if self._sealed:
                    raise DataCorrupt("there is a plain record in the place of an encrypted one")
                found = Found(reply, cut(reply, outcome.body, self._first, self._end))
        except AmbryError as bad:
            self._failed(peer, bad, Answer.FAILED)
            return
        if found is not None:
            self._found(peer, found)
            return
        # It has no bytes for us. It is gone, or another replica may have them.
        self._state_only = True
        gone = (state.deleted or reply.gone) and not self._request.any_state
        self._settle(self._tracked().record(peer, Answer.GONE if gone else Answer.FAILED))

    def _found(self, peer: Peer, found: Found) -> None:
        if self._tracker is not None:
            self._tracker.record(peer, Answer.FOUND)
        self._end_with(found)

    def _opening(self) -> SealedAnswers:
        if self._openings is None:
            keys = self._context.keys
            self._openings = SealedAnswers(keys, self._id, first=self._first, end=self._end, deadline=self._deadline)
        return self._openings

    def _opened(self, peer: Peer, outcome: Found | AmbryError) -> None:
        """A sealed answer is open, or not."""
        if self._done is None:
            return
        if isinstance(outcome, Found):
            self._found(peer, outcome)
        elif isinstance(outcome, KeysUnavailable | EncryptionKeyDeleted | InternalError):
            self._end_with(outcome)  # whichever replica is asked
        else:
            self._failed(peer, outcome, Answer.FAILED)

    def _came(self, peer: Peer, header: bytes, beginning: memoryview) -> None:
        """A part of an answer is here, from the first byte of its body on."""
        if self._done is None or self._on_part is None:
            return
        try:
            reply = messages.decode(header, GetReply)
        except AmbryError:
            return  # its end tells
        before = self._first - reply.start
        if reply.present and before >= 0 and not (reply.state.deleted and not self._request.any_state):
            plain = not (reply.features or self._sealed)
            opened = beginning if plain else self._opening().part(peer, reply, beginning)
            if opened is not None:
                self._on_part(opened[before : self._end - reply.start])

    def _failed(self, peer: Peer, error: AmbryError, answer: Answer) -> None:
        if self._failures is None:
            self._failures = {}
        self._failures[peer] = error
        self._settle(self._tracked().record(peer, answer))

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
        failures = self._failures or {}
        mismatch = next((error for error in failures.values() if isinstance(error, KeyMismatch)), None)
        if mismatch is not None:
            return KeyMismatch(f"blob {self._id}: {mismatch.message}")
        reasons = "; ".join(sorted(f"{peer.node.name}: {error.message}" for peer, error in failures.items()))
        return Unavailable(f"blob {self._id} cannot be read now, and its absence cannot be proven; retry ({reasons})")

    def _end_with(self, outcome: ReadOutcome | AmbryError) -> None:
        done = self._done
        self.give_up()
        if done is not None:
            done(outcome)


def found(blob_id: BlobId, outcome: ReadOutcome) -> Found:
    """The record that was read. Raises Unavailable where only a state is known."""
    if isinstance(outcome, StateOnly):
        raise Unavailable(f"blob {blob_id} cannot be read now: only its state is known to the replicas that answered")
    return outcome


def head_of(blob_id: BlobId, reply: GetReply) -> BlobHead:
    """Decode the head. Raises DataCorrupt, FormatUnknown."""
    return BlobHead(
        id=blob_id,
        properties=properties_format.decode_properties(reply.properties),
        metadata=properties_format.decode_metadata(reply.metadata),
        state=reply.state,
        created_at_ms=reply.created_at_ms,
        deleted_at_ms=reply.deleted_at_ms,
        encrypted=bool(reply.features & ENCRYPTED),
    )


async def read_head(
    request: RequestContext, context: RouterContext, blob_id: BlobId, *, any_state: bool = False
) -> BlobHead:
    """A blob's head. Raises BlobNotFound, BlobGone, Unavailable."""
    reading = Fetch(request, context, blob_id, first=0, end=0, any_state=any_state).start()
    if any_state or not is_strict(request):
        outcome = await reading
    else:
        outcome = await confirmed(request, context, blob_id, reading)
    return head_of(blob_id, found(blob_id, outcome).reply)
