"""The product and the least that its path takes (tests/bench/prototype.py), measured in turn in one run.

    python -m tests.bench.prototypes [--quick] [--output FILE] [--dir DIRECTORY]

As tests.bench.against measures two commits: both stand at the same time, one load generator asks them by turns, and the median
of the rounds' ratios counts. Small blobs alone: of large ones a prototype says little. Exit codes: as tests.bench.run.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from ambry.clock import SystemClock
from tests.bench import pairs, plan, report
from tests.bench.against import Cluster
from tests.bench.child import ROOT, Child, exit_code_of
from tests.bench.figures import Point
from tests.bench.generator import Generator
from tests.bench.load import Result
from tests.bench.run import default_output
from tests.bench.scratch import scratch

NODES = 3
READY_TIMEOUT_S = 20.0


class Prototype:
    """A frontend and its nodes, running. Whoever made it stops it."""

    name = "prototype"

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._children: list[Child] = []
        self._pids: dict[str, int] = {}
        try:
            ports = [self._start(f"n{number}", "node", str(directory / f"n{number}")) for number in range(NODES)]
            self._port = self._start("f1", "frontend", *map(str, ports))
        except BaseException:
            self.stop()
            raise

    def _start(self, name: str, *arguments: str) -> int:
        child = Child.module("tests.bench.prototype", *arguments)
        self._children.append(child)
        self._pids[name] = child.pid
        return int(child.ask(b"", READY_TIMEOUT_S))

    def measure(self, load: Generator, point: Point) -> Result:
        return load.run(point, self._port, self._pids, blobs=self.name)

    def stop(self) -> None:
        for child in reversed(self._children):
            child.stop()


def measure(load: Generator, product: Cluster, prototype: Prototype, chosen: plan.Plan) -> list[pairs.Pair]:
    """The small points, round by round, each on both."""
    points = plan.small_points(chosen, 1)
    found: dict[Point, tuple[list[Result], list[Result]]] = {point: ([], []) for point in points}
    for number in range(chosen.small_rounds):
        for point in points:
            ours, theirs = found[point]
            if number % 2:
                ours.append(product.measure(load, point))
            theirs.append(prototype.measure(load, point))
            if not number % 2:
                ours.append(product.measure(load, point))
    return [pairs.pair(point, *results) for point, results in found.items()]


def bench(arguments: argparse.Namespace, out: Console) -> int:
    """One run; returns the exit code. Raises BenchFailed, OSError."""
    output: Path = arguments.output or default_output(SystemClock().wall_ms())
    chosen = plan.AGAINST_QUICK if arguments.quick else plan.AGAINST
    with scratch(arguments.dir) as directory:
        with contextlib.ExitStack() as stack:
            load = Generator(chosen)
            stack.callback(load.stop)
            product = Cluster("this checkout", ROOT, directory / "cluster")
            stack.callback(product.stop)
            prototype = Prototype(directory / "prototype")
            stack.callback(prototype.stop)
            found = measure(load, product, prototype, chosen)
        output.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    pairs.show(out, found, against=prototype.name)
    for failure in load.failures:
        out.print(f"FAILED: {failure}", markup=False)
    out.print(f"every figure is in {output}")
    return 1 if load.failures else 0


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.prototypes", description="Measure the product beside the least that its path takes."
    )
    parser.add_argument("--output", type=Path, help="where the figures go (default: bench-<time>.json here)")
    parser.add_argument("--quick", action="store_true", help="32 connections alone, fewer rounds: under a minute")
    parser.add_argument("--dir", type=Path, default=Path(), help="where the temporary data goes (default: here)")
    arguments = parser.parse_args(words)
    return exit_code_of(lambda: bench(arguments, report.console()))


if __name__ == "__main__":
    sys.exit(main())
