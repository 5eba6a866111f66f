"""`ambry photon`: models with coefficients of each entity, trained, scored with, and looked at."""

from __future__ import annotations

import json
import math
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ambry.cli.arguments import OUTPUT, ChosenCluster, as_numbers, as_pairs, connecting
from ambry.cli.output import printable, remark_unless, show_fields, show_rows
from ambry.cli.photon_here import train_here
from ambry.cli.photon_kept import keep_trained, kept_at
from ambry.cli.photon_origin import rows_origin, said_of_trained, settled_origin
from ambry.cli.photon_rows import BAGS, OFFSET, RESPONSE, WEIGHT, SaidRows
from ambry.errors import InvalidRequest
from ambry.path_option import LocalPath

if TYPE_CHECKING:
    from ambry.ml.models.publishing import SaidOfModel
    from ambry.ml.photon.models import PhotonModel

DATA = click.argument("data", nargs=-1, required=True, metavar="DATA...")
DIRECTORY = LocalPath(exists=True, file_okay=False, path_type=Path)


@click.group()
def photon() -> None:
    """Models as Photon ML has them: coefficients for all, and for each member, job or song.

    DATA are Avro files of (name, term, value), directories of such, or URLs; or a typed snapshot (DATASET, DATASET@VERSION,
    DATASET@ALIAS), of which features are said as fields are, and the column of its entities is an id. MODEL is a published one
    (NAME, NAME@1.2.0, NAME@ALIAS) or a directory that Photon or `train -o` wrote.

    \b
    ambry photon train clicks/ --task logistic --l2 global=1 --random per-member=memberId --publish ctr
    ambry photon train members@champion --task logistic --response clicked --l2 global=1 --random per-job=job --publish ctr
    ambry photon score ctr today/ > scores.tsv
    ambry photon show ctr --effect per-member --entity 42
    """


@photon.command()
@DATA
@connecting
@click.option("--task", type=click.Choice(["linear", "logistic", "poisson"]), required=True)
@click.option(
    "--fixed",
    metavar="NAME[=SHARD]",
    default="global=features",
    show_default=True,
    help="The fixed effect; an empty name is none.",
)
@click.option(
    "--random",
    "randoms",
    metavar="NAME=ID[,SHARD]",
    callback=as_pairs,
    multiple=True,
    help="A random effect: the id that its entities have, and the shard.  [default: features]",
)
@click.option("--l1", "l1", metavar="EFFECT=NUMBER", callback=as_numbers, multiple=True, help="May be repeated.")
@click.option(
    "--l2",
    "l2",
    metavar="EFFECT=NUMBER",
    callback=as_numbers,
    multiple=True,
    help="May be repeated.  [default: 0, of random effects 1]",
)
@click.option(
    "--normalization",
    type=click.Choice(["none", "standard-deviation", "max-magnitude", "standardization"]),
    default="none",
    show_default=True,
    help="What features of the fixed effect are divided by before penalties see them.",
)
@click.option("--lower", type=click.IntRange(1), default=1, help="Rows that an entity has at least to have a model.")
@click.option("--upper", type=click.IntRange(1), help="Rows of an entity that are taken at most.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the sample that --upper takes.")
@RESPONSE
@WEIGHT
@OFFSET
@BAGS
@click.option("--validate", "held_out", metavar="DATA", multiple=True, help="Rows that are not trained on; repeatable.")
@click.option(
    "--evaluator",
    "evaluators",
    metavar="NAME",
    multiple=True,
    help="AUC, RMSE, AUC:ID, PRECISION@5:ID, ...; may be repeated.  [default: what is usual for the task]",
)
@click.option("--start", metavar="MODEL", help="Where to begin.")
@click.option(
    "--engine",
    type=click.Choice(["glum", "spark"]),
    default="glum",
    show_default=True,
    help="What trains: glum on this machine, all effects at once, or Spark, one after the other in turns.",
)
@click.option("--master", default="", metavar="URL", help="Of Spark: yarn, local[2].  [default: this machine]")
@click.option("--workers", type=click.IntRange(1, 4_096), default=2, show_default=True, help="Executors of Spark.")
@click.option("--conf", "settings", metavar="K=V", multiple=True, callback=as_pairs, help="A setting of Spark.")
@click.option("--hadoop-conf", type=DIRECTORY, envvar="HADOOP_CONF_DIR", help="Of YARN.  [default: HADOOP_CONF_DIR]")
@click.option("--sweeps", type=click.IntRange(1), default=50, show_default=True, help="Turns of Spark at most.")
@click.option("-o", "directory", type=LocalPath(path_type=Path), help="Write the model there, as Photon reads it.")
@click.option("--publish", "name", metavar="NAME", help="Publish it as the next version of this model.")
@OUTPUT
def train(
    data: tuple[str, ...],
    cluster: ChosenCluster,
    task: str,
    fixed: str,
    randoms: dict[str, str],
    l1: dict[str, float],
    l2: dict[str, float],
    normalization: str,
    lower: int,
    upper: int | None,
    seed: int,
    response: str | None,
    weight: str | None,
    offset: str | None,
    bags: dict[str, str],
    held_out: tuple[str, ...],
    evaluators: tuple[str, ...],
    start: str | None,
    directory: Path | None,
    name: str | None,
    output: str,
    engine: str,
    sweeps: int,
    **spark: Any,
) -> None:
    """Train a GLM or a GLMix on DATA, and say how good it is: on the rows of --validate, else on those that it has seen.

    With --engine spark, each file of DATA is a task, and all executors open it by the same name; a snapshot is read in parts.
    """
    from ambry.cli.photon_options import refuse_ignored
    from ambry.ml.datasets import dataset_there
    from ambry.ml.files import check_directory
    from ambry.ml.models.publishing import KIND as MODEL_KIND
    from ambry.ml.photon import Normalization, Task, evaluator
    from ambry.ml.photon.effects import FixedEffect, ModelEffect, RandomEffect
    from ambry.ml.photon.metadata import check_names

    effects: list[ModelEffect] = []
    called, _, shard = fixed.partition("=")
    if called:
        effects.append(
            FixedEffect(
                name=called,
                shard=shard or "features",
                l1=l1.get(called, 0.0),
                l2=l2.get(called, 0.0),
                normalization=Normalization[normalization.upper().replace("-", "_")],
            )
        )
    for effect, text in randoms.items():
        entity, _, shard = text.partition(",")
        effects.append(
            RandomEffect(
                name=effect,
                entity=entity,
                shard=shard or "features",
                l1=l1.get(effect, 0.0),
                l2=l2.get(effect, 1.0),
                lower=lower,
                upper=upper,
                seed=seed,
            )
        )
    refuse_ignored(click.get_current_context(), effects, engine)
    if unknown := (set(l1) | set(l2)) - {effect.name for effect in effects}:
        raise InvalidRequest(f"a penalty is on {min(unknown)!r}, and there is no such effect")
    # Before anything is trained: names that are wrong cost no minutes.
    kinds = [effect.entity for effect in effects if isinstance(effect, RandomEffect)]
    check_names([effect.name for effect in effects], [*(effect.shard for effect in effects), *kinds])
    if directory is not None:
        check_directory(directory)
    told = [evaluator(text) for text in evaluators]
    ids = dict.fromkeys(
        [*(text.partition(",")[0] for text in randoms.values()), *(each.group for each in told if each.group)]
    )
    if name is not None:
        with cluster.connect() as client:
            dataset_there(client, name, MODEL_KIND)
    begin, parent = _model_and_version(cluster, start) if start else (None, "")
    kind = Task[task.upper()]
    said = SaidRows(tuple(ids), bags, response, weight=weight, offset=offset)
    with ExitStack() as opened:
        rows = opened.enter_context(said.opened(cluster, data))
        seen = opened.enter_context(said.opened(cluster, held_out)) if held_out else None
        for taken in rows.taken:
            remark_unless(cluster.quiet, taken)
        origin, held = rows_origin(rows), rows_origin(seen) if seen else None
        if name is not None:
            origin = settled_origin(cluster, origin)
        if engine == "spark":
            from ambry.cli.photon_spark import train_on_spark

            model, fields = train_on_spark(
                cluster, rows, seen, kind, effects, evaluators, start=begin, sweeps=sweeps, name=name or "", **spark
            )
            metrics = fields.pop("metrics")
        else:
            model, read, metrics = train_here(
                cluster.quiet, rows, seen, kind, effects, evaluators, start=begin, name=name or ""
            )
            fields = {"rows": read}
    model = replace(model, observed=said.observed(model))
    fields |= {**metrics, **model.described}
    of_it: SaidOfModel = {}
    if name is not None:
        of_it = said_of_trained(
            kind,
            effects,
            said,
            evaluators,
            rows=origin,
            held_out=held,
            parent=parent,
            start="" if parent else start or "",
            engine=engine,
            sweeps=sweeps,
        )
        of_it["metrics"] = {key: value for key, value in metrics.items() if math.isfinite(value)}
    fields |= keep_trained(cluster, model, name, of_it, directory)
    show_fields({key: _plain(value) for key, value in fields.items()}, output)


@photon.command()
@click.argument("place", metavar="MODEL")
@DATA
@connecting
@click.option(
    "--response", metavar="FIELD", help="Of a snapshot: what is no feature.  [default: what was none in the training]"
)
@OFFSET
@BAGS
@click.option("--mean", is_flag=True, help="The mean of the response, such as a probability, and not the score.")
@OUTPUT
def score(
    place: str,
    data: tuple[str, ...],
    cluster: ChosenCluster,
    response: str | None,
    offset: str | None,
    bags: dict[str, str],
    mean: bool,
    output: str,
) -> None:
    """Print the uid of each row of DATA and its score, with its offset. Entities without a model count for nothing.

    What no row has of the model, and what the model does not know of the rows, is told on standard error.
    """
    from ambry.ml.photon.unmatched import unmatched_told

    model = _model(cluster, place)
    with SaidRows.to_score(model, bags, response, offset).opened(cluster, data) as opened:
        rows = opened.read()
    found = model.predict(rows) if mean else model.scores(rows)
    for told in unmatched_told(model, rows):
        remark_unless(cluster.quiet, told)
    for uid, value in zip(rows.uids, found.tolist(), strict=True):
        click.echo(
            json.dumps({"uid": uid, "score": _plain(value)}) if output == "json" else f"{printable(uid)}\t{value!r}"
        )


@photon.command()
@click.argument("place", metavar="MODEL")
@connecting
@click.option("--effect", help="Its coefficients, the largest first.")
@click.option(
    "--entity", help="Of which entity, where the effect is a random one; a published model is read by one range."
)
@OUTPUT
def show(place: str, cluster: ChosenCluster, effect: str | None, entity: str | None, output: str) -> None:
    """Say what MODEL is: its task and effects, or the coefficients of one."""
    from ambry.ml.photon.layout import directory_at

    if effect is not None:
        means = _coefficients(cluster, place, effect, entity)
        show_rows(
            sorted(means.items(), key=lambda pair: (-abs(pair[1]), pair[0])),
            output,
            ["COEFFICIENT", "NAME", "TERM"],
            lambda pair: [f"{pair[1]:.6g}", *pair[0]],
            lambda pair: {"name": pair[0][0], "term": pair[0][1], "value": pair[1]},
        )
        return
    if entity is not None:
        raise click.UsageError("--entity is of a random effect; name it by --effect")
    if directory_at(place) is not None:
        model = _model(cluster, place)
        told: dict[str, Any] = {"task": model.task.value, **model.described}
    else:
        from ambry.ml.photon.serving import open_scorer
        from ambry.ml.place_errors import file_or_version

        with cluster.connect() as client, file_or_version(place):
            scorer = open_scorer(client, place)
            told = {"model": str(scorer.model), "task": scorer.task.value, **scorer.described}
    show_fields(told, output)


def _coefficients(cluster: ChosenCluster, place: str, effect: str, entity: str | None) -> dict[tuple[str, str], float]:
    """Raises InvalidRequest for what the model has not."""
    from ambry.ml.photon.layout import directory_at
    from ambry.ml.photon.serving import open_scorer
    from ambry.ml.place_errors import file_or_version

    if directory_at(place) is not None:
        return _model(cluster, place).coefficients(effect, entity)
    with cluster.connect() as client, file_or_version(place):
        return open_scorer(client, place).coefficients(effect, entity)


def _model(cluster: ChosenCluster, place: str) -> PhotonModel:
    """Whole, of a directory or out of the store."""
    return _model_and_version(cluster, place)[0]


def _model_and_version(cluster: ChosenCluster, place: str) -> tuple[PhotonModel, str]:
    """The version has its number, and is empty for a directory."""
    from ambry.ml.models.loading import open_model
    from ambry.ml.photon.serving import KIND
    from ambry.ml.place_errors import file_or_version
    from ambry.ml.places import shown_version

    if (kept := kept_at(place)) is not None:
        return kept, ""
    with cluster.connect() as client:
        with file_or_version(place):
            stored = open_model(client, place)
        if stored.manifest.kind != KIND:
            raise InvalidRequest(f"{stored} is {stored.manifest.kind}, and no model of Photon's")
        found: PhotonModel = stored.load()
        return found, shown_version(stored.place)


def _plain(value: Any) -> Any:
    """A number that is none, or beyond a float's range, is null, which JSON has."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
