"""The commands for blobs: put, get, cat, head, rm, ttl, undelete."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from ambry.cli.arguments import OUTPUT, RANGE, ChosenCluster, as_duration, as_pairs, connecting, place, shows
from ambry.cli.failures import report_one
from ambry.cli.output import expiry, printable, progress_bar, safe_name, show_info, show_table, to_json
from ambry.client.model import BlobInfo, ByteRange, Progress
from ambry.client.refs import SCHEME, NameRef, Ref, shown, uri_part
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
@click.option("--name", metavar="NAME", help="What to call it; several files take a NAME/ that ends with a slash.")
@click.option("--if-absent", is_flag=True, help="Only where there is no such name; else it points to the new blob.")
@click.option("--if-match", metavar="ETAG", help="Only where the name points to the blob with this ETag.")
@shows("table", "json", "id", default=None)
def put(
    files: Sequence[str],
    cluster: ChosenCluster,
    name: str | None,
    if_absent: bool,
    if_match: str | None,
    ttl: int | None,
    content_type: str | None,
    meta: dict[str, str],
    filename: str | None,
    durability: str | None,
    idempotency_key: str | None,
    output: str | None,
) -> int:
    """Store files, each as a new blob; `-` is the standard input.

    \b
    ambry put model.safetensors
    ambry put model.safetensors --name team/fraud
    ambry put *.parquet --name features/2026-11-27/
    """
    if "-" in files and sys.stdin is None:
        raise click.UsageError("the standard input is closed, and - would read it")
    if idempotency_key is not None and len(files) > 1:
        raise click.UsageError("an idempotency key is of one put; give one file")
    called = names_of(files, name)
    stored: list[tuple[str, BlobInfo]] = []
    printing = output or ("table" if sys.stdout.isatty() else "id")
    code = 0
    with cluster.connect() as client:
        for file, own in zip(files, called, strict=True):
            source = sys.stdin.buffer if file == "-" else Path(file)
            try:
                with progress_bar(file, cluster.quiet) as progress:
                    info = client.put(
                        source,
                        name=own,
                        if_absent=if_absent,
                        if_match=if_match,
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
                code = report_one(error, file if len(files) > 1 else "", code)
                continue
            stored.append((file, info))
            if printing != "table":
                click.echo(str(info.id) if printing == "id" else to_json(info, file=file))
        if printing == "table" and stored:
            rows = [[str(i.id), str(i.size), expiry(i), *named(client, i), each] for each, i in stored]
            show_table(["ID", "SIZE", "EXPIRES", *(["NAME"] if name is not None else []), "FILE"], rows)
    return code


def names_of(files: Sequence[str], name: str | None) -> list[str | None]:
    """What each of several files is called: a name that ends with a slash has the files' own names behind it."""
    if name is None:
        return [None] * len(files)
    if not name.endswith("/"):
        if len(files) > 1:
            raise click.UsageError("one name is for one file; a NAME/ that ends with a slash takes several")
        return [name]
    if "-" in files:
        raise click.UsageError(
            "the standard input has no name of its own to stand behind the slash; say the whole NAME"
        )
    own = [Path(file).name for file in files]
    if twice := next((each for each in own if own.count(each) > 1), None):
        raise click.UsageError(f"two of the files are called {twice!r}, and would get one name")
    return [name + (uri_part(each) if name.startswith(SCHEME) else each) for each in own]


def named(client: AmbryClient, info: BlobInfo) -> list[str]:
    """The name of a blob that was put under one, as it can be pasted."""
    if not info.name:
        return []
    ref = NameRef(info.name, info.account, info.container)
    return [shown(ref, account=client.default_account, container=client.default_container)]


@click.command()
@click.argument("blob", metavar="BLOB")
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
    """Download a blob into a file: the one it was put from, or else one called like its name or its id.

    BLOB is an id, a name, or an ambry://account/container/name. The file appears when it is whole and verified. An
    interrupted download goes on where it stopped.

    \b
    ambry get team/fraud -o model.safetensors
    ambry get ambry://team/models/fraud -o - | head -c 100
    """
    with cluster.connect() as client:
        if path == "-":
            with client.get(blob, range=byte_range) as reader:
                copy(reader, sys.stdout.buffer)
            return
        fetch(client, blob, path, byte_range, overwrite=overwrite, resume=not no_resume, quiet=cluster.quiet)


@click.command()
@click.argument("blob", metavar="BLOB")
@connecting
@RANGE
def cat(
    blob: str,
    cluster: ChosenCluster,
    byte_range: ByteRange | None,
) -> None:
    """Write a blob, which is named as for `ambry get`, to the standard output."""
    with cluster.connect() as client, client.get(blob, range=byte_range) as reader:
        copy(reader, sys.stdout.buffer)


@click.command()
@click.argument("blob", metavar="BLOB")
@connecting
@OUTPUT
def head(blob: str, cluster: ChosenCluster, output: str) -> None:
    """Show what a blob is; it is named as for `ambry get`."""
    with cluster.connect() as client:
        show_info(client.head(blob), output)


@click.command()
@click.argument("blobs", nargs=-1, required=True, metavar="BLOB...")
@connecting
@click.option("-f", "--force", is_flag=True, help="A blob that is not there is no failure.")
def rm(
    blobs: Sequence[str],
    cluster: ChosenCluster,
    force: bool,
) -> int:
    """Delete blobs; a name goes with the blob that was put under it. `ambry undelete` brings them back for a while.

    \b
    ambry rm ID team/fraud ambry://team/models/fraud
    """
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
@click.argument("blob", metavar="BLOB")
@click.argument("duration", callback=as_duration)
@connecting
@OUTPUT
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
@click.argument("blob", metavar="BLOB")
@connecting
def undelete(blob: str, cluster: ChosenCluster) -> None:
    """Bring a deleted blob back, or a name with its blob, within the retention window."""
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


def fetch(
    client: AmbryClient,
    ref: Ref,
    path: str | None,
    byte_range: ByteRange | None,
    *,
    overwrite: bool,
    resume: bool,
    quiet: bool,
) -> None:
    """A blob, or a range of it, into a file."""
    if path is not None:
        blob, file = client.resolve(ref), Path(path)
    else:
        info = client.head(ref)
        blob, file = info.id, Path(own_name(info, quiet))
    with progress_bar(file.name, quiet) as progress:
        if byte_range is None:
            size = save(client, blob, file, overwrite=overwrite, resume=resume, progress=progress)
        else:
            size = save_range(client, blob, byte_range, file, overwrite=overwrite, progress=progress)
    if not quiet:
        click.echo(f"{printable(str(file))} ({size} bytes)", err=True)


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
