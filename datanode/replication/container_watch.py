"""Telling frontends in which containers something changes, while anybody there follows one.

One watch for each process of a frontend, however many follow something there; who does not ask any more is forgotten.
A publication costs a watch one mark of its partition, and nothing where there is none. What a watch is told is a hint: whoever
gets it reads what changed (container_feed.py), and what may be missed makes it `anything`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ambry.errors import Overloaded
from ambry.ids import IdKind
from ambry.protocol.messages.feed import ContainerPartitions, WatchReply, WatchRequest
from datanode.replicas import Replicas
from datanode.replication.subscriptions import Publications
from datanode.store.blob_store import BlobStore

WATCHES_MAX = 64
FORGOTTEN_S = 30.0
"""A watch that does not ask for so long is over."""
ENTRIES_MAX = 2_000
"""Of one partition in one answer; beyond that anything may have changed."""
PAIRS_MAX = 5_000
"""Containers and their partitions in one answer, likewise."""


class ContainerWatch:
    """One of them: which partitions published since its last answer, and how far each was looked at."""

    def __init__(self, publications: Publications, replicas: Replicas, partitions: list[int]) -> None:
        self.step = 0
        self.due = 0.0
        """When it is over unless it asks again, on the event loop's clock."""
        self.asked = 0
        """Counts the requests: a later one ends the wait of those before."""
        self._replicas = replicas
        self._marked: set[int] = set()
        self.wake = asyncio.Event()
        self._notices: dict[int, Callable[[], None]] = {}
        self._stores: dict[int, BlobStore | None] = {}
        self._lsns: dict[int, int] = {}
        self._publications = publications
        for partition in partitions:
            self._begin(partition)

    @property
    def marked(self) -> bool:
        return bool(self._marked)

    def _begin(self, partition: int) -> None:
        def notice() -> None:
            self._marked.add(partition)
            self.wake.set()

        self._notices[partition] = notice
        self._publications.watchers(partition)[notice] = None
        self._go_on(partition)

    def _go_on(self, partition: int) -> BlobStore | None:
        """Look from the log's end on."""
        replica = self._replicas.get(partition)
        store = self._stores[partition] = None if replica is None else replica.store
        self._lsns[partition] = 0 if store is None else store.end_lsn
        return store

    def take(self) -> WatchReply:
        """What changed since it was asked last."""
        marked, self._marked = self._marked, set()
        anything = False
        found: dict[bytes, set[int]] = {}
        pairs = 0
        for partition in marked:
            before, lsn = self._stores[partition], self._lsns[partition]
            store = self._go_on(partition)
            if store is None or store is not before or lsn < store.past().stored_lsn:
                # It was opened anew, or what changed is in the index's file by now.
                anything = True
                continue
            entries = store.changes_since(lsn, ENTRIES_MAX)
            for container in {entry.id[4:12] for entry in entries if entry.id[1] != IdKind.CHUNK}:
                found.setdefault(container, set()).add(partition)
                pairs += 1
            anything = anything or len(entries) == ENTRIES_MAX
        if anything or pairs > PAIRS_MAX:
            return WatchReply([], anything=True)
        return WatchReply([ContainerPartitions(container, sorted(some)) for container, some in found.items()])

    def end(self) -> None:
        for partition, notice in self._notices.items():
            self._publications.watchers(partition).pop(notice, None)
        self._notices.clear()
        self.wake.set()


class Watches:
    """Those of one node, which has these partitions."""

    def __init__(self, publications: Publications, replicas: Replicas, partitions: list[int]) -> None:
        self._publications = publications
        self._replicas = replicas
        self._partitions = partitions
        self._watches: dict[bytes, ContainerWatch] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._watches)

    async def wait(self, request: WatchRequest) -> WatchReply:
        """Until something changed, or time is up. The first answer of a watch, and one after a lost one: anything.

        Raises Overloaded where there are too many watches.
        """
        watch = self._watches.get(request.watch)
        if watch is None or request.step != watch.step:
            self._begin(request, watch)
            return WatchReply([], anything=True)
        self._heard(watch, request.wait_ms / 1000)
        watch.asked += 1
        asked = watch.asked
        watch.wake.set()  # a request before it that still waits is nobody's any more
        await asyncio.sleep(0)
        watch.wake.clear()
        try:
            if not watch.marked and request.wait_ms:
                async with asyncio.timeout(request.wait_ms / 1000):
                    await watch.wake.wait()
            if watch.marked and request.delay_ms:
                await asyncio.sleep(request.delay_ms / 1000)
        except TimeoutError:
            pass
        if watch.asked != asked or self._watches.get(request.watch) is not watch:
            return WatchReply([], anything=True)
        self._heard(watch, 0.0)
        watch.step += 1
        return watch.take()

    def _begin(self, request: WatchRequest, before: ContainerWatch | None) -> None:
        if before is not None:
            before.end()
        elif len(self._watches) >= WATCHES_MAX:
            raise Overloaded(f"{WATCHES_MAX} processes watch this node already; retry later")
        watch = self._watches[request.watch] = ContainerWatch(self._publications, self._replicas, self._partitions)
        watch.step = request.step + 1
        self._heard(watch, 0.0)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FORGOTTEN_S, self._forget_silent)

    def _heard(self, watch: ContainerWatch, wait_s: float) -> None:
        watch.due = asyncio.get_running_loop().time() + wait_s + FORGOTTEN_S

    def _forget_silent(self) -> None:
        """End those that do not ask any more: from then on nothing is marked for them."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for name, watch in list(self._watches.items()):
            if watch.due <= now:
                watch.end()
                del self._watches[name]
        self._timer = loop.call_later(FORGOTTEN_S, self._forget_silent) if self._watches else None
