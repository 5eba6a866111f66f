"""`ambry ls` and `ambry name`: which names there are, and what changes them alone."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from ambry.cli.arguments import OUTPUT, ChosenCluster, connecting, name_place, shows
from ambry.cli.output import begun, printable, show_info, tell_done, when

if TYPE_CHECKING:
    from ambry.client.names import NameChange, NameEntry
    from ambry.client.sync.client import AmbryClient

_LONG = "{size:>14}  {modified:25}  {expires:25}  {id:48}  {name}"
_CHANGES = "{modified:25}  {datacenter:>10}  {size:>14}  {id}"


@click.command()
@click.argument("prefix", default="")
@connecting
@click.option("-l", "--long", is_flag=True, help="Size, dates and id of each.")
@click.option(
    "--delimiter", metavar="TEXT", help="Names that go on beyond this one are told as one; / for directories."
)
@click.option("-n", "--limit", type=click.IntRange(1), metavar="N", help="At most so many.")
@shows("table", "json", "id")
def ls(prefix: str, cluster: ChosenCluster, long: bool, delimiter: str | None, limit: int | None, output: str) -> None:
    """List the names that begin with PREFIX, or all, by the order of their bytes.

    A name stands as it is where it can be pasted so, and else as an ambry://, which every command takes for a blob.

    \b
    ambry ls
    ambry ls risk/ -l --delimiter /
    ambry ls ambry://team/models/fraud --json
    """
    with cluster.connect() as client:
        entries = begun(client.list(prefix, delimiter=delimiter, page_size=min(limit or 1_000, 1_000)))
        empty = True
        if long and output == "table":
            click.echo(_LONG.format(size="SIZE", modified="MODIFIED", expires="EXPIRES", id="ID", name="NAME"))
        for entry in islice(entries, limit):
            empty = False
            click.echo(line_of(client, entry, output, long=long))
        if empty and not cluster.quiet:
            where = prefix or f"{client.default_account}/{client.default_container}"
            click.echo(f"ambry: there is no name in {printable(where)}", err=True)


def line_of(client: AmbryClient, entry: NameEntry, output: str, *, long: bool) -> str:
    """A name, as `ambry ls` prints it."""
    from ambry.client.refs import shown

    name = shown(entry.ref, account=client.default_account, container=client.default_container)
    if output == "json":
        return json.dumps(as_listed(entry))
    if output == "id":
        return str(entry.id or "-")
    if not long:
        return name
    size = "-" if entry.size is None else str(entry.size)
    expires = "-" if entry.is_prefix else when(entry.expires) or "never"
    return _LONG.format(
        size=size, modified=when(entry.modified) or "-", expires=expires, id=str(entry.id or "-"), name=name
    )


def as_listed(entry: NameEntry) -> dict[str, Any]:
    """The same as JSON has it."""
    if entry.is_prefix:
        return {"prefix": entry.name, "uri": str(entry.ref)}
    return {
        "name": entry.name,
        "uri": str(entry.ref),
        "id": str(entry.id),
        "size": entry.size,
        "modified": None if entry.modified is None else entry.modified.isoformat(),
        "expires": None if entry.expires is None else entry.expires.isoformat(),
    }


@click.group()
def name() -> None:
    """Names: what each points to, and pointed to. `ambry ls` lists them, `ambry rm` deletes them.

    A NAME is any text, or an ambry://account/container/name. One that begins with a dash stands behind --.
    """


@name.command()
@click.argument("name")
@connecting
@OUTPUT
def resolve(name: str, cluster: ChosenCluster, output: str) -> None:
    """Print the id of the blob that a name points to now."""
    with cluster.connect() as client:
        place = name_place(client, name)
        blob = str(client.resolve(place))
    tell_done(output, blob, name=place.name, uri=str(place), id=blob)


@name.command()
@click.argument("name")
@click.argument("blob", metavar="BLOB")
@connecting
@click.option("--overwrite", is_flag=True, help="Also where the name points to another blob.")
@OUTPUT
def bind(name: str, blob: str, cluster: ChosenCluster, overwrite: bool, output: str) -> None:
    """Let a name point to a blob of its container, by the blob's id or another name. Deleting the name leaves that blob.

    \b
    ambry name bind risk/fraud AQEAAQAAAAEAAAABAAAAAgGiG8qGTXBsrfvU_FnVMwyFb6Ct
    ambry name bind risk/fraud-2026-11 risk/fraud
    """
    with cluster.connect() as client:
        info = client.bind(name, blob, if_absent=not overwrite)
    if not cluster.quiet:
        show_info(info, output)


@name.command()
@click.argument("source")
@click.argument("target")
@connecting
@click.option("--overwrite", is_flag=True, help="Also where the target exists.")
@OUTPUT
def rename(source: str, target: str, cluster: ChosenCluster, overwrite: bool, output: str) -> None:
    """Move what SOURCE points to to TARGET, in one moment; nothing is copied.

    \b
    ambry name rename risk/fraud-new risk/fraud --overwrite
    """
    with cluster.connect() as client:
        info = client.rename(source, target, overwrite=overwrite)
    if not cluster.quiet:
        show_info(info, output)


@name.command()
@click.argument("name")
@connecting
@OUTPUT
def history(name: str, cluster: ChosenCluster, output: str) -> None:
    """Show what a name pointed to, the newest first. Blobs of before can be read by their ids."""
    with cluster.connect() as client:
        changes = begun(client.history(name))
        if output == "table":
            click.echo(_CHANGES.format(modified="MODIFIED", datacenter="DATACENTER", size="SIZE", id="ID"))
        for each in changes:
            click.echo(json.dumps(_told(each)) if output == "json" else _change(each))


def _told(each: NameChange) -> dict[str, Any]:
    return {
        "modified": each.modified.isoformat(),
        "datacenter": each.datacenter,
        "deleted": each.deleted,
        "id": None if each.id is None else str(each.id),
        "size": each.size,
    }


def _change(each: NameChange) -> str:
    return _CHANGES.format(
        modified=when(each.modified),
        datacenter=each.datacenter,
        size="-" if each.size is None else each.size,
        id="deleted" if each.id is None else str(each.id),
    )


@name.command()
@click.argument("name")
@connecting
@OUTPUT
def undelete(name: str, cluster: ChosenCluster, output: str) -> None:
    """Bring a name back that was deleted, and the blob that went with it."""
    with cluster.connect() as client:
        client.undelete(name_place(client, name))
    tell_done(output, action="undeleted", name=name)
