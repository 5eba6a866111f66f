"""Two commits side by side: what the rounds of a point say of both. Pure, but for the table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tests.bench.figures import Point, Side, rate, ratio, side
from tests.bench.load import Result
from tests.bench.report import OTHERS_CORES_MAX


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """One point of both commits. The ratios are new / old, medians over the rounds; below 1 is better but for `rate_ratio`."""

    key: str
    new: Side
    old: Side
    rate_ratio: float
    cpu_ratio: float
    p50_ratio: float
    p99_ratio: float
    round_rate_ratios: list[float]


def pair(point: Point, new: Sequence[Result], old: Sequence[Result]) -> Pair:
    """`new` and `old` have one entry per round, in the same order."""
    rounds = [(side([ours], point.size), side([theirs], point.size)) for ours, theirs in zip(new, old, strict=True)]

    def median(of: Callable[[Side], float]) -> float:
        return statistics.median(ratio(of(ours), of(theirs)) for ours, theirs in rounds)

    return Pair(
        key=point.key,
        new=side(new, point.size),
        old=side(old, point.size),
        rate_ratio=median(lambda one: one.rate),
        cpu_ratio=median(lambda one: one.cpu_s_per_1000),
        p50_ratio=median(lambda one: one.p50_ms),
        p99_ratio=median(lambda one: one.p99_ms),
        round_rate_ratios=[round(ratio(rate(ours), rate(theirs)), 3) for ours, theirs in zip(new, old, strict=True)],
    )


def show(out: Console, found: Sequence[Pair], *, against: str) -> None:
    """The ratios as a table; a row in which others used the machine says so."""
    columns = ("row", "ops/s", f"{against}", "rate", "cpu s/1000", f"{against}", "cpu", "p50", "p99", "others")
    table = Table(title=f"This checkout against {against} (ratios new / old)", title_justify="left", box=SIMPLE_HEAD)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    for item in found:
        # While one is asked the other only idles; what that takes is counted as others' too.
        others = max(item.new.others_cores, item.old.others_cores)
        table.add_row(
            item.key,
            f"{item.new.rate:,.0f}",
            f"{item.old.rate:,.0f}",
            f"{item.rate_ratio:.2f}",
            f"{item.new.cpu_s_per_1000:.3f}",
            f"{item.old.cpu_s_per_1000:.3f}",
            f"{item.cpu_ratio:.2f}",
            f"{item.p50_ratio:.2f}",
            f"{item.p99_ratio:.2f}",
            f"{others:.1f}" + (" NOISY" if others > OTHERS_CORES_MAX else ""),
        )
    out.print(table)
