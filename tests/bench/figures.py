"""The figures of a run and what is computed from them. Pure: no clock, no process, no terminal."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from tests.bench.load import Result
from tests.bench.machine import Machine

FORMAT_VERSION = 1
FALL_MAX = 0.25
LOAD = "load"

Operation = Literal["put disk", "put memory", "get"]


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured: an operation on blobs of one size over so many connections, in a cluster of so many datacenters.

    The ratio of a `guarded` one must not fall (compare).
    """

    operation: Operation
    size: int
    connections: int
    datacenters: int = 1
    guarded: bool = False

    @property
    def key(self) -> str:
        """The name of its row in a file: `1dc/put disk/4KiB/32`."""
        return f"{self.datacenters}dc/{self.operation}/{size_text(self.size)}/{self.connections}"


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """All rounds of one point against one server. `cpu_s` is by process; "load" is the generator.

    `others_cores` is how many cores were busy with anything else: high means that the figures are to be doubted.
    """

    operations: int
    elapsed_s: float
    rate: float
    mb_per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    cpu_s: dict[str, float]
    cpu_s_per_1000: float
    load_cpu_s_per_1000: float
    others_cores: float
    verified: int


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A point against the cluster and against the bare server.

    `ratio` is the median over the rounds of rate / bare rate of the same round. `fdatasync_ratio` is rate / the syncs per
    second that the disk did for a single writer in the same rounds; None for what does not sync.
    """

    key: str
    point: Point
    cluster: Side
    bare: Side
    ratio: float
    round_ratios: list[float]
    fdatasync_ratio: float | None = None


class ProcessMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Resident memory of one process in MB: when it was ready, most ever, at the end."""

    process: str
    ready_mb: float
    peak_mb: float
    end_mb: float


class Probes(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine does without us, one figure per time it was asked."""

    fdatasync_per_s: list[float]
    disk_mb_per_s: list[float]
    loopback_mb_per_s: list[float]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run, as it stands in the file."""

    version: int
    started_at: str
    quick: bool
    elapsed_s: float
    machine: Machine
    probes: Probes
    rows: list[Row]
    memory: list[ProcessMemory]
    failures: list[str]
    nodes: int = 3
    """Data nodes of each datacenter."""
    workers: int = 1
    """Processes of the frontend."""
    loads: int = 1
    """Load generators."""

    def row(self, key: str) -> Row | None:
        return next((row for row in self.rows if row.key == key), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A rate that we set out to reach; `reached` is None when the run did not measure it."""

    title: str
    wanted: float
    unit: str
    reached: float | None
    bare: float | None

    @property
    def held(self) -> bool:
        return self.reached is not None and self.reached >= self.wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One row in two runs; `change` is new ratio / old ratio, `rate_change` the same of the absolute rates.

    `others_cores` is the most that anything else used during any of the four sides.
    """

    key: str
    guarded: bool
    old_ratio: float
    new_ratio: float
    change: float
    rate_change: float
    others_cores: float
    fell: bool


def size_text(size: int) -> str:
    """`4KiB`, `64MiB`, or plain bytes when it is not a whole number of those."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit}{name}"
    return f"{size}B"


def percentile(ordered: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed (nearest rank); NaN of nothing. `ordered` ascends."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def ratio(value: float, baseline: float) -> float:
    """value / baseline; NaN when there is no baseline."""
    return value / baseline if baseline > 0 else math.nan


def rate(result: Result) -> float:
    """Operations per second of one round."""
    return result.operations / result.elapsed_s


def side(results: Sequence[Result], size: int) -> Side:
    """Put the rounds of one point together: sums are over all rounds, percentiles over all latencies."""
    operations = sum(result.operations for result in results)
    elapsed_s = sum(result.elapsed_s for result in results)
    ordered = sorted(latency for result in results for latency in result.latencies_us)
    cpu_s = add(result.cpu_s for result in results)
    busy_s = sum(result.machine_busy_s for result in results)
    per_1000 = ratio(1000.0, operations)
    servers_s = sum(used for name, used in cpu_s.items() if name != LOAD)
    return Side(
        operations=operations,
        elapsed_s=elapsed_s,
        rate=ratio(operations, elapsed_s),
        mb_per_s=ratio(operations * size / 1e6, elapsed_s),
        p50_ms=percentile(ordered, 0.50) / 1000,
        p99_ms=percentile(ordered, 0.99) / 1000,
        max_ms=percentile(ordered, 1.0) / 1000,
        cpu_s=cpu_s,
        cpu_s_per_1000=servers_s * per_1000,
        load_cpu_s_per_1000=cpu_s.get(LOAD, 0.0) * per_1000,
        others_cores=max(0.0, ratio(busy_s - sum(cpu_s.values()), elapsed_s)),
        verified=sum(result.verified for result in results),
    )


def add(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Sum of dictionaries, by key."""
    total: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = round(total.get(name, 0.0) + value, 4)
    return total


def row(point: Point, cluster: Sequence[Result], bare: Sequence[Result], fdatasync: Sequence[float] = ()) -> Row:
    """`cluster`, `bare` and `fdatasync` have one entry per round, in the same order."""
    round_ratios = [round(ratio(rate(ours), rate(theirs)), 4) for ours, theirs in zip(cluster, bare, strict=True)]
    ours = side(cluster, point.size)
    return Row(
        key=point.key,
        point=point,
        cluster=ours,
        bare=side(bare, point.size),
        ratio=statistics.median(round_ratios),
        round_ratios=round_ratios,
        fdatasync_ratio=ratio(ours.rate, statistics.median(fdatasync)) if fdatasync else None,
    )


def bars(report: Report) -> list[Bar]:
    """How the bars of this project stand."""
    wanted = (
        ("4 KiB PUT, class disk, 32 connections", ("put disk", 4096, 32), 2_000.0, "/s"),
        ("4 KiB GET, 32 connections", ("get", 4096, 32), 4_500.0, "/s"),
        ("4 MiB GET, 4 connections", ("get", 4 << 20, 4), 500.0, "MB/s"),
    )
    found = []
    for title, where, least, unit in wanted:
        reached = bare = None
        for candidate in report.rows:
            point = candidate.point
            if point.guarded and (point.operation, point.size, point.connections) == where:
                ours, theirs = candidate.cluster, candidate.bare
                reached = ours.rate if unit == "/s" else ours.mb_per_s
                bare = theirs.rate if unit == "/s" else theirs.mb_per_s
        found.append(Bar(title=title, wanted=least, unit=unit, reached=reached, bare=bare))
    return found


def compare(old: Report, new: Report) -> list[Comparison]:
    """Every row that both runs have. A guarded one `fell` when its ratio is more than FALL_MAX lower than it was.

    Only ratios to the baseline of the same run decide: the machine may have been faster or slower in between.
    """
    before = {row.key: row for row in old.rows}
    found = []
    for now in new.rows:
        then = before.get(now.key)
        if then is None:
            continue
        change = ratio(now.ratio, then.ratio)
        guarded = now.point.guarded and then.point.guarded
        found.append(
            Comparison(
                key=now.key,
                guarded=guarded,
                old_ratio=then.ratio,
                new_ratio=now.ratio,
                change=change,
                rate_change=ratio(now.cluster.rate, then.cluster.rate),
                others_cores=max(one.others_cores for row in (then, now) for one in (row.cluster, row.bare)),
                # Not a number is a fall as well: the row was measured and has no rate.
                fell=guarded and not change >= 1.0 - FALL_MAX,
            )
        )
    return found


def cores_used(cpu_s: Mapping[str, float], elapsed_s: float) -> dict[str, float]:
    """Average cores per process."""
    return {name: ratio(used, elapsed_s) for name, used in cpu_s.items()}
