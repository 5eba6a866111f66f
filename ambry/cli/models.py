"""`ambry model`: models as versions: published, looked at, fetched, promoted and rolled back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ambry.cli.aliases import moving, plain, somebody
from ambry.cli.arguments import OUTPUT, ChosenCluster, as_numbers, as_pairs, connecting, shows
from ambry.cli.model_history import diff, history, parts, show_versions
from ambry.cli.output import remark, show_fields, show_rows, tell_done
from ambry.path_option import LocalPath

if TYPE_CHECKING:
    from ambry.ml.models.lifecycle import LineageStep
    from ambry.ml.models.loading import StoredModel

ALIAS = click.option("--alias", default="champion", show_default=True, help="Which of the aliases of the dataset.")


@click.group()
def model() -> None:
    """Models: versions that never change, an alias that says which one serves, and what each was made from.

    MODEL is NAME for the newest version, NAME@1.2.0, NAME@ALIAS, NAME@sha256:DIGEST for the version that has the digest, or the
    same as ambry://account/container/NAME.

    \b
    ambry model publish fraud model.safetensors --metric auc=0.93 --snapshot members
    ambry model promote fraud@1.1.0 --why 'better on the holdout'
    ambry model get fraud@champion -o serving/
    ambry model rollback fraud --why 'false alarms at night'
    """


for each in (history, diff, parts):
    model.add_command(each)


@model.command()
@click.argument("name")
@click.argument("source", type=LocalPath(exists=True, path_type=Path))
@connecting
@click.option(
    "--version", metavar="VERSION", help="Its number, or which part is raised: MAJOR, MINOR, PATCH.  [default: MINOR]"
)
@click.option(
    "--kind", help="What the files are, where their names do not tell: safetensors, onnx, sklearn, mlflow, ..."
)
@click.option("--metric", "metrics", metavar="NAME=NUMBER", callback=as_numbers, multiple=True, help="May be repeated.")
@click.option("--param", "params", metavar="K=V", callback=as_pairs, multiple=True, help="May be repeated.")
@click.option(
    "--framework",
    metavar="NAME=VERSION",
    callback=as_pairs,
    multiple=True,
    help="What it was made with, such as torch=2.13.0; may be repeated.",
)
@click.option("--feature", "features", metavar="URN", multiple=True, help="An input, in their order; may be repeated.")
@click.option(
    "--definitions",
    default="",
    metavar="VERSION",
    help="Of the features, such as features@1.2.0, or where they live: wheel:feed-features==1.2.0.",
)
@click.option("--snapshot", default="", metavar="VERSION", help="What it was trained on.")
@click.option("--parent", default="", metavar="MODEL", help="What it was made from.")
@click.option("--code", default="", metavar="TEXT", help="What made it, such as a commit.")
@click.option("--note", default="", metavar="TEXT")
@click.option("--once", is_flag=True, help="A version that is this very model is given, and no other one made.")
@shows("version", "id", "json", default="version")
def publish(
    name: str,
    source: Path,
    cluster: ChosenCluster,
    version: str | None,
    kind: str | None,
    metrics: dict[str, float],
    params: dict[str, str],
    framework: dict[str, str],
    features: tuple[str, ...],
    definitions: str,
    snapshot: str,
    parent: str,
    code: str,
    note: str,
    once: bool,
    output: str,
) -> None:
    """Publish SOURCE, a file or a directory, as the next version of the model NAME, and print which it is.

    Files that an earlier version had are not stored again. A snapshot, a parent and definitions are looked up, and written
    down with their numbers.
    """
    from ambry.ml.models.publishing import publish_model

    with cluster.connect() as client:
        made = publish_model(
            client,
            name,
            source,
            version=version,
            once=once,
            kind=kind,
            framework=framework,
            features=features,
            definitions=definitions,
            snapshot=snapshot,
            parent=parent,
            code=code,
            metrics=metrics,
            params=params,
            note=note,
        )
    told = {"version": made.version, "id": str(made.id), "sha256": made.digest, "new": made.is_new}
    told |= {"same_as": made.same_as, "needs_trust": made.needs_trust}
    if not cluster.quiet:
        if not made.is_new:
            remark(f"version {made.version} is this very model; no other one was made")
        elif made.same_as:
            remark(f"version {made.same_as} is this very model too; --once gives that one, and makes none")
        if made.needs_trust:
            remark(f"it is loaded with trust alone (trust=True, --trust): {made.needs_trust}")
    click.echo(json.dumps(told) if output == "json" else told[output])


@model.command("ls")
@click.argument("name", required=False)
@connecting
@click.option(
    "--metric",
    "metrics",
    metavar="NAME",
    multiple=True,
    help="Which to show; may be repeated.  [default: the most common]",
)
@OUTPUT
def ls_models(name: str | None, cluster: ChosenCluster, metrics: tuple[str, ...], output: str) -> None:
    """List the versions of the model NAME, with the aliases that point to them and their metrics; without NAME, all models of
    the container.
    """
    with cluster.connect() as client:
        if name is None:
            from ambry.ml.models.catalogue import list_models

            show_rows(
                list_models(client),
                output,
                ["MODEL", "NEWEST", "MODIFIED", "ID"],
                lambda each: [each.name, each.version, each.modified.isoformat(timespec="seconds"), str(each.id)],
                lambda each: {
                    "model": each.name,
                    "version": each.version,
                    "modified": each.modified.isoformat(),
                    "id": str(each.id),
                },
            )
            return
        show_versions(client, name, metrics, output)


@model.command()
@click.argument("place", metavar="MODEL")
@connecting
@OUTPUT
def show(place: str, cluster: ChosenCluster, output: str) -> None:
    """Show what a model is, of which parts, and what it was made from."""
    from ambry.ml.models.loading import open_model

    with cluster.connect() as client:
        show_fields(_plain(open_model(client, place)), output)


@model.command()
@click.argument("place", metavar="MODEL")
@connecting
@click.option(
    "-o", "--directory", type=LocalPath(file_okay=False, path_type=Path), required=True, help="Where its files go."
)
@shows("path", "json", default="path")
def get(place: str, cluster: ChosenCluster, directory: Path, output: str) -> None:
    """Download the files of a model below a directory.

    Files that are there with the same bytes stay, so the same command goes on after an interruption. Others are told before
    anything is fetched, and nothing is replaced.
    """
    from ambry.ml.models.loading import open_model

    with cluster.connect() as client:
        found = open_model(client, place)
        paths = [str(path) for path in found.download(directory)]
    if not cluster.quiet or output == "json":
        for path in paths:
            tell_done(output, path, path=path, version=found.version)


@model.command()
@click.argument("place", metavar="MODEL")
@connecting
@ALIAS
@click.option("--newest", is_flag=True, help="The newest version of MODEL, which names none.")
@click.option("--expect", metavar="VERSION", help="Only if the alias points there now; none for one that is new.")
@moving
@OUTPUT
def promote(
    place: str,
    cluster: ChosenCluster,
    alias: str,
    newest: bool,
    expect: str | None,
    who: str | None,
    why: str,
    output: str,
) -> None:
    """Let the alias point to a model: MODEL@1.2.0, MODEL@ALIAS, or the newest one with --newest.

    Where it points there already nothing is changed, and the move that stands is shown.
    """
    from ambry.ml.models import lifecycle
    from ambry.ml.places import dataset_text, version_of

    lifecycle.check_chosen(place, newest)
    expected: dict[str, Any] = {} if expect is None else {"expected": None if expect.lower() == "none" else expect}
    with cluster.connect() as client:
        before = lifecycle.alias_of(client, dataset_text(version_of(place)), alias)
        moved = lifecycle.promote(
            client, place, alias, newest=newest, who=somebody() if who is None else who, why=why, **expected
        )
    if not cluster.quiet:
        if moved == before:
            remark(f"{alias} points to {moved.version} already; nothing was changed")
        show_fields(plain(moved), output)


@model.command()
@click.argument("name", metavar="MODEL")
@connecting
@ALIAS
@moving
@OUTPUT
def rollback(name: str, cluster: ChosenCluster, alias: str, who: str | None, why: str, output: str) -> None:
    """Let the alias point to the version before; again to the one before that.

    MODEL is NAME, NAME@ALIAS for that alias, or the version that is taken back: where the alias does not point to it any more,
    nothing is changed.
    """
    from ambry.ml.models import lifecycle

    with cluster.connect() as client:
        moved = lifecycle.roll_back(client, name, alias, who=somebody() if who is None else who, why=why)
    if not cluster.quiet:
        show_fields(plain(moved), output)


@model.command()
@click.argument("place", metavar="MODEL")
@connecting
@OUTPUT
def lineage(place: str, cluster: ChosenCluster, output: str) -> None:
    """Show what a model was made from: its snapshot and code, its parent, and so on."""
    from ambry.ml.models import lifecycle

    with cluster.connect() as client:
        steps = list(lifecycle.lineage(client, place))
    show_rows(steps, output, ["MODEL", "SNAPSHOT", "DEFINITIONS", "CODE"], _step_row, _plain_step)


def _plain(found: StoredModel) -> dict[str, Any]:
    manifest = found.manifest
    return {
        "model": str(found),
        "kind": manifest.kind,
        "id": str(found.id),
        "sha256": found.digest,
        "parts": {part.path: part.size for part in manifest.parts},
        "framework": dict(manifest.framework),
        "features": list(manifest.features),
        "definitions": manifest.definitions,
        "snapshot": manifest.snapshot,
        "code": manifest.code,
        "metrics": dict(manifest.metrics),
        "params": {name: _shown_param(name, value) for name, value in manifest.params.items()},
        "parent": manifest.parent,
        "note": manifest.note,
    }


def _shown_param(name: str, value: Any) -> Any:
    """Of what inputs were in training how much there is: the numbers are for who serves."""
    if name == "inputs" and isinstance(value, dict) and isinstance(value.get("mean"), list):
        return {"columns": len(value["mean"]), "rows": value.get("rows")}
    return value


def _step_row(step: LineageStep) -> list[str]:
    if step.model is None:
        return [step.version, "is not there any more", "", ""]
    manifest = step.model.manifest
    return [step.version, manifest.snapshot, manifest.definitions, manifest.code]


def _plain_step(step: LineageStep) -> dict[str, Any]:
    if step.model is None:
        return {"model": step.version, "gone": True}
    manifest = step.model.manifest
    return {
        "model": step.version,
        "snapshot": manifest.snapshot,
        "definitions": manifest.definitions,
        "code": manifest.code,
        "parent": manifest.parent,
    }
