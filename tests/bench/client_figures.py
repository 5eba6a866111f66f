"""Two ways to the same thing, measured in turn in one process: what each took, and what is said of it."""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tests.bench.figures import ratio


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Two calls that do the same, `count` times. `most` is the bar of what is judged: ours / beside, or the ms more.

    `moved` tells how many bytes a server sent so far, where that is what is judged.
    """

    name: str
    ours: Callable[[], object]
    beside: Callable[[], object]
    judged: Literal["wall", "CPU", "CPU ms more", "bytes"] = "wall"
    most: float
    count: int = 1
    moved: Callable[[], float] | None = None


class Spent(msgspec.Struct, frozen=True):
    wall_s: float
    cpu_s: float
    bytes: float = 0.0


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """A row measured: seconds of one operation, medians over the rounds, and the ratio of each round."""

    name: str
    judged: str
    most: float
    ours: Spent
    beside: Spent
    value: float
    of_rounds: list[float]
    cpu_ratio: float

    @property
    def held(self) -> bool:
        return self.value <= self.most


def spent(call: Callable[[], object], count: int, moved: Callable[[], float] | None = None) -> Spent:
    """What one of `count` operations took, in this process and in those that it waited for."""
    sent = 0.0 if moved is None else moved()
    before = _cpu_s()
    start = time.perf_counter()
    call()
    wall = time.perf_counter() - start
    cpu = _cpu_s() - before
    return Spent(wall / count, cpu / count, 0.0 if moved is None else (moved() - sent) / count)


def _cpu_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def measure(rows: Sequence[Row], *, rounds: int, out: Console) -> list[Cost]:
    found: dict[str, list[tuple[Spent, Spent]]] = {row.name: [] for row in rows}
    for number in range(rounds):
        for row in rows:
            if out.is_terminal:
                out.print(f"[dim]round {number + 1} of {rounds}: {row.name}[/dim]")
            sides: dict[bool, Spent] = {}
            for ours in (True, False) if number % 2 else (False, True):
                sides[ours] = spent(row.ours if ours else row.beside, row.count, row.moved)
            found[row.name].append((sides[True], sides[False]))
    return [cost(row, found[row.name]) for row in rows]


def cost(row: Row, rounds: Sequence[tuple[Spent, Spent]]) -> Cost:
    match row.judged:
        case "wall":
            values = [ratio(ours.wall_s, beside.wall_s) for ours, beside in rounds]
        case "CPU":
            values = [ratio(ours.cpu_s, beside.cpu_s) for ours, beside in rounds]
        case "bytes":
            values = [ratio(ours.bytes, beside.bytes) for ours, beside in rounds]
        case _:
            values = [1_000 * (ours.cpu_s - beside.cpu_s) for ours, beside in rounds]
    return Cost(
        name=row.name,
        judged=row.judged,
        most=row.most,
        ours=_median([ours for ours, _ in rounds]),
        beside=_median([beside for _, beside in rounds]),
        value=statistics.median(values),
        of_rounds=[round(each, 3) for each in values],
        cpu_ratio=statistics.median(ratio(ours.cpu_s, beside.cpu_s) for ours, beside in rounds),
    )


def _median(found: Sequence[Spent]) -> Spent:
    sides = zip(*((each.wall_s, each.cpu_s, each.bytes) for each in found), strict=True)
    return Spent(*(statistics.median(side) for side in sides))


def show(out: Console, found: Sequence[Cost]) -> None:
    table = Table(title="The client beside others (medians; of one operation)", title_justify="left", box=SIMPLE_HEAD)
    columns = ("row", "ms", "beside", "CPU ms", "beside", "CPU", "judged", "", "of the rounds", "at most", "")
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    for item in found:
        ours, beside = item.ours, item.beside
        table.add_row(
            item.name,
            *(f"{1_000 * each:,.3f}" for each in (ours.wall_s, beside.wall_s, ours.cpu_s, beside.cpu_s)),
            f"{item.cpu_ratio:.2f}",
            item.judged,
            f"{item.value:.3f}",
            f"{min(item.of_rounds):.3f} to {max(item.of_rounds):.3f}",
            f"{item.most:.3f}",
            "held" if item.held else "MISSED",
        )
    out.print(table)
