"""`ambry health`: what columns hold, whether they moved, and promotions that are held back where they did."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ambry.cli.aliases import moving, plain, somebody
from ambry.cli.arguments import OUTPUT, ChosenCluster, connecting
from ambry.cli.failures import EXIT_HELD_BACK
from ambry.cli.local_files import write_whole
from ambry.cli.output import remark, show_fields, show_rows
from ambry.path_option import REPORT, LocalPath

if TYPE_CHECKING:
    from ambry.ml.health.comparison import ColumnComparison
    from ambry.ml.health.summaries import ColumnSummary
    from ambry.ml.health.thresholds import Thresholds

COLUMNS = click.option("--column", "columns", multiple=True, help="By name or URN; may be repeated.  [default: all]")
THRESHOLDS = click.option(
    "--thresholds",
    type=LocalPath(exists=True, dir_okay=False, path_type=Path),
    help="A file of TOML: from when on a column counts as moved.",
)


@click.group()
def health() -> None:
    """Health of features: training beside serving, yesterday beside today.

    TABLE, REFERENCE and CURRENT are a file (.csv, .jsonl, .parquet, .arrow), a snapshot: NAME, NAME@1764280000000 or
    NAME@ALIAS, or what `ambry serve --log-features` kept: MODEL.scored, MODEL.scored/DAY or MODEL.scored@VERSION/DAY.

    \b
    ambry health summary members
    ambry health compare members@1764280000000 members --thresholds thresholds.toml
    ambry health compare fraud.scored/2026-11-26 fraud.scored/2026-11-27
    ambry health gate fraud@1.2.0 fraud.scored/2026-11-27 --why 'as planned'
    """


@health.command()
@click.argument("table")
@connecting
@COLUMNS
@OUTPUT
def summary(table: str, cluster: ChosenCluster, columns: tuple[str, ...], output: str) -> None:
    """Say what each column of TABLE holds."""
    from ambry.ml.health.report import left_out, listed_of
    from ambry.ml.health.summaries import summarise
    from ambry.ml.tables import open_table

    with cluster.connect() as client:
        found = summarise(open_table(client, table), columns or None)
    header = ["COLUMN", "VALUES", "MISSING", "MEAN", "DEVIATION", "MINIMUM", "MEDIAN", "MAXIMUM", "UNKNOWN", "MOST"]
    listed = found.columns if output == "json" else list(listed_of(found.columns))
    show_rows(listed, output, header, _summary_row, lambda column: column.plain())
    for note in left_out(found.columns) if len(listed) < len(found.columns) and not cluster.quiet else []:
        remark(note)


@health.command()
@click.argument("reference")
@click.argument("current")
@connecting
@COLUMNS
@THRESHOLDS
@click.option("-o", "--file", type=REPORT, help="Write a page of HTML there.")
@click.option("--keep", metavar="DATASET", help="Store the report beside it, as JSON and HTML.")
@OUTPUT
def compare(
    reference: str,
    current: str,
    cluster: ChosenCluster,
    columns: tuple[str, ...],
    thresholds: Path | None,
    file: str | None,
    keep: str | None,
    output: str,
) -> None:
    """Say which columns of CURRENT are not what they are in REFERENCE; the exit code is 8 if any is beyond its thresholds."""
    from ambry.ml.health import comparison, report
    from ambry.ml.health.summaries import summarise
    from ambry.ml.tables import open_table

    bounds = _thresholds(thresholds)
    with cluster.connect() as client:
        before, after = (summarise(open_table(client, said), columns or None) for said in (reference, current))
        found = comparison.compare(before, after, bounds)
        if keep is not None:
            kept = report.keep_health(client, keep, found)
            if not cluster.quiet:
                remark(f"the report is {kept if kept.account else kept.name}")
    if file is not None:
        write_whole(file, report.render_health(found))
    if output == "json":
        click.echo(found.encode().decode())
    else:
        header = ["COLUMN", "DISTANCE", "P", "STABILITY", "MISSING", "UNKNOWN", "VERDICT"]
        listed = list(report.listed_of(found.comparisons))
        show_rows(listed, output, header, _comparison_row, lambda column: column)
        told = [*found.notes, *report.left_out(found.comparisons), *found.faults]
        for sentence in told if not cluster.quiet else []:
            remark(sentence)
    if not found.healthy:
        sys.exit(EXIT_HELD_BACK)


@health.command()
@click.argument("place", metavar="MODEL")
@click.argument("current")
@connecting
@click.option("--reference", default="", metavar="TABLE", help="[default: the snapshot that the model was trained on]")
@THRESHOLDS
@click.option("--alias", default="champion", show_default=True, help="Which of the aliases of the model.")
@click.option("--newest", is_flag=True, help="The newest version of MODEL, which names none.")
@click.option("--expect", metavar="VERSION", help="Only if the alias points there now; none for one that is new.")
@click.option("--force", default="", metavar="REASON", help="Do it, whatever was found; stands in the history.")
@moving
@OUTPUT
def gate(
    place: str,
    current: str,
    cluster: ChosenCluster,
    reference: str,
    thresholds: Path | None,
    alias: str,
    newest: bool,
    expect: str | None,
    force: str,
    who: str | None,
    why: str,
    output: str,
) -> None:
    """Let the alias point to MODEL@1.2.0, or the newest one with --newest, unless CURRENT is not what it was trained on.

    What is held back says why, and has the exit code 8. The report is stored beside the model in any case.
    """
    from ambry.ml.health.gate import promote_checked

    bounds = _thresholds(thresholds)
    expected: dict[str, Any] = {} if expect is None else {"expected": None if expect.lower() == "none" else expect}
    with cluster.connect() as client:
        made = promote_checked(
            client,
            place,
            current,
            reference=reference,
            thresholds=bounds,
            alias=alias,
            newest=newest,
            who=somebody() if who is None else who,
            why=why,
            force=force,
            **expected,
        )
    if not cluster.quiet:
        fields = {**plain(made.moved), "healthy": made.report.healthy, "report": made.page.name}
        show_fields({**fields, "faults": made.report.faults}, output)


def _thresholds(path: Path | None) -> Thresholds | None:
    from ambry.ml.health.thresholds import read_thresholds

    return None if path is None else read_thresholds(path)


def _summary_row(column: ColumnSummary) -> list[str]:
    from ambry.ml.health.summaries import summary_rows

    return [_cell(cell) for cell in summary_rows([column])[0]]


def _comparison_row(column: ColumnComparison) -> list[str]:
    unknown = "-" if column.out_of_vocabulary_rate is None else f"{column.out_of_vocabulary_rate:.1%}"
    return [
        column.name,
        *("-" if value is None else f"{value:.3g}" for value in (column.distance, column.p, column.psi)),
        f"{column.missing_rate:.1%}",
        unknown,
        "moved" if column.faults else "",
    ]


def _cell(cell: object) -> str:
    return f"{cell:.6g}" if isinstance(cell, int | float) else str(cell) or "-"
