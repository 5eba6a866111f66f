"""`ambry alias`: where the aliases of a dataset point, who moved them there, and back."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ambry.cli.arguments import OUTPUT, ChosenCluster, connecting
from ambry.cli.output import show_fields, show_rows, tell_done, when

if TYPE_CHECKING:
    from ambry.client.datasets import AliasInfo

T = TypeVar("T")

HEADER = ["VERSION", "MODIFIED", "WHO", "ALIAS", "WHY"]


def somebody() -> str:
    """Who runs this; empty where the system does not say."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


def moving(command: Callable[..., T]) -> Callable[..., T]:
    """The options that stand in the history."""
    for option in (
        click.option("--why", default="", metavar="TEXT", help="Stands in the history."),
        click.option("--who", metavar="NAME", help="Stands in the history; the user of this machine without it."),
    ):
        command = option(command)
    return command


@click.group()
def alias() -> None:
    """Aliases of datasets: names that point to a version, and move; every move stays in the history.

    \b
    ambry alias set fraud-model champion 1.3.0 --why 'better on the holdout'
    ambry alias rollback fraud-model champion --why 'false alarms at night'
    ambry dataset get fraud-model @champion
    """


@alias.command("set")
@click.argument("dataset")
@click.argument("alias")
@click.argument("version")
@connecting
@click.option("--expect", metavar="VERSION", help="Only if it points there now; none for an alias that is new.")
@moving
@OUTPUT
def set_alias(
    dataset: str,
    alias: str,
    version: str,
    cluster: ChosenCluster,
    expect: str | None,
    who: str | None,
    why: str,
    output: str,
) -> None:
    """Let an alias point to a version, by its number; it is made where there is none.

    \b
    ambry alias set fraud-model champion 1.3.0 --expect 1.2.9
    """
    expected: dict[str, Any] = {} if expect is None else {"expected": None if expect.lower() == "none" else expect}
    with cluster.connect() as client:
        moved = client.set_alias(dataset, alias, version, who=somebody() if who is None else who, why=why, **expected)
    if not cluster.quiet:
        show_fields(plain(moved), output)


@alias.command()
@click.argument("dataset")
@click.argument("alias")
@connecting
@OUTPUT
def show(dataset: str, alias: str, cluster: ChosenCluster, output: str) -> None:
    """Show where an alias points, since when, who moved it there and why."""
    with cluster.connect() as client:
        show_fields(plain(client.alias(dataset, alias)), output)


@alias.command("ls")
@click.argument("dataset")
@connecting
@OUTPUT
def ls_aliases(dataset: str, cluster: ChosenCluster, output: str) -> None:
    """List the aliases of a dataset."""
    with cluster.connect() as client:
        show_rows(client.aliases(dataset), output, HEADER, alias_row, plain)


@alias.command()
@click.argument("dataset")
@click.argument("alias")
@connecting
@OUTPUT
def history(dataset: str, alias: str, cluster: ChosenCluster, output: str) -> None:
    """Show all moves of an alias, the newest first."""
    with cluster.connect() as client:
        show_rows(client.alias_history(dataset, alias), output, HEADER, alias_row, plain)


@alias.command()
@click.argument("dataset")
@click.argument("alias")
@connecting
@moving
@OUTPUT
def rollback(dataset: str, alias: str, cluster: ChosenCluster, who: str | None, why: str, output: str) -> None:
    """Let an alias point to the version before; again to the one before that. What was rolled back is not gone to again.

    \b
    ambry alias rollback fraud-model champion --why 'false alarms at night'
    """
    with cluster.connect() as client:
        moved = client.roll_back_alias(dataset, alias, who=somebody() if who is None else who, why=why)
    if not cluster.quiet:
        show_fields(plain(moved), output)


@alias.command("rm")
@click.argument("dataset")
@click.argument("alias")
@connecting
@OUTPUT
def rm_alias(dataset: str, alias: str, cluster: ChosenCluster, output: str) -> None:
    """Delete an alias; its history stays, and the version that it points to."""
    with cluster.connect() as client:
        client.delete_alias(dataset, alias)
    tell_done(output, action="deleted", dataset=dataset, alias=alias)


def alias_row(found: AliasInfo) -> list[str]:
    return [found.version or "deleted", when(found.modified), found.who, found.alias, found.why]


def plain(found: AliasInfo) -> dict[str, Any]:
    return {
        "dataset": found.dataset,
        "alias": found.alias,
        "version": found.version,
        "who": found.who,
        "why": found.why,
        "modified": None if found.modified is None else found.modified.isoformat(),
        "datacenter": found.datacenter,
    }
