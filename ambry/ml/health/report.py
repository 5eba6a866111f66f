"""A comparison to look at: what is beyond its threshold first, then every column, in one file of HTML."""

from __future__ import annotations

from ambry.client.refs import NameRef
from ambry.client.sync.client import AmbryClient
from ambry.ml.health.comparison import ColumnComparison, HealthReport
from ambry.ml.health.summaries import TableSummary, summary_rows
from ambry.ml.pages import keep, page, paragraph, table
from ambry.ml.places import version_of

FOLDER = "health"
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
    faults = report.faults
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
        table(COMPARED, [comparison_row(each) for each in report.comparisons]),
        *_summary("Reference", report.reference),
        *_summary("Now", report.current),
    )


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


def _summary(title: str, summary: TableSummary) -> list[str]:
    about = paragraph(f"{summary.name}, {summary.rows:,} rows.", "note")
    return [f"<h2>{title}</h2>\n", about, table(SUMMARISED, summary_rows(summary.columns))]
