"""A run of the storage bench as tables for people, on stdout."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tests.bench.report import OTHERS_CORES_MAX
from tests.bench.store_figures import Figure, Report, Samples

COLUMNS = ("row", "measured / baseline", "measured", "baseline", "unit", "ratio", "bar", "", "others")
WORDS = 2
WIDTH_MIN = 150


def console() -> Console:
    """Wide enough for the tables whatever it writes to."""
    return Console(highlight=False, width=max(Console().width, WIDTH_MIN))


def show(out: Console, report: Report) -> None:
    machine = report.machine
    libraries = ", ".join(f"{name} {version}" for name, version in machine.libraries.items())
    out.print(
        f"{machine.cores} cores, {machine.cpu}, {machine.memory_mb / 1000:.0f} GB; Linux {machine.kernel}, "
        f"{machine.file_system}; Python {machine.python}; {libraries}; load average before {machine.load_average:.2f}"
    )
    out.print(_figures(report.figures))
    churn = report.rows.get("churn")
    if churn is not None:
        out.print(_churn(churn.samples))
    disturbed = sorted(name for name, row in report.rows.items() if row.others_cores > OTHERS_CORES_MAX)
    if disturbed:
        out.print(
            f"NOISY: others used more than {OTHERS_CORES_MAX} cores in {', '.join(disturbed)} (kernel threads that write "
            "our pages back count as others): measure again before believing them"
        )
    for failure in report.failures:
        out.print(f"FAILED: {failure}", markup=False)
    missed = [title for title, held in report.held.items() if not held]
    out.print(f"{len(report.held) - len(missed)} of {len(report.held)} bars held")


def _figures(figures: Sequence[Figure]) -> Table:
    table = _table("The storage engine", COLUMNS, words=WORDS)
    previous = ""
    for item in figures:
        spec = item.spec
        if previous not in ("", spec.row):
            table.add_section()
        table.add_row(
            spec.row if spec.row != previous else "",
            spec.title,
            number_text(item.value),
            number_text(item.baseline),
            spec.unit,
            number_text(item.ratio),
            bar_text(item),
            verdict(item),
            f"{item.others_cores:.1f}",
        )
        previous = spec.row
    return table


def _churn(samples: Samples) -> Table:
    columns = ("day", "live MB", "disk MB", "disk / live", "without compaction", "without / live")
    table = _table("Churn over time", columns)
    for day, live, disk, without in zip(
        *(samples[name] for name in ("each day", "each live", "each disk", "each disk without")), strict=True
    ):
        table.add_row(
            f"{day:.0f}",
            *(number_text(value) for value in (live, disk, disk / live, without, without / live)),
        )
    return table


def _table(title: str, columns: Sequence[str], *, words: int = 1) -> Table:
    """The first `words` columns hold words, the others figures."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < words else "right", no_wrap=True)
    return table


def number_text(value: float | None) -> str:
    """Three or four digits that count; nothing for nothing."""
    if value is None:
        return ""
    for least, digits in ((100, 0), (10, 1), (0.1, 2)):
        if abs(value) >= least:
            return f"{value:,.{digits}f}"
    return f"{value:.4f}"


def bar_text(item: Figure) -> str:
    """`>= 10 x`, `<= 250`."""
    bar = item.spec.bar
    if bar is None:
        return ""
    return f"{'>=' if item.spec.at_least else '<='} {bar:,g}{' x' if item.spec.of == 'ratio' else ''}"


def verdict(item: Figure) -> str:
    return {None: "", True: "held", False: "MISSED"}[item.held]
