"""`ambry changes`: what changes in a container."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ambry.cli.arguments import OUTPUT, ChosenCluster, connecting
from ambry.cli.output import printable, when
from ambry.errors import AmbryError

if TYPE_CHECKING:
    from ambry.client.changes import ToldChange

AGAIN_S = 1.0
"""Between attempts of one who follows, while no frontend answers."""


@click.command()
@connecting
@click.option("-f", "--follow", is_flag=True, help="Wait for more, until interrupted.")
@click.option(
    "--since", metavar="TOKEN",
    help="Begin behind a token, at the beginning (where nothing is said), or now. Where --state has a file, that counts.",
)  # fmt: skip
@click.option(
    "--state", type=click.Path(dir_okay=False, path_type=Path),
    help="Go on where this file says that the run before ended, and note there how far this one is.",
)  # fmt: skip
@OUTPUT
def changes(cluster: ChosenCluster, follow: bool, since: str | None, state: Path | None, output: str) -> None:
    """Tell what was put, deleted, undeleted, extended, named and aliased in a container.

    Each change is told at least once, those of a name in their order.

    \b
    ambry changes                                        # all that is there
    ambry changes --follow --since now
    ambry changes --since now --state /var/lib/mirror/token --output json
    """
    from ambry.client.changes import TokenFile
    from ambry.client.sync.waiting import pause

    file = None if state is None else TokenFile(state)
    kept = None if file is None else file.read()
    with cluster.connect() as client:
        feed = client.changes(kept or since or "beginning", follow=follow)
        noted = feed.token
        try:
            while True:
                try:
                    for change in feed:
                        # The token moves when a page was told whole.
                        if file is not None and feed.token != noted:
                            noted = feed.token
                            file.write(noted)
                        click.echo(_line(change, output))
                    break
                except AmbryError as error:
                    if not (follow and error.retriable):
                        raise
                    if not cluster.quiet:
                        click.echo(f"{error}; it is tried again", err=True)
                    pause(AGAIN_S)
        finally:
            if file is not None and feed.token != noted:
                file.write(feed.token)
    if file is None and not cluster.quiet:
        click.echo(f"next: --since {feed.token}", err=True)


def _line(change: ToldChange, output: str) -> str:
    if output == "json":
        return json.dumps(_plain(change))
    of_dataset = "" if change.dataset is None else f"{change.dataset}{'@' + change.alias if change.alias else ''}"
    what = [change.name or of_dataset, change.version or "", "" if change.id is None else str(change.id)]
    what += [str(change.size) if change.size is not None else "", change.who, change.why]
    return printable("  ".join([when(change.time), change.type.ljust(14), *filter(None, what)])).strip()


def _plain(change: ToldChange) -> dict[str, object]:
    """What a change says."""
    fields: dict[str, object] = {
        "type": change.type,
        "time": None if change.time is None else change.time.isoformat(),
        "id": None if change.id is None else str(change.id),
        "size": change.size,
        "expires": None if change.expires is None else change.expires.isoformat(),
        "life_version": change.life_version or None,
        "name": change.name,
        "dataset": change.dataset,
        "version": change.version,
        "alias": change.alias,
        "who": change.who or None,
        "why": change.why or None,
        "datacenter": change.datacenter,
        "late": change.late or None,
    }
    return {name: value for name, value in fields.items() if value is not None}
