"""Who follows which container here, and when there may be something new for them.

While anybody follows, this process watches each data node of its datacenter, and the metadata log, once for all of them; when
nobody does any more that ends. What is noticed is a hint: whoever gets it reads what changed. What might be missed wakes
everybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Coroutine, Iterator
from typing import Any

import msgspec

from ambry.errors import AmbryError, Overloaded
from ambry.network.pool import Peer
from ambry.protocol.frame import MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.feed import WATCH_ID_SIZE, WatchReply, WatchRequest
from frontend.feed.registers import SPACES
from frontend.metadata.store import PAGE_MAX, LogCursor, MetadataStore
from frontend.router.context import RouterContext

FOLLOWERS_MAX = 256
"""At a time in one process; each holds a page of what it is told."""
POLL_S = 15.0
MARGIN_S = 2.0
GATHER_MS = 5
"""How long an answer waits for more to come with it."""
AGAIN_S = 0.2
AGAIN_MAX_S = 3.2
"""After a data node, or the store, did not answer; twice as long each time. Each time all followers look everywhere."""
LINGER_S = 10.0
"""How long it is watched on for whoever comes back with the next request."""


class News(msgspec.Struct, frozen=True):
    """Where there may be something new: in these partitions; None: in any."""

    partitions: frozenset[int] | None = None


class FeedFollower:
    """One who follows a container."""

    def __init__(self, container: bytes) -> None:
        self.container = container
        self._everything = True
        self._partitions: set[int] = set()
        self._wake = asyncio.Event()

    def note(self, partitions: list[int]) -> None:
        """Blobs changed in these; in the metadata where there are none."""
        self._partitions.update(partitions)
        self._wake.set()

    def note_anything(self) -> None:
        self._everything = True
        self._wake.set()

    def take(self) -> News:
        """What was noticed since it was taken last; at first anything."""
        news = News(None if self._everything else frozenset(self._partitions))
        self._everything = False
        self._partitions.clear()
        self._wake.clear()
        return news

    async def wait(self, timeout_s: float) -> bool:
        """Until there is something to take. Returns whether there is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._wake.wait()
        return self._wake.is_set()


class Notices:
    """Of one process."""

    def __init__(self, store: MetadataStore, router: RouterContext, *, random_source: random.Random) -> None:
        self._store = store
        self._peers = list({peer.node.name: peer for each in router.replicas.values() for peer in each.local}.values())
        self._random = random_source
        self._followers: dict[bytes, dict[FeedFollower, None]] = {}
        self._count = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._ending: asyncio.TimerHandle | None = None
        self._log: LogCursor | None = None
        """How far the metadata log was looked at."""
        self._log_known = asyncio.Event()
        """Set when somebody told where the log is."""

    @property
    def followers(self) -> int:
        """How many there are."""
        return self._count

    @contextlib.contextmanager
    def following(self, container: bytes) -> Iterator[FeedFollower]:
        """Follow a container for a while. Raises Overloaded where too many do."""
        if self._count >= FOLLOWERS_MAX:
            raise Overloaded(f"{FOLLOWERS_MAX} clients follow changes here already; retry later, or elsewhere")
        follower = FeedFollower(container)
        self._count += 1
        self._followers.setdefault(container, {})[follower] = None
        self._begin()
        try:
            yield follower
        finally:
            self._count -= 1
            same = self._followers[container]
            del same[follower]
            if not same:
                del self._followers[container]
            if not self._count and self._tasks:
                self._ending = asyncio.get_running_loop().call_later(LINGER_S, self._end)

    def log_is_at(self, logs: tuple[LogCursor, ...]) -> None:
        """A follower read the metadata log to its end, which is there."""
        if not self._log_known.is_set() and self._tasks:
            self._log = logs[0] if logs else None
            self._log_known.set()

    def _begin(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None
        if self._tasks:
            return
        watch = self._random.randbytes(WATCH_ID_SIZE)
        work: list[Coroutine[Any, Any, None]] = [self._watch_node(peer, watch) for peer in self._peers]
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(each) for each in (*work, self._watch_log())]

    def _end(self) -> None:
        self._ending = None
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        self._log_known.clear()

    async def stop(self) -> None:
        """End what watches."""
        tasks = list(self._tasks)
        if self._ending is not None:
            self._ending.cancel()
        self._end()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _note_anything(self) -> None:
        for same in self._followers.values():
            for follower in same:
                follower.note_anything()

    async def _watch_node(self, peer: Peer, watch: bytes) -> None:
        step = 0
        again_s = AGAIN_S
        while True:
            request = WatchRequest(watch, step, round(POLL_S * 1000), GATHER_MS)
            try:
                frame = await peer.request(MessageType.WATCH, request, timeout_s=POLL_S + MARGIN_S)
                reply = messages.decode(frame.header, WatchReply)
            except AmbryError:
                # Who read from it goes on with another; when it answers again, it says anything.
                self._note_anything()
                await asyncio.sleep(again_s)
                again_s = min(AGAIN_MAX_S, 2 * again_s)
                continue
            step += 1
            again_s = AGAIN_S
            if reply.anything:
                self._note_anything()
            for each in reply.changed:
                for follower in self._followers.get(each.container, ()):
                    follower.note(each.partitions)

    async def _watch_log(self) -> None:
        await self._log_known.wait()
        again_s = AGAIN_S
        while True:
            try:
                await self._store.wait(0 if self._log is None else self._log.seq, POLL_S)
                page = await self._store.log(self._log, limit=PAGE_MAX)
            except AmbryError:
                self._note_anything()
                await asyncio.sleep(again_s)
                again_s = min(AGAIN_MAX_S, 2 * again_s)
                continue
            again_s = AGAIN_S
            self._log = page.cursor
            if page.started_over:
                self._note_anything()
            for scope in {version.scope for version in page.versions if version.space in SPACES}:
                for follower in self._followers.get(scope.to_bytes(8, "big"), ()):
                    follower.note([])
