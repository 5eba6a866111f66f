"""A run as tables for people, on stdout."""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tests.bench.figures import FALL_MAX, Bar, Comparison, Report, Row, bars, cores_used, size_text

WIDTH_MIN = 140
LARGE_SIZE = 1 << 20
# Above this, what others did on the machine is likely to show in the figures.
OTHERS_CORES_MAX = 0.3


def console() -> Console:
    """Wide enough for the tables whatever it writes to: a wrapped line is better than a figure that is cut off."""
    return Console(highlight=False, width=max(Console().width, WIDTH_MIN))


def options(module: str, description: str) -> argparse.ArgumentParser:
    """What every run takes that measures rows in turn."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", metavar="WORD", help="rows that have one of these words in their name")
    parser.add_argument("--output", type=Path, help="a file for every figure, as JSON")
    parser.add_argument("--dir", type=Path, default=Path(), help="where the temporary data goes (default: here)")
    return parser


def show(out: Console, report: Report) -> None:
    machine, probes = report.machine, report.probes
    libraries = ", ".join(f"{name} {version}" for name, version in machine.libraries.items())
    out.print(
        f"{machine.cores} cores, {machine.cpu}, {machine.memory_mb / 1000:.0f} GB; Linux {machine.kernel}, "
        f"{machine.file_system}; Python {machine.python}; {libraries}; load average before {machine.load_average:.2f}"
    )
    table = _table("The machine without us", ("probe", "median", "least", "most"))
    for name, values in (
        ("fdatasync/s, one writer, 4 KiB overwritten", probes.fdatasync_per_s),
        ("disk MB/s, one file, one fdatasync", probes.disk_mb_per_s),
        ("loopback MB/s, raw TCP, two processes", probes.loopback_mb_per_s),
    ):
        table.add_row(name, *(f"{value:,.0f}" for value in (statistics.median(values), min(values), max(values))))
    out.print(table)
    out.print(_small([row for row in report.rows if row.point.size < LARGE_SIZE]))
    loopback = statistics.median(probes.loopback_mb_per_s)
    disk = statistics.median(probes.disk_mb_per_s)
    out.print(_large([row for row in report.rows if row.point.size >= LARGE_SIZE], loopback=loopback, disk=disk))
    out.print(_cores(report.rows))
    out.print(_memory(report))
    out.print("How the bars stand (absolute, so they also measure the machine; the share of the bare server does not):")
    for bar in bars(report):
        out.print(f"  {bar_text(bar)}")
    disturbed = [row for row in report.rows if max(row.cluster.others_cores, row.bare.others_cores) > OTHERS_CORES_MAX]
    if disturbed:
        out.print(
            f"NOISY: in {len(disturbed)} of {len(report.rows)} rows others used more than {OTHERS_CORES_MAX} cores "
            "(column others): measure again before believing them"
        )
    for failure in report.failures:
        out.print(f"FAILED: {failure}", markup=False)


def bar_text(bar: Bar) -> str:
    if bar.reached is None:
        return f"{bar.title}: not measured (wanted {bar.wanted:,.0f} {bar.unit})"
    word = "held" if bar.held else "MISSED"
    beside = f"; the bare server did {bar.bare:,.0f}, so {bar.reached / bar.bare:.2f} of that" if bar.bare else ""
    return f"{bar.title}: {bar.reached:,.0f} {bar.unit}, wanted {bar.wanted:,.0f}: {word}{beside}"


def show_comparison(out: Console, found: Sequence[Comparison]) -> None:
    columns = ("row", "old ratio", "new ratio", "ratio new/old", "rate new/old", "")
    table = _table("Compared with the older run (1.00 = the same)", columns)
    for item in found:
        verdict = f"fell by more than {FALL_MAX:.0%}" if item.fell else ("watched" if item.guarded else "")
        if item.others_cores > OTHERS_CORES_MAX:
            verdict += f" (others used up to {item.others_cores:.1f} cores: measure again)"
        table.add_row(
            item.key,
            f"{item.old_ratio:.3f}",
            f"{item.new_ratio:.3f}",
            f"{item.change:.2f}",
            f"{item.rate_change:.2f}",
            verdict,
        )
    out.print(table)


def _table(title: str, columns: Sequence[str], *, words: int = 1) -> Table:
    """The first `words` columns hold words, the others figures."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < words else "right", no_wrap=True)
    return table


def _small(rows: Sequence[Row]) -> Table:
    table = _table(
        "Small blobs, 4 KiB",
        (
            "operation", "conn", "ops/s", "bare ops/s", "ratio", "x fsync/s", "p50 ms", "p99 ms", "bare p50", "bare p99",
            "cpu s/1000", "bare cpu", "load cpu", "others",
        ),
    )  # fmt: skip
    previous = None
    for row in rows:
        group = (row.point.datacenters, row.point.connections)
        if previous not in (None, group):
            table.add_section()
        previous = group
        ours, bare = row.cluster, row.bare
        table.add_row(
            row.point.operation + (f", {row.point.datacenters} dc" if row.point.datacenters > 1 else ""),
            str(row.point.connections),
            f"{ours.rate:,.0f}",
            f"{bare.rate:,.0f}",
            f"{row.ratio:.3f}",
            f"{row.fdatasync_ratio:.2f}" if row.fdatasync_ratio is not None else "",
            f"{ours.p50_ms:.2f}",
            f"{ours.p99_ms:.2f}",
            f"{bare.p50_ms:.2f}",
            f"{bare.p99_ms:.2f}",
            f"{ours.cpu_s_per_1000:.3f}",
            f"{bare.cpu_s_per_1000:.3f}",
            f"{ours.load_cpu_s_per_1000:.3f}",
            f"{ours.others_cores:.1f}",
        )
    return table


def _large(rows: Sequence[Row], *, loopback: float, disk: float) -> Table:
    table = _table(
        "Large blobs (x machine: PUT against disk MB/s, GET against loopback MB/s)",
        (
            "operation", "size", "conn", "MB/s", "bare MB/s", "ratio", "x machine", "p50 ms", "p99 ms",
            "cpu s/1000", "cpu s/GB", "bare s/GB", "load s/GB", "others",
        ),
        words=2,
    )  # fmt: skip
    for row in rows:
        ours, bare = row.cluster, row.bare
        per_gb = 1e9 / row.point.size / 1000
        table.add_row(
            row.point.operation,
            size_text(row.point.size),
            str(row.point.connections),
            f"{ours.mb_per_s:,.0f}",
            f"{bare.mb_per_s:,.0f}",
            f"{row.ratio:.3f}",
            f"{ours.mb_per_s / (loopback if row.point.operation == 'get' else disk):.2f}",
            f"{ours.p50_ms:.1f}",
            f"{ours.p99_ms:.1f}",
            f"{ours.cpu_s_per_1000:.1f}",
            f"{ours.cpu_s_per_1000 * per_gb:.2f}",
            f"{bare.cpu_s_per_1000 * per_gb:.2f}",
            f"{ours.load_cpu_s_per_1000 * per_gb:.2f}",
            f"{ours.others_cores:.1f}",
        )
    return table


def _cores(rows: Sequence[Row]) -> Table:
    watched = [row for row in rows if row.point.connections in (4, 32)]
    names = sorted({name for row in watched for name in row.cluster.cpu_s})
    table = _table("Where CPU goes: average cores busy per process", ["row", *names, "others"])
    for row in watched:
        used = cores_used(row.cluster.cpu_s, row.cluster.elapsed_s)
        shown = (f"{used[name]:.2f}" if name in used else "" for name in names)
        table.add_row(row.key, *shown, f"{row.cluster.others_cores:.2f}")
    return table


def _memory(report: Report) -> Table:
    table = _table("Resident memory, MB", ("process", "when ready", "peak", "growth to peak", "at the end"))
    for item in report.memory:
        table.add_row(
            item.process,
            f"{item.ready_mb:,.0f}",
            f"{item.peak_mb:,.0f}",
            f"{item.peak_mb - item.ready_mb:,.0f}",
            f"{item.end_mb:,.0f}",
        )
    return table
