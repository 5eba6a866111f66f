"""How much a client has taken of what it was sent, and how much it is given at once by that.

Thousands who ask and take nothing hold what they were given. So the kernel takes little for a client until it has taken
something. In TLS what is written is encrypted at once and kept as ciphertext until it leaves, and OpenSSL keeps room for
the most that this ever was, a third more (BUF_MEM_grow(3)), as long as the connection lasts. So there a client is given a
share of what it has taken, and of GIVEN_ALL a part by how many are connected: who reads among few is given whole pieces after
a few MiB.
"""

from __future__ import annotations

import asyncio

from ambry.service.listener import bound_unsent, confirmed

UNSENT_BYTES, TAKEN_BYTES = 16 << 10, 64 << 10
"""What the kernel takes of answers beyond what it could send already, until the client has taken so much."""
GIVEN_BYTES, SHARE = 1 << 20, 4
"""In TLS a client is given at once one part in SHARE of what it has taken, and no more than GIVEN_BYTES."""
GIVEN_ALL, GIVEN_LEAST = 64 << 20, 64 << 10
"""It is given no more than its part of GIVEN_ALL either, or GIVEN_LEAST. Who came while there were few keeps more room: 1,024
that came one after the other have room for 64 * (1 + ln 16) = 242 MiB, and each after those for GIVEN_LEAST."""


class TakenSoFar:
    """Of one connection; nobody is asked any more once it reads."""

    __slots__ = ("_bytes",)

    def __init__(self) -> None:
        self._bytes = 0
        """At the last look."""

    def look(self, transport: asyncio.Transport) -> int:
        """Bytes that it has taken; of those beyond SHARE * GIVEN_BYTES not all are counted."""
        before = self._bytes
        if before < SHARE * GIVEN_BYTES:
            self._bytes = max(before, confirmed(transport))
            if before < TAKEN_BYTES <= self._bytes:
                bound_unsent(transport.get_extra_info("socket"), 0)
        return self._bytes

    def gives(self, transport: asyncio.Transport, size: int, *, among: int) -> int:
        """Of `size` bytes those that it is given at once, in TLS, `among` so many connections."""
        most = min(GIVEN_BYTES, max(GIVEN_LEAST, GIVEN_ALL // max(1, among)))
        return min(size, most, max(UNSENT_BYTES, self.look(transport) // SHARE))
