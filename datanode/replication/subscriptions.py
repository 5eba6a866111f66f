"""Who follows this node, from where on, and for which partitions there may be something to tell.

An asker names its cursors once, and from then on only those that moved (ambry/protocol/messages/replication.py). What a
partition publishes, or its opening, marks it for those that follow it. So a wake-up looks at what is marked, and costs what
changed, however many partitions there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ambry.protocol.messages.replication import ChangesCursor, ChangesRequest, Subscription


class Publications:
    """Who waits for a partition of this node to publish something."""

    def __init__(self) -> None:
        self._watchers: dict[int, dict[Callable[[], None], None]] = {}

    def watchers(self, partition: int) -> dict[Callable[[], None], None]:
        """Who waits for this partition, now and later: its store calls them all whenever it published something."""
        return self._watchers.setdefault(partition, {})

    def notify(self, partition: int) -> None:
        """Wake who waits for it."""
        for notice in self.watchers(partition):
            notice()


class Follower:
    """What one asker, by its name, follows until `end`."""

    def __init__(self, publications: Publications, name: str) -> None:
        self.name = name
        self._publications = publications
        self._notices: dict[int, Callable[[], None]] = {}
        self._marked_one = asyncio.Event()
        self.told = Subscription()
        """As of its last request."""
        self.cursors: dict[int, ChangesCursor] = {}
        """By partition."""
        self.marked: set[int] = set()
        """Partitions that may have something to tell: whoever finds out that one has nothing takes it out."""
        self._heard: dict[int, bool] = {}
        """By partition: whether it had authority when the asker was told of it last."""

    def take(self, request: ChangesRequest) -> None:
        """Take in where the asker stands by now."""
        self.told = request.subscription
        for partition in request.gone:
            self._forget(partition)
        for cursor in request.cursors:
            self.cursors[cursor.partition] = cursor
            self.marked.add(cursor.partition)
            if cursor.partition not in self._notices:
                self._watch(cursor.partition)

    def _watch(self, partition: int) -> None:
        def notice() -> None:
            self.marked.add(partition)
            self._marked_one.set()

        self._notices[partition] = notice
        self._publications.watchers(partition)[notice] = None

    def mark(self, partition: int) -> None:
        """There may be something to tell, if it is still followed."""
        if partition in self.cursors:
            self.marked.add(partition)

    def note_told(self, partition: int, *, authority: bool) -> None:
        """An answer tells of a replica here that has, or lacks, the authority to say "not found"."""
        self._heard[partition] = authority

    def must_hear(self, partition: int, *, authority: bool) -> bool:
        """Whether the asker does not know how a replica stands, though nothing in its log is new.

        It was not open when the asker named it, or its authority came or went since. Who names all anew each time, without a
        session, asks for what is new alone.
        """
        return bool(self.told.session) and self._heard.get(partition) is not authority

    def stir(self, partition: int) -> None:
        """Something about a replica changed that its log does not tell."""
        if (notice := self._notices.get(partition)) is not None:
            notice()

    def _forget(self, partition: int) -> None:
        self._heard.pop(partition, None)
        self.cursors.pop(partition, None)
        self.marked.discard(partition)
        notice = self._notices.pop(partition, None)
        if notice is not None:
            self._publications.watchers(partition).pop(notice, None)

    def listen(self) -> None:
        """From now on what is marked ends a `wait`."""
        self._marked_one.clear()

    async def wait(self, wait_ms: int) -> None:
        """Until a partition is marked, or the time is over."""
        try:
            async with asyncio.timeout(wait_ms / 1000):
                await self._marked_one.wait()
        except TimeoutError:
            pass

    def end(self) -> None:
        """Nobody follows any more."""
        for partition in list(self._notices):
            self._forget(partition)
        self._marked_one.set()


class Followers:
    """All of one node: one per asker and channel, so they are as few as there are peers."""

    def __init__(self, publications: Publications) -> None:
        self._publications = publications
        self._followers: dict[tuple[str, int], Follower] = {}

    def stir(self, partition: int) -> None:
        """Let all who follow a partition look again: its authority came or went."""
        for follower in self._followers.values():
            follower.stir(partition)

    def of(self, request: ChangesRequest) -> Follower | None:
        """Who asks, with what it says of its cursors taken in; None where it must name them all anew.

        One without a session is nobody's: `end` it after its answer.
        """
        told = request.subscription
        if not told.session:
            return self._begin(request)
        key = (request.name, told.channel)
        follower = self._followers.get(key)
        if told.step == 0:
            if follower is not None:
                follower.end()
            follower = self._followers[key] = self._begin(request)
            return follower
        if follower is None or follower.told != told.before():
            return None
        follower.take(request)
        return follower

    def _begin(self, request: ChangesRequest) -> Follower:
        follower = Follower(self._publications, request.name)
        follower.take(request)
        return follower
