"""`ambry dataset parts`: what lies beside a dataset that Spark writes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ambry.cli.arguments import OUTPUT, ChosenCluster, connecting
from ambry.cli.output import show_rows, tell_unless, when
from ambry.cli.unused_parts import age_of, unused_options

if TYPE_CHECKING:
    from ambry.client.model import BlobInfo
    from ambry.spark.stored_parts import SparkPart


@click.command()
@click.argument("name", metavar="DATASET")
@connecting
@unused_options(
    "Only those that no version has.",
    "a job that still writes has its parts there already, and is refused without them.",
)
@OUTPUT
def parts(name: str, cluster: ChosenCluster, unused: bool, delete: bool, older: int | None, output: str) -> None:
    """List the parts that Spark stored for versions of DATASET, with their sizes and the versions that have them.

    The parts of a version that is deleted stay, until they are deleted here.

    \b
    ambry dataset parts clicks --unused
    ambry dataset parts clicks --unused --delete
    """
    from ambry.spark.stored_parts import delete_unused, list_parts

    age = age_of(unused, delete, older)
    with cluster.connect() as client:
        if delete:
            found = delete_unused(client, name, age, partial(tell_unless, False))
        else:
            found = [part for part in list_parts(client, name) if not (unused and part.versions)]
    show_rows(found, output, ["SIZE", "STORED", "NAME", "VERSIONS"], _row, _plain)


def tell_parts(info: BlobInfo, dataset: str, quiet: bool) -> None:
    """Of a version that was fetched as a file, that its rows are not in it."""
    from ambry.spark.commits import PARTS_KEY

    if (count := info.metadata.get(PARTS_KEY, "0")) != "0":
        tell_unless(
            quiet,
            f"{dataset}@{info.version} is a footer: its rows are in {count} parts (`ambry dataset parts {dataset}`), which "
            "are not in this file. Spark reads them together, by the version",
        )


def _row(part: SparkPart) -> list[str]:
    return [str(part.size), when(part.modified), part.ref.name, ", ".join(part.versions)]


def _plain(part: SparkPart) -> dict[str, Any]:
    return {
        "name": part.ref.name,
        "size": part.size,
        "modified": part.modified.isoformat(),
        "job": part.job,
        "versions": list(part.versions),
    }
