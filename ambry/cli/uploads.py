"""`ambry upload`: the steps of an upload in parts, one by one; `ambry put` takes them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ambry.cli.arguments import ChosenCluster, as_duration, as_pairs, connecting, shows
from ambry.cli.output import expiry, printable, progress_bar, show_table, tell_done, to_json
from ambry.client.model import BlobInfo, UploadedPart
from ambry.path_option import LocalPath


@click.group()
def upload() -> None:
    """Upload in parts, step by step: begin, put, show, complete, abort. `ambry put FILE` does all of it."""


def _of_blob(command: Any) -> Any:
    """Options that say what the blob will be."""
    for option in (
        click.option("--durability", type=click.Choice(["memory", "disk", "geo"]), help="What it must mean."),
        click.option("--filename", help="Stored with the blob instead of the file's own name."),
        click.option("--meta", metavar="K=V", callback=as_pairs, multiple=True, help="User metadata; may be repeated."),
        click.option("--content-type", help="Stored with the blob."),
        click.option("--ttl", callback=as_duration, default="forever", show_default=True, help="Time to live."),
    ):
        command = option(command)
    return command


OUTPUT = shows("table", "json", "id", default="id")
PLAIN = shows("table", "json")


@upload.command()
@connecting
@click.option("--name", metavar="NAME", help="What to call the blob once it is complete.")
@_of_blob
@PLAIN
def begin(cluster: ChosenCluster, ttl: int | None, meta: dict[str, str], output: str, **said: Any) -> None:
    """Begin an upload, and print its id."""
    with cluster.connect() as client:
        begun = client.start_upload(ttl=ttl, metadata=meta, **said)
    tell_done(output, begun.id, upload=begun.id, id=str(begun.blob))


@upload.command()
@click.argument("upload_id", metavar="UPLOAD")
@click.argument("number", metavar="PART", type=click.IntRange(1, 10_000))
@click.argument("file", metavar="FILE", type=LocalPath(exists=True, dir_okay=False, path_type=Path))
@connecting
@PLAIN
def put(upload_id: str, number: int, file: Path, cluster: ChosenCluster, output: str) -> None:
    """Send a file as one part of an upload, and print the part's digest."""
    with cluster.connect() as client, progress_bar(file.name, cluster.quiet) as progress:
        part = client.resume_upload(upload_id).write_part(number, file, progress=progress)
    tell_done(output, part.checksum, part=part.part, size=part.size, checksum=part.checksum)


@upload.command()
@click.argument("upload_id", metavar="UPLOAD")
@connecting
@PLAIN
def show(upload_id: str, cluster: ChosenCluster, output: str) -> None:
    """Show what arrived of an upload."""
    with cluster.connect() as client:
        found = client.resume_upload(upload_id)
        told, parts = found.show(), found.parts()
    if output == "json":
        listed = [{"part": part.part, "size": part.size, "checksum": part.checksum} for part in parts]
        tell_done(output, upload=upload_id, state=told.state, id=told.id, parts=listed)
        return
    click.echo(f"{told.state}  {sum(part.size for part in parts)} bytes in {len(parts)} parts  {told.id}")
    if parts:
        show_table(["PART", "SIZE", "DIGEST"], [_row(part) for part in parts])


@upload.command()
@click.argument("upload_id", metavar="UPLOAD")
@connecting
@click.option("--if-absent", is_flag=True, help="Only where there is no such name; else it points to the new blob.")
@click.option("--if-match", metavar="ETAG", help="Only where the name points to the blob with this ETag.")
@OUTPUT
def complete(upload_id: str, cluster: ChosenCluster, if_absent: bool, if_match: str | None, output: str) -> None:
    """Make the blob of an upload, of all parts that arrived, under the name that it began with."""
    with cluster.connect() as client:
        _shown(client.resume_upload(upload_id, if_absent=if_absent, if_match=if_match).complete(), output, "")


@upload.command()
@click.argument("upload_id", metavar="UPLOAD")
@connecting
@PLAIN
def abort(upload_id: str, cluster: ChosenCluster, output: str) -> None:
    """End an upload; nothing of it stays."""
    with cluster.connect() as client:
        client.resume_upload(upload_id).abort()
    tell_done(output, action="aborted", upload=upload_id)


def _row(part: UploadedPart) -> list[str]:
    return [str(part.part), str(part.size), part.checksum]


def _shown(info: BlobInfo, output: str, name: str) -> None:
    if output == "table":
        show_table(["ID", "SIZE", "EXPIRES", "FILE"], [[str(info.id), str(info.size), expiry(info), printable(name)]])
    else:
        click.echo(str(info.id) if output == "id" else to_json(info, **({"file": name} if name else {})))
