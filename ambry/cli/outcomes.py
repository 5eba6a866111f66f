"""Outcomes of experiments, as the commands take them: a file, its columns, and whose they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ambry.cli.output import complain
from ambry.errors import InvalidRequest
from ambry.path_option import LocalPath

if TYPE_CHECKING:
    from ambry.client.sync.client import AmbryClient
    from ambry.ml.experiments.evaluation import ArmComparison, Evaluation
    from ambry.ml.experiments.store import StoredExperiment

T = TypeVar("T")

OUTCOMES = click.argument("outcomes", type=LocalPath(exists=True, dir_okay=False, path_type=Path))


def evaluating(command: Callable[..., T]) -> Callable[..., T]:
    """The options that say how outcomes are read."""
    for option in (
        click.option(
            "--alpha", type=click.FloatRange(0, 1, min_open=True, max_open=True), default=0.05, show_default=True
        ),
        click.option(
            "--absent", type=float, help="The metrics of who saw an arm and has no outcomes.  [default: not known]"
        ),
        click.option(
            "--seen", is_flag=True, help="Take the arm that a unit saw first, as exposures say, and no other units."
        ),
        click.option("--unit", default="unit", show_default=True, help="The column of who it is."),
        click.option(
            "--segment", "segments", multiple=True, help="Compare each value of it by itself; may be repeated."
        ),
        click.option(
            "--metric", "metrics", multiple=True, help="A column; may be repeated.  [default: the experiment's]"
        ),
    ):
        command = option(command)
    return command


def evaluated(
    client: AmbryClient,
    name: str,
    outcomes: Path,
    *,
    metrics: tuple[str, ...],
    segments: tuple[str, ...],
    unit: str,
    seen: bool,
    absent: float | None,
    alpha: float,
) -> tuple[StoredExperiment, Evaluation]:
    """The experiment, and what the outcomes say of it. Raises click.UsageError where nobody says which metrics."""
    from ambry.ml.experiments import joining
    from ambry.ml.experiments.evaluation import evaluate as evaluate_now
    from ambry.ml.experiments.exposures import read_exposures
    from ambry.ml.experiments.store import load_experiment
    from ambry.ml.tables import read_file

    stored = load_experiment(client, name)
    metrics = metrics or stored.experiment.metrics
    if not metrics:
        raise click.UsageError(f"{stored} names no metrics; say which with --metric")
    table = read_file(outcomes, unit)
    rows: Any = table.batches
    said_arms = joining.ARM in set(table.schema.names) - {unit, *metrics, *segments}
    if said_arms:
        source = "what exposures say" if seen else "what the experiment assigns, or what a unit saw first (--seen)"
        complain(f"{outcomes}: its column {joining.ARM!r} is not read; the arm of a unit is {source}")
    if seen:
        exposures = list(read_exposures(client, stored.dataset))
        if not exposures:
            raise InvalidRequest(
                f"nothing was written down of who saw {stored.dataset}: whoever serves it does so (`ambry serve "
                "--experiment`, or ambry.ml.experiments.ExposureLog). Without --seen each unit has the arm that it would see"
            )
        rows = joining.joined(
            exposures, rows, metrics=metrics, segments=segments, unit=unit, absent=absent, said_arms=said_arms
        )
    found = evaluate_now(
        stored.experiment,
        rows,
        unit=unit,
        arm=joining.ARM if seen else None,
        said_arm=(joining.SAID_ARM if seen else joining.ARM) if said_arms else None,
        metrics=metrics,
        segments=segments,
        alpha=alpha,
    )
    if found.said_otherwise:
        complain(f"{outcomes}: {found.said_otherwise:,} rows have another arm in that column than the one that counts")
    return stored, found


def comparison_row(found: ArmComparison) -> list[str]:
    """METRIC, ARM, UNITS, EFFECT, RELATIVE, ALWAYS VALID, P, ADJUSTED, SEGMENT."""
    effect = found.effect
    return [
        found.metric,
        found.arm,
        f"{found.units} of {found.units + found.control_units}",
        f"{effect.difference:+.4g}",
        "-" if effect.relative is None else f"{effect.relative:+.2%}",
        f"{effect.always_low:+.4g} to {effect.always_high:+.4g}",
        f"{effect.always_p:.2g}",
        f"{found.adjusted_p:.2g}",
        found.segment,
    ]
