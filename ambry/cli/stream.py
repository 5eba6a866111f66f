"""`ambry stream`: near-line features from the change feed on Kafka."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ambry.cli.arguments import OUTPUT, ChosenCluster, as_duration, as_time, connecting
from ambry.cli.output import tell_done, tell_unless
from ambry.errors import InvalidRequest
from ambry.path_option import LocalPath

if TYPE_CHECKING:
    from ambry.streams.target import KafkaTarget

_CONFIG = click.option(
    "--kafka-config", type=LocalPath(exists=True, dir_okay=False, path_type=Path),
    help="Settings of the Kafka client, as in `ambry changes`.",
)  # fmt: skip


@click.group()
def stream() -> None:
    """Near-line features: counts of members' actions that follow the store through Kafka, and become snapshots.

    \b
    ambry changes --to kafka://localhost:9092/changes --follow
    ambry stream actions kafka://localhost:9092/changes member-actions --folder actions/
    ambry stream snapshot kafka://localhost:9092/member-actions members --definitions features --feature historicalActionsInFeed
    """


@stream.command()
@click.argument("changes", metavar="KAFKA")
@click.argument("topic")
@connecting
@click.option("--folder", required=True, metavar="NAME", help="What the names of files of actions begin with.")
@click.option(
    "--keep", required=True, type=LocalPath(file_okay=False, path_type=Path),
    help="Directory for what is kept of members; an empty one is filled from Kafka.",
)  # fmt: skip
@click.option(
    "--give-up-after", metavar="TIME", default="1h", show_default=True, callback=as_duration,
    help="End where Kafka or the store have not answered for so long; or forever.",
)  # fmt: skip
@_CONFIG
def actions(
    cluster: ChosenCluster,
    changes: str,
    topic: str,
    folder: str,
    keep: Path,
    give_up_after: int | None,
    kafka_config: Path | None,
) -> None:
    """Count the actions in files of a container, whose changes stand on KAFKA, for each member on TOPIC, until interrupted.

    A file has lines of JSON: {"member": 17, "action": "Click", "at": 1764244800000}. While Kafka or the store are away the
    job waits, says so, and goes on where it was.
    """
    from ambry.streams.job import run_job

    source = _target(changes, kafka_config)
    with cluster.connect() as client:
        try:
            run_job(
                client,
                source,
                topic,
                folder=folder,
                state=keep,
                give_up_after_s=give_up_after,
                tell=partial(tell_unless, cluster.quiet),
            )
        except ModuleNotFoundError as missing:
            raise InvalidRequest(str(missing)) from None


@stream.command()
@click.argument("members", metavar="KAFKA")
@click.argument("dataset")
@connecting
@click.option("--definitions", required=True, metavar="VERSIONS", help="What `ambry features publish` published.")
@click.option("--feature", "urn", required=True, metavar="NAME", help="Whose dims are the action and the days.")
@click.option(
    "--days",
    multiple=True,
    type=click.IntRange(1, 400),
    default=(1, 7, 30),
    show_default=True,
    help="A window's length.",
)
@click.option(
    "--as-of",
    callback=as_time,
    metavar="TIME",
    help="The last day of the windows; UTC where no zone is said.  [default: now]",
)
@_CONFIG
@OUTPUT
def snapshot(
    cluster: ChosenCluster,
    members: str,
    dataset: str,
    definitions: str,
    urn: str,
    days: tuple[int, ...],
    as_of: datetime | None,
    kafka_config: Path | None,
    output: str,
) -> None:
    """Write what the topic of `ambry stream actions` says now of all members as a snapshot of DATASET."""
    from ambry.ml import features
    from ambry.ml.features.urn import find_urn
    from ambry.streams.actions import publish_snapshot, read_members

    source = _target(members, kafka_config)
    with cluster.connect() as client:
        loaded = features.load(client, definitions)
        found = read_members(source, partial(tell_unless, cluster.quiet))
        if not found:
            raise InvalidRequest(f"{source} says of no member; is it the topic of a job that has counted?")
        written = publish_snapshot(
            client,
            dataset,
            found,
            str(find_urn(urn, loaded.metadata.urns)),
            metadata=loaded,
            as_of=as_of or client.store_time(),
            lengths=sorted(set(days)),
        )
    tell_done(
        output,
        f"{dataset}@{written.version}: {written.rows:,} members, {written.size:,} bytes",
        dataset=written.dataset,
        version=written.version,
        id=str(written.id),
        rows=written.rows,
        size=written.size,
    )


def _target(text: str, config: Path | None) -> KafkaTarget:
    from ambry.streams.target import parse_target, read_settings

    return parse_target(text, None if config is None else read_settings(config))
