"""The commands for blobs: put, get, cat, head, rm, ttl, undelete."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from ambry.cli.arguments import RANGE, ChosenCluster, as_duration, as_pairs, connecting, place
from ambry.cli.failures import report_one
from ambry.cli.output import expiry, printable, progress_bar, safe_name, show_info, show_table, to_json
from ambry.client.model import BlobInfo, ByteRange, Progress
from ambry.errors import AmbryError
from ambry.ids import BlobId

if TYPE_CHECKING:
    from ambry.client.sync.client import AmbryClient
    from ambry.client.sync.reader import BlobReader


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@connecting
@click.option(
    "--ttl", callback=as_duration, default="forever", show_default=True, help="Time to live: 3600, 12h, 7d, forever."
)
@click.option("--content-type", help="Stored with the blob.")
@click.option("--meta", metavar="K=V", callback=as_pairs, multiple=True, help="User metadata; may be repeated.")
@click.option("--filename", help="Stored with the blob instead of the file's own name.")
@click.option("--durability", type=click.Choice(["memory", "disk", "geo"]), help="What the acknowledgement must mean.")
@click.option(
    "--idempotency-key", metavar="KEY", help="Makes repeated puts of one file one; no other put has the same."
)
@click.option(
    "--output",
    type=click.Choice(["table", "json", "id"]),
    help="What to print; a table on a terminal, else the ids, one per line.",
)
def put(
    files: Sequence[str],
    cluster: ChosenCluster,
    ttl: int | None,
    content_type: str | None,
    meta: dict[str, str],
    filename: str | None,
    durability: str | None,
    idempotency_key: str | None,
    output: str | None,
) -> int:
    """Store files, each as a new blob; `-` is the standard input."""
    if "-" in files and sys.stdin is None:
        raise click.UsageError("the standard input is closed, and - would read it")
    if idempotency_key is not None and len(files) > 1:
        raise click.UsageError("an idempotency key is of one put; give one file")
    stored: list[tuple[str, BlobInfo]] = []
    shown = output or ("table" if sys.stdout.isatty() else "id")
    code = 0
    with cluster.connect() as client:
        for name in files:
            source = sys.stdin.buffer if name == "-" else Path(name)
            try:
                with progress_bar(name, cluster.quiet) as progress:
                    info = client.put(
                        source,
                        ttl=ttl,
                        content_type=content_type,
                        metadata=meta,
                        filename=filename,
                        durability=durability,
                        idempotency_key=idempotency_key,
                        progress=progress,
                    )
            except (AmbryError, OSError) as error:
                # The other files do not depend on this one.
                code = report_one(error, name if len(files) > 1 else "", code)
                continue
            stored.append((name, info))
            if shown != "table":
                click.echo(str(info.id) if shown == "id" else to_json(info, file=name))
    if shown == "table" and stored:
        show_table(["ID", "SIZE", "EXPIRES", "FILE"], [[str(i.id), str(i.size), expiry(i), n] for n, i in stored])
    return code


@click.command()
@click.argument("blob", metavar="ID")
@connecting
@click.option("-o", "--output", "path", metavar="FILE", help="Where to write; - is the standard output.")
@RANGE
@click.option("--overwrite", is_flag=True, help="Replace the file if it exists.")
@click.option("--no-resume", is_flag=True, help="Start over instead of continuing a .part file.")
def get(
    blob: str,
    cluster: ChosenCluster,
    path: str | None,
    byte_range: ByteRange | None,
    overwrite: bool,
    no_resume: bool,
) -> None:
    """Download a blob into a file: the one it was put from, or one named by its id.

    The file appears when it is whole and verified. An interrupted download goes on where it stopped.
    """
    with cluster.connect() as client:
        if path == "-":
            with client.get(blob, range=byte_range) as reader:
                copy(reader, sys.stdout.buffer)
            return
        known = client.resolve(blob)
        file = Path(path) if path is not None else Path(own_name(client.head(blob), cluster.quiet))
        with progress_bar(file.name, cluster.quiet) as progress:
            if byte_range is None:
                size = save(client, known, file, overwrite=overwrite, resume=not no_resume, progress=progress)
            else:
                size = save_range(client, known, byte_range, file, overwrite=overwrite, progress=progress)
    if not cluster.quiet:
        click.echo(f"{printable(str(file))} ({size} bytes)", err=True)


@click.command()
@click.argument("blob", metavar="ID")
@connecting
@RANGE
def cat(
    blob: str,
    cluster: ChosenCluster,
    byte_range: ByteRange | None,
) -> None:
    """Write a blob to the standard output."""
    with cluster.connect() as client, client.get(blob, range=byte_range) as reader:
        copy(reader, sys.stdout.buffer)


@click.command()
@click.argument("blob", metavar="ID")
@connecting
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def head(blob: str, cluster: ChosenCluster, output: str) -> None:
    """Show what a blob is."""
    with cluster.connect() as client:
        show_info(client.head(blob), output)


@click.command()
@click.argument("blobs", nargs=-1, required=True, metavar="ID...")
@connecting
@click.option("-f", "--force", is_flag=True, help="A blob that is not there is no failure.")
def rm(
    blobs: Sequence[str],
    cluster: ChosenCluster,
    force: bool,
) -> int:
    """Delete blobs. `ambry undelete` brings them back for a while."""
    code = 0
    with cluster.connect() as client:
        for blob in blobs:
            place(client, blob)  # A typing mistake in the last one must not be noticed after deleting the first.
        for blob in blobs:
            try:
                client.delete(blob, missing_ok=force)
            except AmbryError as error:
                code = report_one(error, blob if len(blobs) > 1 else "", code)
    return code


@click.command()
@click.argument("blob", metavar="ID")
@click.argument("duration", callback=as_duration)
@connecting
@click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def ttl(
    blob: str,
    duration: int | None,
    cluster: ChosenCluster,
    output: str,
) -> None:
    """Let a blob live longer: DURATION is 3600, 12h, 7d or forever. A life is never shortened."""
    with cluster.connect() as client:
        info = client.update_ttl(blob, duration)
    if not cluster.quiet:
        show_info(info, output)


@click.command()
@click.argument("blob", metavar="ID")
@connecting
def undelete(blob: str, cluster: ChosenCluster) -> None:
    """Bring a deleted blob back, within the retention window."""
    with cluster.connect() as client:
        client.undelete(blob)


def own_name(info: BlobInfo, quiet: bool) -> str:
    """The name of the file that a blob was put from, or one that can be had here; says so where it is another."""
    name = safe_name(info)
    if info.filename and name != info.filename and not quiet:
        click.echo(
            f"ambry: {printable(info.filename)!r} is no name to write to without asking; -o gives another", err=True
        )
    return name


def copy(reader: BlobReader, out: IO[bytes]) -> None:
    """Stream to `out`. What was written before a failure stays written; the exit code tells."""
    for chunk in reader.iter_chunks(256 << 10):
        out.write(chunk)
    out.flush()


def save(
    client: AmbryClient, blob: BlobId, path: Path, *, overwrite: bool, resume: bool, progress: Progress | None
) -> int:
    """A blob into a file; its size. When it breaks off, says what is kept and how to go on."""
    from ambry.client.sources import part_path, part_size

    try:
        return client.get_file(blob, path, overwrite=overwrite, resume=resume, progress=progress).size
    except (AmbryError, OSError, KeyboardInterrupt):
        if resume and (kept := part_size(path, blob)):
            part = printable(str(part_path(path, blob)))
            click.echo(f"ambry: {kept} bytes are kept in {part}; the same command goes on from there", err=True)
        raise


def save_range(
    client: AmbryClient, blob: BlobId, byte_range: ByteRange, path: Path, *, overwrite: bool, progress: Progress | None
) -> int:
    """A range into a file, which appears when it is whole; the range's size."""
    from ambry.client.sources import PartFile
    from ambry.clock import system_random

    unique = system_random().randbytes(16).hex()
    part = PartFile(path, blob, overwrite=overwrite, unique=unique, resume=False)
    try:
        with client.get(blob, range=byte_range) as reader:
            total = reader.remaining
            for chunk in reader.iter_chunks():
                part.write(chunk)
                if progress is not None:
                    progress(part.size, total)
        part.commit()
    finally:
        part.abandon(keep=False)
    return part.size
