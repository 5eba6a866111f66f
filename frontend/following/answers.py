"""What a frontend answers to those of other datacenters: pages of its metadata log, newest versions, how far it is.

Bounds, for whoever asks: only who has said which cluster it is of is answered; so many polls wait, so many pages are made and
so many registers are looked up at a time, and the rest is refused as Overloaded; a page ends at so many bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ambry.errors import AccessDenied, InvalidRequest, Overloaded, StoreMismatch
from ambry.network.introduction import Introduction
from ambry.network.later import Later
from ambry.network.responding import Handler, Responder
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Hello, Message, Pong
from ambry.protocol.messages.metadata import (
    PAGE_BYTES_MAX,
    Followed,
    LogPlace,
    MetadataHeadReply,
    MetadataHeadRequest,
    MetadataLogReply,
    MetadataLogRequest,
    MetadataNewestReply,
    MetadataNewestRequest,
)
from frontend.following.wire import cursor_of, place_of, read_progress, to_wire
from frontend.metadata.spaces import LocalSpace, Space
from frontend.metadata.store import LogCursor, LogPage, MetadataStore, Version

T = TypeVar("T")

STEP = 128
"""Versions read of a log at a time: at most 8 MiB where all are as large as they may be."""
PAGES_MAX = 2
"""Pages that are made at a time; others wait for them."""
WAITING_MAX = 64
"""Polls of a log. There is one from each other datacenter, and a few of those that were given up."""
LOOKS_MAX = 256
"""Requests that wait for looks at single registers."""
ANSWER_MARGIN_S = 0.25
"""A poll is answered so long before nobody waits for it any more."""

_read_hello = messages.reader(Hello)
_read_log = messages.reader(MetadataLogRequest)
_read_newest = messages.reader(MetadataNewestRequest)
_read_head = messages.reader(MetadataHeadRequest)


class MetadataAnswers:
    """Of one process. `datacenters` are the numbers of the others."""

    def __init__(self, store: MetadataStore, introduction: Introduction, *, datacenters: tuple[int, ...]) -> None:
        self._store = store
        self._introduction = introduction
        self._datacenters = datacenters
        self._later = Later(own_name=introduction.name)
        self._making = asyncio.Semaphore(PAGES_MAX)
        self.waiting = 0
        """Polls that wait for the log to grow, or for a page to be made."""
        self.looking = 0

    def table(self) -> dict[int, Handler]:
        return {
            MessageType.HELLO: self._hello,
            MessageType.PING: self._ping,
            MessageType.METADATA_LOG: self._handler(_read_log, self._log),
            MessageType.METADATA_NEWEST: self._handler(_read_newest, self._newest),
            MessageType.METADATA_HEAD: self._handler(_read_head, self._head),
        }

    async def stop(self) -> None:
        """End what waits; each is told so."""
        await self._later.stop()

    # --- requests ---

    def _hello(self, frame: Frame, responder: Responder) -> None:
        self._introduction.check_caller(_read_hello(frame.header))
        responder.reply(self._introduction.hello())

    def _ping(self, _frame: Frame, responder: Responder) -> None:
        responder.reply(Pong(self._introduction.told_ms()))

    def _handler(
        self, read: Callable[[bytes], T], answer: Callable[[T, Responder], Coroutine[Any, Any, Message]]
    ) -> Handler:
        async def work(request: T, responder: Responder) -> None:
            responder.reply(await answer(request, responder))

        def handle(frame: Frame, responder: Responder) -> None:
            if not responder.connection.known:
                raise AccessDenied("say first who you are and of which cluster; nothing is told before that")
            request = read(frame.header)
            self._check(request)
            self._later.answer(responder, work(request, responder))

        return handle

    def _check(self, request: Any) -> None:
        if request.of != self._store.datacenter:
            raise StoreMismatch(
                f"{self._introduction.name} is of datacenter {self._store.datacenter}, not {request.of}; check the layouts"
            )

    async def _log(self, request: MetadataLogRequest, responder: Responder) -> MetadataLogReply:
        if self.waiting >= WAITING_MAX:
            raise Overloaded(f"{WAITING_MAX} polls of the metadata wait here already; retry later")
        self.waiting += 1
        try:
            since = None if request.since is None else cursor_of(request.since)
            page = await self._page(since, request.limit, responder)
            if since is not None and not page.started_over and not await self._leads_to(request.trail):
                page = await self._page(None, request.limit, responder)
                page = LogPage(page.versions, page.cursor, started_over=True)
            if not page.versions and not page.started_over and request.wait_ms:
                left_s = responder.deadline - asyncio.get_running_loop().time() - ANSWER_MARGIN_S
                await self._store.wait(0 if since is None else since.seq, min(request.wait_ms / 1000, max(0.0, left_s)))
                page = await self._page(since, request.limit, responder)
            end = 0 if page.cursor is None else page.cursor.seq
            if len(page.versions) >= request.limit or sum(map(_size, page.versions)) >= PAGE_BYTES_MAX:
                end = max(end, (await self._store.head()).seq)
        finally:
            self.waiting -= 1
        return MetadataLogReply(
            [to_wire(version) for version in page.versions],
            None if page.cursor is None else place_of(page.cursor),
            page.started_over,
            end,
        )

    async def _page(self, since: LogCursor | None, limit: int, responder: Responder) -> LogPage:
        """Up to `limit` versions, or somewhat more bytes than fit into a page."""
        async with self._making:
            if not responder.reserved:
                await responder.admit(PAGE_BYTES_MAX)
            found: list[Version] = []
            started_over = False
            cursor = since
            size = 0
            while len(found) < limit and size < PAGE_BYTES_MAX:
                step = min(STEP, limit - len(found))
                page = await self._store.log(cursor, limit=step)
                if page.started_over:
                    found, size, started_over = [], 0, True
                cursor = page.cursor
                for version in page.versions:
                    found.append(version)
                    size += _size(version)
                    if size >= PAGE_BYTES_MAX:
                        break
                if len(page.versions) < step:
                    break
            if found and cursor is not None:
                # Not always where the last step ended: its rest did not fit.
                cursor = LogCursor(cursor.store, found[-1].seq, found[-1].stamp)
        return LogPage(versions=found, cursor=cursor, started_over=started_over)

    async def _leads_to(self, trail: list[LogPlace]) -> bool:
        """Whether all of these are places of this log."""
        for place in trail:
            if (await self._store.log(cursor_of(place), limit=1)).started_over:
                return False
        return True

    async def _newest(self, request: MetadataNewestRequest, responder: Responder) -> MetadataNewestReply:
        if self.looking >= LOOKS_MAX:
            raise Overloaded(f"{LOOKS_MAX} requests wait for looks at the metadata here already; retry later")
        self.looking += 1
        try:
            found = [await self._store.get(_space(place.space), place.scope, place.key) for place in request.registers]
        finally:
            self.looking -= 1
        return MetadataNewestReply([None if version is None else to_wire(version) for version in found])

    async def _head(self, _request: MetadataHeadRequest, _responder: Responder) -> MetadataHeadReply:
        head = await self._store.head()
        rows = await self._store.locals(LocalSpace.CURSOR)
        followed = []
        for row in rows:
            progress = read_progress(row.value)
            if progress is not None and row.key.isdigit() and int(row.key) in self._datacenters:
                followed.append(Followed(int(row.key), progress.cursor.store, progress.cursor.seq))
        return MetadataHeadReply(head.store, head.seq, head.time, followed, self._introduction.told_ms())


def _size(version: Version) -> int:
    return len(version.key) + len(version.value or b"")


def _space(number: int) -> Space:
    try:
        return Space(number)
    except ValueError as cause:
        raise InvalidRequest(f"this release knows no registers of the kind {number}") from cause
