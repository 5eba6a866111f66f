"""The requests of a connection itself: who are you, are you there."""

from __future__ import annotations

from ambry.errors import StoreMismatch
from ambry.network.connection import Handler, Responder
from ambry.protocol.frame import Frame, MessageType
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import Empty, Hello


class GreetingHandlers:
    """Answers as node `own_name` of `cluster`."""

    def __init__(self, *, cluster: str, own_name: str) -> None:
        self._cluster = cluster
        self._own_name = own_name

    def table(self) -> dict[int, Handler]:
        return {MessageType.HELLO: self._hello, MessageType.PING: self._ping}

    def _hello(self, frame: Frame, responder: Responder) -> None:
        hello = messages.decode(frame.header, Hello)
        if hello.cluster != self._cluster or hello.expected not in ("", self._own_name):
            expected = hello.expected or "a node"
            raise StoreMismatch(
                f"this is {self._own_name} of cluster {self._cluster}, not {expected} of {hello.cluster}"
            )
        responder.reply(Hello(self._cluster, self._own_name))

    def _ping(self, frame: Frame, responder: Responder) -> None:
        responder.reply(Empty())
