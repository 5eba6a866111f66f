"""Sending one write to the replicas of its partition, until enough confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from ambry.checksum import Buffer
from ambry.clustermap.model import Partition
from ambry.errors import AmbryError, BlobGone, InsufficientStorage, QuorumNotReached
from ambry.protocol.frame import Frame
from ambry.protocol.messages.base import Message
from frontend.router.context import RouterContext
from frontend.router.quorum import Verdict, WriteTracker, write_target

T = TypeVar("T")


RETRY_WAIT_S = 0.15
"""Nodes that restart one after the other are connected again in a moment (ambry/network/pool.py)."""


async def write_persistently(context: RouterContext, write: Callable[[], Awaitable[T]]) -> T:
    """Do a write that is the same when it is done twice, again while too few replicas confirm it; bounded.

    Raises the last QuorumNotReached, and at once whatever else `write` raises.
    """
    attempts = context.config.put_attempts
    for attempt in range(1, attempts):
        try:
            return await write()
        except QuorumNotReached:
            await asyncio.sleep(RETRY_WAIT_S * attempt)
    return await write()


class ReplicaWrite:
    """One write on its way. `start` returns a future that ends when the outcome is certain.

    Replicas that are slower than the needed ones get their copy too; the body is borrowed until they all ended. With
    `patience_s` the outcome waits that long for those of them that are well, so that a read right after it finds the same on
    each of them.
    """

    def __init__(
        self,
        context: RouterContext,
        partition: Partition,
        *,
        type: int,
        message: Message,
        body: Buffer = b"",
        checks: Buffer | None = None,
        geo: bool = False,
        timeout_s: float,
        patience_s: float = 0.0,
    ) -> None:
        own = context.datacenter_id
        local = [node.name for node in partition.replicas if node.datacenter_id == own]
        remote = [node.name for node in partition.replicas if node.datacenter_id != own] if geo else []
        remote.sort(key=lambda name: not context.pool[name].usable)
        self._tracker = WriteTracker(
            local=local,
            local_target=write_target(len(local), context.config.success_target),
            remote=remote,
            remote_target=1 if geo else 0,
        )
        self._pool = context.pool
        self._partition = partition
        self._type = type
        self._message = message
        self._body = body
        self._checks = checks
        self._timeout_s = timeout_s
        self._patience_s = patience_s
        self._waiting: set[str] = set()
        self._giving_up: asyncio.TimerHandle | None = None
        self._failures: dict[str, AmbryError] = {}
        self._local_count = len(local)
        self._replies: list[Frame] = []
        self._future: asyncio.Future[list[Frame]] = asyncio.get_running_loop().create_future()

    def start(self) -> asyncio.Future[list[Frame]]:
        """Send. The future ends with the replies so far, QuorumNotReached, InsufficientStorage or BlobGone."""
        if not self._local_count:
            # None of none would count as confirmed.
            self._future.set_exception(
                QuorumNotReached(
                    f"partition {self._partition.id} has no replica in this datacenter; write in one that has"
                )
            )
            return self._future
        self._send(self._tracker.start())
        self._settle()
        return self._future

    def _send(self, names: list[str]) -> None:
        self._waiting.update(names)
        for name in names:
            self._pool[name].call(
                self._type,
                self._message,
                partial(self._done, name),
                timeout_s=self._timeout_s,
                body=self._body,
                checks=self._checks,
            )

    def _done(self, name: str, frame: Frame | None, error: AmbryError | None) -> None:
        self._waiting.discard(name)
        if frame is not None:
            self._replies.append(frame)
        elif error is not None:
            self._failures[name] = error
        more = self._tracker.record(name, frame is not None)
        if not self._future.done():
            self._send(more)
            self._settle()

    def _settle(self) -> None:
        if self._future.done():
            return
        verdict = self._tracker.verdict
        if verdict is Verdict.DONE:
            if self._patience_s and any(self._pool[name].usable for name in self._waiting):
                if self._giving_up is None:
                    loop = asyncio.get_running_loop()
                    self._giving_up = loop.call_later(self._patience_s, self._give_up)
                return
            self._give_up()
        elif verdict is Verdict.FAILED:
            self._future.set_exception(self._failure())

    def _give_up(self) -> None:
        """Enough confirmed, and those that did not had their time."""
        if self._giving_up is not None:
            self._giving_up.cancel()
        if not self._future.done():
            self._future.set_result(self._replies)

    def _failure(self) -> AmbryError:
        reasons = "; ".join(f"{name}: {error.message}" for name, error in sorted(self._failures.items()))
        if any(isinstance(error, InsufficientStorage) for error in self._failures.values()):
            return InsufficientStorage(f"partition {self._partition.id} has no room ({reasons})")
        for error in self._failures.values():
            if isinstance(error, BlobGone):
                return error  # an undelete that came too late: trying again does not help
        return QuorumNotReached(
            f"too few replicas of partition {self._partition.id} confirmed the write; it may or may not have happened "
            f"({reasons})"
        )
