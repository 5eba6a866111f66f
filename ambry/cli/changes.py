"""`ambry changes`: what changes in a container."""

from __future__ import annotations

import json
import math
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ambry.cli.arguments import OUTPUT, ChosenCluster, as_duration, connecting
from ambry.cli.interrupts import signals_interrupt
from ambry.cli.output import printable, tell_in_options, when
from ambry.errors import AmbryError, Unavailable
from ambry.path_option import LocalPath

if TYPE_CHECKING:
    from ambry.client.changes import ToldChange

AGAIN_S = 1.0
"""Between attempts of one who follows, while no frontend answers."""


def _bound(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Seconds, without end for `forever`; None where nothing is said."""
    if value is None:
        return None
    seconds = as_duration(ctx, param, value)
    return math.inf if seconds is None else seconds


@click.command()
@connecting
@click.option("-f", "--follow", is_flag=True, help="Wait for more, until interrupted.")
@click.option(
    "--since", metavar="TOKEN",
    help="Begin behind a token, at the beginning (where nothing is said), or now. Where --state has a file, that counts.",
)  # fmt: skip
@click.option(
    "--state", metavar="FILE|NAME",
    help="Go on where this file says that the run before ended, and note there how far this one is. "
    "With --to also an ambry:// name; without it .changes/kafka/TOPIC in the container.",
)  # fmt: skip
@click.option("--to", metavar="kafka://HOST:PORT[,HOST:PORT]/TOPIC", help="Publish them on a topic of Kafka.")
@click.option(
    "--kafka-config", type=LocalPath(exists=True, dir_okay=False, path_type=Path),
    help="Settings of the Kafka client, key=value lines as librdkafka calls them (security.protocol, sasl.username, ...).",
)  # fmt: skip
@click.option(
    "--give-up-after", metavar="TIME", callback=_bound,
    help="With --to, end where Kafka or the store have not answered for so long; or forever.  [default: 60s, and forever "
    "with --follow]",
)  # fmt: skip
@OUTPUT
def changes(
    cluster: ChosenCluster,
    follow: bool,
    since: str | None,
    state: str | None,
    to: str | None,
    kafka_config: Path | None,
    give_up_after: float | None,
    output: str,
) -> None:
    """Tell what was put, deleted, undeleted, extended, named and aliased in a container.

    Each change is told at least once, those of a name in their order. So after a replica or a datacenter was changed for
    another, also --since now may tell what was before. Some that cannot be told, as their replicas do not answer,
    are said on standard error; with --follow they come later, and without it that is exit code 5.

    \b
    ambry changes                                        # all that is there
    ambry changes --follow --since now
    ambry changes --since now --state /var/lib/mirror/token --output json
    ambry changes --to kafka://localhost:9092/changes --follow
    """
    if since == "":  # Of a variable that is not set: the beginning would be told once more.
        raise click.UsageError("--since is empty; write the token that the run before ended with, beginning, or now")
    if to is not None:
        from ambry.cli.publishing import publish
        from ambry.streams.plan import GIVE_UP_AFTER_S

        bound = give_up_after or (math.inf if follow else GIVE_UP_AFTER_S)
        publish(cluster, to, kafka_config, follow=follow, since=since, state=state, give_up_after=bound)
        return
    for option, value in (("--kafka-config", kafka_config), ("--give-up-after", give_up_after)):
        if value is not None:
            raise click.UsageError(f"{option} is for --to kafka://...")
    _tell(cluster, follow, since, None if state is None else Path(state), output)


def _tell(cluster: ChosenCluster, follow: bool, since: str | None, state: Path | None, output: str) -> None:
    from ambry.client.changes import NOT_ALL, TokenFile, naming_state
    from ambry.client.sync.waiting import pause
    from ambry.streams.tried_again import TriedAgain

    file = None if state is None else TokenFile(state)
    kept = None if file is None else file.read()

    def tell_next(token: str) -> None:
        if file is None and not cluster.quiet:
            click.echo(f"next: --since {token}", err=True)

    with signals_interrupt(), cluster.connect() as client, nullcontext() if kept is None else naming_state(state):
        feed = client.changes(kept or since or "beginning", follow=follow)
        noted, again = feed.token, TriedAgain(partial(tell_in_options, cluster.quiet))
        try:
            while True:
                try:
                    page = feed.next_page()
                except AmbryError as error:
                    if not (follow and error.retriable):
                        raise
                    again.failed(error)
                    pause(AGAIN_S)
                    continue
                if follow and page.delayed:
                    again.failed(Unavailable(NOT_ALL))
                else:
                    again.went_well()
                for change in page.changes:
                    click.echo(_line(change, output))
                # The token moves when a page was told whole.
                if file is not None and page.token != noted:
                    file.write(page.token)
                noted = page.token
                if page.at_end and not follow:
                    break
        except KeyboardInterrupt:
            tell_next(noted)
            raise
    tell_next(noted)
    if page.delayed:
        raise Unavailable(f"{NOT_ALL}; the same command tells them later")


def _line(change: ToldChange, output: str) -> str:
    if output == "json":
        from ambry.client.changes import change_fields

        return json.dumps(change_fields(change))
    of_dataset = "" if change.dataset is None else f"{change.dataset}{'@' + change.alias if change.alias else ''}"
    what = [change.name or of_dataset, change.version or "", "" if change.id is None else str(change.id)]
    what += [str(change.size) if change.size is not None else "", change.who, change.why]
    return printable("  ".join([when(change.time), change.type.ljust(14), *filter(None, what)])).strip()
