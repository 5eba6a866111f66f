"""Who may connect and how much of what they send and take slowly is held: the decisions, without sockets.

    connections    in all, and of one client but for trusted proxies: above that 503 and close, in TLS a wait, and close
    heads          bytes of one request's line and headers (431); of all heads that are not finished together (503)
    speed          how long a client may send or take less than a floor, with a short memory for having been faster (408, abort)

What a client may do at most is one table in docs/operations.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from frontend.config import FrontendSection

ADMIN_DESCRIPTORS = 32
HANDSHAKE_DESCRIPTORS = 32
"""Second ones, of handshakes whose other end can be told why they fail."""
LINGERING_MAX = 32
"""Clients at a time that are told that there is no room, before accepting pauses."""
OTHER_DESCRIPTORS = 24
HEAD_COST = 3
"""What a byte of a head costs while it is parsed and answered: as it came, as text, and what holds the two."""
FEW_BYTES = 4 << 10
"""A head of so many bytes is in no account: what all connections hold is bounded by their number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the edge lets in; bytes and seconds."""

    connections_max: int
    connections_per_client_max: int
    head_bytes_max: int
    heads_bytes_max: int
    head_timeout_s: float
    stall_timeout_s: float
    rate_min: int
    """Bytes per second, in either direction."""


def connections_that_fit(descriptors: int, *, peers: int, wanted: int) -> int:
    """How many clients may be connected when the process may open so many descriptors.

    Kept free: two for each data node (an old connection may linger beside its successor), those of the admin port, those of
    clients that are turned away, in handshakes too, and some for log files, the layout and the event loop itself. Never less
    than 8.
    """
    kept = 2 * peers + ADMIN_DESCRIPTORS + HANDSHAKE_DESCRIPTORS + LINGERING_MAX + OTHER_DESCRIPTORS
    return min(wanted, max(8, descriptors - kept))


def limits_of(config: FrontendSection, *, descriptors: int = 1 << 20, peers: int = 0) -> Limits:
    """What the configuration asks for, as far as the process may open so many descriptors."""
    return Limits(
        connections_max=connections_that_fit(descriptors, peers=peers, wanted=config.connections_max),
        connections_per_client_max=config.connections_per_client_max,
        head_bytes_max=config.head_bytes_max,
        heads_bytes_max=config.heads_bytes_max,
        head_timeout_s=config.header_timeout_s,
        stall_timeout_s=config.body_stall_timeout_s,
        rate_min=config.rate_min_bytes,
    )


class Admission:
    """Counts who is here and what their heads hold."""

    def __init__(self, limits: Limits, many: Callable[[str], bool] = lambda client: False) -> None:
        """`many` tells of a client whether it stands for many, as a trusted proxy does: it may have all connections."""
        self.limits = limits
        self._many = many
        self.connections = 0
        self.head_bytes = 0
        """Bytes charged for heads that are not finished, or long and not answered yet."""
        self._clients: dict[str, int] = {}

    @property
    def full(self) -> bool:
        return self.connections >= self.limits.connections_max

    def enter(self, client: str) -> str | None:
        """Count a connection in; or a sentence that says why it cannot be had."""
        if self.full:
            return f"this frontend serves {self.limits.connections_max} connections at a time, and has them; retry"
        own = self._clients.get(client, 0)
        if own >= self.limits.connections_per_client_max and not self._many(client):
            return (
                f"one client has at most {self.limits.connections_per_client_max} connections here; use those, or retry"
            )
        self.connections += 1
        self._clients[client] = own + 1
        return None

    def leave(self, client: str) -> None:
        """A connection that was counted in has ended."""
        self.connections -= 1
        left = self._clients[client] - 1
        if left:
            self._clients[client] = left
        else:
            del self._clients[client]

    def hold_head(self, size: int) -> bool:
        """Charge so many more bytes of a head; False when all heads together hold too much."""
        cost = HEAD_COST * size
        if self.head_bytes + cost > self.limits.heads_bytes_max:
            return False
        self.head_bytes += cost
        return True

    def release_head(self, size: int) -> None:
        self.head_bytes -= HEAD_COST * size
