"""The requests of a connection itself: who are you, are you there."""

from __future__ import annotations

from ambry.network.introduction import Introduction
from ambry.network.responding import Handler, Responder
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Hello, Pong
from datanode.upkeep.room import Room

_read_hello = messages.reader(Hello)


class GreetingHandlers:
    """Answers as the node that `introduction` says, with the room for puts that it has."""

    def __init__(self, introduction: Introduction, room: Room) -> None:
        self._introduction = introduction
        self._room = room

    def table(self) -> dict[int, Handler]:
        return {MessageType.HELLO: self._hello, MessageType.PING: self._ping}

    def _hello(self, frame: Frame, responder: Responder) -> None:
        self._introduction.check_caller(_read_hello(frame.header))
        responder.reply(self._introduction.hello())

    def _ping(self, frame: Frame, responder: Responder) -> None:
        responder.reply(Pong(self._introduction.told_ms(), self._room.bytes))
