"""Small reads that begin together ask one data node together.

What the event loop hears in one turn are many requests when there is much to do. Spread over all replicas, each node would be
woken for a few of them; sent to one, they go in one write, wake one node, and are answered in one. Which node that is changes
from turn to turn, so over time all have the same share.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from ambry.network.pool import Peer

TOGETHER_MAX = 16
"""So many at a time: more would wait for each other at one node while others are idle."""


def any_well(peers: Sequence[Peer], source: random.Random) -> Peer | None:
    """Any of these, each as likely; None where that one is not well."""
    peer = peers[int(source.random() * len(peers))] if peers else None
    return peer if peer is not None and peer.usable else None


class Together:
    """Chooses the replica that a small read asks first."""

    def __init__(self, random_source: random.Random) -> None:
        self._random = random_source
        self._peer: Peer | None = None
        """Who is asked in this turn of the event loop."""
        self._left = 0
        self._turning = False

    def choose(self, peers: Sequence[Peer]) -> Peer | None:
        """The one of these that others ask in this turn; else as `any_well`."""
        peer = self._peer
        if peer is not None and self._left and peer in peers and peer.usable:
            self._left -= 1
            return peer
        peer = any_well(peers, self._random)
        if peer is None:
            return None
        if not self._turning:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._end_turn)
        self._peer, self._left = peer, TOGETHER_MAX - 1
        return peer

    def _end_turn(self) -> None:
        self._turning = False
        self._peer = None
