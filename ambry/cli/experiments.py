"""`ambry experiment`: experiments started, ramped and ended, evaluated, and what they have shown done."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from ambry.cli.aliases import moving, plain, somebody
from ambry.cli.arguments import OUTPUT, ChosenCluster, as_pairs, connecting
from ambry.cli.failures import EXIT_HELD_BACK
from ambry.cli.local_files import write_whole
from ambry.cli.outcomes import OUTCOMES, comparison_row, evaluated, evaluating
from ambry.cli.output import remark, show_fields, show_rows, standard_input, tell_done
from ambry.path_option import REPORT

if TYPE_CHECKING:
    from ambry.ml.experiments.document import Experiment
    from ambry.ml.experiments.store import StoredExperiment


@click.group()
def experiment() -> None:
    """Experiments: who sees which arm, how far it is exposed, what it has shown, and the model that it promotes.

    NAME is the newest version of an experiment, NAME@3 one of them. OUTCOMES is a file (.csv, .jsonl, .parquet, .arrow) with a
    row for each unit and a column for each metric.

    \b
    ambry experiment start ranker-2.json
    ambry experiment ramp ranker-2 0.5
    ambry experiment evaluate ranker-2 outcomes.csv --metric clicks --segment country
    ambry experiment decide ranker-2 outcomes.csv --arm treatment --metric clicks
    """


@experiment.command()
@click.argument("document", type=click.File("rb"))
@connecting
@click.option("--dataset", default="", metavar="NAME", help="What it is called in the store.  [default: its own name]")
@OUTPUT
def start(document: IO[bytes], cluster: ChosenCluster, dataset: str, output: str) -> None:
    """Start the experiment that DOCUMENT (JSON; - is standard input) says, and print its version.

    \b
    {"name": "ranker-2", "exposed": 0.1, "metrics": ["clicks"],
     "arms": [{"name": "control", "share": 0.5, "model": "ranker@1.4.0"},
              {"name": "treatment", "share": 0.5, "model": "ranker@2.0.0"}]}

    Its models have to be there. Layers and holdouts are names, which need no making; one that looks misspelt is told.
    """
    from ambry.ml.experiments.store import lonely_references, start_experiment

    asked = _read(document)
    with cluster.connect() as client:
        _tell(start_experiment(client, asked, dataset), output)
        if not cluster.quiet and (asked.layer or asked.holdout):
            for told in lonely_references(client, asked):
                remark(told)


@experiment.command()
@click.argument("name")
@connecting
@OUTPUT
def show(name: str, cluster: ChosenCluster, output: str) -> None:
    """Show an experiment: its arms, and who is in it."""
    from ambry.ml.experiments.store import load_experiment

    with cluster.connect() as client:
        show_fields(_plain(load_experiment(client, name)), output)


@experiment.command("ls")
@connecting
@OUTPUT
def ls_experiments(cluster: ChosenCluster, output: str) -> None:
    """List the experiments, those that have ended too."""
    from ambry.ml.experiments.store import list_experiments

    with cluster.connect() as client:
        show_rows(list_experiments(client), output, ["EXPERIMENT", "EXPOSED", "ARMS", "LAYER"], _row, _plain)


@experiment.command()
@click.argument("name")
@click.argument("exposed", type=float, required=False)
@connecting
@click.option(
    "--document",
    type=click.File("rb"),
    help="The whole next document, which may only widen it.",
)
@OUTPUT
def ramp(name: str, exposed: float | None, cluster: ChosenCluster, document: IO[bytes] | None, output: str) -> None:
    """Expose an experiment to the part EXPOSED (0 to 1) of each arm, and print its version; nobody is moved back.

    \b
    ambry experiment ramp ranker-2 0.5
    """
    from ambry.ml.experiments.store import ramp_experiment

    if (exposed is None) == (document is None):
        raise click.UsageError("say to which part it is exposed, such as 0.5, or --document")
    after = exposed if document is None else _read(document)
    with cluster.connect() as client:
        _tell(ramp_experiment(client, name, after), output)  # type: ignore[arg-type]


@experiment.command()
@click.argument("name")
@connecting
@OUTPUT
def stop(name: str, cluster: ChosenCluster, output: str) -> None:
    """End an experiment: nobody is exposed to it any more, and others may have its part of a layer."""
    from ambry.ml.experiments.store import stop_experiment

    with cluster.connect() as client:
        _tell(stop_experiment(client, name), output)


@experiment.command()
@click.argument("name")
@connecting
@OUTPUT
def layer(name: str, cluster: ChosenCluster, output: str) -> None:
    """Say which running experiments have which part of the layer NAME; exit code 8 where two share one.

    That may be where they were started in two datacenters before one had heard of the other. Stop one of them.
    """
    from ambry.ml.experiments.store import layer_shares

    with cluster.connect() as client:
        found = layer_shares(client, name)
    show_rows(
        found,
        output,
        ["FROM", "TO", "EXPERIMENT", "SHARED WITH"],
        lambda row: [*(f"{end:g}" for end in _ends(row[0])), str(row[0]), ", ".join(map(str, row[1]))],
        lambda row: {
            "experiment": str(row[0]),
            **dict(zip(("from", "to"), _ends(row[0]), strict=True)),
            "shared_with": list(map(str, row[1])),
        },
    )
    if any(others for _, others in found):
        sys.exit(EXIT_HELD_BACK)


@experiment.command()
@click.argument("name")
@click.argument("units", nargs=-1, required=True)
@connecting
@click.option("--attribute", "attributes", metavar="K=V", callback=as_pairs, multiple=True, help="Of the units.")
@OUTPUT
def assign(name: str, units: tuple[str, ...], cluster: ChosenCluster, attributes: dict[str, str], output: str) -> None:
    """Say which arm each of UNITS sees; - reads them from standard input, one a line."""
    from ambry.ml.experiments.store import load_experiment

    with cluster.connect() as client:
        found = load_experiment(client, name).experiment
    told = {key: _meant(found, key, text) for key, text in attributes.items()}
    asked: Iterable[str] = units
    if units == ("-",):
        asked = (line for raw in standard_input() if (line := raw.decode("utf-8", "surrogateescape").strip()))
    rows = ((unit, found.arm_of(unit, told)) for unit in asked)
    show_rows(
        rows,
        output,
        ["ARM", "UNIT", "MODEL"],
        lambda row: [row[1].name if row[1] else "-", row[0], row[1].model if row[1] else ""],
        lambda row: {
            "unit": row[0],
            "arm": row[1].name if row[1] else None,
            "model": (row[1].model or None) if row[1] else None,
        },
    )


@experiment.command()
@click.argument("name")
@OUTCOMES
@connecting
@evaluating
@OUTPUT
def evaluate(name: str, outcomes: Path, cluster: ChosenCluster, output: str, **how: Any) -> None:
    """Say what each arm does to each metric, beside the first arm.

    The interval and P are the always-valid ones: they hold however often this is asked. ADJUSTED is P for how many comparisons
    there are: of the first metric for all among the arms, of anything else among everything. Where the split is not what it
    should be, nothing of it is worth reading, and a line says so. --metric clicks/views is a ratio of two columns.
    """
    with cluster.connect() as client:
        _, found = evaluated(client, name, outcomes, **how)
    if output == "json":
        click.echo(found.encode().decode())
        return
    show_rows(
        found.comparisons,
        output,
        ["METRIC", "ARM", "UNITS", "EFFECT", "RELATIVE", "ALWAYS VALID", "P", "ADJUSTED", "SEGMENT"],
        comparison_row,
        lambda each: each,
    )
    if not found.trustworthy and not cluster.quiet:
        counts = ", ".join(f"{arm} {count}" for arm, count in found.counts.items())
        remark(
            f"the split is not what it should be (sample ratio p {found.sample_ratio_p:.2g}): {counts}; "
            "find out who is missing before you believe any of it"
        )


@experiment.command()
@click.argument("name")
@OUTCOMES
@connecting
@evaluating
@click.option("-o", "--file", type=REPORT, help="Where to write it, and not store it.")
@OUTPUT
def report(name: str, outcomes: Path, cluster: ChosenCluster, file: str | None, output: str, **how: Any) -> None:
    """Draw an evaluation as one file of HTML, store it beside the experiment, and print its name.

    \b
    ambry experiment report ranker-2 outcomes.csv --metric clicks -o ranker-2.html
    """
    from ambry.ml.experiments.decision import keep_report
    from ambry.ml.experiments.report import render_report

    with cluster.connect() as client:
        stored, found = evaluated(client, name, outcomes, **how)
        if file is None:
            place = keep_report(client, stored, found)
            written = str(place) if place.account else place.name
        else:
            write_whole(file, render_report(found, stored.experiment))
            written = file
    tell_done(output, written, report=written, trustworthy=found.trustworthy)


@experiment.command()
@click.argument("name")
@OUTCOMES
@connecting
@evaluating
@click.option("--arm", required=True, help="Whose model it is about.")
@click.option("--alias", default="champion", show_default=True, help="Which of the aliases of the model.")
@click.option("--roll-back", is_flag=True, help="Let the alias go back from the arm's model, since it does harm.")
@click.option("--lower-is-better", is_flag=True, help="Of the metric, such as seconds.")
@click.option("--force", default="", metavar="REASON", help="Do it, whatever speaks against it; stands in the history.")
@moving
@OUTPUT
def decide(
    name: str,
    outcomes: Path,
    cluster: ChosenCluster,
    output: str,
    arm: str,
    alias: str,
    roll_back: bool,
    lower_is_better: bool,
    force: str,
    who: str | None,
    why: str,
    **how: Any,
) -> None:
    """Promote the model of an arm by the first of the metrics, or roll it back; the numbers stand in the history of the alias.

    Refused where the split is not what it should be, and where the effect is not shown, with exit code 8. The evaluation and
    its page are stored beside the experiment in any case.
    """
    from ambry.ml.experiments.decision import ModelMove
    from ambry.ml.experiments.decision import decide as decide_now

    with cluster.connect() as client:
        stored, found = evaluated(client, name, outcomes, **how)
        made = decide_now(
            client,
            stored,
            found,
            arm=arm,
            move=ModelMove.ROLL_BACK if roll_back else ModelMove.PROMOTE,
            alias=alias,
            lower_is_better=lower_is_better,
            who=somebody() if who is None else who,
            why=why,
            force=force,
        )
    if not cluster.quiet:
        show_fields({**plain(made.moved), "report": made.report.name, "forced": list(made.forced)}, output)


def _read(document: IO[bytes]) -> Experiment:
    from ambry.ml.experiments.document import parse_experiment

    return parse_experiment(document.read())


def _meant(found: Experiment, attribute: str, text: str) -> Any:
    """The value of the targeting that a text stands for, which may be a number or a boolean; or the text."""
    values = found.targeting.get(attribute, ())
    return next((value for value in values if not isinstance(value, str) and json.dumps(value) == text), text)


def _tell(stored: StoredExperiment, output: str) -> None:
    tell_done(output, str(stored), **_plain(stored))


def _plain(stored: StoredExperiment) -> dict[str, Any]:
    return {
        "version": str(stored),
        "running": stored.is_running,
        **{key: value for key, value in json.loads(stored.experiment.encode()).items() if key != "format"},
    }


def _ends(stored: StoredExperiment) -> tuple[float, ...]:
    layer = stored.experiment.layer
    return () if layer is None else (layer.begin, layer.end)


def _row(stored: StoredExperiment) -> list[str]:
    found = stored.experiment
    layer = "" if found.layer is None else f"{found.layer.name} {found.layer.begin:g} to {found.layer.end:g}"
    exposed = f"{found.exposed:.0%}" if stored.is_running else "ended"
    return [str(stored), exposed, ", ".join(f"{arm.name} {arm.share:.0%}" for arm in found.arms), layer]
