"""A comparison to look at: what is beyond its threshold first, then every column, in one file of HTML.

Of the cells of a dense feature those are listed that moved furthest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TypeVar

from ambry.client.refs import NameRef
from ambry.client.sync.client import AmbryClient
from ambry.ml.health.comparison import ColumnComparison, HealthReport
from ambry.ml.health.summaries import ColumnSummary, TableSummary, summary_rows
from ambry.ml.pages import keep, page, paragraph, table
from ambry.ml.places import version_of

_Column = TypeVar("_Column", ColumnComparison, ColumnSummary)
FOLDER = "health"
CELLS_LISTED_MAX = 20
"""Of one feature."""
COMPARED = ["column", "distance", "p", "stability index", "missing", "before", "out of vocabulary", "before", "verdict"]
SUMMARISED = [
    "column",
    "values",
    "missing",
    "mean",
    "deviation",
    "minimum",
    "median",
    "maximum",
    "out of vocabulary",
    "most",
]


def render_health(report: HealthReport) -> bytes:
    """The same for the same report."""
    faults, listed = report.faults, list(listed_of(report.comparisons))
    cells = {(name, each.part) for each in listed for name in (each.column, each.urn) if name}
    verdict = (
        paragraph(f"All {len(report.comparisons)} columns are within their thresholds.", "good")
        if not faults
        else paragraph(f"{len({each.name for each in report.comparisons if each.faults})} columns are not:", "bad")
    )
    return page(
        f"{report.current.name} beside {report.reference.name}",
        verdict,
        *(paragraph(f"{fault}.", "bad") for fault in faults),
        "<h2>Columns</h2>\n",
        *(paragraph(f"{note}.", "note") for note in (*report.notes, *left_out(report.comparisons))),
        table(COMPARED, [comparison_row(each) for each in listed]),
        *_summary("Reference", report.reference, cells),
        *_summary("Now", report.current, cells),
    )


def listed_of(columns: Iterable[_Column]) -> Iterator[_Column]:
    """All columns, and of the cells of a feature the first CELLS_LISTED_MAX."""
    cells: Counter[str] = Counter()
    for each in columns:
        cells[each.column] += each.is_cell
        if not each.is_cell or cells[each.column] <= CELLS_LISTED_MAX:
            yield each


def left_out(columns: Iterable[ColumnComparison | ColumnSummary]) -> list[str]:
    """Sentences: which features have more cells than are listed."""
    cells = Counter(each.column for each in columns if each.is_cell)
    return [
        f"{name}: {CELLS_LISTED_MAX} of its {count:,} cells are listed; as JSON there are all"
        for name, count in cells.items()
        if count > CELLS_LISTED_MAX
    ]


def keep_health(client: AmbryClient, dataset: str, report: HealthReport) -> NameRef:
    """Store a report beside a dataset, as JSON and as a page; the name of the page."""
    return keep(client, version_of(dataset), FOLDER, report.encode(), render_health(report))


def comparison_row(found: ColumnComparison) -> list[object]:
    """As COMPARED."""
    outside = [found.out_of_vocabulary_rate, found.reference_out_of_vocabulary_rate]
    return [
        found.name,
        *("" if value is None else value for value in (found.distance, found.p, found.psi)),
        f"{found.missing_rate:.1%}",
        f"{found.reference_missing_rate:.1%}",
        *("" if rate is None else f"{rate:.1%}" for rate in outside),
        "moved" if found.faults else "",
    ]


def _summary(title: str, summary: TableSummary, cells: set[tuple[str, str]]) -> list[str]:
    """Of cells those that are said, by column or URN."""
    listed = [
        each
        for each in summary.columns
        if not each.is_cell or (each.column, each.part) in cells or (each.urn, each.part) in cells
    ]
    about = paragraph(f"{summary.name}, {summary.rows:,} rows.", "note")
    return [f"<h2>{title}</h2>\n", about, table(SUMMARISED, summary_rows(listed))]
