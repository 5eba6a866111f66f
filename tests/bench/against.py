"""`make bench AGAINST=REV`: this checkout and another commit, measured in turn in one run.

    python -m tests.bench.against REV [--quick] [--output FILE] [--dir DIRECTORY]

Both commits run a local cluster at the same time, each with the Python environment that its own Makefile makes. One load
generator asks them by turns, point by point, and who comes first changes with every round: a noisy minute falls on both. What
decides is the median of the rounds' ratios; on a noisy machine believe CPU seconds first. Exit codes: as tests.bench.run.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from ambry.clock import SystemClock
from tests.bench import pairs, plan, report
from tests.bench.child import ROOT, BenchFailed, Child, exit_code_of
from tests.bench.figures import Point
from tests.bench.generator import Generator
from tests.bench.load import Result
from tests.bench.run import default_output
from tests.bench.scratch import scratch

HOST = Path(__file__).with_name("host.py")
READY_TIMEOUT_S = 120.0
VENV_TIMEOUT_S = 600.0


class Hosted(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster that is up: what host.py says of it."""

    port: int
    pids: dict[str, int]


class Cluster:
    """One of the two commits, running. Whoever made it stops it."""

    def __init__(self, name: str, root: Path, directory: Path) -> None:
        self.name = name
        self._child = Child(name, [str(root / ".venv/bin/python"), str(HOST), str(directory)], root)
        self._hosted = msgspec.json.decode(self._child.ask(b"", READY_TIMEOUT_S), type=Hosted)

    def measure(self, load: Generator, point: Point) -> Result:
        return load.run(point, self._hosted.port, self._hosted.pids, blobs=self.name)

    def stop(self) -> None:
        self._child.stop()


def checkout(revision: str, directory: Path) -> str:
    """Put the files of a commit into `directory`, with an environment of their own; its short name. Raises BenchFailed."""
    name = _output(["git", "rev-parse", "--short", f"{revision}^{{commit}}"], ROOT).strip()
    directory.mkdir()
    archive = directory.with_suffix(".tar")
    _output(["git", "archive", "--output", str(archive), name], ROOT)
    shutil.unpack_archive(archive, directory)
    _output(["make", "venv", f"PYTHON={sys.executable}"], directory)
    return name


def _output(command: Sequence[str], where: Path) -> str:
    try:
        found = subprocess.run(command, cwd=where, capture_output=True, text=True, timeout=VENV_TIMEOUT_S, check=True)
    except subprocess.CalledProcessError as cause:
        raise BenchFailed(f"{' '.join(command)}: {cause.stderr.strip()}") from cause
    except subprocess.TimeoutExpired as cause:
        raise BenchFailed(f"{' '.join(command)} took over {VENV_TIMEOUT_S:.0f} s") from cause
    return found.stdout


def measure(load: Generator, new: Cluster, old: Cluster, chosen: plan.Plan) -> list[pairs.Pair]:
    """All points, round by round, each on both."""
    points = plan.paired_points(chosen)
    found: dict[Point, dict[str, list[Result]]] = {point: {new.name: [], old.name: []} for point in points}
    for number in range(chosen.small_rounds):
        for point in points:
            for cluster in (new, old) if number % 2 else (old, new):
                found[point][cluster.name].append(cluster.measure(load, point))
    return [pairs.pair(point, results[new.name], results[old.name]) for point, results in found.items()]


def bench(arguments: argparse.Namespace, out: Console) -> int:
    """One run; returns the exit code. Raises BenchFailed, OSError."""
    output: Path = arguments.output or default_output(SystemClock().wall_ms())
    chosen = plan.AGAINST_QUICK if arguments.quick else plan.AGAINST
    with scratch(arguments.dir) as directory:
        revision = checkout(arguments.revision, directory / "old")
        with contextlib.ExitStack() as stack:
            load = Generator(chosen)
            stack.callback(load.stop)
            new = Cluster("this checkout", ROOT, directory / "new.cluster")
            stack.callback(new.stop)
            old = Cluster(revision, directory / "old", directory / "old.cluster")
            stack.callback(old.stop)
            found = measure(load, new, old, chosen)
        output.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    pairs.show(out, found, against=revision)
    for failure in load.failures:
        out.print(f"FAILED: {failure}", markup=False)
    out.print(f"every figure is in {output}")
    return 1 if load.failures else 0


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.against", description="Measure two commits in turn.")
    parser.add_argument("revision", help="the commit to compare with, as git names it")
    parser.add_argument("--output", type=Path, help="where the figures go (default: bench-<time>.json here)")
    parser.add_argument("--quick", action="store_true", help="fewer rows and rounds: some two minutes")
    parser.add_argument("--dir", type=Path, default=Path(), help="where the temporary data goes (default: here)")
    arguments = parser.parse_args(words)
    return exit_code_of(lambda: bench(arguments, report.console()))


if __name__ == "__main__":
    sys.exit(main())
