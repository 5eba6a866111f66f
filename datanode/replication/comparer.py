"""Anti-entropy, the net under everything: replicas compare digests with every peer, and get what they lack.

Whatever a bug, a clock, a backup or a disk took from a replica without its log telling: here it shows, though its cursors say
that it has caught up. One pair of replicas after the other, spread over `replication.compare_interval_s`; or at once, when an
operator asks. Ranges whose digests agree are not looked into, so equal replicas cost two messages. Each side finds only what it
lacks itself. That is got like any change of the peer's log, and until it is here the replica has no authority to say
"not found".
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

from ambry.clock import Clock
from ambry.clustermap.model import Node
from ambry.errors import AmbryError
from ambry.network.pool import Peer, PeerPool
from ambry.service.logs import get_logger
from datanode import metrics
from datanode.config import ReplicationSection
from datanode.replicas import Replica, Replicas
from datanode.replication.comparison import PairComparer
from datanode.replication.digest import Comparison
from datanode.replication.digest_reader import DigestReader

log = get_logger()

REST_MIN_S = 0.01
IDLE_S = 5.0


@dataclass(slots=True)
class Compared:
    """The last comparison of one replica with one peer."""

    at: float
    """Monotonic, in seconds."""
    result: Comparison


class Comparer:
    """Compares the replicas of this node with those of its peers."""

    def __init__(
        self,
        replicas: Replicas,
        pairs: PairComparer,
        reader: DigestReader,
        *,
        own: Node,
        pool: PeerPool,
        config: ReplicationSection,
        clock: Clock,
    ) -> None:
        self._own = own
        self._replicas = replicas
        self._pool = pool
        self._pair = pairs
        self._reader = reader
        self._config = config
        self._clock = clock
        self._compared: dict[tuple[int, str], Compared] = {}
        self._at: tuple[int, str] | None = None
        self._round: deque[tuple[int, str]] = deque()
        """Partitions and peers that are still to be compared."""
        self._round_began_at = float("-inf")
        self._rest_s = 0.0
        metrics.COMPARED_AGE.set_function(self._oldest_s)

    # --- on a schedule ---

    async def tick(self) -> float:
        """Compare the next pair of a round over all of them, or wait for the next round; the tick of a worker."""
        interval_s = self._config.compare_interval_s
        if not self._round:
            due_in_s = self._round_began_at + interval_s - self._clock.monotonic()
            if due_in_s > 0:
                return min(IDLE_S, due_in_s)
            self._round.extend(self._pairs())
            if not self._round:
                return IDLE_S  # nothing is open yet
            self._round_began_at = self._clock.monotonic()
            # Spread over half of the interval: a round that meets trouble is over in time all the same.
            self._rest_s = max(REST_MIN_S, min(IDLE_S, interval_s / 2 / len(self._round)))
        number, name = self._round.popleft()
        replica = self._replicas.get(number)
        if replica is not None:
            await self.compare(replica, self._pool[name], repair=True)
        return self._rest_s

    def _pairs(self) -> list[tuple[int, str]]:
        return [
            (replica.partition.id, node.name)
            for replica in self._replicas.all()
            for node in replica.partition.others(self._own.name)
        ]

    def seconds_ago(self, replica: Replica, peer: str) -> float | None:
        """Since a replica was compared with a peer; None: not since this process started. On any thread."""
        done = self._compared.get((replica.partition.id, peer))
        return None if done is None else self._clock.monotonic() - done.at

    def _oldest_s(self) -> float:
        """Since the pair was compared, or opened without being compared, of which that is the longest ago. On any thread."""
        now = self._clock.monotonic()
        ages = (
            now - replica.opened_at if (age := self.seconds_ago(replica, node.name)) is None else age
            for replica in list(self._replicas.values())
            for node in replica.partition.others(self._own.name)
        )
        return max(ages, default=0.0)

    def progress(self) -> dict[str, Any]:
        """What is being compared; for the admin port."""
        at = self._at
        return {} if at is None else {"partition": at[0], "peer": at[1], "pairs_left": len(self._round)}

    def describe(self) -> list[dict[str, Any]]:
        """The last comparison of every pair; for the admin port."""
        now = self._clock.monotonic()
        return [
            {"partition": number, "peer": name, "seconds_ago": round(now - done.at, 1), **_shown(done.result)}
            for (number, name), done in sorted(self._compared.items())
        ]

    # --- on demand ---

    async def verify(self, partition: int, _body: bytes) -> list[dict[str, Any]]:
        """Compare a partition with every peer now, and change nothing."""
        return await self._all_peers(partition, repair=False)

    async def repair(self, partition: int, _body: bytes) -> list[dict[str, Any]]:
        """Compare a partition with every peer now, and get what is missing here."""
        return await self._all_peers(partition, repair=True)

    async def _all_peers(self, partition: int, *, repair: bool) -> list[dict[str, Any]]:
        replica = self._replicas[partition]
        found = []
        for node in replica.partition.others(self._own.name):
            result = await self.compare(replica, self._pool[node.name], repair=repair, fresh=True)
            found.append({"partition": partition, "peer": node.name, **_shown(result)})
        return found

    # --- one pair ---

    async def compare(self, replica: Replica, peer: Peer, *, repair: bool, fresh: bool = False) -> Comparison:
        """Compare with one peer; never raises for what the peer or the replica cannot do now: that is undecided."""
        pair = (replica.partition.id, peer.node.name)
        self._at = pair
        try:
            result = await self._pair.compare(replica, peer, repair=repair, fresh=fresh)
        except AmbryError as error:
            result = Comparison(undecided=error.message)
        finally:
            self._at = None
        self._compared[pair] = Compared(self._clock.monotonic(), result)
        kind = "undecided" if result.undecided else "complete" if result.complete else "lacking"
        metrics.COMPARED.labels(kind).inc()
        if result.lacking or result.doubtful:
            log.error("replica differed from its peer", partition=pair[0], peer=pair[1], **asdict(result))
        return result

    # --- upkeep ---

    async def tidy(self) -> float:
        """One piece of the upkeep of the digests themselves; the tick of a worker."""
        replica = self._reader.untidy()
        if replica is None:
            return 1.0
        await self._reader.tidy(replica)
        return REST_MIN_S


def _shown(result: Comparison) -> dict[str, Any]:
    return {"complete": result.complete, **asdict(result)}
