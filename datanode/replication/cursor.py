"""How far this replica has followed one partition of one peer. Pure.

`next_lsn` is where the next request goes on. The durable token may be behind it: it never passes a blob that should be here
and is not yet, so a crash forgets none.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Cursor:
    """Progress against one log, named by its incarnation. LSNs in bytes of that log."""

    incarnation: bytes = b""
    next_lsn: int = 0
    end_lsn: int = 0
    outstanding: dict[bytes, int] = field(default_factory=dict)
    """Blob id -> LSN of blobs that could not be fetched yet."""
    caught_up: bool = False
    """Whether everything of the peer was here at some moment since this process started."""
    serving: bool = True
    """Whether the peer itself had the authority to say "not found", when it last answered."""

    @property
    def lag_bytes(self) -> int:
        return max(0, self.end_lsn - self.next_lsn)

    def token(self) -> tuple[bytes, int]:
        """What may be made durable: (incarnation, LSN)."""
        return self.incarnation, min([self.next_lsn, *self.outstanding.values()])

    def follow(self, incarnation: bytes) -> None:
        """The peer's log is `incarnation`: start over if it is another one than before."""
        if incarnation != self.incarnation:
            self.incarnation = incarnation
            self.next_lsn = self.end_lsn = 0
            self.outstanding.clear()
            self.caught_up = False

    def advance(self, next_lsn: int, end_lsn: int, failed: dict[bytes, int]) -> None:
        """Everything before `next_lsn` is here and durable, but for `failed`."""
        self.outstanding.update(failed)
        self.next_lsn = max(self.next_lsn, next_lsn)
        self.end_lsn = end_lsn
        if self.next_lsn >= end_lsn and not self.outstanding:
            self.caught_up = True

    def found(self, blob_id: bytes) -> None:
        """A blob that was outstanding is here now, or gone for good."""
        self.outstanding.pop(blob_id, None)
        if self.incarnation and self.next_lsn >= self.end_lsn and not self.outstanding:
            self.caught_up = True
