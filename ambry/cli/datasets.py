"""`ambry dataset`: make datasets, put versions of them and read those."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ambry.cli.aliases import alias_row
from ambry.cli.arguments import (
    AS_JSON,
    OUTPUT,
    RANGE,
    ChosenCluster,
    as_duration,
    as_pairs,
    connecting,
    shows,
    version_place,
)
from ambry.cli.blobs import TO_FILE, fetch
from ambry.cli.dataset_parts import parts, tell_parts
from ambry.cli.failures import report_one
from ambry.cli.output import (
    copy,
    progress_bar,
    show_fields,
    show_info,
    show_rows,
    show_table,
    standard_input,
    standard_output,
    tell_done,
    to_json,
    when,
)
from ambry.client.model import ByteRange
from ambry.client.refs import LATEST
from ambry.errors import AmbryError
from ambry.rest.versions import VersionSchema

if TYPE_CHECKING:
    from ambry.client.datasets import DatasetInfo, VersionEntry

T = TypeVar("T")

VERSION = click.argument("version", default=LATEST)


def as_count(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """A number of versions; -1 for `all`, None where nothing is said."""
    if value is None:
        return None
    if value.strip().lower() == "all":
        return -1
    if not value.strip().isdecimal() or len(value) > 18 or not int(value):
        raise click.BadParameter(f"{value!r} is not how many versions are kept; use a number, or all")
    return int(value)


def as_age(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Seconds; -1 for `forever`, None where nothing is said."""
    if value is None:
        return None
    seconds = as_duration(ctx, param, value)
    return -1 if seconds is None else seconds


def keeping(command: Callable[..., T]) -> Callable[..., T]:
    """The options that say which versions are kept."""
    for option in (
        click.option("--keep-for", callback=as_age, metavar="TIME", help="Keep versions for 90d, 2w, ..., forever."),
        click.option("--keep", callback=as_count, metavar="N", help="Keep the N newest versions; all without end."),
    ):
        command = option(command)
    return command


def kept(keep: int | None, keep_for: int | None) -> dict[str, Any]:
    """What is said of that, by the names of the client."""
    said = {"retention_count": keep, "retention": keep_for}
    return {name: None if value == -1 else value for name, value in said.items() if value is not None}


@click.group()
def dataset() -> None:
    """Datasets: lines of versions that never change. `ambry alias` points to one of them.

    NAME is a name, or an ambry://account/container/name. VERSION is a number, LATEST, or @ and an alias.

    \b
    ambry dataset create fraud-model
    ambry dataset put fraud-model model.safetensors --version 1.3.0
    ambry alias set fraud-model champion 1.3.0 --why 'better on the holdout'
    ambry dataset get fraud-model @champion -o model.safetensors
    """


dataset.add_command(parts)


@dataset.command()
@click.argument("name")
@connecting
@click.option(
    "--schema", type=click.Choice(list(VersionSchema.__members__), case_sensitive=False), default="SEMANTIC", show_default=True,
    help="What versions look like, for ever: 1.2.3, 1.2.3.4, a number that rises, milliseconds.",
)  # fmt: skip
@keeping
@click.option("--tag", "tags", metavar="K=V", callback=as_pairs, multiple=True, help="May be repeated.")
@OUTPUT
def create(
    name: str,
    cluster: ChosenCluster,
    schema: str,
    keep: int | None,
    keep_for: int | None,
    tags: dict[str, str],
    output: str,
) -> None:
    """Make a dataset.

    \b
    ambry dataset create fraud-model --keep 20 --tag team=risk
    """
    with cluster.connect() as client:
        made = client.create_dataset(name, schema, **kept(keep, keep_for), tags=tags)
    if not cluster.quiet:
        show_fields(_plain(made), output)


@dataset.command("ls")
@connecting
@OUTPUT
def ls_datasets(cluster: ChosenCluster, output: str) -> None:
    """List the datasets of the container."""
    with cluster.connect() as client:
        show_rows(client.datasets(), output, ["SCHEMA", "KEEP", "KEEP FOR", "NAME"], _row, _plain)


@dataset.command()
@click.argument("name")
@connecting
@OUTPUT
def show(name: str, cluster: ChosenCluster, output: str) -> None:
    """Show what holds for a dataset, and where its aliases point."""
    with cluster.connect() as client:
        found, aliases = client.dataset(name), client.aliases(name)
    if output == "json":
        show_fields({**_plain(found), "aliases": {each.alias: each.version for each in aliases}}, output)
        return
    show_fields(_plain(found), output)
    if aliases:
        click.echo()
        show_table(["VERSION", "MODIFIED", "WHO", "ALIAS", "WHY"], [alias_row(each) for each in aliases])


@dataset.command()
@click.argument("name")
@connecting
@OUTPUT
def versions(name: str, cluster: ChosenCluster, output: str) -> None:
    """List the versions that are there, from the lowest on."""
    with cluster.connect() as client:
        show_rows(client.versions(name), output, ["SIZE", "MODIFIED", "ID", "VERSION"], _version_row, _plain_version)


@dataset.command("put")
@click.argument("name")
@click.argument("file")
@connecting
@click.option(
    "--version",
    default=LATEST,
    show_default=True,
    help="Its number, or which part is raised: LATEST, MAJOR, MINOR, PATCH.",
)
@click.option("--content-type", help="Stored with it.")
@click.option("--meta", metavar="K=V", callback=as_pairs, multiple=True, help="User metadata; may be repeated.")
@click.option("--durability", type=click.Choice(["memory", "disk", "geo"]), help="What the acknowledgement must mean.")
@shows("version", "id", "json", default="version")
def put_version(
    name: str,
    file: str,
    cluster: ChosenCluster,
    version: str,
    content_type: str | None,
    meta: dict[str, str],
    durability: str | None,
    output: str,
) -> None:
    """Store FILE as a new version, and print which it is; `-` is the standard input.

    \b
    ambry dataset put fraud-model model.safetensors --version 1.3.0
    train | ambry dataset put features - --version MINOR
    """
    from ambry.ml.datasets import check_plain

    source = standard_input() if file == "-" else Path(file)
    with cluster.connect() as client, progress_bar(file, cluster.quiet) as progress:
        check_plain(client, name)
        said: dict[str, Any] = {"content_type": content_type, "metadata": meta, "durability": durability}
        info = client.put_version(name, source, version, progress=progress, **said)
    click.echo({"version": info.version, "id": str(info.id)}.get(output) or to_json(info, file=file))


@dataset.command("get")
@click.argument("name")
@VERSION
@connecting
@TO_FILE
@RANGE
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@click.option("--no-resume", is_flag=True, help="Start over instead of continuing a .part file.")
@AS_JSON
def get_version(
    name: str,
    version: str,
    cluster: ChosenCluster,
    path: str | None,
    byte_range: ByteRange | None,
    overwrite: bool,
    no_resume: bool,
    as_json: bool,
) -> None:
    """Download a version into a file, as `ambry get` does: the newest, if none is said.

    \b
    ambry dataset get fraud-model 1.3.0
    ambry dataset get fraud-model @champion -o - | head -c 100
    """
    with cluster.connect() as client:
        ref, quiet = version_place(client, name, version), cluster.quiet
        if path == "-":
            with client.get(ref, range=byte_range) as reader:
                copy(reader, standard_output())
                info = reader.info
        else:
            how = {"overwrite": overwrite, "resume": not no_resume, "quiet": quiet, "in_json": as_json}
            info = fetch(client, ref, path, byte_range, **how)
    tell_parts(info, name, quiet)


@dataset.command("head")
@click.argument("name")
@VERSION
@connecting
@OUTPUT
def head_version(name: str, version: str, cluster: ChosenCluster, output: str) -> None:
    """Show what a version is: the newest, if none is said."""
    with cluster.connect() as client:
        show_info(client.head(version_place(client, name, version)), output)


@dataset.command("rm")
@click.argument("name")
@click.argument("numbers", nargs=-1, metavar="[VERSION]...")
@connecting
@click.option("-f", "--force", is_flag=True, help="One that is not there is no failure.")
@OUTPUT
def rm_versions(name: str, numbers: Sequence[str], cluster: ChosenCluster, force: bool, output: str) -> int:
    """Delete versions, by their numbers and for good; or without one the dataset, which must have none.

    \b
    ambry dataset rm fraud-model 1.2.8 1.2.9
    """
    code = 0
    with cluster.connect() as client:
        if not numbers:
            client.delete_dataset(name, missing_ok=force)
            tell_done(output, action="deleted", dataset=name)
        for number in numbers:
            try:
                client.delete(version_place(client, name, number), missing_ok=force)
            except AmbryError as error:
                code = report_one(error, number if len(numbers) > 1 else "", code)
            else:
                tell_done(output, action="deleted", dataset=name, version=number)
    return code


@dataset.command()
@click.argument("name")
@connecting
@keeping
@OUTPUT
def retention(name: str, cluster: ChosenCluster, keep: int | None, keep_for: int | None, output: str) -> None:
    """Show or change which versions are kept. What an alias points to is kept in any case.

    \b
    ambry dataset retention fraud-model --keep 20 --keep-for forever
    """
    said = kept(keep, keep_for)
    with cluster.connect() as client:
        show_fields(_plain(client.update_dataset(name, **said) if said else client.dataset(name)), output)


@dataset.command()
@click.argument("name")
@click.argument("tags", nargs=-1, callback=as_pairs, metavar="[K=V]...")
@connecting
@click.option("--clear", is_flag=True, help="Take the others away.")
@OUTPUT
def tag(name: str, tags: dict[str, str], cluster: ChosenCluster, clear: bool, output: str) -> None:
    """Show or change the tags of a dataset; those that are not said stay."""
    with cluster.connect() as client:
        found = client.dataset(name)
        if tags or clear:
            found = client.update_dataset(name, tags={**({} if clear else found.tags), **tags})
    show_fields(_plain(found), output)


def _plain(found: DatasetInfo) -> dict[str, Any]:
    return {
        "name": found.name,
        "account": found.account,
        "container": found.container,
        "schema": found.schema,
        "keep": found.retention_count,
        "keep_for_seconds": None if found.retention is None else int(found.retention.total_seconds()),
        "tags": dict(found.tags),
    }


def _row(found: DatasetInfo) -> list[str]:
    count = "all" if found.retention_count is None else str(found.retention_count)
    return [found.schema, count, _age(found), found.name]


def _age(found: DatasetInfo) -> str:
    """How long versions are kept, as `--keep-for` takes it."""
    if found.retention is None:
        return "forever"
    days, rest = divmod(int(found.retention.total_seconds()), 86_400)
    return f"{86_400 * days + rest}s" if rest else f"{days}d"


def _version_row(entry: VersionEntry) -> list[str]:
    return [str(entry.size), when(entry.modified), str(entry.id), entry.version]


def _plain_version(entry: VersionEntry) -> dict[str, Any]:
    return {"version": entry.version, "id": str(entry.id), "size": entry.size, "modified": entry.modified.isoformat()}
