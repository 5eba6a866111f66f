"""What a node makes of its clock: the time that it goes by, what may be freed by it, and who hears when that is in doubt."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from ambry.clock import Clock
from ambry.clustermap.skew import AgreedClock
from ambry.network.pool import ClockSample, PeerPool
from ambry.service.logs import get_logger
from datanode import metrics
from datanode.config import CompactionSection
from datanode.replicas import Replica
from datanode.store.retention import Retention, retention_at
from datanode.upkeep.skew import ClockJudge

log = get_logger()

TICK_S = 1.0


class NodeClocks:
    """The clocks of one node. `sharing` are the names of the nodes that hold replicas of its partitions."""

    def __init__(self, clock: Clock, *, retention: CompactionSection, sharing: Collection[str]) -> None:
        self.agreed = AgreedClock(clock, own_votes=True)
        """What is told to users, and written down, goes by this one."""
        self.judge = ClockJudge(clock, self.agreed.peers, sharing=sharing)
        self._retention = retention
        self._said = ""

    def opened(self, replica: Replica) -> None:
        """A replica was opened: its checkpoint knows until when the clock was right."""
        self.judge.remember(replica.partition.id, replica.store.checkpoint.right_ms)

    def sampled(self, peer: str, sample: ClockSample | None) -> None:
        """A peer's wall clock was heard of; None: the peer doubts it now, and does not tell it."""
        metrics.PEER_CLOCK_OFFSET.labels(peer).set(sample.offset_ms / 1000 if sample else math.nan)
        if sample is None:
            return
        self.agreed.note(peer, round(sample.offset_ms), round(sample.half_round_trip_ms))
        self.judge.note(peer)

    def certain_retention(self) -> Retention:
        """What is over for sure: nothing, while there is a doubt about the clock. It lets no tombstone go."""
        return retention_at(self._retention, self.judge.certain_ms())

    async def tick(self) -> float:
        """Tell when housekeeping pauses and when it goes on; the tick of a worker."""
        self.agreed.look()
        doubt = self.judge.doubt()
        metrics.CLOCK_DOUBTED.set(bool(doubt))
        if doubt and not self._said:
            log.warning("housekeeping paused: the clock is in doubt", reason=doubt)
        elif self._said and not doubt:
            log.info("housekeeping goes on: the clock is right")
        self._said = doubt
        return TICK_S

    def describe(self) -> dict[str, Any]:
        """For the admin port."""
        return {
            "doubt": self.judge.doubt(),
            "correction_ms": self.agreed.correction_ms,
            "offsets_ms": dict(sorted(self.agreed.peers.offsets_ms().items())),
        }

    def describe_peers(self, pool: PeerPool) -> dict[str, Any]:
        """The peers of a node, and what is made of everybody's clocks. For the admin port."""
        return {"clock": self.describe(), "peers": [peer.describe() for peer in pool.all()]}
