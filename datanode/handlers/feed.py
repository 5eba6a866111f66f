"""What frontends ask for the change feed: what changed in a container, and when it is worth while to ask."""

from __future__ import annotations

from ambry.network.later import Later
from ambry.network.responding import Handler, Responder
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.feed import FeedRequest, WatchRequest
from datanode.replication.container_feed import ContainerFeed
from datanode.replication.container_watch import Watches

CHANGE_SIZE = 120
"""Bytes that one change takes in an answer, about."""
PARTITION_SIZE = 200

_read_feed = messages.reader(FeedRequest)
_read_watch = messages.reader(WatchRequest)


class FeedHandlers:
    """Answers without reading a blob."""

    def __init__(self, feed: ContainerFeed, watches: Watches, *, later: Later) -> None:
        self._feed = feed
        self._watches = watches
        self._later = later

    def table(self) -> dict[int, Handler]:
        return {MessageType.FEED: self._changes, MessageType.WATCH: self._watch}

    def _changes(self, frame: Frame, responder: Responder) -> None:
        request = _read_feed(frame.header)

        async def answer() -> None:
            await responder.admit(request.limit * CHANGE_SIZE + len(request.partitions) * PARTITION_SIZE)
            responder.reply(await self._feed.changes(request))

        self._later.answer(responder, answer())

    def _watch(self, frame: Frame, responder: Responder) -> None:
        request = _read_watch(frame.header)

        async def answer() -> None:
            responder.reply(await self._watches.wait(request))

        self._later.answer(responder, answer())
