"""What the answers of one process hold until its peers have read them, and when others must wait for that."""

from __future__ import annotations

from typing import Protocol

UNREAD_MAX = 32 << 20
UNREAD_SMALL_MAX = 8 << 20
"""Bytes of answers of one connection: admitted ones, and those that queue without having asked."""
UNREAD_SHARE = 2 << 20
"""What a connection may have unread whatever the others of the process have."""
UNREAD_PROCESS_MAX = 128 << 20


class Holder(Protocol):
    """A connection that answers."""

    @property
    def unread_bytes(self) -> int: ...


class Unread:
    """The bytes of answers that all connections of one process hold.

    They are summed up when as much was answered since the last time as could have reached the bound.
    """

    def __init__(self, bytes_max: int = UNREAD_PROCESS_MAX) -> None:
        self.connections: dict[Holder, None] = {}
        self.bytes_max = bytes_max
        self.at_most = 0
        """No less than what is held; grows with every answer, until it is measured again."""

    def full(self) -> bool:
        """Whether those that have more than their share must wait."""
        if self.at_most > self.bytes_max:
            self.at_most = sum(connection.unread_bytes for connection in self.connections)
        return self.at_most > self.bytes_max
