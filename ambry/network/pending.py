"""A call that waits for its answer, and who hears of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from ambry.errors import AmbryError
from ambry.protocol.frame import Frame

if TYPE_CHECKING:
    from ambry.network.connection import RpcConnection

OnReply = Callable[[Frame | AmbryError], None]
"""Hears once how a call ended: with the reply, or with the error that came instead."""
OnPart = Callable[[bytes, memoryview], None]
"""Hears of a large reply that is still coming: its header, and the beginning of its body, as far as that is here and verified.

The call may end in an error all the same.
"""


class PendingCall(msgspec.Struct):
    """A call that has not ended."""

    connection: RpcConnection
    correlation: int
    deadline: float
    size: int
    done: OnReply
    foreground: bool
    on_part: OnPart | None = None

    def cancel(self) -> None:
        """Give it up: `done` will not be called, and the peer is told to save the work. Does nothing once it has ended."""
        self.connection._give_up(self)
