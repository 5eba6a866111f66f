"""Sending one write to the replicas of its partition, until enough confirmed or too few will.

A replica that is suspect (ambry/clustermap/health.py) is sent its copy and may confirm, but once a write can only succeed
through suspect replicas it is not waited for any longer than a moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence, Set
from functools import partial

import msgspec

from ambry.checksum import Buffer
from ambry.errors import AmbryError, BlobGone, DeadlineExceeded, InsufficientStorage, QuorumNotReached
from ambry.network.pool import Peer
from ambry.protocol.frame import Frame
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Message
from frontend.request import RequestContext
from frontend.router.overdue import Overdue
from frontend.router.quorum import LOOK_AGAIN_S, Verdict, WriteTracker
from frontend.router.replicas import PartitionReplicas

RETRY_WAIT_S = 0.15
"""Nodes that restart one after the other are connected again in a moment (ambry/network/pool.py)."""


class Confirmed(msgspec.Struct, frozen=True):
    """Enough replicas hold it."""

    replies: list[Frame]


class Unconfirmed(msgspec.Struct, frozen=True):
    """Too few confirmed; some may hold it all the same, or will."""

    error: AmbryError
    """To be told to the user: QuorumNotReached, InsufficientStorage or BlobGone."""
    silence: bool
    """Too many of these replicas do not answer: sending it to them again in a moment would not help."""


WriteOutcome = Confirmed | Unconfirmed


async def write_persistently(
    request: RequestContext, write: Callable[[], ReplicaWrite], *, attempts: int
) -> list[Frame]:
    """Do a write that is the same when it is done twice, again while that may help; ends with the request's deadline.

    Returns the replies. Raises QuorumNotReached, InsufficientStorage, BlobGone.
    """
    attempt = 0
    while True:
        attempt += 1
        outcome = await write().start()
        if isinstance(outcome, Confirmed):
            return outcome.replies
        again = isinstance(outcome.error, QuorumNotReached) and not outcome.silence
        wait_s = RETRY_WAIT_S * attempt
        if not again or attempt >= attempts or request.left_s() <= wait_s:
            raise outcome.error
        await asyncio.sleep(wait_s)


def _settle(future: asyncio.Future[WriteOutcome], outcome: WriteOutcome) -> None:
    if not future.done():
        future.set_result(outcome)


class ReplicaWrite:
    """One write on its way. It ends when the outcome is certain, or all but certain.

    Replicas that are slower than the needed ones get their copy too; the body is borrowed until they all ended. With
    `patience_s` the outcome waits that long for those of them that are well, so that a read right after it finds the same on
    each of them. Nothing is waited for longer than `share` of the time that the request has left.
    """

    def __init__(
        self,
        request: RequestContext,
        replicas: PartitionReplicas,
        *,
        overdue: Overdue,
        type: int,
        message: Message,
        body: Buffer = b"",
        checks: Buffer | None = None,
        geo: bool = False,
        share: float = 1.0,
        patience_s: float = 0.0,
    ) -> None:
        self._partition = replicas.id
        self._local = replicas.local
        self._target = replicas.write_target
        # The well ones first.
        self._remote = sorted(replicas.remote, key=lambda peer: not peer.usable) if geo else []
        self._geo = geo
        self._type = type
        self._message = message
        self._body = body
        self._checks = checks
        self._patience_s = patience_s
        self._patient = False
        self._loop = asyncio.get_running_loop()
        self._deadline = request.deadline
        self._share = share
        self._overdue = overdue
        self._timer: asyncio.TimerHandle | None = None
        self._failures: dict[Peer, AmbryError] | None = None
        self._replies: list[Frame] = []
        self._ended: Callable[[WriteOutcome], None] | None = None
        """Hears the outcome; None when it is over, or nobody waits."""
        # The pure part: from here on it is asked once per event.
        self._tracker = WriteTracker(
            waiting=set(self._local),
            missing=self._target,
            remote_left=list(self._remote),
            remote_missing=1 if geo else 0,
        )

    def start(self) -> asyncio.Future[WriteOutcome]:
        """As `begin`. What was sent takes its course, also where the future is cancelled."""
        future: asyncio.Future[WriteOutcome] = self._loop.create_future()
        future.add_done_callback(self._forget)
        self.begin(partial(_settle, future))
        return future

    def begin(self, ended: Callable[[WriteOutcome], None]) -> None:
        """Send. `ended` is called once with the outcome, perhaps at once."""
        self._ended = ended
        if not self._local:
            # None of none would count as confirmed.
            error = QuorumNotReached(
                f"partition {self._partition} has no replica in this datacenter; write in one that has"
            )
            self._end(Unconfirmed(error, silence=True))
            return
        now = self._loop.time()
        self._timeout_s = max(0.0, self._deadline - now) * self._share
        self._header = messages.encode(self._message)
        self._overdue.watch(self, now)
        self._send((*self._local, *self._tracker.next_remote()) if self._geo else self._local)
        if self._geo and not self._remote and self._ended is not None:
            self._end(self._unconfirmed(frozenset()))  # no other datacenter has a replica

    def _forget(self, _future: object) -> None:
        self._ended = None
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        self._overdue.forget(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _send(self, peers: Sequence[Peer]) -> None:
        for peer in peers:
            peer.call(
                self._type,
                self._header,
                partial(self._done, peer),
                timeout_s=self._timeout_s,
                body=self._body,
                checks=self._checks,
            )

    def _done(self, peer: Peer, outcome: Frame | AmbryError) -> None:
        tracker = self._tracker
        if isinstance(outcome, AmbryError):
            if self._failures is None:
                self._failures = {}
            self._failures[peer] = outcome
            more = tracker.record(peer, False)
        else:
            self._replies.append(outcome)
            more = tracker.record(peer, True)
        if self._ended is None:
            return
        if more:
            self._send(more)
        if self._ended is None or tracker.verdict is Verdict.PENDING:
            return
        if tracker.verdict is Verdict.FAILED:
            # A refusal is told as one only when nobody accepts: those that are well are heard first.
            if not (self._refusals() and any(peer.usable for peer in tracker.asked)):
                self._end(self._unconfirmed(frozenset()))
        elif not self._patience_s or not any(peer.usable for peer in tracker.asked):
            self._end(Confirmed(self._replies))
        elif not self._patient:
            # Enough confirmed; those of the others that are well have their time.
            self._patient = True
            self._stop_waiting()
            self._timer = self._loop.call_later(self._patience_s, self._end, Confirmed(self._replies))

    def overdue(self) -> None:
        """See whether those that did not answer yet answer anything at all."""
        if self._ended is None:
            return
        silent = {peer for peer in self._tracker.asked if not peer.usable}
        if silent:
            self._send(self._tracker.next_remote(silent))
            if self._ended is None:
                return
            if self._tracker.fails_without(silent):
                self._end(self._unconfirmed(silent))
                return
        self._timer = self._loop.call_later(LOOK_AGAIN_S, self.overdue)

    def _end(self, outcome: WriteOutcome) -> None:
        ended, self._ended = self._ended, None
        self._stop_waiting()
        if ended is not None:
            ended(outcome)

    def _refusals(self) -> list[BlobGone]:
        return [error for error in (self._failures or {}).values() if isinstance(error, BlobGone)]

    def _unconfirmed(self, silent: Set[Peer]) -> Unconfirmed:
        failures = (self._failures or {}) | {peer: DeadlineExceeded("it does not answer") for peer in silent}
        reasons = "; ".join(sorted(f"{peer.node.name}: {error.message}" for peer, error in failures.items()))
        late = {peer for peer, error in failures.items() if isinstance(error, DeadlineExceeded)}
        silence = len(set(self._local) - late) < self._target or (self._geo and late >= set(self._remote))
        for error in failures.values():
            if isinstance(error, InsufficientStorage):
                full = InsufficientStorage(f"partition {self._partition} has no room ({reasons})")
                return Unconfirmed(full, silence)
        refusals = self._refusals()
        if refusals and not (self._replies or late or self._tracker.asked):
            return Unconfirmed(refusals[0], silence)  # an undelete that came too late: trying again does not help
        return Unconfirmed(
            QuorumNotReached(
                f"too few replicas of partition {self._partition} confirmed the write; it may or may not have "
                f"happened ({reasons})"
            ),
            silence,
        )
