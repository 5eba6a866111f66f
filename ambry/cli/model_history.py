"""`ambry model history|diff|parts`, and what `ambry model ls NAME` lists: a model over time, and what lies beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ambry.cli.aliases import HEADER, alias_row, plain
from ambry.cli.arguments import OUTPUT, ChosenCluster, connecting
from ambry.cli.output import show_rows
from ambry.cli.unused_parts import age_of, unused_options

if TYPE_CHECKING:
    from ambry.client.sync.client import AmbryClient
    from ambry.ml.models.histories import ModelChange
    from ambry.ml.models.stored_parts import ListedPart

METRICS_SHOWN_MAX = 6


def show_versions(client: AmbryClient, name: str, metrics: tuple[str, ...], output: str) -> None:
    """Each version with where it is pointed to from and its metrics; those that most versions have, where none is asked for."""
    from ambry.ml.models.histories import versions_of

    found = list(versions_of(client, name))
    counted: dict[str, int] = {}
    for each in found:
        for metric in each.metrics:
            counted[metric] = counted.get(metric, 0) + 1
    shown = metrics or tuple(sorted(sorted(counted, key=lambda metric: -counted[metric])[:METRICS_SHOWN_MAX]))
    show_rows(
        found,
        output,
        ["VERSION", "MODIFIED", "ALIASES", *shown],
        lambda each: [
            each.version,
            each.modified.isoformat(timespec="seconds"),
            ", ".join(each.aliases),
            *(_number(each.metrics.get(metric)) for metric in shown),
        ],
        lambda each: {
            "version": each.version,
            "modified": each.modified.isoformat(),
            "aliases": list(each.aliases),
            "metrics": {name: number for name, number in each.metrics.items() if not metrics or name in metrics},
            "id": str(each.id),
            "sha256": each.digest,
        },
    )


@click.command()
@click.argument("place", metavar="MODEL")
@connecting
@click.option("--alias", default="champion", show_default=True, help="Which of the aliases, where MODEL names none.")
@OUTPUT
def history(place: str, cluster: ChosenCluster, alias: str, output: str) -> None:
    """Show the moves of the alias, the newest first: all of NAME or NAME@ALIAS, or those to one version."""
    from ambry.ml.models.histories import history as moves_of

    with cluster.connect() as client:
        show_rows(list(moves_of(client, place, alias)), output, HEADER, alias_row, plain)


@click.command()
@click.argument("before", metavar="MODEL")
@click.argument("after", metavar="OTHER")
@connecting
@OUTPUT
def diff(before: str, after: str, cluster: ChosenCluster, output: str) -> None:
    """Show what OTHER says otherwise than MODEL: parts, by their SHA-256, metrics, params, and what it was made from.

    \b
    ambry model diff fraud@1.0.0 fraud@champion
    """
    from ambry.ml.models.histories import diff as changes_of

    def row(change: ModelChange) -> list[str]:
        return [change.what, _cell(change.before), _cell(change.after)]

    with cluster.connect() as client:
        changes = changes_of(client, before, after)
    show_rows(
        changes,
        output,
        ["WHAT", "MODEL", "OTHER"],
        row,
        lambda change: {"what": change.what, "before": change.before, "after": change.after},
    )


@click.command()
@click.argument("name")
@connecting
@unused_options(
    "Only those that no version uses.",
    "a model that is being published has its parts there already. Handed in again is as stored anew.",
)
@OUTPUT
def parts(name: str, cluster: ChosenCluster, unused: bool, delete: bool, older: int | None, output: str) -> None:
    """List the parts that are stored for the model NAME, with their sizes and the versions that use them.

    A part that no version uses was left by a model that was never published, or whose version is deleted. Nothing deletes it by
    itself. --delete takes a key with read, delete and name. "perhaps" are versions of a later release, where nobody can tell.

    \b
    ambry model parts fraud --unused
    ambry model parts fraud --unused --delete
    """
    from ambry.ml.models.stored_parts import delete_unused, list_parts

    age = age_of(unused, delete, older)
    with cluster.connect() as client:
        if delete:
            found = delete_unused(client, name, age)
        else:
            found = [part for part in list_parts(client, name) if not (unused and part.users)]
    show_rows(found, output, ["SIZE", "STORED", "SHA-256", "VERSIONS"], _part_row, _plain_part)


def _part_row(part: ListedPart) -> list[str]:
    return [str(part.size), part.modified.isoformat(timespec="seconds"), part.sha256, _who(part)]


def _who(part: ListedPart) -> str:
    """Who has it, as far as that can be told."""
    return ", ".join(part.users) or ("perhaps " + ", ".join(part.unread) if part.unread else "")


def _plain_part(part: ListedPart) -> dict[str, Any]:
    return {
        "sha256": part.sha256,
        "size": part.size,
        "modified": part.modified.isoformat(),
        "id": str(part.id),
        "versions": list(part.users),
        "perhaps": list(part.unread),
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
