"""The background loop that reads everything again, at a bounded rate, before a user does.

Every record of every segment is verified whole. Bytes that are no record are held against the index: the blobs whose records
lay there are damaged, and a good copy is fetched from a peer (datanode/replication/healer.py). Then the index is held against
the log: where it points to more records of a segment than were found, each of its entries there is read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from ambry.clock import Clock
from ambry.errors import IndexCorrupt, ReplicaUnavailable
from ambry.service.logs import get_logger
from datanode import metrics
from datanode.config import CompactionSection, ScrubSection
from datanode.disk import Disk
from datanode.replicas import Replica, Replicas
from datanode.store.blob_store import StoreState
from datanode.store.damage import note_damaged
from datanode.store.entry import IndexEntry
from datanode.store.pieces import Pieces
from datanode.store.retention import retention_at
from datanode.store.scrub import FileRange, SegmentFindings, scrub_segment
from datanode.upkeep.progress import RoundProgress, describe
from datanode.upkeep.schedule import Schedule
from datanode.upkeep.throttle import Throttle

log = get_logger()

ROUND = "scrub"
TICK_S = 5.0
RETRY_S = 60.0
"""After a round that failed."""

T = TypeVar("T")


class ScrubReport(msgspec.Struct):
    """The last round over a replica, for the admin port. Times are wall clock, milliseconds."""

    partition: int
    started_at_ms: int
    ended_at_ms: int = 0
    bytes: int = 0
    records: int = 0
    damaged: int = 0
    unknown: int = 0
    missing: int = 0
    refused: int = 0
    """Intact records that only a later release can read."""


class Scrubber:
    """Scrubs the replicas of a node, one after the other."""

    def __init__(
        self,
        replicas: Replicas,
        *,
        disk: Disk,
        busy: Callable[[], bool],
        config: ScrubSection,
        retention: CompactionSection,
        clock: Clock,
        on_damaged: Callable[[Replica, bytes], None],
    ) -> None:
        self._replicas = replicas
        self._disk = disk
        self._busy = busy
        self._config = config
        self._retention = retention
        self._clock = clock
        self._on_damaged = on_damaged
        self._reports: dict[int, ScrubReport] = {}
        self._asked: set[int] = set()
        self._schedule = Schedule(replicas, clock=clock)
        self._throttle: Throttle | None = None
        self._counted: set[bytes] = set()
        self._progress: RoundProgress | None = None

    def opened(self, replica: Replica) -> None:
        """A replica was opened: it is due once it was open for an interval since its last round, or since it began."""
        store = replica.store
        self._schedule.put(replica, in_s=self._config.interval_s - (store.age.open_s - store.rounds.get(ROUND, 0.0)))

    def stop(self) -> None:
        """Let a read that is on its way end at its next record."""
        if self._throttle is not None:
            self._throttle.stop()

    def ask(self, replica: Replica) -> None:
        """Scrub this replica soon, out of turn."""
        self._asked.add(replica.partition.id)

    def progress(self) -> dict[str, Any]:
        """Which replica is read, and how much of it was; for the admin port."""
        return describe(self._progress)

    def describe(self) -> list[Any]:
        """What the admin port shows."""
        return [msgspec.to_builtins(report) for _, report in sorted(self._reports.items())]

    async def tick(self) -> float:
        """Scrub the replicas that were open for an interval since their last round, or never had one; the tick of a worker."""
        while (replica := self._next()) is not None:
            store = replica.store
            self._schedule.put(replica, in_s=RETRY_S)
            await self.scrub(replica)
            store.rounds[ROUND] = store.age.open_s
            self._schedule.put(replica, in_s=self._config.interval_s)
        return min(TICK_S, self._config.interval_s)

    def _next(self) -> Replica | None:
        """A replica that somebody asked for, or one that is due."""
        for number in sorted(self._asked):
            replica = self._replicas.get(number)
            if replica is not None:
                self._asked.discard(number)
                return replica
        return self._schedule.due()

    async def scrub(self, replica: Replica) -> ScrubReport:
        """One round over a replica. Raises OSError only for what is not a read of a record."""
        report = ScrubReport(replica.store.partition, self._clock.wall_ms())
        self._counted.clear()
        try:
            await self._scrub(replica, report)
        except IndexCorrupt:
            log.info("scrub ended early: the index is being rebuilt", partition=report.partition)
        finally:
            self._progress = None
        if report.refused:
            log.warning("records of a newer release: not served", partition=report.partition, records=report.refused)
        report.ended_at_ms = self._clock.wall_ms()
        self._reports[report.partition] = report
        return report

    async def _scrub(self, replica: Replica, report: ScrubReport) -> None:
        store = replica.store
        throttle = self._throttle = Throttle(self._clock, self._config.rate_bytes_per_s, self._busy, self._disk.load)
        retention = retention_at(self._retention, self._clock.wall_ms())
        progress = self._progress = RoundProgress(partition=store.partition, unit="bytes", total=store.size_bytes())
        indexed: dict[int, int] = {}
        unknown: dict[int, int] = {}
        for number in store.scrub.segment_numbers():
            if store.state is StoreState.CLOSED:
                return
            segment = store.scrub.target(number)
            if segment is None:
                continue  # compacted away meanwhile
            pieces = progress.counting(scrub_segment(segment, store.lookup, retention))
            findings = await self._run(replica, throttle, pieces)
            if store.scrub.target(number) is None:
                continue
            indexed[number] = findings.indexed
            unknown[number] = findings.unknown
            await self._note(replica, findings, report, throttle)
        await self._check_index(replica, indexed, report, throttle)
        # A compaction forgets expired blobs a moment before it deletes their segment.
        report.unknown = sum(count for number, count in unknown.items() if store.scrub.target(number) is not None)
        if report.unknown:
            # An index that lost entries, which LMDB does not notice. The log knows better.
            self._replicas.rebuild(store, f"the scrub found {report.unknown} blobs that the index does not know")

    async def _run(self, replica: Replica, throttle: Throttle, pieces: Pieces[T]) -> T:
        """Do work on a disk thread, in pieces; a rebuild of the replica waits for it, and ends the round."""
        async with replica.maintenance_lock:
            if self._replicas.get(replica.partition.id) is not replica:
                raise ReplicaUnavailable(f"partition {replica.partition.id} was reopened; the next round scrubs it")
            return await throttle.run(self._disk, pieces)

    async def _note(self, replica: Replica, findings: SegmentFindings, report: ScrubReport, throttle: Throttle) -> None:
        store = replica.store
        report.bytes += findings.bytes
        report.records += findings.records
        report.refused += findings.refused
        metrics.SCRUBBED_BYTES.inc(findings.bytes)
        if findings.frame_damaged:
            log.error("scrub found a damaged header or footer", partition=store.partition, segment=findings.segment)
        if findings.frame_damaged or findings.gaps:
            # Once everything in it is repaired, a compaction leaves the damage behind.
            store.compaction.damaged.add(findings.segment)
        if not findings.gaps or store.state is StoreState.CLOSED:
            return
        metrics.SCRUB_DAMAGE.inc(len(findings.gaps))
        for start, end in findings.gaps:
            log.error(
                "scrub found damage",
                partition=store.partition,
                segment=findings.segment,
                offset=start,
                bytes=end - start,
            )
        touched = store.scrub.entries_where(
            store.overlay(), lambda entry: _touches(entry, findings.segment, findings.gaps)
        )
        entries = await self._run(replica, throttle, touched)
        # After EIO the rest of the segment is suspect, and most of it is well: only what really cannot be read is damaged.
        unreadable = await self._run(replica, throttle, store.scrub.unreadable(entries, whole=True))
        self._damaged(replica, unreadable, report)

    async def _check_index(
        self, replica: Replica, indexed: dict[int, int], report: ScrubReport, throttle: Throttle
    ) -> None:
        store = replica.store
        if store.state is StoreState.CLOSED:
            return
        survey = await self._run(replica, throttle, store.scrub.survey(store.overlay(), self._clock.wall_ms()))
        # Living blobs whose bytes never came, or went in the moment of their undelete.
        for entry in survey.absent:
            report.missing += 1
            self._on_damaged(replica, entry.id)
        suspects = {number for number, count in survey.present.items() if count > indexed.get(number, 0)}
        if not suspects:
            return
        # Puts and compactions of the meantime look the same: only entries that cannot be read count.
        suspected = store.scrub.entries_where(store.overlay(), lambda entry: entry.segment in suspects)
        entries = await self._run(replica, throttle, suspected)
        unreadable = await self._run(replica, throttle, store.scrub.unreadable(entries, whole=False))
        self._damaged(replica, unreadable, report)

    def _damaged(self, replica: Replica, entries: list[IndexEntry], report: ScrubReport) -> None:
        for entry in entries:
            if entry.id in replica.store.damaged and entry.id in self._counted:
                continue  # found by the scan and by the index both
            if not note_damaged(replica.store, entry):
                continue  # a good copy came meanwhile
            self._counted.add(entry.id)
            report.damaged += 1
            self._on_damaged(replica, entry.id)


def _touches(entry: IndexEntry, segment: int, ranges: list[FileRange]) -> bool:
    """Whether an entry's put record lies, at least in part, in one of these byte ranges."""
    end = entry.offset + entry.size
    return entry.segment == segment and any(start < end and entry.offset < stop for start, stop in ranges)
