"""Bootstrap: which replicas of this node are copied whole before their peers' logs are followed, one after the other.

It is an accelerator and nothing else. What it takes in is what a fetch from the same peer would bring, by the same rules. The
cursors stay where they are, and nobody gains authority by it: following the logs afterwards walks over everything once more,
finds it here, and closes the gaps. While a replica is copied, or waits for its turn, its peers are not followed: that would
bring the same blobs one by one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from ambry.clock import Clock
from ambry.clustermap.model import Node
from ambry.network.introduction import SEGMENTS
from ambry.network.pool import PeerPool
from ambry.service.logs import get_logger
from datanode import metrics
from datanode.config import BootstrapSection
from datanode.replicas import Replica, Replicas
from datanode.replication.bootstrap_copy import CopyFailed, PeerCopy, Taking
from datanode.replication.bootstrap_plan import CopyVerdict, Share, Source, behind_bytes, decide_copy
from datanode.replication.cursor import Cursor, Cursors
from datanode.replication.decide import is_designated
from datanode.store.index import FindToken

log = get_logger()

PATIENCE_S = 3.0
PATIENCE_WITH_A_PAST_S = 10.0
"""One that holds blobs from before may have to be rebuilt: what peers say of that (recovery.py) comes first."""
IDLE_S = 0.5
RETRY_MIN_S = 1.0
RETRY_MAX_S = 300.0


@dataclass(slots=True, kw_only=True)
class Job:
    """One replica that is copied, or waits for it. Times monotonic, seconds."""

    replica: Replica
    sources: tuple[str, ...]
    wanted_bytes: int
    asked_at: float
    began_at: float = 0.0
    copies: list[PeerCopy] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(copy.bytes for copy in self.copies)

    @property
    def blobs(self) -> int:
        return sum(copy.blobs for copy in self.copies)

    @property
    def to_go_bytes(self) -> int:
        """About how many bytes are missing: of a peer's segments as many as nobody has looked at, but what came from others."""
        if not self.copies:
            return self.wanted_bytes
        return min(
            max(0, self.wanted_bytes - self.bytes), sum(copy.log_bytes - copy.looked_bytes for copy in self.copies)
        )


@dataclass(slots=True)
class CopiesDone:
    """What was done for a replica since it was opened: how much of each peer's log, and when it may be tried again."""

    replica: Replica
    covered: dict[str, FindToken] = field(default_factory=dict)
    failures: int = 0
    not_before: float = 0.0


class Bootstrapper:
    """All copying of one data node."""

    def __init__(
        self,
        taking: Taking,
        *,
        own: Node,
        replicas: Replicas,
        pool: PeerPool,
        cursors: Cursors,
        config: BootstrapSection,
        clock: Clock,
    ) -> None:
        self._taking = taking
        self._own = own
        self._replicas = replicas
        self._pool = pool
        self._cursors = cursors
        self._config = config
        self._clock = clock
        self._jobs: dict[int, Job] = {}
        """By partition, in the order in which they came."""
        self._past: dict[int, CopiesDone] = {}
        self._running: Job | None = None

    # --- who needs it ---

    def holds(self, partition: int) -> bool:
        """Whether the peers of this partition are not followed for now."""
        return partition in self._jobs

    def holds_any(self, partitions: Collection[int]) -> bool:
        """Whether the peers of one of these are not followed for now."""
        return bool(self._jobs) and any(partition in self._jobs for partition in partitions)

    def holds_back(self, replica: Replica) -> bool:
        """A peer said where it stands. Whether its changes are not to be taken in now, one by one."""
        partition = replica.partition.id
        if not self._config.enabled or replica.store.put_back:
            return False
        if partition in self._jobs:
            return True
        if not any(
            cursor.lag_bytes >= self._config.behind_bytes_min for cursor in self._cursors.of(partition).values()
        ):
            return False
        past = self._past_of(replica)
        now = self._clock.monotonic()
        if now < past.not_before:
            return False
        sources = self._sources(replica, past)
        waited_s = PATIENCE_WITH_A_PAST_S if replica.store.lineage.begin_lsn else PATIENCE_S
        decision = decide_copy(
            sources,
            behind_bytes_min=self._config.behind_bytes_min,
            waited=now - replica.opened_at >= waited_s,
            designated=is_designated(replica.partition, self._own),
        )
        if decision.verdict is CopyVerdict.COPY:
            wanted = max(source.behind_bytes for source in sources if source.name in decision.sources)
            self._jobs[partition] = Job(replica=replica, sources=decision.sources, wanted_bytes=wanted, asked_at=now)
            self._cursors.look_again()
        return decision.verdict is not CopyVerdict.FOLLOW

    def _past_of(self, replica: Replica) -> CopiesDone:
        past = self._past.get(replica.partition.id)
        if past is None or past.replica is not replica:
            past = self._past[replica.partition.id] = CopiesDone(replica)
        return past

    def _sources(self, replica: Replica, past: CopiesDone) -> list[Source]:
        found: list[Source] = []
        for node in replica.partition.others(self._own.name):
            cursor = self._cursors.get(node.name, replica.partition.id) or Cursor()
            found.append(
                Source(
                    name=node.name,
                    near=node.datacenter_id == self._own.datacenter_id,
                    answered=cursor.answered,
                    gives=self._pool[node.name].understands(SEGMENTS) and not cursor.put_back,
                    behind_bytes=behind_bytes(
                        next_lsn=cursor.next_lsn,
                        covered_lsn=_covered(past, node.name, cursor),
                        end_lsn=cursor.end_lsn,
                        own_end_lsn=replica.store.end_lsn,
                        followed=cursor.opened.complete and cursor.opened.incarnation == cursor.incarnation,
                    ),
                )
            )
        return found

    # --- doing it ---

    async def tick(self) -> float:
        """Copy the replica that lacks the least; the tick of a worker. Those that lack little are whole soon."""
        metrics.BOOTSTRAP_TO_GO.set(sum(job.to_go_bytes for job in self._jobs.values()))
        if not self._jobs:
            return IDLE_S
        job = min(self._jobs.values(), key=lambda job: (job.wanted_bytes, job.replica.partition.id))
        self._running = job
        try:
            if self._replicas.get(job.replica.partition.id) is job.replica:
                await self._run(job)
        finally:
            self._running = None
            self._jobs.pop(job.replica.partition.id, None)
            self._cursors.look_again()
        return 0.0

    async def _run(self, job: Job) -> None:
        replica = job.replica
        partition = replica.partition.id
        past = self._past_of(replica)
        job.began_at = self._clock.monotonic()
        job.copies = self._copies(job, past)
        log.info("replica copied from its peers", partition=partition, peers=job.sources, about_bytes=job.wanted_bytes)
        result = "incomplete"
        try:
            async with asyncio.TaskGroup() as group:
                for copy in job.copies:
                    group.create_task(copy.run())
            if all(copy.complete for copy in job.copies):
                result = "complete"
        except* CopyFailed as failed:
            result = "failed"
            log.warning("copying a replica failed", partition=partition, error=str(failed.exceptions[0]))
        for copy in job.copies:
            if copy.complete:
                past.covered[copy.peer.node.name] = FindToken(copy.incarnation, copy.covered_lsn)
        now = self._clock.monotonic()
        past.failures = 0 if result == "complete" or (result == "incomplete" and job.bytes) else past.failures + 1
        if past.failures:
            past.not_before = now + min(RETRY_MAX_S, RETRY_MIN_S * 2**past.failures)
        metrics.BOOTSTRAPS.labels(result).inc()
        seconds = max(now - job.began_at, 1e-3)
        log.info(
            "replica copied",
            partition=partition,
            result=result,
            bytes=job.bytes,
            blobs=job.blobs,
            seconds=round(seconds, 3),
            bytes_per_s=round(job.bytes / seconds),
        )

    def _copies(self, job: Job, past: CopiesDone) -> list[PeerCopy]:
        claimed: set[bytes] = set()
        found: list[PeerCopy] = []
        for number, name in enumerate(job.sources):
            cursor = self._cursors.get(name, job.replica.partition.id) or Cursor()
            since_lsn = max(cursor.next_lsn, _covered(past, name, cursor))
            found.append(
                PeerCopy(
                    self._taking,
                    job.replica,
                    self._pool[name],
                    incarnation=cursor.incarnation,
                    since_lsn=since_lsn,
                    end_lsn=cursor.end_lsn,
                    share=Share(number, len(job.sources)),
                    claimed=claimed,
                )
            )
        return found

    # --- showing it ---

    def progress(self) -> dict[str, Any]:
        """What is copied now; for the admin port."""
        return {} if self._running is None else self._describe(self._running)

    def describe(self) -> Sequence[dict[str, Any]]:
        """Every replica that is copied, or waits for it; for the admin port."""
        return [self._describe(job) for _, job in sorted(self._jobs.items())]

    def describe_partition(self, partition: int) -> dict[str, Any] | None:
        job = self._jobs.get(partition)
        return None if job is None else self._describe(job)

    def _describe(self, job: Job) -> dict[str, Any]:
        running = job is self._running
        seconds = self._clock.monotonic() - (job.began_at if running else job.asked_at)
        rate = job.bytes / seconds if running and seconds > 0 else 0.0
        return {
            "partition": job.replica.partition.id,
            "state": "copying" if running else "waiting",
            "seconds": round(seconds, 1),
            "bytes": job.bytes,
            "blobs": job.blobs,
            "bytes_to_go": job.to_go_bytes,
            "bytes_per_s": round(rate),
            "seconds_to_go": round(job.to_go_bytes / rate) if rate else None,
            "peers": {
                copy.peer.node.name: {
                    "bytes": copy.bytes,
                    "segments": copy.segments,
                    "segments_done": copy.segments_done,
                    "complete": copy.complete,
                    "error": copy.error,
                }
                for copy in job.copies
            }
            or {name: {} for name in job.sources},
        }


def _covered(past: CopiesDone, peer: str, cursor: Cursor) -> int:
    covered = past.covered.get(peer)
    return covered.lsn if covered is not None and covered.incarnation == cursor.incarnation else 0
