"""What the index of one replica says, for the event loop: at once where memory knows it, else by way of a disk thread.

The index's file is mapped, and a page of it may take as long as the disk does. So it is never asked on the event loop. What is
asked for while a disk thread is at it gathers, and goes together as the next job: one way to a thread and one transaction serve
many, and a replica whose disk hangs holds one thread with it, whatever is asked of it. A get takes its bytes along.

Bounds: so many may wait (`WAITING_MAX`); one whose caller does not wait any more is not begun.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from functools import partial

from ambry.errors import AmbryError, DeadlineExceeded, InternalError, Overloaded, ReplicaUnavailable
from ambry.service.logs import get_logger
from datanode.disk import HANGS_AFTER_S, Disk
from datanode.store.blob_store import BlobStore
from datanode.store.entry import IndexEntry
from datanode.store.index import Held
from datanode.store.record_reader import Payload
from datanode.store.stored_entries import Entries
from datanode.store.trouble import put_off

log = get_logger()

WAITING_MAX = 10_000
"""Of one replica."""
READ_BYTES_MAX = 1 << 20
"""Of payloads that one job reads on its way; whoever is left out reads for itself."""
_NEVER = float("inf")


class Wish:
    """Keys to be looked up; for a get also the bytes that are wanted of the one blob, where they are few."""

    __slots__ = ("deadline", "done", "dropped", "end", "failure", "first", "found", "keys", "payload", "unread")

    def __init__(
        self,
        keys: Collection[bytes],
        done: Callable[[Wish], None],
        *,
        first: int = 0,
        end: int = -1,
        deadline: float = _NEVER,
    ) -> None:
        self.keys = keys
        self.done = done
        """Called once on the event loop, unless it was dropped."""
        self.first = first
        self.end = end
        self.deadline = deadline
        self.dropped = False
        """Nobody waits for it any more."""
        self.found: Entries = {}
        self.payload: Payload | None = None
        """None where it was not read: too large, too much for one job, not here, or not readable."""
        self.failure: AmbryError | None = None
        """What kept the keys from being looked up."""
        self.unread: Exception | None = None
        """What kept the bytes from being read."""

    def drop(self) -> None:
        self.dropped = True


class Lookups:
    """Those of one replica."""

    def __init__(self, store: BlobStore, disk: Disk, *, read_bytes_max: int) -> None:
        self._store = store
        self._disk = disk
        self._read_bytes_max = read_bytes_max
        self._waiting: list[Wish] = []
        self._busy = False
        self._begun_at = 0.0
        """When the job on its way began, on the event loop's clock."""
        self._hangs = False
        self._under_way: list[Wish] = []
        self._scheduled = False

    def ask(self, wish: Wish) -> None:
        """Look up; `wish.done` is called with what was found. Raises Overloaded, ReplicaUnavailable while the disk hangs."""
        if self._hangs:
            raise ReplicaUnavailable(f"the disk of partition {self._store.partition} hangs; read elsewhere")
        if len(self._waiting) >= WAITING_MAX:
            raise Overloaded(f"too much waits for the index of partition {self._store.partition}; read elsewhere")
        self._waiting.append(wish)
        if not self._busy and not self._scheduled:
            # On the loop's next turn: what came with the same one goes along.
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._start)

    def look(self, now: float) -> None:
        """While a disk thread is held up: give up what waited for longer than its caller, and take no more once the disk hangs.

        `now` is of the event loop's clock.
        """
        self._hangs = self._busy and now - self._begun_at > HANGS_AFTER_S
        waiting = self._in_time(now)
        self._waiting = waiting + self._waiting
        if self._hangs:
            # Work of this node itself has no deadline: it would wait for ever, and keep other replicas from theirs.
            own = [wish for wish in (*self._under_way, *self._waiting) if wish.deadline == _NEVER and not wish.dropped]
            self._waiting = [wish for wish in self._waiting if wish.deadline < _NEVER]
            self._fail(own, ReplicaUnavailable(f"the disk of partition {self._store.partition} hangs; ask again later"))
            for wish in own:
                wish.drop()

    @asynccontextmanager
    async def hold(self, ids: Collection[bytes]) -> AsyncIterator[Held]:
        """What is known of these blobs, from memory and file, and stays known meanwhile.

        Raises IndexCorrupt, ReplicaUnavailable, Overloaded.
        """
        held = self._store.index.hold(ids)
        try:
            if held.unknown:
                held.learn(await self._find(held.unknown))
            yield held
        finally:
            held.let_go()

    async def _find(self, keys: Collection[bytes]) -> Entries:
        future: asyncio.Future[Entries] = asyncio.get_running_loop().create_future()

        def done(wish: Wish) -> None:
            if future.done():
                return
            if wish.failure is None:
                future.set_result(wish.found)
            else:
                future.set_exception(wish.failure)

        wish = Wish(keys, done)
        self.ask(wish)
        try:
            return await future
        finally:
            wish.drop()

    def _start(self) -> None:
        self._scheduled = False
        now = asyncio.get_running_loop().time()
        wishes = self._in_time(now)
        if not wishes:
            return
        try:
            looking = self._disk.submit(self._look_up, wishes)
        except Exception as error:
            self._fail(wishes, error)
            return
        self._busy = True
        self._begun_at = now
        self._under_way = wishes
        looking.add_done_callback(partial(self._finish, wishes, self._store.index.checkpoints))

    def _in_time(self, now: float) -> list[Wish]:
        """Take what waits and is still wanted; for the rest that ends here. What that asks for in turn waits from then on."""
        wishes, self._waiting = [wish for wish in self._waiting if not wish.dropped], []
        late = [wish for wish in wishes if wish.deadline <= now]
        if late:
            wishes = [wish for wish in wishes if wish.deadline > now]
            self._fail(late, DeadlineExceeded("it waited for the index for longer than its caller"))
        return wishes

    def _look_up(self, wishes: list[Wish]) -> None:
        """On a disk thread."""
        found = self._store.index.look_up({key for wish in wishes for key in wish.keys})
        left = READ_BYTES_MAX
        cold: list[Wish] = []
        for wish in wishes:
            wish.found = {key: found[key] for key in wish.keys}
            if wish.end < wish.first or wish.dropped:
                continue
            for entry in wish.found.values():
                size = 0 if entry is None else min(wish.end, entry.payload_size) - wish.first
                if entry is not None and entry.present and size <= self._read_bytes_max and size <= left:
                    left -= max(0, size)
                    self._read(wish, entry, cached_only=True)
                    if wish.payload is None and wish.unread is None:
                        cold.append(wish)
        if len(cold) == 1:
            # A lone one waits here for the disk; of several each does so for itself, beside the others.
            (entry,) = cold[0].found.values()
            if entry is not None:
                self._read(cold[0], entry, cached_only=False)

    def _read(self, wish: Wish, entry: IndexEntry, *, cached_only: bool) -> None:
        first, end = min(wish.first, entry.payload_size), min(wish.end, entry.payload_size)
        try:
            wish.payload = self._store.read(entry, first, end, cached_only=cached_only)
        except Exception as error:
            wish.unread = error

    def _finish(self, wishes: list[Wish], checkpoints: int, looking: asyncio.Future[None]) -> None:
        self._busy = self._hangs = False
        self._under_way = []
        if self._waiting:
            self._start()
        try:
            looking.result()
        except (Exception, asyncio.CancelledError) as error:
            self._fail(wishes, error)
            return
        for wish in wishes:
            self._store.index.remember(wish.found, checkpoints)
            if not wish.dropped:
                self._tell(wish)

    def _fail(self, wishes: list[Wish], error: BaseException) -> None:
        reason = f"the index of partition {self._store.partition} cannot be asked: {error!r}"
        failure = error if isinstance(error, AmbryError) else put_off(error, reason) or InternalError(reason)
        for wish in wishes:
            wish.failure = failure
            if not wish.dropped:
                self._tell(wish)

    def _tell(self, wish: Wish) -> None:
        try:
            wish.done(wish)
        except Exception:
            log.exception("an answer failed", partition=self._store.partition)
