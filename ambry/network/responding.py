"""Answering one request, and who hears of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import msgspec

from ambry.checksum import Buffer
from ambry.errors import AmbryError
from ambry.network.identity import Shown
from ambry.protocol.frame import FLAG_ERROR, FLAG_REPLY, Frame, Prefix, encode_head
from ambry.protocol.messages import base as messages
from ambry.protocol.messages.base import ErrorReply, Message

if TYPE_CHECKING:
    from ambry.network.sending import FileBody
    from ambry.network.serving import ServingConnection

Handler = Callable[[Frame, "Responder"], None]
"""Answers one type of request. Must call the responder once, now or later; raising an AmbryError answers with it."""


class Tally(Protocol):
    """Hears of every request, once, when it is answered. Both tables hold every type that has a handler."""

    @property
    def succeeded(self) -> Mapping[int, Callable[[], None]]:
        """Called for each that was answered without an error, by its type."""

    @property
    def took(self) -> Mapping[int, Callable[[float], None]]:
        """Called with the seconds since its last byte, by its type."""

    def failed(self, type: int, error: AmbryError, seconds: float) -> None:
        """The answer was an error; the type may be an unknown one."""


class Responder(msgspec.Struct):
    """Answers one request, once."""

    connection: ServingConnection
    frame: Frame
    received_at: float
    """When its last byte came, on the event loop's clock, as `deadline`."""
    deadline: float
    """Nobody waits for the answer after it."""
    size: int
    """What it holds, about."""
    on_abandoned: Callable[[], object] | None = None
    """Called when nobody waits for the answer any more; set by who could save work then."""
    answered: bool = False
    abandoned: bool = False
    reserved: int = 0

    @property
    def shown(self) -> Shown | None:
        """What the certificate of who asks says; None in the clear."""
        return self.connection.shown

    async def admit(self, size: int) -> None:
        """Wait until an answer of so many bytes may be made: before they are read. The answer ends it.

        Raises DeadlineExceeded when nobody waits for the answer any more.
        """
        await self.connection._admit(self, size)

    def try_admit(self, size: int) -> bool:
        """As `admit`, where that need not be waited for; False where it must."""
        return self.connection._try_admit(self, size)

    def reply(self, message: Message, body: Buffer | FileBody = b"", checks: Buffer | None = None) -> None:
        """Send the answer. The body is borrowed until the transport has sent it: do not change it.

        One that stands in a file has its checks with it, and is not needed any more on return.

        Raises ProtocolViolation for an answer that no frame can hold, and the request is not answered then.
        """
        self.connection._answer(self, FLAG_REPLY, message, body, checks, None)

    def fail(self, error: AmbryError) -> None:
        """Answer with an error."""
        self.connection._answer(self, FLAG_REPLY | FLAG_ERROR, ErrorReply.of(error), b"", None, error)


def refusal(frame: Frame | Prefix, error: AmbryError) -> bytes:
    """The frame that answers another with an error."""
    header = messages.encode(ErrorReply.of(error))
    return encode_head(frame.type, frame.correlation, header, flags=FLAG_REPLY | FLAG_ERROR)
