"""How fast and how small the storage engine is on this machine, every figure beside a baseline taken in the same run.

    python -m tests.bench.store [--output FILE] [--quick] [--big] [--dir DIRECTORY] [--only ROW,...]

Each row (store_plan.py) runs in processes of its own, ours and its baseline in turn. Exit code 0: measured, whether the bars
were held or not; 1: something did not work, or gave wrong bytes; 2: the run could not be made. Everything started is stopped
and every file but the report removed, on Ctrl-C (130) too. docs/benchmarks.md explains the rows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from rich.console import Console

from ambry.clock import SystemClock, iso_utc
from tests.bench import machine, store_report
from tests.bench.child import exit_code_of
from tests.bench.scratch import scratch
from tests.bench.store_figures import FORMAT_VERSION, Report, RowRun, figures, held
from tests.bench.store_plan import BIG_BLOBS, FULL, QUICK, ROWS, Plan, specs
from tests.bench.store_rows import Rows


def measure(directory: Path, plan: Plan, names: Sequence[str], *, quick: bool, say: Callable[[str], None]) -> Report:
    """The whole run. Raises BenchFailed."""
    clock = SystemClock()
    began, started_at = clock.monotonic(), iso_utc(clock.wall_ms())
    where = machine.facts(directory)
    rows = Rows(directory, plan, say)
    ran: dict[str, RowRun] = {}
    for name in names:
        row = rows.run(name)
        if row is not None:
            ran[name] = row
    found = figures(specs(plan), ran)
    return Report(
        version=FORMAT_VERSION,
        started_at=started_at,
        quick=quick,
        elapsed_s=clock.monotonic() - began,
        machine=where,
        figures=found,
        held=held(found),
        rows=ran,
        failures=rows.failures,
    )


def rows_of(text: str) -> list[str]:
    """The rows that `--only` names, in the order of the bench. Raises argparse.ArgumentTypeError."""
    wanted = {name.strip() for name in text.split(",") if name.strip()}
    unknown = wanted - set(ROWS)
    if unknown or not wanted:
        raise argparse.ArgumentTypeError(f"no row {', '.join(sorted(unknown))!r}; there are {', '.join(ROWS)}")
    return [name for name in ROWS if name in wanted]


def plan_of(arguments: argparse.Namespace) -> Plan:
    plan = QUICK if arguments.quick else FULL
    return msgspec.structs.replace(plan, big_blobs=BIG_BLOBS) if arguments.big else plan


def arguments_of(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.store", description="Measure the storage engine.")
    parser.add_argument("--output", type=Path, help="where the figures go (default: bench-store-<time>.json here)")
    parser.add_argument("--quick", action="store_true", help="smaller and fewer rounds")
    parser.add_argument("--big", action="store_true", help="ten million blobs in eight partitions as well")
    parser.add_argument("--dir", type=Path, default=Path(), help="where the temporary data goes (default: here)")
    parser.add_argument("--only", type=rows_of, default=list(ROWS), metavar="ROW,...", help=f"of {', '.join(ROWS)}")
    return parser.parse_args(words)


def default_output(wall_ms: int) -> Path:
    """`bench-store-20261121-230700.json` (UTC)."""
    digits = iso_utc(wall_ms)[:19].replace("-", "").replace(":", "").replace("T", "-")
    return Path(f"bench-store-{digits}.json")


def bench(arguments: argparse.Namespace, out: Console) -> int:
    """One run; returns the exit code. Raises BenchFailed, OSError."""
    output: Path = arguments.output or default_output(SystemClock().wall_ms())

    def say(text: str) -> None:
        if out.is_terminal:
            out.print(f"[dim]{text}[/dim]")

    with scratch(arguments.dir) as directory:
        found = measure(directory, plan_of(arguments), arguments.only, quick=arguments.quick, say=say)
        output.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    store_report.show(out, found)
    out.print(f"{found.elapsed_s:.0f} s; every figure is in {output}")
    return 1 if found.failures else 0


def main(words: Sequence[str] | None = None) -> int:
    arguments = arguments_of(words)
    return exit_code_of(lambda: bench(arguments, store_report.console()))


if __name__ == "__main__":
    sys.exit(main())
