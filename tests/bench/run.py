"""`make bench`: how fast this checkout is on this machine, every figure beside a baseline taken in the same run.

    python -m tests.bench.run [--output FILE] [--compare OLD.json] [--quick] [--datacenters N] [--dir DIRECTORY]
                               [--nodes N] [--workers N] [--loads N]

Real processes on loopback: a local cluster, a load generator (load.py) and a bare HTTP server (bare.py) to compare with.
Exit code 0: measured; 1: an answer was wrong, or --compare found a watched ratio that fell by more than a quarter;
2: the run could not be made. Everything started is stopped and every file but the report removed, on Ctrl-C (130) too.
docs/benchmarks.md explains the rows.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from ambry.clock import SystemClock, iso_utc
from deploy.local_cluster import LocalCluster
from tests.bench import machine, plan, proc, report
from tests.bench.child import ANSWER_TIMEOUT_S, BenchFailed, Child, environment, exit_code_of
from tests.bench.figures import (
    FORMAT_VERSION,
    LOAD,
    Comparison,
    Point,
    Probes,
    ProcessMemory,
    Report,
    Row,
    compare,
    row,
)
from tests.bench.generator import Generator
from tests.bench.load import Result
from tests.bench.scratch import scratch

BARE = "bare"
PROBE_ROUNDS = 3


class Bench:
    """One run: the probes and the failures so far. The caller stops the two children."""

    def __init__(self, *, directory: Path, chosen: plan.Plan, out: Console, load: Generator, bare: Child) -> None:
        self._directory = directory
        self._plan = chosen
        self._out = out
        self._load = load
        self._bare = bare
        self._bare_port = int(self._bare.ask(b"", ANSWER_TIMEOUT_S))
        self.fdatasync: list[float] = []
        self.disk: list[float] = []
        self.loopback: list[float] = []
        self.failures = load.failures
        self.memory: list[ProcessMemory] = []
        self._own_ready = {name: proc.memory_kib(pid)[0] for name, pid in self._own().items()}

    def probe_machine(self) -> None:
        """Ask disk and loopback; between the rows, so that no load of ours runs."""
        self.disk.append(machine.disk_mb_per_s(self._directory))
        self.loopback.append(machine.loopback_mb_per_s(self._plan.probe_s, environment()))

    def measure(self, points: Sequence[Point], *, rounds: int, name: str, cluster: LocalCluster) -> list[Row]:
        """All points, round by round, each beside the bare server."""
        ours: dict[Point, list[Result]] = {point: [] for point in points}
        bare: dict[Point, list[Result]] = {point: [] for point in points}
        syncs: dict[Point, list[float]] = {point: [] for point in points}
        port = cluster.frontends("dc1")[0].port
        watch = processes_of(cluster)
        for number in range(1, rounds + 1):
            # The two classes of PUT share one measurement of the bare server, which knows no classes.
            shared: dict[tuple[str, int, int], Result] = {}
            for point in points:
                self._progress(f"{name}: round {number} of {rounds}: {point.key}")
                if point.operation == "put disk":
                    syncs[point].append(machine.fdatasync_per_s(self._directory, self._plan.probe_s))
                ours[point].append(self._load.run(point, port, watch, blobs=name))
                same = (point.operation.split()[0], point.size, point.connections)
                if same not in shared:
                    shared[same] = self._load.run(point, self._bare_port, {BARE: self._bare.pid}, blobs="")
                bare[point].append(shared[same])
            self.probe_machine()
        for values in syncs.values():
            self.fdatasync += values
        return [
            # A large PUT is bound by the disk's throughput, not by its syncs.
            row(point, ours[point], bare[point], syncs[point] if point.size == plan.SMALL else ())
            for point in points
        ]

    def note_memory(self, cluster: LocalCluster, ready: dict[str, int]) -> None:
        """Take the memory of the cluster's processes; `ready` is KiB by name from when they were ready."""
        found = processes_of(cluster)
        self.failures += [cluster.obituary(each.name) for each in cluster.members if each.name not in found]
        of = "" if cluster.shape.datacenters == 1 else f" of {cluster.shape.datacenters} dc"
        for name, pid in found.items():
            self._note(name + of, pid, ready[name])

    def note_own_memory(self) -> None:
        for name, pid in self._own().items():
            self._note(name, pid, self._own_ready[name])

    def _own(self) -> dict[str, int]:
        loads = {LOAD if not number else f"{LOAD}.{number}": pid for number, pid in enumerate(self._load.pids)}
        return {**loads, BARE: self._bare.pid}

    def _note(self, name: str, pid: int, ready_kib: int) -> None:
        end, peak = proc.memory_kib(pid)
        self.memory.append(ProcessMemory(process=name, ready_mb=_mb(ready_kib), peak_mb=_mb(peak), end_mb=_mb(end)))

    def _progress(self, text: str) -> None:
        if self._out.is_terminal:
            self._out.print(f"[dim]{text}[/dim]")


def processes_of(cluster: LocalCluster) -> dict[str, int]:
    """The pids of all that run, by name; those of a frontend with several are dc1-f1.0, dc1-f1.1, ..."""
    found: dict[str, int] = {}
    for member in cluster.members:
        pid = cluster.pid(member.name)
        if pid is not None:
            found[member.name] = pid
            found |= {f"{member.name}.{number}": child for number, child in enumerate(proc.children(pid))}
    return found


@contextlib.contextmanager
def running(
    directory: Path, datacenters: int, *, nodes: int, workers: int
) -> Iterator[tuple[LocalCluster, dict[str, int]]]:
    """A cluster that is up, and the resident KiB of its processes when they were ready."""
    cluster = LocalCluster(directory, datacenters=datacenters, nodes=nodes, workers=workers, port_base=0)
    with cluster:
        yield cluster, {name: proc.memory_kib(pid)[0] for name, pid in processes_of(cluster).items()}
    shutil.rmtree(directory, ignore_errors=True)


def measure_all(directory: Path, chosen: plan.Plan, arguments: argparse.Namespace, out: Console) -> Report:
    """The whole run. Raises BenchFailed, LocalClusterError."""
    clock = SystemClock()
    datacenters: int = arguments.datacenters
    shape = {"nodes": arguments.nodes, "workers": arguments.workers}
    began, started_at = clock.monotonic(), iso_utc(clock.wall_ms())
    where = machine.facts(directory)
    with contextlib.ExitStack() as stack:
        load = Generator(chosen, arguments.loads)
        stack.callback(load.stop)
        bare = Child.module("tests.bench.bare", *(str(size) for size in plan.SIZES))
        stack.callback(bare.stop)
        bench = Bench(directory=directory, chosen=chosen, out=out, load=load, bare=bare)
        bench.probe_machine()
        with running(directory / "cluster", datacenters, **shape) as (cluster, ready):
            rows = bench.measure(
                plan.small_points(chosen, datacenters), rounds=chosen.small_rounds, name="small", cluster=cluster
            )
            rows += bench.measure(
                plan.large_points(chosen, datacenters), rounds=chosen.large_rounds, name="large", cluster=cluster
            )
            bench.note_memory(cluster, ready)
        if datacenters == 1:
            with running(directory / "cluster2", 2, **shape) as (cluster, ready):
                rows += bench.measure(
                    plan.replicating_points(), rounds=chosen.small_rounds, name="two datacenters", cluster=cluster
                )
                bench.note_memory(cluster, ready)
        bench.note_own_memory()
    return Report(
        version=FORMAT_VERSION,
        started_at=started_at,
        quick=arguments.quick,
        elapsed_s=clock.monotonic() - began,
        machine=where,
        probes=Probes(fdatasync_per_s=bench.fdatasync, disk_mb_per_s=bench.disk, loopback_mb_per_s=bench.loopback),
        rows=rows,
        memory=bench.memory,
        failures=bench.failures,
        loads=arguments.loads,
        **shape,
    )


def read_report(path: Path) -> Report:
    """Raises BenchFailed."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Report)
    except (OSError, msgspec.MsgspecError) as cause:
        raise BenchFailed(f"--compare {path}: {cause}") from cause
    if found.version != FORMAT_VERSION:
        raise BenchFailed(f"--compare {path}: it has version {found.version}, and this bench writes {FORMAT_VERSION}")
    return found


def default_output(wall_ms: int) -> Path:
    """`bench-20261121-230700.json` (UTC)."""
    digits = iso_utc(wall_ms)[:19].replace("-", "").replace(":", "").replace("T", "-")
    return Path(f"bench-{digits}.json")


def arguments_of(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.run", description="Measure this checkout.")
    parser.add_argument("--output", type=Path, help="where the figures go (default: bench-<time>.json here)")
    parser.add_argument(
        "--compare", type=Path, metavar="OLD.json", help="exit 1 if a watched ratio fell since that run"
    )
    parser.add_argument("--quick", action="store_true", help="fewer rows and shorter: under 90 s")
    parser.add_argument("--datacenters", type=int, default=1, help="datacenters of the main cluster (default 1)")
    parser.add_argument("--nodes", type=int, default=3, help="data nodes of each datacenter (default 3)")
    parser.add_argument("--workers", type=int, default=1, help="processes of the frontend, on one port (default 1)")
    parser.add_argument("--loads", type=int, default=1, help="load generators that share the connections (default 1)")
    parser.add_argument("--dir", type=Path, default=Path(), help="where the temporary data goes (default: here)")
    arguments = parser.parse_args(words)
    for name in ("datacenters", "nodes", "workers", "loads"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} must be at least 1")
    return arguments


def bench(arguments: argparse.Namespace, out: Console) -> int:
    """One run; returns the exit code. Raises BenchFailed, LocalClusterError."""
    old = read_report(arguments.compare) if arguments.compare else None
    wanted = (arguments.nodes, arguments.workers, arguments.loads)
    if old is not None and (old.nodes, old.workers, old.loads) != wanted:
        raise BenchFailed(
            f"{arguments.compare} is of --nodes {old.nodes} --workers {old.workers} --loads {old.loads}, which this run is not"
        )
    output: Path = arguments.output or default_output(SystemClock().wall_ms())
    with scratch(arguments.dir) as directory:
        chosen = plan.QUICK if arguments.quick else plan.FULL
        found = measure_all(directory, chosen, arguments, out)
        output.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    report.show(out, found)
    compared: list[Comparison] = []
    if old is not None:
        compared = compare(old, found)
        report.show_comparison(out, compared)
        if not any(item.guarded for item in compared):
            raise BenchFailed(f"{arguments.compare} has none of the watched rows of this run: nothing was compared")
    out.print(f"{found.elapsed_s:.0f} s; every figure is in {output}")
    return 1 if found.failures or any(item.fell for item in compared) else 0


def _mb(kib: int) -> float:
    return round(kib * 1024 / 1e6, 1)


def main(words: Sequence[str] | None = None) -> int:
    arguments = arguments_of(words)
    return exit_code_of(lambda: bench(arguments, report.console()))


if __name__ == "__main__":
    sys.exit(main())
