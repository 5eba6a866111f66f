"""Another datacenter as this process asks it: by any of its frontends that answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

from ambry.errors import AmbryError, Unavailable
from ambry.network.pool import Peer
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Message
from ambry.protocol.messages.metadata import (
    MetadataHeadReply,
    MetadataHeadRequest,
    MetadataLogReply,
    MetadataLogRequest,
    MetadataNewestReply,
    MetadataNewestRequest,
    RegisterPlace,
)
from frontend.following.wire import cursor_of, from_wire, place_of
from frontend.metadata.spaces import Space
from frontend.metadata.store import LogCursor, LogPage, Version

POLL_MARGIN_S = 2.0
"""How much longer than it may wait a poll takes at most; then another frontend is asked."""


class RemotePage:
    """A page of another store's log, and how much that log has by now."""

    __slots__ = ("end_seq", "page")

    def __init__(self, page: LogPage, end_seq: int) -> None:
        self.page = page
        self.end_seq = end_seq


class MetadataSource(Protocol):
    """A metadata log that can be followed. Raises AmbryError where it cannot be asked now."""

    @property
    def name(self) -> str: ...

    @property
    def number(self) -> int:
        """Of its datacenter."""

    async def page(self, since: LogCursor | None, *, wait_s: float, trail: Sequence[LogCursor] = ()) -> RemotePage: ...


class RemoteDatacenter:
    """One of the others. `peers` are its frontends."""

    def __init__(self, name: str, number: int, peers: Sequence[Peer]) -> None:
        self.name = name
        self.number = number
        self._peers = list(peers)
        """That which is asked first comes first."""

    async def page(self, since: LogCursor | None, *, wait_s: float, trail: Sequence[LogCursor] = ()) -> RemotePage:
        """What its log has behind a place that these others lead to; waits for something to be there."""
        place = None if since is None else place_of(since)
        before = [place_of(cursor) for cursor in trail]
        request = MetadataLogRequest(self.number, place, wait_ms=round(wait_s * 1000), trail=before)
        # One of them: the follower tries again by itself.
        frame = await self._ask(MessageType.METADATA_LOG, request, within_s=wait_s + POLL_MARGIN_S, tries=1)
        reply = messages.decode(frame.header, MetadataLogReply)
        cursor = None if reply.next is None else cursor_of(reply.next)
        page = LogPage(list(map(from_wire, reply.versions)), cursor, reply.started_over)
        return RemotePage(page, reply.end_seq)

    async def newest(self, space: Space, scope: int, key: bytes, *, within_s: float) -> Version | None:
        """What it has of a register. Raises Unavailable, AmbryError where none of its frontends tells in time."""
        request = MetadataNewestRequest(self.number, [RegisterPlace(int(space), scope, key)])
        frame = await self._ask(MessageType.METADATA_NEWEST, request, within_s=within_s, tries=len(self._peers))
        reply = messages.decode(frame.header, MetadataNewestReply)
        found = reply.versions[0] if reply.versions else None
        return None if found is None else from_wire(found)

    async def head(self, *, within_s: float) -> MetadataHeadReply:
        """How far it is."""
        request = MetadataHeadRequest(self.number)
        frame = await self._ask(MessageType.METADATA_HEAD, request, within_s=within_s, tries=len(self._peers))
        return messages.decode(frame.header, MetadataHeadReply)

    def describe(self) -> list[dict[str, Any]]:
        """For the admin port."""
        return [peer.describe() for peer in self._peers]

    async def _ask(self, type: MessageType, request: Message, *, within_s: float, tries: int) -> Frame:
        """Ask one after the other, up to `tries` of them, those first that answer as far as we know."""
        loop = asyncio.get_running_loop()
        end = loop.time() + within_s
        connected = [peer for peer in self._peers if peer.connected]
        connected.sort(key=lambda peer: not peer.usable)
        last: AmbryError | None = None
        asked = connected[:tries]
        for index, peer in enumerate(asked):
            share_s = (end - loop.time()) / (len(asked) - index)
            if share_s <= 0:
                break
            try:
                return await peer.request(type, request, timeout_s=share_s)
            except AmbryError as error:
                last = error
                # It is asked last from now on.
                self._peers.remove(peer)
                self._peers.append(peer)
        if last is not None:
            raise Unavailable(f"datacenter {self.name} did not tell: {last.message}") from last
        raise Unavailable(f"no frontend of datacenter {self.name} is connected")
